"""Every verb says what it does, what its flags mean, what it prints for scripts and how it ends."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from streams.cli import cli
from streams.errors import Exit
from tests.cli.conftest import ended, leidan

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
CODES = frozenset(map(int, Exit))


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


def acts(path: tuple[str, ...]) -> bool:
    """Whether it does something itself: a group without a verb only prints its help."""
    found = command(path)
    return not isinstance(found, click.Group) or found.invoke_without_command


def flags(path: tuple[str, ...]) -> dict[str, click.Parameter]:
    return {flag: one for one in command(path).params for flag in one.opts}


def codes(path: tuple[str, ...]) -> set[int]:
    """The exit codes that the help of a verb names."""
    said = (command(path).help or "").partition("Exit status:")[2]
    return {int(number) for number in re.findall(r"\b\d+\b", said)}


ALL = verbs()
ACTING = [path for path in ALL if acts(path)]
NO_RESULT = {("worker",): "runs until it is told to stop; --stats-file and /metrics say how it is"}
FINDINGS = {("doctor",): "a broker that is away, or refuses, is what it has found: 1"}
each_verb = pytest.mark.parametrize("path", ALL, ids=" ".join)
each_acting = pytest.mark.parametrize("path", ACTING, ids=" ".join)


@each_verb
def test_a_verb_says_in_one_sentence_what_it_does_and_how_it_ends(path):
    text = command(path).help or ""
    assert text.split("\n")[0].endswith("."), "the first line is the one that lists show"
    assert "Exit status:" in text, "a script needs to know"


@each_verb
def test_every_flag_is_explained_or_names_its_default(path):
    for parameter in command(path).params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.show_default, f"{path}: {parameter.opts}"


@pytest.mark.parametrize("path", [(), *ALL], ids=lambda path: " ".join(path) or "leidan")
def test_help_is_printed_with_0(path, capsys):
    # In one process for all: what is tested is the text, not the interpreter's start.
    assert ended([*path, "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"Usage: {' '.join(('leidan', *path))} ")
    assert shown.err == ""


@each_verb
def test_a_flag_that_is_none_ends_with_2_and_names_the_help(path, capsys):
    assert ended([*path, "--no-such-flag"]) == Exit.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "No such option" in shown.err
    assert f"'{' '.join(('leidan', *path))} -h' for help" in shown.err


# -- what scripts read ----------------------------------------------------------------------------


@each_acting
def test_what_prints_a_result_prints_it_as_json_too(path):
    flag = flags(path).get("--json")
    assert (flag is None) == (path in NO_RESULT)
    if flag is not None:
        assert isinstance(flag, click.Option)
        assert flag.is_flag
        assert re.search(r"\bobject\b|\bline\b|\bJSON\b", flag.help or ""), "one object, or lines?"


# -- how it ends ----------------------------------------------------------------------------------


@each_verb
def test_only_exit_codes_that_there_are_are_named(path):
    assert codes(path) <= CODES


@each_acting
def test_success_mistakes_and_what_a_broker_can_do_to_a_verb_are_named(path):
    assert {Exit.OK, Exit.USAGE} <= codes(path)
    if "--bootstrap-servers" in flags(path) and path not in FINDINGS:
        assert {Exit.UNREACHABLE, Exit.REFUSED} <= codes(path)


@pytest.mark.parametrize("path", [p for p in ALL if p not in ACTING], ids=" ".join)
def test_a_group_names_the_codes_of_its_verbs(path):
    under = [verb for verb in ACTING if verb[:-1] == path]
    assert codes(path) >= set().union(*map(codes, under))


def test_leidan_itself_names_every_code():
    said = (cli.epilog or "").partition("Exit status:")[2]
    assert {int(number) for number in re.findall(r"\b\d+\b", said)} == CODES


ROWS = re.findall(r"^\| (\d+) \| ([^|]+) \|", README, re.MULTILINE)


@pytest.mark.parametrize(("code", "who"), ROWS, ids=[code for code, _ in ROWS])
def test_the_table_of_the_readme_names_the_verbs_whose_help_names_the_code(code, who):
    if who.startswith("all"):
        return  # the tests above hold every verb to these
    named = {words.split()[0] for words in re.findall(r"`([^`]+)`", who)}
    helped = {path[0] for path in ACTING if int(code) in codes(path)}
    assert named == helped


def test_help_and_version_of_the_installed_command():
    ran = leidan("--help")
    assert (ran.code, ran.err) == (0, "")
    for name in cli.commands:
        assert f"  {name}" in ran.out
    assert "leidan 0." in leidan("--version").out
    assert "__init__.py" in leidan("--version").out, "which code runs"
