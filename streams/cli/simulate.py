"""`leidan simulate`: seeded users who claim, order and cancel, to a broker or to a file."""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from streams.cli import sent
from streams.cli.campaign import campaigns_of, read_all
from streams.cli.connection import config_option
from streams.cli.terminal import reader_left
from streams.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.demo.sending import Sent


@click.command()
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="Send to this broker.")
@click.option(
    "--out", metavar="FILE", help="Write NDJSON instead: topic, key, timestamp_ms, value; - stdout."
)
@click.option("--users", default=2_000, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--orders", default=20_000, show_default=True, type=click.IntRange(min=1), help="Order events."
)
@click.option("--seed", default=1, show_default=True, help="Same seed, same bytes.")
@click.option(
    "--rate", default=0.0, metavar="N", help="Records a second; 0, the default: no limit."
)
@click.option(
    "--chaos", default="", metavar="LIST", help="What goes wrong: any of dup,late,reorder,poison."
)
@click.option(
    "--campaign",
    "campaign_files",
    multiple=True,
    metavar="FILE",
    help="Claim these campaigns instead of the sample; may be repeated.",
)
@click.option(
    "--campaigns",
    type=click.Choice(["one", "four"]),
    default="one",
    show_default=True,
    help="The sample, or users of all four phases' samples side by side, who ask for draws, too.",
)
@click.option("--topic-prefix", default="", help="Put before every topic's name.")
@config_option
@click.option(
    "--create-topics", is_flag=True, help="Create missing topics first; else they must exist."
)
@click.option(
    "-p", "--partitions", default=4, show_default=True, help="Of topics this creates, with -p N."
)
@click.option("--json", "as_json", is_flag=True, help="One object on stdout: records by topic.")
def simulate(
    bootstrap_servers: str | None,
    out: str | None,
    users: int,
    orders: int,
    seed: int,
    rate: float,
    chaos: str,
    campaign_files: tuple[str, ...],
    campaigns: str,
    topic_prefix: str,
    config: str | None,
    create_topics: bool,
    partitions: int,
    as_json: bool,
) -> None:
    """Send seeded traffic: users who claim, order and cancel.

    Nothing is created on the broker unless --create-topics is given.

    Exit status: 0 all sent, 2 usage, 4 broker unreachable, 78 topics are missing.
    """
    from streams.demo import sources

    if (bootstrap_servers is None) == (out is None):
        raise UsageError("simulate: give exactly one of --bootstrap-servers and --out")
    if as_json and out == "-":
        raise UsageError("simulate: --out - puts the records on stdout, so --json has no place")
    four = campaigns == "four"
    if four and campaign_files:
        raise UsageError("simulate: give --campaigns four or --campaign FILE, not both")
    files = tuple(str(file) for file in sources.sample_phases()) if four else campaign_files
    claimed = campaigns_of(read_all(files))
    made = sources.side_by_side if four else sources.simulated
    records = made(seed=seed, users=users, orders=orders, chaos=chaos, campaigns=claimed)
    if out is not None:
        count = _write(out, records)
    else:
        assert bootstrap_servers is not None
        count = sent.send(
            records,
            bootstrap_servers,
            prefix=topic_prefix,
            rate=rate,
            config=config,
            create=create_topics,
            partitions=partitions,
        )
    sent.tell(count, as_json=as_json)


def _write(out: str, records: Iterable[Sent]) -> Counter[str]:
    """Write one JSON object a line; bytes that are no text go as base64, so nothing is lost."""
    count: Counter[str] = Counter()
    try:
        with click.open_file(out, "wb") as file:
            for topic, key, value, timestamp_ms in records:
                line: dict[str, Any] = {"topic": topic, "timestamp_ms": timestamp_ms}
                line |= _text("key", key) | _text("value", value)
                file.write(orjson.dumps(line) + b"\n")
                count[topic] += 1
    except BrokenPipeError:  # `| head` has seen enough
        reader_left()
    except OSError as error:
        raise UsageError(
            f"{Path(out)}: {error.strerror}; give a file that can be written"
        ) from None
    return count


def _text(name: str, data: bytes | None) -> dict[str, str | None]:
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}
