"""`leidan topics`: the registry's topics, compared with a broker's and created there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams.cli.connection import config_option, how_to_connect
from streams.cli.given import campaigns_option, settings_of
from streams.cli.terminal import emit, say
from streams.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.connect import Values
    from streams.demo.topics import Difference
    from streams.settings import Settings


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
    """The engine's topics: what a broker lacks, how to make it, and whether all is well.

    Exit status: 0 all is there, 1 something is missing or differs, 4 broker unreachable.
    """


@topics.command()
@_place
def plan(bootstrap_servers: str, partitions: int, topic_prefix: str, config: str | None) -> None:
    """Show what `topics apply` would create; change nothing.

    Exit status: 0 nothing to do, 1 something is missing or differs, 4 broker unreachable.
    """
    client = how_to_connect(config)
    difference = _compare(bootstrap_servers, partitions, topic_prefix, client)
    raise SystemExit(_show(_with_settings(difference, config, bootstrap_servers, topic_prefix)))


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
    difference = _with_settings(difference, config, bootstrap_servers, topic_prefix)
    status = _show(difference)
    if not execute:
        if difference.missing:
            say("nothing was changed; add --execute to create them")
        raise SystemExit(status)
    if difference.missing:
        create(bootstrap_servers, difference.missing, client)
        say(f"{len(difference.missing)} topics created")
    raise SystemExit(Exit.DIFFERENT if difference.wrong else Exit.OK)


@topics.command()
@_place
@click.option("--app-id", help="That of the workers; else the settings'.")
@campaigns_option
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Keys of each partition to look at, the newest.",
)
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def check(
    bootstrap_servers: str,
    partitions: int,
    topic_prefix: str,
    config: str | None,
    app_id: str | None,
    campaign_files: tuple[str, ...],
    sample: int,
    as_json: bool,
) -> None:
    """Look at the topics as a worker does before it starts, and at where keys lie. Reads only.

    Topics and partition counts, settings, whether retention covers the longest task of any
    campaign, whether the group's next records are still there, and whether producers place keys as
    Java does (murmur2).

    Exit status: 0 all is well, 1 something is not, 2 settings or a campaign file, 4 broker
    unreachable, 78 the broker refuses us.
    """
    place = (bootstrap_servers, partitions, topic_prefix)
    difference = _compare(*place, how_to_connect(config))
    named = {"app_id": app_id, "campaign_files": campaign_files}
    settings = settings_of(config, (), bootstrap_servers, topic_prefix, **named)
    worth: list[str] = []
    if not difference.missing:
        wrong, worth = _as_a_worker(settings)
        difference.wrong.extend(wrong + _elsewhere(settings, sample))
    difference = _with_settings(difference, config, bootstrap_servers, topic_prefix)
    status = Exit.DIFFERENT if difference.missing or difference.wrong else Exit.OK
    if as_json:
        missing = [one.name for one in difference.missing]
        emit({"ok": not status, "missing": missing, "wrong": difference.wrong, "worth": worth})
    else:
        _show(difference)
        for one in worth:
            say(f"worth knowing: {one}")
    raise SystemExit(status)


def _as_a_worker(settings: Settings) -> tuple[list[str], list[str]]:
    """Return (what a worker would refuse, what it would warn of)."""
    from pathlib import Path

    from streams.feed import kept
    from streams.feed.campaigns import CampaignReader
    from streams.topics import FOLDED
    from streams.wire import campaigns

    reader = CampaignReader(settings, *campaigns.read_files(map(Path, settings.campaign_files)))
    reader.start()
    try:
        reader.wait()
        known = list(reader.current())
    finally:
        reader.stop()
    admin = kept.admin_of(settings)
    gone = kept.out_of_range(kept.ranges(settings, admin))
    found = kept.settings_on(settings, admin, FOLDED)
    wrong, worth = kept.forgets({settings.topic(name): one for name, one in found.items()}, known)
    return gone + wrong, worth


TENTH = 10  # a stray record is somebody's mistake; a tenth of them is a partitioner


def _elsewhere(settings: Settings, most: int) -> list[str]:
    from streams.connect import security
    from streams.demo.reading import Reader
    from streams.demo.topics import placed
    from streams.topics import USER_KEYED

    kafka = settings.kafka
    if not most:
        return []
    with Reader(kafka.bootstrap_servers, kafka.topic_prefix, security(kafka.client)) as reader:
        found = placed(reader, USER_KEYED, most)
    return [
        f"{settings.topic(topic)}: {one.elsewhere} of {one.keys} keys lie on another partition than"
        " murmur2 puts them, so one user is folded on two workers. Stop that producer and set its"
        " partitioner: in librdkafka partitioner=murmur2_random, Java's own default is right"
        for topic, one in found.items()
        if one.elsewhere * TENTH > one.keys
    ]


def _with_settings(
    difference: Difference, config: str | None, bootstrap: str, prefix: str
) -> Difference:
    """Return the difference with the settings that do not fit.

    A broker that does not tell them (not allowed, or too old) is a warning in the log.
    """
    from streams.feed import kept
    from streams.topics import registry, unfit

    settings = settings_of(config, (), bootstrap, prefix)
    missing = {one.topic for one in difference.missing}
    there = [name for name in registry() if name not in missing]
    found = kept.settings_on(settings, kept.admin_of(settings), there)
    said = [one for name in found for one in unfit(name, found[name], prefix)]
    return difference._replace(wrong=difference.wrong + said)


def _compare(bootstrap: str, partitions: int, prefix: str, client: Values) -> Difference:
    from streams.demo.topics import compare

    return compare(bootstrap, prefix=prefix, partitions=partitions, client=client)


def _show(difference: Difference) -> Exit:
    for missing in difference.missing:
        click.echo(f"create {missing.name} with {missing.partitions} partitions")
    for problem in difference.wrong:
        click.echo(f"differs: {problem}")
    return Exit.DIFFERENT if difference.missing or difference.wrong else Exit.OK
