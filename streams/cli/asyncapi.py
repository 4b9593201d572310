"""`leidan asyncapi`: every topic, message, key and header, for tools."""

from __future__ import annotations

import difflib

import click

from streams.cli.terminal import emit, say
from streams.errors import Exit, UsageError

SHOWN = 20  # lines of a difference


@click.command()
@click.option("--topic-prefix", default="", help="Put before every topic's name.")
@click.option(
    "-p", "--partitions", type=click.IntRange(1), help="N of the user-keyed topics; default: open."
)
@click.option("--check", is_flag=True, help="Compare the committed one with what it should be.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout, not YAML.")
def asyncapi(topic_prefix: str, partitions: int | None, check: bool, as_json: bool) -> None:
    """Print the contract as AsyncAPI 3.1: what is written, by whom, in which form, and kept how.

    Made from schemas/ alone; no broker is asked. Without flags it is schemas/asyncapi.yaml, word
    for word. `$ref`s point at the schemas beside that file: put it there.

    Exit status: 0 printed, or the same; 1 --check: it has drifted; 2 usage.
    """
    from streams import asyncapi as contract

    if check and (topic_prefix or partitions):
        raise UsageError("--check: the committed document has no prefix and leaves N open")
    found = contract.document(topic_prefix, partitions)
    if not check:
        if as_json:
            emit(found)
        else:
            click.echo(contract.text(found), nl=False)
        return
    path, wanted = contract.path(), contract.text(found)
    committed = path.read_text("utf-8") if path.is_file() else ""
    if as_json:
        emit({"file": str(path), "same": committed == wanted})
    if committed == wanted:
        say(f"{path}: is what schemas/ says")
        return
    old, new = committed.splitlines(), wanted.splitlines()
    for line in list(difflib.unified_diff(old, new, "committed", "from schemas/", lineterm=""))[
        :SHOWN
    ]:
        say(line)
    say(f"{path}: has drifted; next: leidan asyncapi > schemas/asyncapi.yaml")
    raise SystemExit(Exit.DIFFERENT)
