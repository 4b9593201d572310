"""`leidan topics`: the registry's topics, compared with a broker's and created there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams.cli.connection import config_option
from streams.cli.given import campaigns_option, settings_of
from streams.cli.terminal import emit, say
from streams.errors import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.demo.topics import Difference
    from streams.settings import Settings


def _place(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that all three share."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One object on stdout."),
        config_option,
        click.option(
            "--topic-prefix", help="Put before every topic's name; else the settings' prefix."
        ),
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

    Exit status: 0 all is there, 1 something is missing or differs, 2 usage or settings, 4 broker
    unreachable, 78 the broker refuses us.
    """


@topics.command()
@_place
@click.option(
    "--strimzi", is_flag=True, help="What is missing, as KafkaTopic resources on stdout (YAML)."
)
def plan(
    bootstrap_servers: str,
    partitions: int,
    topic_prefix: str | None,
    config: str | None,
    as_json: bool,
    strimzi: bool,
) -> None:
    """Show what `topics apply` would create, and what differs; change nothing.

    Where Strimzi makes the topics, --strimzi writes what `kubectl apply -f -` takes.

    Exit status: 0 nothing to do, 1 something is missing or differs, 2 usage or settings, 4 broker
    unreachable, 78 the broker refuses us.
    """
    if strimzi and as_json:
        raise UsageError("--strimzi writes YAML: leave --json out")
    settings = settings_of(config, (), bootstrap_servers, topic_prefix)
    difference, worth, _ = _differences(settings, partitions)
    raise SystemExit(_write(difference) if strimzi else _show(difference, worth, as_json))


@topics.command()
@_place
@click.option("--execute", is_flag=True, help="Act; without it this only shows the plan.")
def apply(
    bootstrap_servers: str,
    partitions: int,
    topic_prefix: str | None,
    config: str | None,
    as_json: bool,
    execute: bool,
) -> None:
    """Create the topics that are missing. Nothing is ever resized, altered or deleted.

    N is not changed later but by new topics that the rows are brought to (`leidan state resize`).

    Exit status: 0 all is there, 1 something is missing or differs, 2 usage or settings, 4 broker
    unreachable, 78 the broker refuses us.
    """
    from streams.connect import security
    from streams.demo.topics import create

    settings = settings_of(config, (), bootstrap_servers, topic_prefix)
    difference, worth, _ = _differences(settings, partitions)
    if execute and difference.missing:
        create(bootstrap_servers, difference.missing, security(settings.kafka.client))
    status = _show(difference, worth, as_json, created=execute)
    if execute and difference.missing:
        say(f"{len(difference.missing)} topics created")
    elif difference.missing:
        say("nothing was changed; add --execute to create them")
    raise SystemExit(status)


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
def check(
    bootstrap_servers: str,
    partitions: int,
    topic_prefix: str | None,
    config: str | None,
    as_json: bool,
    app_id: str | None,
    campaign_files: tuple[str, ...],
    sample: int,
) -> None:
    """Look at the topics as a worker does before it starts, and at where keys lie. Reads only.

    Topics and partition counts, settings, whether retention covers the longest task of any
    campaign that is not over, whether the group's next records are still there, and whether
    producers place keys as Java does (murmur2).

    Exit status: 0 all is well, 1 something is not, 2 usage, settings or a campaign file, 4 broker
    unreachable, 78 the broker refuses us.
    """
    named = {"app_id": app_id, "campaign_files": campaign_files}
    settings = settings_of(config, (), bootstrap_servers, topic_prefix, **named)
    difference, worth, has_settings = _differences(settings, partitions)
    if not difference.missing:
        wrong, more = _as_a_worker(settings) if has_settings else ([], [])
        difference.wrong.extend(wrong + _elsewhere(settings, sample))
        worth += more
    raise SystemExit(_show(difference, worth, as_json))


def _differences(settings: Settings, partitions: int) -> tuple[Difference, list[str], bool]:
    """Return what is missing or does not fit, what is worth knowing, and if there are settings."""
    from streams.connect import security
    from streams.demo.topics import compare
    from streams.feed import client, kept
    from streams.topics import registry, unfit

    kafka = settings.kafka
    prefix = kafka.topic_prefix
    secured = security(kafka.client)
    found = compare(kafka.bootstrap_servers, prefix=prefix, partitions=partitions, client=secured)
    missing = {one.topic for one in found.missing}
    there = [name for name in registry() if name not in missing]
    admin = client.admin(settings)
    if kept.keeps_no_settings(admin):
        worth = ["the embedded broker has no settings or offsets: they were not looked at"]
        return found, worth, False
    configs = kept.settings_on(settings, admin, there)
    wrong = [one for name in configs for one in unfit(name, configs[name], prefix)]
    untold = ", ".join(prefix + name for name in there if name not in configs)
    worth = [f"settings not told, so not compared: {untold}; allow DescribeConfigs"]
    return found._replace(wrong=found.wrong + wrong), worth if untold else [], True


def _as_a_worker(settings: Settings) -> tuple[list[str], list[str]]:
    """Return (what a worker would refuse, what it would warn of)."""
    import time
    from pathlib import Path

    from streams.feed import kept
    from streams.feed.campaigns import CampaignReader
    from streams.wire import campaigns

    reader = CampaignReader(settings, *campaigns.read_files(map(Path, settings.campaign_files)))
    reader.start()
    try:
        reader.wait()
        found = kept.look(settings, reader.current(), int(time.time() * 1_000))
    finally:
        reader.stop()
    # a worker goes on where it may not ask, and looks again; who checks has not looked
    return found.wrong + [found.unknown] * bool(found.unknown), found.worth


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


def _write(difference: Difference) -> Exit:
    """Print what is missing as manifests; the rest is talk, or they would not apply."""
    from streams.topics import manifests, strimzi

    made = [strimzi(*one) for one in difference.missing]
    click.echo(manifests(made), nl=False)
    for problem in difference.wrong:
        say(f"differs: {problem}")
    return Exit.DIFFERENT if made or difference.wrong else Exit.OK


def _show(
    difference: Difference, worth: list[str], as_json: bool, *, created: bool = False
) -> Exit:
    """Print what was found; ``created``: what was missing is there now."""
    missing = [] if created else difference.missing
    ok = not (missing or difference.wrong)
    if as_json:
        made = difference.missing if created else []
        emit(
            {
                "ok": ok,
                "missing": [{"topic": one.name, "partitions": one.partitions} for one in missing],
                "created": [{"topic": one.name, "partitions": one.partitions} for one in made],
                "wrong": difference.wrong,
                "worth": worth,
            }
        )
    else:
        for one in difference.missing:
            click.echo(f"create {one.name} with {one.partitions} partitions")
        for problem in difference.wrong:
            click.echo(f"differs: {problem}")
        for note in worth:
            say(f"worth knowing: {note}")
    return Exit.OK if ok else Exit.DIFFERENT
