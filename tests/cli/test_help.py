"""Every verb says what it does, what its flags mean and how it ends."""

from __future__ import annotations

import click
import pytest

from streams.cli import cli
from tests.cli.conftest import leidan


def verbs(group: click.Group = cli, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every verb, those of groups too: ("demo",), ("topics", "apply") ..."""
    found = []
    for name, command in group.commands.items():
        found.append((*before, name))
        if isinstance(command, click.Group):
            found += verbs(command, (*before, name))
    return found


def command(path: tuple[str, ...]) -> click.Command:
    found: click.Command = cli
    for name in path:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return found


@pytest.mark.parametrize("path", verbs(), ids=" ".join)
def test_a_verb_says_in_one_sentence_what_it_does_and_how_it_ends(path):
    text = command(path).help or ""
    assert text.split("\n")[0].endswith("."), "the first line is the one that lists show"
    assert "Exit status:" in text, "a script needs to know"


@pytest.mark.parametrize("path", verbs(), ids=" ".join)
def test_every_flag_is_explained_or_names_its_default(path):
    for parameter in command(path).params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.show_default, f"{path}: {parameter.opts}"


@pytest.mark.parametrize("path", [(), *verbs()], ids=lambda path: " ".join(path) or "leidan")
def test_help_is_printed_with_0(path):
    # In one process for all: what is tested is the text, not the interpreter's start.
    result = click.Context(command(path), info_name=" ".join(("leidan", *path))).get_help()
    assert result.startswith("Usage: leidan")


def test_help_and_version_of_the_installed_command():
    ran = leidan("--help")
    assert (ran.code, ran.err) == (0, "")
    for name in cli.commands:
        assert f"  {name}" in ran.out
    assert "leidan 0." in leidan("--version").out
    assert "__init__.py" in leidan("--version").out, "which code runs"
