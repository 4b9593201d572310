"""The control: leidan's job as one would write it with Faust alone.

A Faust worker, one agent a topic, one RocksDB table of rows, one event at a time; with leidan's
decoders, fold and output bytes, so that only what stands around the fold differs.
With `--guarantee exactly_once` it is what Faust promises to be exactly-once. The harness of
`test_exactly_once.py` must find it guilty (reliability.md 9): if it does not, the harness is blind.

    python -m tests.kafka.plain_faust --bootstrap-servers H:P --topic-prefix P --app-id plain
        --state-dir DIR --campaigns FILE --rewards TOPIC --task-events TOPIC --stats-file FILE

Not a part of leidan, and no example of how to use it: reliability.md 3 says why each of these
choices loses or doubles money.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faust
from faust.worker import Worker

from streams.domain.fold import step
from streams.domain.registry import Campaigns
from streams.domain.state import new
from streams.errors import EventRejected
from streams.feed.ports import Record
from streams.wire.campaigns import read_file
from streams.wire.outputs import encode
from streams.wire.rows import decode_row, encode_row
from tests.bench.programs.job import DECODE, STATS_EVERY_S, Progress, rest_collector

if TYPE_CHECKING:
    from collections.abc import Iterator


TUNED = {
    "producer_linger": 0.02,
    "producer_max_batch_size": 256 << 10,
    "producer_compression_type": "zstd",
    "stream_buffer_maxsize": 8_192,
}
"""What the benchmark gives it to be fast; the control of the kill tests has Faust's defaults."""


def create_app(given: argparse.Namespace) -> faust.App:
    """Wire it: what Faust's documentation shows, with timings short enough for a test."""
    app = faust.App(
        given.app_id,
        broker=f"kafka://{given.bootstrap_servers}",
        store="rocksdb://",
        datadir=given.state_dir,
        processing_guarantee=given.guarantee,
        autodiscover=False,
        topic_replication_factor=1,
        topic_partitions=given.partitions,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        # A static member, like leidan's: its restart is no rebalance.
        consumer_group_instance_id=given.app_id,
        broker_session_timeout=6,
        broker_heartbeat_interval=1,
        broker_rebalance_timeout=20,
        broker_request_timeout=20,
        key_serializer="raw",
        value_serializer="raw",
        web_enabled=False,
        **(TUNED if given.tuned else {}),
    )
    if given.tuned:
        rest_collector()
    campaigns = Campaigns.of(c for path in given.campaigns for c in read_file(Path(path)))
    progress = Progress()
    rows = app.Table(
        "rows",
        key_type=bytes,
        value_type=bytes,
        partitions=given.partitions,
        options={"driver": "rocksdict"},
    )
    outputs = {
        "rewards": _topic(app, given, given.rewards),
        "task-events": _topic(app, given, given.task_events),
    }
    for name in DECODE:
        _register(app, given, name, campaigns, rows, outputs, progress)

    if given.stats_file:

        @app.timer(STATS_EVERY_S)
        async def write_stats() -> None:
            progress.write(Path(given.stats_file))

    return app


def _topic(app: faust.App, given: argparse.Namespace, name: str) -> Any:
    return app.topic(
        given.topic_prefix + name, key_type=bytes, value_type=bytes, partitions=given.partitions
    )


def _register(  # noqa: PLR0913 - what a closure would hide
    app: faust.App,
    given: argparse.Namespace,
    name: str,
    campaigns: Campaigns,
    rows: Any,
    outputs: dict[str, Any],
    progress: Progress,
) -> None:
    decode = DECODE[name]

    @app.agent(_topic(app, given, name), name=name)
    async def on_records(events: Any) -> None:
        """One record: decode, read the row, fold, write the row, send what follows."""
        async for event in events.events():
            # Faust acks an event whose agent raised: an error of ours would look like a loss.
            with dying_of_errors():
                record = record_of(name, event.message)
                progress.processed_one()
                try:
                    fact = decode(record)
                except EventRejected:
                    progress.rejected += 1
                    continue
                row = rows.get(record.key)
                state = new(fact.user_id) if row is None else decode_row(fact.user_id, row)
                after, produced, _outcome = step(state, fact, campaigns)
                if after is not state:
                    rows[record.key] = encode_row(after)
                for output in produced:
                    out = encode(output, record)
                    await outputs[out.topic].send(key=out.key, value=out.value, headers=out.headers)
                    progress.issued += output.type == "reward.issued"


@contextmanager
def dying_of_errors() -> Iterator[None]:
    """End the process when our own code raises: exit 70, and the run is void."""
    try:
        yield
    except Exception:  # noqa: BLE001 - whatever it is, it is our bug
        traceback.print_exc(file=sys.__stderr__)
        os._exit(70)


def record_of(topic: str, message: Any) -> Record:
    """Return what leidan's decoders take: Faust has headers as a list or a mapping, time in s."""
    headers = message.headers or []
    return Record(
        topic,
        message.partition,
        message.offset,
        message.key,
        message.value,
        list(headers.items() if isinstance(headers, dict) else headers),
        round(message.timestamp * 1000),
    )


def main() -> None:
    """Run until a signal; Faust's own command line is not used."""
    parser = argparse.ArgumentParser(description="Plain Faust, the control of the kill tests.")
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic-prefix", required=True)
    parser.add_argument("--app-id", required=True)
    parser.add_argument("--state-dir", required=True)
    parser.add_argument("--campaigns", action="append", required=True)
    parser.add_argument("--rewards", default="rewards", help="topic without prefix")
    parser.add_argument("--task-events", default="task-events", help="topic without prefix")
    parser.add_argument("--guarantee", default="exactly_once")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--stats-file")
    parser.add_argument("--tuned", action="store_true", help="faster than by its defaults")
    Worker(create_app(parser.parse_args()), loglevel="info").execute_from_commandline()


if __name__ == "__main__":
    main()
