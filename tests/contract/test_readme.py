"""The README keeps its word: its commands parse, its campaign is clear, its tables are complete."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from streams.cli import cli
from streams.domain.definition import campaign_from
from streams.errors import Exit
from streams.topics import registry

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):.*##", MAKEFILE, re.MULTILINE))
INDENTED = [line.strip() for line in README.splitlines() if line.startswith("    ")]
QUOTED = re.findall(r"`((?:leidan|make) [^`]+)`", README)
COMMANDS = [re.split(r"\s{4,}", line)[0] for line in INDENTED] + QUOTED


def words(command: str) -> list[str]:
    return shlex.split(command.removeprefix(".venv/bin/"))


def parse(arguments: list[str], group: click.Command = cli) -> None:
    """Let click read a command line and stop before it runs; raises UsageError for a wrong one."""
    context = group.make_context(arguments[0], arguments[1:], resilient_parsing=False)
    if isinstance(group, click.Group):
        rest = [*context._protected_args, *context.args]  # noqa: SLF001 - what click left over
        if not rest and group.invoke_without_command:
            return
        _name, command, rest = group.resolve_command(context, rest)
        assert command is not None
        parse([str(_name), *rest], command)


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if words(c)[0] == "leidan"], ids=lambda c: c[:60]
)
def test_every_leidan_command_of_the_readme_parses(command):
    if "--help" not in command:
        parse(words(command))


@pytest.mark.parametrize("command", [c for c in COMMANDS if words(c)[0] == "make"], ids=str)
def test_every_make_target_of_the_readme_exists_and_its_arguments_parse(command):
    parts = words(command)[1:]
    assert not parts or parts[0] in TARGETS
    for part in parts[1:]:
        name, _, value = part.partition("=")
        assert name == "ARGS"
        parse(["leidan", "demo", *shlex.split(value)])


def test_the_readme_has_commands_at_all():
    assert len(COMMANDS) > 15
    assert "make run" in COMMANDS
    assert "make test" in COMMANDS


def test_the_campaign_of_the_readme_is_clear():
    blocks = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        campaign, problems = campaign_from(json.loads(block))
        assert campaign is not None, problems


def test_every_exit_code_is_in_the_table_and_no_other():
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert rows == {int(code) for code in set(Exit)}


def test_every_topic_is_named():
    for topic in registry():
        assert f"`{topic}`" in README


def test_every_verb_is_shown_or_named():
    for verb in cli.commands:
        assert re.search(rf"\b{verb}\b", README), verb


def test_every_file_the_readme_names_exists():
    for name in set(re.findall(r"`((?:streams|schemas|tests|deploy)/[\w./-]*)`", README)):
        assert (ROOT / name).exists(), name


def test_every_target_of_the_makefile_says_what_it_does():
    phony = set(re.findall(r"^\.PHONY: ([a-z-]+)", MAKEFILE, re.MULTILINE))
    assert phony == TARGETS
