"""`leidan campaign publish`: definitions onto `campaigns`, once they are known to come in force."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from streams.cli import campaign as definitions
from streams.cli.given import campaigns_option, settings_of, settings_option
from streams.cli.terminal import emit, say
from streams.errors import CampaignRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.domain.definition import Definition
    from streams.domain.registry import Campaigns

MARGIN_MS = 5_000
"""From the plan to the broker's clock: what would be in time by less than that is not tried."""


@definitions.campaign.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="The workers' brokers.")
@click.option("--topic-prefix", help="Put before every topic's name.")
@campaigns_option
@settings_option
@click.option("--execute", is_flag=True, help="Act; without it this only shows the plan.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def publish(
    files: tuple[str, ...],
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    campaign_files: tuple[str, ...],
    config: str | None,
    execute: bool,
    as_json: bool,
) -> None:
    """Put definitions on the topic `campaigns`, in the order given; first shows a plan.

    Each is judged as the workers will judge it, behind all that is on the topic: sequence of
    versions, pools that it names, 60 s from its record to `effective_from`. One that would be
    refused stops all of them, and nothing is written. What is there already is left out, so a
    second run adds nothing.

    Exit status: 0 published, or the plan was shown; 2 a definition would be refused; 4 broker
    unreachable; 78 the topics are missing.
    """
    from streams import connect
    from streams.demo.sending import send
    from streams.domain.definition import label
    from streams.domain.registry import Campaigns
    from streams.replay.past import KafkaPast
    from streams.topics import CAMPAIGNS

    chosen = settings_of(config, (), bootstrap_servers, topic_prefix, campaign_files=campaign_files)
    kafka, client = chosen.kafka, connect.security(chosen.kafka.client)
    from_files = definitions.read_all(chosen.campaign_files)
    for name in files:
        definitions.read(Path(name))  # a problem in a file is named with its line
    with KafkaPast(kafka.bootstrap_servers, kafka.topic_prefix, client, from_files) as past:
        known = Campaigns.of(past.definitions())
    now_ms = int(time.time() * 1_000)
    new, there, problems = _judged(files, known, now_ms + MARGIN_MS)
    if problems:
        raise CampaignRefused(", ".join(files), problems)
    if execute:
        records = [(CAMPAIGNS, _key(one), value, now_ms) for value, one in new]
        send(kafka.bootstrap_servers, records, prefix=kafka.topic_prefix, client=client)
    names = [label(one) for _, one in new]
    if as_json:
        emit({"published" if execute else "planned": names, "already_there": there})
        return
    for _, one in new:
        click.echo(f"{label(one)}: {definitions.said(one)}")
    for name in there:
        say(f"{name}: is there already")
    if execute:
        say(f"{len(new)} published")
    else:
        say("nothing was written; add --execute")


def _judged(
    files: tuple[str, ...], known: Campaigns, at_ms: int
) -> tuple[list[tuple[bytes, Definition]], list[str], list[str]]:
    """Return what is new, labels of what is there, and every problem, of records written then."""
    from streams.domain.definition import label
    from streams.domain.pool_history import Unfit
    from streams.wire import campaigns as wire

    new: list[tuple[bytes, Definition]] = []
    there: list[str] = []
    problems: list[str] = []
    for name in files:
        for value in _values(Path(name)):
            one = wire.decode(value, None, name)
            if known.holds(one):
                there.append(label(one))
                continue
            try:
                wire.decode(value, at_ms, name)
                known = known.with_record(one)
            except (CampaignRefused, Unfit) as refused:
                problems += [f"{label(one)}: {problem}" for problem in refused.problems]
            else:
                new.append((value, one))
    return new, there, problems


def _values(path: Path) -> Iterator[bytes]:
    """Yield each definition of a file as a record of its own."""
    data = path.read_bytes()
    try:
        whole = orjson.loads(data)
    except orjson.JSONDecodeError:
        yield from (line for line in data.splitlines() if line.strip())
        return
    yield from map(orjson.dumps, whole if isinstance(whole, list) else [whole])


def _key(one: Definition) -> bytes:
    """Return the record's key: whose definition it is."""
    return str(getattr(one, "campaign_id", "") or getattr(one, "pool_id", "")).encode()
