"""The extension builds without a warning, is left out when told to, and is never stale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from streams import native
from streams.domain.state import Key
from streams.native import build, plan
from tests.native.beside import MODULE, needs_native

ROOT = Path(__file__).resolve().parents[2]
TOLD = "from streams import native; print(native.load()[1])"


def told(**environment: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", TOLD],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


@pytest.mark.skipif(bool(build.missing()), reason=build.missing())
def test_the_sources_compile_without_a_warning(tmp_path):
    build.build(tmp_path / "_native.so", ("-Werror", "-Wshadow", "-O0"))
    assert [path.name for path in tmp_path.iterdir()] == ["_native.so"]


def test_no_compiler_is_no_failure(monkeypatch, capsys):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert build.main() == 0
    assert "leidan works without it" in capsys.readouterr().err


def test_it_is_left_out_where_it_is_told_to():
    assert told(LEIDAN_NATIVE="0") == "LEIDAN_NATIVE=0"


@needs_native
def test_it_is_taken_where_it_is_built():
    assert told() == "compiled"


@needs_native
def test_what_was_built_from_other_sources_is_not_taken(monkeypatch):
    other = SimpleNamespace(SOURCE=build.source_digest() + 1, Plan=MODULE.Plan)
    monkeypatch.setitem(sys.modules, "streams.native._native", other)
    found, why = native.load.__wrapped__()
    assert found is None
    assert "other sources" in why


def test_the_sources_know_our_layout():
    """Red: a struct of rows or events changed. What must fold.c, row.c and plan.py know of it?"""
    assert plan.layout_problems() == []


@needs_native
def test_another_layout_turns_it_off(monkeypatch):
    monkeypatch.setitem(plan.WHOLE, Key, ("at_ms",))
    found, why = native.load.__wrapped__()
    assert found is None
    assert "Key has fields" in why
