"""What outlives a crash, and what must be in the database after it.

The log is a file: every transaction that the broker took is one frame, appended with one write
before the producer's `commit` returns, and read again by whoever comes next. A frame that a kill
tore is a commit that never arrived. Everything else follows from the seed: the input, and by a
plain fold over it (`model`) the row of every user at any offset.
"""

# ruff: noqa: S311

from __future__ import annotations

import hashlib
import os
import random
import time
import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from streams.feed.ports import Outgoing, Record
from streams.store import meta
from streams.store.overlay import Codec
from streams.store.rows import DiskStore
from tests.feed.memory import CHANGELOG, TOPICS, Broker, MemoryLog, MemoryProducer

if TYPE_CHECKING:
    from pathlib import Path

    from streams.feed.ports import Offsets

PARTITIONS = 3
IDENTITY = meta.Identity("leidan", "crash-cluster", -1, PARTITIONS, {}, 1, 1)
GONE = "-"
"""The value that empties a user's row: it is then deleted, here and on the changelog."""

HEAD = 32
HEADER = 8


class Options(msgspec.Struct, frozen=True):
    """One episode: a database from nothing, killed again and again. All of it from the seed."""

    seed: int
    records: int = 9_000
    users: int = 300
    row_bytes: int = 1_000  # most
    batch_records: int = 60  # most
    write_buffer: int = 64 << 10  # so that tables and manifest are being written all the time
    held_bytes: int = 50_000  # of a restore
    written_rows: int = 10_000  # of a restore in a WriteBatch; more are loaded
    rebalance_every: int = 40  # units of work
    lock_wait_s: float = 5.0
    plant: str = ""

    @classmethod
    def drawn(cls, seed: int, **fixed: Any) -> Options:
        """Draw what the seed decides; ``fixed`` wins."""
        chance = random.Random(seed)
        drawn = {
            "users": chance.choice([20, 300, 2_000]),
            "row_bytes": chance.choice([200, 1_000, 5_000]),
            "batch_records": chance.choice([20, 60, 150]),
            "write_buffer": chance.choice([64 << 10, 64 << 10, 256 << 10]),
            "held_bytes": chance.choice([5_000, 50_000, 20_000_000]),
            "rebalance_every": chance.choice([10, 25]),
            "written_rows": chance.choice([20, 10_000]),
        }
        drawn["records"] = 150 * drawn["batch_records"]
        return cls(seed, **{**drawn, **fixed})


class Place:
    """Where an episode lives: ``state/<p>/`` as a worker has it, and the log beside it."""

    def __init__(self, directory: Path) -> None:
        self.state, self.journal = directory / "state", directory / "journal"

    def store(self, *, lock_wait_s: float = 5.0, below: Path | None = None) -> DiskStore:
        return DiskStore(below or self.state, IDENTITY, lock_wait_s=lock_wait_s)


# --- input and model --------------------------------------------------------------------------


def put_input(broker: Broker, options: Options) -> None:
    """Append what the shops sent: the same for the same seed, users of a topic its own."""
    chance = random.Random(options.seed)
    for n in range(options.records):
        topic, p = chance.choice(TOPICS), chance.randrange(PARTITIONS)
        user = f"{topic}-{p}-{chance.randrange(options.users)}"
        value = GONE if chance.random() < 0.04 else chance.randbytes(6).hex()
        broker.put(topic, user, value.encode(), p=p, at_ms=n)


