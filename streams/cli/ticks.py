"""`leidan ticks`: tell the workers what time it is."""

from __future__ import annotations

import time
from typing import Any

import click
import orjson

from streams.cli.connection import config_option, how_to_connect
from streams.cli.moments import millis
from streams.cli.terminal import emit, say

LAST = 64  # offsets of each partition in which the newest tick is looked for; markers take some


@click.command()
@click.option(
    "--bootstrap-servers", metavar="HOST:PORT", required=True, help="The brokers to write to."
)
@click.option(
    "--every",
    "every_s",
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two ticks.",
)
@click.option(
    "--at", metavar="TIME", help="Write one tick at this time (RFC 3339, with offset) and leave."
)
@click.option("--app-id", default="leidan", show_default=True, help="That of the workers.")
@click.option("--topic-prefix", default="", help="Put before every topic's name.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="A line of JSON on stdout for each tick.")
def ticks(
    bootstrap_servers: str,
    every_s: float,
    at: str | None,
    app_id: str,
    topic_prefix: str,
    config: str | None,
    as_json: bool,
) -> None:
    """Write the time to every partition of `ticks`, so that tasks expire and reminders are sent.

    Run one, beside the workers; a second one takes over from the first. After a pause it goes on
    with the present time: one tick does what all those that were missed would have done.

    Exit status: 0 told to stop, or --at is written; 2 usage; 4 broker unreachable; 75 another one
    took over; 78 topics are missing.
    """
    from streams.demo.reading import Reader
    from streams.errors import Refused
    from streams.ticker import Ticker
    from streams.topics import TICKS

    at_ms = None if at is None else _millis(at)
    client = how_to_connect(config)
    with Reader(bootstrap_servers, topic_prefix, client) as reader:
        partitions = reader.topics().get(TICKS, 0)
        if not partitions:
            raise Refused(
                f"{bootstrap_servers} has no {topic_prefix}{TICKS}: leidan topics apply"
                " --bootstrap-servers ... --execute"
            )
        newest = [
            orjson.loads(tick.value or b"null")["at"] for tick in reader.all_of([TICKS], tail=LAST)
        ]
    ticker = Ticker(
        bootstrap_servers,
        partitions,
        app_id=app_id,
        prefix=topic_prefix,
        client=client,
        last_ms=max(map(_millis, newest), default=0),
    )
    if at_ms is not None:
        written = ticker.write(at_ms, at_ms)
        said = "written" if written else "not after the last tick: not written"
        say(f"tick at {at}, {partitions} partitions: {said}")
        if as_json:
            emit(_object(at_ms, partitions, written=written))
        return
    say(f"a tick every {every_s:g} s to {partitions} partitions")
    while True:
        now_ms = int(time.time() * 1_000)
        written = ticker.write(now_ms)
        if as_json:
            emit(_object(now_ms, partitions, written=written))
        time.sleep(every_s)


def _object(at_ms: int, partitions: int, *, written: bool) -> dict[str, Any]:
    from streams.domain.days import Calendar

    return {"at": Calendar("UTC").text(at_ms), "partitions": partitions, "written": written}


def _millis(text: str) -> int:
    at_ms = millis(text)
    if at_ms is None:
        raise click.BadParameter(f"{text!r} is no RFC 3339 time with an offset", param_hint="--at")
    return at_ms
