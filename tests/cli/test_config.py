"""`leidan config show`: each setting, its value, and who said so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest

from streams.cli import run
from streams.cli.toml_lines import lines_by_path
from streams.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

TOML = """\
app_id = "shop"  # of all workers

[kafka]
bootstrap_servers = "b1:9092"
topic_prefix = "eu-"

[kafka.client]
"security.protocol" = "sasl_ssl"
"sasl.mechanism" = "PLAIN"
"sasl.username" = "me"
"sasl.password_file" = "{secret}"
"""


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Here:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        (folder / "secret").write_text("hunter22\n")
        self.file = folder / "leidan.toml"
        self.file.write_text(TOML.format(secret=folder / "secret"))

    def show(self, *flags: str) -> Said:
        code = run(["config", "show", "--config", str(self.file), *flags])
        return Said(code, *self._capsys.readouterr())

    def origins(self, *flags: str) -> dict[str, str]:
        told = json.loads(self.show("--json", *flags).out)
        return {name: one["origin"] for name, one in told.items()}


@pytest.fixture
def here(tmp_path, capsys, monkeypatch) -> Here:
    monkeypatch.delenv("LEIDAN_CONFIG", raising=False)
    return Here(tmp_path, capsys)


def test_each_setting_says_where_it_comes_from(here, monkeypatch):
    monkeypatch.setenv("LEIDAN_KAFKA__CLIENT__SASL_USERNAME", "you")
    monkeypatch.setenv("LEIDAN_WEB_PORT", "8080")
    found = here.origins("--set", "kafka.topic_prefix=us-", "--set", "batch_records=500")
    assert found["app_id"] == f"{here.file}:1"
    assert found["kafka.bootstrap_servers"] == f"{here.file}:4"
    assert found["kafka.client.sasl.password"] == f"{here.file}:11", "of the file that holds it"
    assert found["kafka.client.sasl.username"] == "LEIDAN_KAFKA__CLIENT__SASL_USERNAME"
    assert found["web_port"] == "LEIDAN_WEB_PORT"
    assert found["kafka.topic_prefix"] == "--set kafka.topic_prefix", "flags win over the file"
    assert found["batch_records"] == "--set batch_records"
    assert found["state_dir"] == "default"


def test_the_value_shown_is_the_one_that_won(here, monkeypatch):
    monkeypatch.setenv("LEIDAN_APP_ID", "other")
    told = json.loads(here.show("--json").out)
    assert told["app_id"] == {"value": "other", "origin": "LEIDAN_APP_ID"}


def test_every_setting_is_shown(here):
    shown = {name.partition(".")[0] for name in here.origins()}
    assert shown == set(Settings.__struct_fields__)


def test_a_secret_is_shown_nowhere(here, monkeypatch):
    monkeypatch.setenv("LEIDAN_WEB_TOKEN", "0123456789abcdefXYZ")
    for flags in ((), ("--origin",), ("--json",)):
        ran = here.show(*flags)
        assert "hunter22" not in ran.out + ran.err
        assert "XYZ" not in ran.out + ran.err
        assert "[secret]" in ran.out


def test_as_text_the_origin_stands_behind_the_value_and_defaults_can_be_left_out(here):
    ran = here.show("--origin", "--changed")
    assert ran.code == 0
    (line,) = [line for line in ran.out.splitlines() if line.startswith("app_id")]
    assert line.split("  # ") == ['app_id = "shop"' + " " * (len(line.split("  # ")[0]) - 15),
                                  f"{here.file}:1"]  # fmt: skip
    assert "state_dir" not in ran.out
    assert "#" not in here.show().out


def test_an_unknown_setting_is_refused_with_the_file_and_the_nearest_one(here):
    here.file.write_text("batch_recrods = 5\n")
    ran = here.show()
    assert ran.code == 2
    assert f"{here.file}: unknown setting batch_recrods; did you mean batch_records?" in ran.err


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a = 1", ("a",), 1),
        ("# a = 0\n\na = 1", ("a",), 3),
        ("[s]\n  b=1", ("s", "b"), 2),
        ('[ s . t ] # of s\n"x.y" = 1', ("s", "t", "x.y"), 2),
        ("[s]\nt.u = 1", ("s", "t", "u"), 2),
        ("s.'t u' = 1", ("s", "t u"), 1),
    ],
)
def test_the_line_of_a_key(text, path, line):
    assert lines_by_path(text) == {path: line}
