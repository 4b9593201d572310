"""What is installed is what was locked: every package by exact version and by hash, from no URL."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "tests" / "bench" / "peers.lock"  # the benchmark's, in an environment of its own
PINNED = re.compile(
    r"([A-Za-z0-9._-]+)(?:\[[^]]*])?==(\S+)\s*(;[^-]*)?((?:--hash=sha256:[0-9a-f]{64}\s*)+)"
)


def lines(lock: Path) -> list[str]:
    text = lock.read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


LINES = lines(ROOT / "requirements.lock")


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement)[0]).lower()


@pytest.mark.parametrize("lock", [ROOT / "requirements.lock", PEERS], ids=lambda path: path.name)
def test_every_line_of_a_lock_is_one_version_with_its_hashes_and_nothing_else(lock):
    found = lines(lock)
    assert len(found) > 20
    assert not [line for line in found if not PINNED.fullmatch(line.strip())]


def test_everything_the_project_asks_for_is_in_the_lock():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    asked = [*project["dependencies"], *(one for extra in extras for one in extra)]
    locked = {name_of(line) for line in LINES}
    assert not {name_of(one) for one in asked} - locked


def test_the_peers_of_the_benchmark_are_locked_and_are_none_of_ours():
    asked = PEERS.with_suffix(".in").read_text().splitlines()
    peers = {name_of(line) for line in asked if line and not line.startswith("#")}
    assert not peers - {name_of(line) for line in lines(PEERS)}
    assert not {"quixstreams", "bytewax"} & {name_of(line) for line in LINES}


def test_no_key_password_or_token_lies_in_the_checkout():
    secret = re.compile(
        rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    )
    ours = ("streams", "schemas", "deploy", "tests", ".github", ".ci")
    files = [path for part in ours for path in (ROOT / part).rglob("*") if path.is_file()]
    assert len(files) > 200
    mine = Path(__file__)
    assert not [path for path in files if path != mine and secret.search(path.read_bytes())]
