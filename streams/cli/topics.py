"""`leidan topics`: the registry's topics, compared with a broker's and created there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams.cli.connection import config_option, how_to_connect
from streams.cli.terminal import say
from streams.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.connect import Values
    from streams.demo.topics import Difference


def _place(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that both verbs share."""
    for option in (
        config_option,
        click.option("--topic-prefix", default="", help="Put before every topic's name."),
        click.option(
            "-p", "--partitions", default=8, show_default=True, help="N of the user-keyed topics."
        ),
        click.option(
            "--bootstrap-servers", metavar="HOST:PORT", required=True, help="The broker to look at."
        ),
    ):
        function = option(function)
    return function


@click.group()
def topics() -> None:
    """The engine's topics: what a broker lacks, and how to make it.

    Exit status: 0 all is there, 1 something is missing or differs, 4 broker unreachable.
    """


@topics.command()
@_place
def plan(bootstrap_servers: str, partitions: int, topic_prefix: str, config: str | None) -> None:
    """Show what `topics apply` would create; change nothing.

    Exit status: 0 nothing to do, 1 something is missing or differs, 4 broker unreachable.
    """
    client = how_to_connect(config)
    raise SystemExit(_show(_compare(bootstrap_servers, partitions, topic_prefix, client)))


@topics.command()
@_place
@click.option("--execute", is_flag=True, help="Act; without it this only shows the plan.")
def apply(
    bootstrap_servers: str,
    partitions: int,
    topic_prefix: str,
    config: str | None,
    execute: bool,
) -> None:
    """Create the topics that are missing. Nothing is ever resized or deleted.

    N cannot be changed later: choose the partitions for the years to come.

    Exit status: 0 all is there, 1 something is missing or differs, 4 broker unreachable.
    """
    from streams.demo.topics import create

    client = how_to_connect(config)
    difference = _compare(bootstrap_servers, partitions, topic_prefix, client)
    status = _show(difference)
    if not execute:
        if difference.missing:
            say("nothing was changed; add --execute to create them")
        raise SystemExit(status)
    if difference.missing:
        create(bootstrap_servers, difference.missing, client)
        say(f"{len(difference.missing)} topics created")
    raise SystemExit(Exit.DIFFERENT if difference.wrong else Exit.OK)


def _compare(bootstrap: str, partitions: int, prefix: str, client: Values) -> Difference:
    from streams.demo.topics import compare

    return compare(bootstrap, prefix=prefix, partitions=partitions, client=client)


def _show(difference: Difference) -> Exit:
    for missing in difference.missing:
        click.echo(f"create {missing.name} with {missing.partitions} partitions")
    for problem in difference.wrong:
        click.echo(f"differs: {problem}")
    return Exit.DIFFERENT if difference.missing or difference.wrong else Exit.OK
