"""The job as one would write it with Quix Streams: a dataframe over state, exactly-once.

Runs in the environment of the peers (peers.lock), which has no Faust: `python -m
tests.bench.programs.quix --help`. Not a part of leidan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quixstreams import Application, message_context
from quixstreams.models import Serializer

from streams.feed.ports import Record
from streams.wire.rows import decode_row, encode_row
from tests.bench.programs.job import Job, arguments

if TYPE_CHECKING:
    import argparse

    from quixstreams import State

    from streams.feed.ports import Outgoing

ROW = "row"  # the one value of a key


class OutputBytes(Serializer):
    """An output is encoded already."""

    def __call__(self, value: Outgoing, ctx: Any) -> bytes:  # noqa: ARG002 - theirs
        assert value.value is not None
        return value.value


def create_app(given: argparse.Namespace) -> Application:
    """Wire it. What is not named here is as Quix Streams ships it: a commit every 5 s."""
    app = Application(
        broker_address=given.bootstrap_servers,
        consumer_group=given.app_id,
        processing_guarantee="exactly-once",
        auto_offset_reset="earliest",
        state_dir=given.state_dir,
        use_changelog_topics=True,
        loglevel="WARNING",
        producer_extra_config={
            "compression.type": "zstd",
            "compression.level": 1,
            "linger.ms": 20,
            "batch.size": 1 << 20,
        },
    )
    job = Job(given.campaigns)
    job.progress.keep_writing(given.stats_file)
    outputs = {
        "rewards": app.topic(
            given.topic_prefix + given.rewards,
            key_serializer="bytes",
            value_serializer=OutputBytes(),
        ),
        "task-events": app.topic(
            given.topic_prefix + given.task_events,
            key_serializer="bytes",
            value_serializer=OutputBytes(),
        ),
    }

    def on_record(
        value: bytes, key: bytes, timestamp_ms: int, headers: list | None, state: State
    ) -> list[Outgoing]:
        """One record: read the row, fold, write the row, return what follows."""
        at = message_context()
        topic = at.topic.removeprefix(given.topic_prefix)
        record = Record(topic, at.partition, at.offset, key, value, headers or [], timestamp_ms)
        row = state.get_bytes(ROW)
        before = None if row is None else decode_row(key.decode(), row)
        after, produced = job.fold(record, before)
        if after is not None:
            state.set_bytes(ROW, encode_row(after))
        return produced

    first, *more = (
        app.dataframe(
            app.topic(given.topic_prefix + name, key_deserializer="bytes",
                      value_deserializer="bytes")
        )
        for name in given.topics.split(",")
    )  # fmt: skip
    # One state for all topics: Quix Streams takes these in the order of their timestamps then.
    for frame in more:
        first = first.concat(frame)
    frame = first.apply(on_record, stateful=True, expand=True, metadata=True)
    frame = frame.set_headers(lambda out, _key, _timestamp, _headers: out.headers)
    frame.to_topic(
        lambda out, _key, _timestamp, _headers: outputs[out.topic], key=lambda out: out.key
    )
    return app


if __name__ == "__main__":
    create_app(arguments(__doc__).parse_args()).run()
