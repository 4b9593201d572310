"""The job as one would write it with Bytewax: a keyed stateful step, recovery on.

It has no transactions: after a crash the outputs of the epoch come again, so at-least-once is what
it promises. Runs in the environment of the peers (peers.lock), to the end of the topics: `python -m
tests.bench.programs.bytewax --help`. Not a part of leidan.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from streams.feed.ports import Record
from streams.wire.rows import decode_row, encode_row
from tests.bench.programs.job import Job, arguments

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from streams.feed.ports import Outgoing

EPOCH = timedelta(seconds=5)
BATCH = 1_000
PRODUCER = {
    "partitioner": "murmur2_random",
    "compression.type": "zstd",
    "compression.level": "1",
    "linger.ms": "20",
    "batch.size": str(1 << 20),
}


class User(StatefulBatchLogic):
    """One user's state: kept in memory as it is, saved as its row when an epoch ends.

    Batches of one key are what Bytewax hands over; the fold takes their records one by one.
    """

    def __init__(
        self,
        job: Job,
        prefix: str,
        message_of: Callable[[Outgoing], KafkaSinkMessage],
        saved: tuple[str, bytes] | None,
    ) -> None:
        self._job, self._prefix, self._message_of = job, prefix, message_of
        self._state = None if saved is None else decode_row(*saved)

    def on_batch(self, values: list[KafkaSourceMessage]) -> tuple[list[KafkaSinkMessage], bool]:
        sent = []
        for message in values:
            after, produced = self._job.fold(self._record(message), self._state)
            if after is not None:
                self._state = after
            sent += [self._message_of(output) for output in produced]
        return sent, StatefulBatchLogic.RETAIN

    def snapshot(self) -> tuple[str, bytes] | None:
        state = self._state
        return None if state is None else (state.user_id, encode_row(state))

    def _record(self, message: KafkaSourceMessage) -> Record:
        return Record(
            message.topic.removeprefix(self._prefix),
            message.partition,
            message.offset,
            message.key,
            message.value,
            message.headers,
            message.timestamp[1],
        )


def create_flow(given: argparse.Namespace, job: Job) -> Dataflow:
    """Wire it."""
    brokers, prefix = [given.bootstrap_servers], given.topic_prefix
    topics = [prefix + name for name in given.topics.split(",")]
    outputs = {
        "rewards": prefix + given.rewards,
        "task-events": prefix + given.task_events,
    }

    def message_of(out: Outgoing) -> KafkaSinkMessage:
        return KafkaSinkMessage(out.key, out.value, outputs[out.topic], out.headers)

    flow = Dataflow("rewards")
    source = KafkaSource(brokers, topics, tail=False, batch_size=BATCH)
    records = op.input("records", flow, source)
    users = op.key_on("users", records, lambda message: message.key.decode())
    folded = op.stateful_batch("fold", users, partial(User, job, prefix, message_of))
    # One sink for both topics: each flushes at the end of every batch that it is given.
    sink = KafkaSink(brokers, None, add_config=PRODUCER)
    op.output("outputs", op.key_rm("values", folded), sink)
    return flow


def main() -> None:
    """Run to the end of the topics; the last epoch is saved then."""
    given = arguments(__doc__).parse_args()
    saved = given.state_dir / "recovery"
    saved.mkdir()
    init_db_dir(saved, 1)
    job = Job(given.campaigns)
    cli_main(create_flow(given, job), epoch_interval=EPOCH, recovery_config=RecoveryConfig(saved))
    job.progress.write(given.stats_file)


if __name__ == "__main__":
    main()