def folded(state: str, value: str, row_bytes: int) -> str:
    """Return the row after one more value: a chain, so a lost, doubled or swapped one shows."""
    if value == GONE:
        return ""
    head = hashlib.shake_128((state[:HEAD] + value).encode()).hexdigest(HEAD // 2)
    size = int(head[:4], 16) % row_bytes
    return head + hashlib.shake_128(head.encode()).hexdigest(size // 2)


def output(record: Record, state: str) -> Outgoing:
    """One per record and named after it: what was sent twice or never can be counted."""
    key = f"{record.topic}/{record.partition}/{record.offset}"
    return Outgoing("rewards", key.encode(), state[:HEAD].encode(), [], record.partition)


def encoded(state: str) -> Any:
    return state.encode() or None


ROW = Codec[str](lambda _user: "", lambda _user, data: data.decode(), encoded)


def model(broker: Broker, p: int, until: Offsets, row_bytes: int) -> dict[bytes, bytes]:
    """Fold the input of p up to these offsets into plain strings."""
    states: dict[bytes, str] = {}
    for topic in TOPICS:
        for record in broker.read(topic, p)[: until[topic]]:
            assert record.key is not None
            assert record.value is not None
            before = states.get(record.key, "")
            states[record.key] = folded(before, record.value.decode(), row_bytes)
    return {user: state.encode() for user, state in states.items() if state}


# --- the log that outlives its process ----------------------------------------------------------


Frame = tuple[list[tuple[str, int, bytes | None, bytes | None]], list[tuple[str, int, int]]]
_frames = msgspec.msgpack.Decoder(Frame)


def broker_of(place: Place, options: Options, *, mend: bool = False) -> Broker:
    """Return the broker with everything it ever took. ``mend``: cut a torn frame off the file."""
    broker = Broker(PARTITIONS)
    put_input(broker, options)
    data = place.journal.read_bytes() if place.journal.exists() else b""
    at = 0
    while at + HEADER <= len(data):
        size, check = (int.from_bytes(data[at + n : at + n + 4]) for n in (0, 4))
        frame = data[at + HEADER : at + HEADER + size]
        if len(frame) < size or zlib.crc32(frame) != check:
            break
        take(broker, _frames.decode(frame))
        at += HEADER + size
    if mend and at < len(data):
        os.truncate(place.journal, at)
    return broker


def take(broker: Broker, frame: Frame) -> None:
    """Let the broker take a transaction of an earlier process."""
    producer = MemoryProducer(broker)
    records, offsets = frame
    producer.staged = [
        (Outgoing(topic, key, value, [], p), False) for topic, p, key, value in records
    ]
    producer.offsets = {(topic, p): offset for topic, p, offset in offsets}  # type: ignore[misc]
    producer.commit()


class JournalProducer(MemoryProducer):
    """`ports.Producer` whose commits survive the process."""

    def __init__(self, broker: Broker, journal: int) -> None:
        super().__init__(broker)
        self._journal = journal  # open for appending

    def commit(self) -> None:
        frame = msgspec.msgpack.encode(
            (
                [(r.topic, r.partition or 0, r.key, r.value) for r, _ in self.staged],
                [(topic, p, offset) for (topic, p), offset in self.offsets.items()],
            )
        )
        head = len(frame).to_bytes(4) + zlib.crc32(frame).to_bytes(4)
        written = os.write(self._journal, head + frame)
        assert written == HEADER + len(frame)
        super().commit()


class UnevenLog(MemoryLog):
    """`ports.Log` whose polls bring any number of records, as a network does."""

    def __init__(self, broker: Broker, chance: random.Random) -> None:
        super().__init__(broker)
        self._chance = chance

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        super().poll(0, 0.0)  # a rebalance, if one is due
        records: list[Record] = []
        for at in self._chance.sample(sorted(self.running), len(self.running)):
            begin = self.position[at]
            found = self.broker.logs.get(at, [])[
                begin : begin + self._chance.randint(0, max_records // 3)
            ]
            found = found[: max_records - len(records)]
            self.position[at] += len(found)
            records += [record for record in found if record is not None]
        if not records:
            time.sleep(min(timeout_s, 0.001))
        return records


class RealClock:
    """`ports.Clock`."""

    def monotonic_s(self) -> float:
        return time.monotonic()


__all__ = ["CHANGELOG", "TOPICS"]
