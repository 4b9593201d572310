"""What a check looks at: the records, offsets and databases that one run left behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.kafka.harness import Topics

CHANGELOG = "user-tasks-changelog"

META, NEXT, CHANGELOG_AT = b"\0meta", b"\0next", b"\0changelog"
"""Keys that are not a user's: the changelog's meta row, and L and its offset inside RocksDB."""

At = tuple[str, int]
"""(topic without prefix, partition)."""

Position = tuple[str, int, int]
"""(topic without prefix, partition, offset)."""

Bad = Mapping[Position, str]
"""Inputs that must be dead letters, and the reason each must be given."""


class Seen(NamedTuple):
    """One record as a reader gets it."""

    topic: str  # without prefix
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int

    @property
    def position(self) -> Position:
        return self.topic, self.partition, self.offset


def stands_at(seen: Seen) -> str:
    return f"{seen.topic}[{seen.partition}]@{seen.offset}"


@dataclass
class Evidence:
    """What one run left behind. Topics without prefix; lists in offset order per partition."""

    inputs: dict[str, list[Seen]]
    outputs: dict[str, list[Seen]]  # rewards, task-events, dead-letters, user-tasks-changelog
    committed: dict[At, int]  # C
    watermarks: dict[At, tuple[int, int]]  # (LSO, HW) of every topic
    databases: list[Database] = field(default_factory=list)
    followed: dict[str, list[Seen]] = field(default_factory=dict)  # read while the faults happened
    user_keyed: tuple[str, ...] = ()

    def below_c(self, topic: str) -> list[Seen]:
        """The input that counts: what lies below the committed offset."""
        return [
            seen
            for seen in self.inputs.get(topic, ())
            if seen.offset < self.committed.get((topic, seen.partition), 0)
        ]

    def input_that_counts(self) -> dict[Position, Seen]:
        """Every input below C, by its position."""
        return {seen.position: seen for topic in self.user_keyed for seen in self.below_c(topic)}

    def all_input(self) -> dict[Position, Seen]:
        """Every readable input, by its position."""
        return {seen.position: seen for topic in self.user_keyed for seen in self.inputs[topic]}


class Database(NamedTuple):
    """One RocksDB of one worker, as it stands."""

    path: Path
    partition: int
    rows: dict[bytes, bytes]
    next: dict[str, int] | None  # L
    changelog: int  # changelog offset its rows are a prefix up to


def gather(  # noqa: PLR0913 - what the control lacks is left out by name
    topics: Topics,
    group: str,
    *,
    ledger: str = "rewards",
    task_events: str | None = "task-events",
    changelog: str | None = CHANGELOG,
    state_dirs: Iterable[Path] = (),
    followed: Mapping[str, list[Seen]] | None = None,
) -> Evidence:
    """Read everything. Stop the workers first: a live RocksDB is read as of its last flush."""
    from tests.kafka.harness import FOLDED  # noqa: PLC0415 - needs confluent-kafka

    names = {"rewards": ledger, "dead-letters": "dead-letters"}
    if changelog is not None:
        names |= {name: name for name in ("lottery-draws", "notifications", "fold-journal")}
    if task_events is not None:
        names["task-events"] = task_events
    if changelog is not None:
        names[CHANGELOG] = changelog
    every = (*FOLDED, *names.values())
    # LSO first: a transaction that ends between the two calls must not look open.
    lso, hw = topics.ends(every, committed=True), topics.ends(every)
    return Evidence(
        inputs={topic: topics.read(topic) for topic in FOLDED},
        outputs={name: topics.read(topic) for name, topic in names.items()},
        committed=topics.committed(group),
        watermarks={at: (lso[at], hw[at]) for at in hw},
        databases=[database for path in state_dirs for database in open_databases(path)],
        followed=dict(followed or {}),
        user_keyed=FOLDED,
    )


def open_databases(directory: Path) -> list[Database]:
    """Read every partition's RocksDB below one worker's directory, without taking its LOCK."""
    import rocksdict  # noqa: PLC0415 - the pure tiers need none

    found = []
    for path in sorted(directory.glob("*/CURRENT")):
        db = rocksdict.Rdict(
            str(path.parent),
            rocksdict.Options(raw_mode=True),
            access_type=rocksdict.AccessType.read_only(False),  # noqa: FBT003 - a WAL is no error
        )
        rows: dict[Any, Any] = dict(db.items())  # raw mode: bytes
        db.close()
        following = rows.get(NEXT)
        found.append(
            Database(
                path.parent,
                int(path.parent.name),
                {key: value for key, value in rows.items() if not key.startswith(b"\0")},
                None if following is None else json.loads(following),
                int(rows.get(CHANGELOG_AT, b"0")),
            )
        )
    return found


class Entry(NamedTuple):
    """One output record with its value parsed."""

    seen: Seen
    body: dict[str, Any]

    @classmethod
    def of(cls, seen: Seen) -> Entry:
        return cls(seen, json.loads(seen.value or b"null"))

    @property
    def event_id(self) -> str:
        return str(self.body["event_id"])

    def __str__(self) -> str:
        body = self.body
        what = f"{body['type']} {body.get('reward_id') or body.get('task_id', '')}"
        return f"{what} of {body['user_id']} at {stands_at(self.seen)}"
