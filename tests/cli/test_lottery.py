"""`leidan lottery`: a seed is made once and privately; what is public is proved or called wrong."""

from __future__ import annotations

import json
import stat

import orjson
import pytest

from streams import cli
from streams.domain import sample
from tests.pooling import CLOSES_AFTER_H, SEED, Book, ask, certain, definition, lottery, returned


def run(arguments):
    """Return the exit code; verbs leave with it, or return."""
    try:
        return cli.run(arguments)
    except SystemExit as left:
        return left.code


@pytest.fixture
def seed_file(tmp_path):
    path = tmp_path / "seed"
    path.write_text(SEED.hex() + "\n")
    return str(path)


@pytest.fixture
def pool_file(tmp_path):
    path = tmp_path / "pool.json"
    path.write_bytes(orjson.dumps(definition()))
    return str(path)


@pytest.fixture
def public(tmp_path):
    """Write the records of two pools, in turns, to a file; return it and their lines."""

    def write(change=lambda lines: lines):
        one = Book(certain(stock=2)).when(ask(1), ask(2), ask(3), returned(2))
        wheel = Book(lottery(pool_id="w2", commitment=sample.commitment("w2", SEED)))
        wheel.when(*(ask(n, n, pool_id="w2") for n in range(1, 9)))
        one.tick(CLOSES_AFTER_H + 48)
        mixed = [*one.lines()[:3], *wheel.lines(), *one.lines()[3:]]
        path = tmp_path / "records.ndjson"
        path.write_bytes(b"".join(line + b"\n" for line in change(mixed)))
        return str(path)

    return write


def test_a_seed_is_made_for_its_owner_alone_and_never_overwritten(tmp_path, capsys):
    path = tmp_path / "veg-wheel"
    assert run(["lottery", "commit", "veg-wheel", "--out", str(path)]) == 0
    seed = bytes.fromhex(path.read_text().strip())
    shown = capsys.readouterr()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert shown.out == f'"commitment":"{sample.commitment("veg-wheel", seed)}"\n'
    assert seed.hex() not in shown.out + shown.err
    assert run(["lottery", "commit", "veg-wheel", "--out", str(path)]) == 2
    assert bytes.fromhex(path.read_text().strip()) == seed


def test_a_draw_is_drawn_again(pool_file, seed_file, capsys):
    task = "tsk_082c20106543ba7fe1c723bfff037ccf"
    given = ["lottery", "draw", pool_file, "--task-id", task, "--step", "3", "--json"]
    assert run([*given, "--seed-file", seed_file]) == 0
    found = json.loads(capsys.readouterr().out)
    ticket, counter = sample.ticket(SEED, "veg-wheel", 1, task, "3", 1_000_000)
    assert (found["ticket"], found["counter"]) == (ticket, counter)
    assert found["draw_id"] == "drw_26dae78613ae1a673f4283847372ea0e"
    assert run([*given[:-1], "--seed", SEED.hex()]) == 0
    assert f"ticket   {ticket} of 1000000" in capsys.readouterr().out
    assert run([*given, "--seed", bytes(32).hex()]) == 3
    assert run(given) == 2


def test_the_seed_is_not_revealed_before_its_time(tmp_path, pool_file, seed_file, capsys):
    assert run(["lottery", "reveal", pool_file, "--seed-file", seed_file]) == 0
    assert capsys.readouterr().out == SEED.hex() + "\n"
    later = tmp_path / "later.json"
    later.write_bytes(orjson.dumps(definition(closes_at="2999-01-01T00:00:00Z")))
    assert run(["lottery", "reveal", str(later), "--seed-file", seed_file]) == 2
    shown = capsys.readouterr()
    assert "is revealed at 2999-01-03T00:00:00" in shown.err
    assert SEED.hex() not in shown.out + shown.err


def test_public_records_are_proved(public, capsys):
    assert run(["lottery", "verify", "--file", public()]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "veg-wheel: 6 records, 3 draws, 2 won: all as the rules make it",
        "w2: 9 records, 8 draws, 0 won: all as the rules make it; not revealed yet",
    ]


def test_the_first_mismatch_is_named_by_pool_and_number(public, capsys):
    def cheat(lines):
        return [line.replace(b'"outcome":"won"', b'"outcome":"nothing"') for line in lines]

    path = public(cheat)
    assert run(["lottery", "verify", "--file", path, "--json"]) == 3
    shown = capsys.readouterr()
    assert "veg-wheel: no 2: outcome is 'nothing', must be 'won'" in shown.err
    (wrong,) = json.loads(shown.out)["mismatches"]
    assert wrong["pool_id"] == "veg-wheel"
    assert run(["lottery", "verify", "w2", "--file", path]) == 0


def test_the_keeper_of_the_seed_can_prove_before_the_reveal(public, seed_file, tmp_path):
    path = public()
    assert run(["lottery", "verify", "w2", "--file", path, "--seed-file", seed_file]) == 0
    other = tmp_path / "other"
    other.write_text(bytes(32).hex())
    assert run(["lottery", "verify", "w2", "--file", path, "--seed-file", str(other)]) == 3


@pytest.mark.parametrize("junk", [b"{", b"[]", b"{}", b"\xff", b'{"pool_id":"veg-wheel"}'])
def test_a_line_that_is_no_record_is_a_mismatch(public, junk, capsys):
    assert run(["lottery", "verify", "--file", public(lambda lines: [*lines, junk])]) == 3
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "given", [[], ["--file", "x", "--bootstrap-servers", "y"], ["--file", "/no/such"], ["nobody"]]
)
def test_what_cannot_be_read_ends_with_2(public, given, capsys):
    given = ["nobody", "--file", public()] if given == ["nobody"] else given
    assert run(["lottery", "verify", *given]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_no_broker_ends_with_4():
    assert run(["lottery", "verify", "--bootstrap-servers", "127.0.0.1:1"]) == 4
