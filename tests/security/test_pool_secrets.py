"""A lottery's seed comes from a file or a variable, is the committed one, and is shown nowhere."""

from __future__ import annotations

import stat

import pytest

from streams import settings
from streams.errors import Exit, SecretRefused, UsageError
from streams.pool_secrets import Seeds
from streams.settings import HIDDEN, redacted
from tests.pooling import CLOSES_AFTER_H, SEED, at, certain, rights

OTHER = bytes(32)


def seeds(given=None, **variables):
    environ = {f"LEIDAN_{name.upper()}": value for name, value in variables.items()}
    return Seeds(settings.load(None, given or {}, environ))


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "veg-wheel").write_text(SEED.hex() + "\n")
    return str(tmp_path)


def test_a_seed_may_be_a_variable_a_file_of_lines_or_a_file_of_its_own(directory, tmp_path):
    lines = tmp_path / "lines"
    lines.write_text(f"other = {OTHER.hex()}\nveg-wheel={SEED.hex()}\n")
    for found in (
        seeds(pool_secrets=f"veg-wheel={SEED.hex()}"),
        seeds(pool_secrets_file=str(lines)),
        seeds({"pool_secrets_dir": directory}),
    ):
        assert found(certain()) == SEED


def test_a_pool_defined_later_needs_no_restart(tmp_path):
    found = seeds({"pool_secrets_dir": str(tmp_path)})
    with pytest.raises(SecretRefused, match="no secret seed"):
        found(certain())
    (tmp_path / "veg-wheel").write_text(SEED.hex())
    assert found(certain()) == SEED


def test_a_seed_that_was_not_committed_to_is_refused_with_its_own_exit():
    with pytest.raises(SecretRefused, match="does not match") as refused:
        seeds(pool_secrets=f"veg-wheel={OTHER.hex()}").require([certain()], at(0))
    assert refused.value.exit is Exit.SECRET
    assert OTHER.hex() not in str(refused.value)


def test_a_worker_does_not_start_without_the_seed_of_a_pool_that_still_draws():
    with pytest.raises(SecretRefused, match="veg-wheel: no secret seed"):
        seeds().require([rights(cup=1), certain()], at(CLOSES_AFTER_H + 47))
    seeds().require([certain()], at(CLOSES_AFTER_H + 49))
    wrong = seeds(pool_secrets=f"veg-wheel={OTHER.hex()}")
    with pytest.raises(SecretRefused, match="does not match"):
        wrong.require([certain()], at(CLOSES_AFTER_H + 49))


@pytest.mark.parametrize("text", ["veg-wheel", "veg-wheel=abc", f"veg-wheel={SEED.hex().upper()}"])
def test_what_is_no_seed_is_refused_and_not_repeated(text):
    with pytest.raises(UsageError, match="line 1") as refused:
        seeds(pool_secrets=text)
    assert text.rpartition("=")[2] not in redacted(str(refused.value))


def test_no_seed_is_shown():
    loaded = settings.load(None, {}, {"LEIDAN_POOL_SECRETS": f"veg-wheel={SEED.hex()}"})
    Seeds(loaded)
    assert SEED.hex() not in repr(loaded)
    assert redacted(f"seed {SEED.hex()}") == f"seed {HIDDEN}"


def test_a_directory_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "veg-wheel").mkdir()
    with pytest.raises(SecretRefused, match="veg-wheel"):
        seeds({"pool_secrets_dir": str(tmp_path)})(certain())
    assert stat.S_ISDIR((tmp_path / "veg-wheel").stat().st_mode)
