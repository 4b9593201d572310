"""What a run leaves behind, as `tests/checker` wants it: read as a reader of the log would."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streams.topics import (
    CHANGELOG,
    DEAD_LETTERS,
    FOLDED,
    JOURNAL,
    LOTTERY_DRAWS,
    NOTIFICATIONS,
    REWARDS,
    TASK_EVENTS,
)
from streams.wire.rows import ROW_SCHEMA
from tests.checker import Database, Evidence, Seen

if TYPE_CHECKING:
    from streams.feed.ports import Record
    from tests.sim.world import World

OUTPUTS = (REWARDS, TASK_EVENTS, LOTTERY_DRAWS, NOTIFICATIONS, DEAD_LETTERS, JOURNAL, CHANGELOG)
THIS, NEXT = bytes([ROW_SCHEMA]), bytes([ROW_SCHEMA + 1])
COMMITTED = True
"""A downstream reader's isolation level; a planted bug reads without."""


class Follower:
    """A downstream reader, beside the faults: what it was given must stay."""

    EVERY_S = 2.0

    def __init__(self, world: World) -> None:
        self._world = world
        self._position: dict[tuple[str, int], int] = {}
        self.seen: dict[str, list[Seen]] = {REWARDS: [], TASK_EVENTS: [], LOTTERY_DRAWS: []}
        world.clock.after(self.EVERY_S, self._read)

    def _read(self) -> None:
        world = self._world
        world.clock.after(self.EVERY_S, self._read)
        for topic, seen in self.seen.items():
            for p in range(world.broker.partitions):
                at = topic, p
                found, self._position[at] = world.broker.log(topic, p).read(
                    self._position.get(at, 0), 1_000, committed=COMMITTED
                )
                seen.extend(map(_seen, found))


def _seen(record: Record) -> Seen:
    return Seen(*record[:5], tuple(record.headers), record.recorded_at_ms)


def gather(world: World) -> Evidence:
    """Read all of it, as it stands now."""
    broker = world.broker
    numbers = range(broker.partitions)

    def row(value: bytes | None) -> bytes | None:
        """A row of the version after this one differs in its schema byte only (row 27)."""
        return THIS + value[1:] if value is not None and value[:1] == NEXT else value

    def read(topic: str) -> list[Seen]:
        return [
            _seen(record)
            for p in numbers
            for record in broker.log(topic, p).read(0, 1 << 30, committed=COMMITTED)[0]
        ]

    return Evidence(
        inputs={topic: read(topic) for topic in FOLDED},
        outputs={topic: read(topic) for topic in OUTPUTS[:-1]}
        | {CHANGELOG: [seen._replace(value=row(seen.value)) for seen in read(CHANGELOG)]},
        committed=dict(broker.offsets),
        watermarks={
            (topic, p): (broker.log(topic, p).stable, broker.log(topic, p).high)
            for topic in (*FOLDED, *OUTPUTS)
            for p in numbers
        },
        databases=[
            Database(
                Path(worker.name, str(p)),
                p,
                {k: row(v) or b"" for k, v in disk.rows.items() if not k.startswith(b"\0")},
                disk.next,
                disk.changelog,
            )
            for worker in (*world.workers.values(), *world.retired)
            for p, disk in sorted(worker.store.disks.items())
        ],
        followed=world.reader.seen,
        user_keyed=FOLDED,
    )
