"""The reference reader of `rewards`: pays each ledger entry once, though it may be told it twice.

    python -m tests.faults.downstream --bootstrap-servers HOST:PORT --topic rewards --book book.db

It reads read_committed, writes what it pays into a book, and only then commits its offsets. Killed
in between it is told the same entries again; the event id is the book's primary key, and that is
all it takes (reliability.md 5.4). By reward id it would be wrong: a reward that was revoked and
earned again is paid again, under another event id.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaError

if TYPE_CHECKING:
    from collections.abc import Sequence

EVERY = 40  # entries between two commits of the offsets: what a kill may have told twice

SCHEMA = """
create table if not exists paid (
    event_id text primary key, reward_id text, user_id text, amount_minor integer
);
create table if not exists told (event_id text);
"""


def amount(entry: dict[str, object]) -> int:
    """What this entry moves: into the user's pocket, or out of it again."""
    sign = {"reward.issued": 1, "reward.revoked": -1}.get(str(entry["type"]), 0)
    return sign * int(str(entry["amount_minor"]))


def main(argv: Sequence[str] | None = None) -> int:
    """Read until told to stop."""
    parser = argparse.ArgumentParser(prog="downstream", description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--book", required=True, help="an SQLite file")
    given = parser.parse_args(argv)
    book = sqlite3.connect(given.book)
    book.executescript(SCHEMA)
    consumer = Consumer(
        {
            "bootstrap.servers": given.bootstrap_servers,
            "group.id": f"{given.topic}-downstream",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 1_000,
            "heartbeat.interval.ms": 200,
        }
    )
    consumer.subscribe([given.topic])
    since = 0
    while True:
        for message in consumer.consume(10, 0.2):
            if message.error() is not None:
                if message.error().code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                    print(message.error(), file=sys.stderr)
                continue
            entry = json.loads(message.value() or b"null")
            about = entry.get("reward_id") or entry["task_id"]
            row = (entry["event_id"], about, entry["user_id"], amount(entry))
            book.execute("insert into told values (?)", row[:1])
            book.execute("insert or ignore into paid values (?, ?, ?, ?)", row)
            book.commit()  # the effect, durable before the offset moves past it
            consumer.store_offsets(message)
            since += 1
        if since >= EVERY:
            consumer.commit(asynchronous=False)
            since = 0


if __name__ == "__main__":
    sys.exit(main())
