"""Row 21: files of a database damaged behind its back, after a kill and before the next start.

Whatever is damaged, the next worker goes on from a consistent prefix, or ends with 74 and the one
after it begins anew from the changelog. A wrong row is never an answer.
"""

# ruff: noqa: S311

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, NamedTuple

from streams.errors import DiskError, Refused
from tests.crash.loop import Child, finish
from tests.crash.verify import found, wrong_with
from tests.crash.world import PARTITIONS, TOPICS, Options, Place, broker_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _newest(database: Path, pattern: str, least: int = 1) -> Path | None:
    """Return the newest file of at least so many bytes."""
    files = [path for path in sorted(database.glob(pattern)) if path.stat().st_size >= least]
    return files[-1] if files else None


def _cut(path: Path | None, chance: random.Random, least: float = 0.0) -> bool:
    if path is None:
        return False
    size = path.stat().st_size
    os.truncate(path, chance.randrange(int(size * least), size))
    return True


def _flip(path: Path | None, chance: random.Random) -> bool:
    """Turn one bit over, not in the last tenth."""
    if path is None:
        return False
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data) * 9 // 10)] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return True


def log_tail_cut(database: Path, chance: random.Random) -> bool:
    return _cut(_newest(database, "*.log", 100), chance, 0.5)


def log_bit_flipped(database: Path, chance: random.Random) -> bool:
    return _flip(_newest(database, "*.log", 1_000), chance)


def older_log_lost(database: Path, chance: random.Random) -> bool:
    """Empty the older of two logs, as a file system may when power fails during a flush."""
    del chance
    logs = [path for path in sorted(database.glob("*.log")) if path.stat().st_size]
    if len(logs) < 2:
        return False
    os.truncate(logs[0], 0)
    return True


def table_bit_flipped(database: Path, chance: random.Random) -> bool:
    """In every table: one alone is often compacted away or never read again."""
    tables = [path for path in database.glob("*.sst") if path.stat().st_size > 5_000]
    return [_flip(table, chance) for table in tables] != []


def table_missing(database: Path, chance: random.Random) -> bool:
    tables = sorted(database.glob("*.sst"))
    if tables:
        chance.choice(tables).unlink()
    return bool(tables)


def manifest_cut(database: Path, chance: random.Random) -> bool:
    """Its newest edits are those that lose the least and show the least."""
    return _cut(_newest(database, "MANIFEST-*", 200), chance, chance.choice((0.0, 0.8)))


def manifest_bit_flipped(database: Path, chance: random.Random) -> bool:
    return _flip(_newest(database, "MANIFEST-*", 200), chance)


def current_cut(database: Path, chance: random.Random) -> bool:
    return _cut(_newest(database, "CURRENT"), chance)


KINDS: dict[str, Callable[[Path, random.Random], bool]] = {
    kind.__name__: kind
    for kind in (
        log_tail_cut, log_bit_flipped, older_log_lost, table_bit_flipped,
        table_missing, manifest_cut, manifest_bit_flipped, current_cut,
    )
}  # fmt: skip


class Outcome(NamedTuple):
    """How it went on, in words, and what was wrong."""

    told: str
    violations: list[str]


def damaged(directory: Path, options: Options, kind: str, *, tries: int = 20) -> Outcome | None:
    """Run, kill, damage, look, run to the end. None: the fault could not be placed."""
    chance = random.Random(options.seed * 31 + len(kind))
    place, scratch = Place(directory), directory / "copy"
    p = chance.randrange(PARTITIONS)
    for _ in range(tries):
        child = Child(place, options)
        child.read(1 + chance.randint(3, 30))
        child.kill()
        child.wait()
        if child.ended:
            return None
        if KINDS[kind](place.state / str(p), chance):
            break
    else:
        return None
    told: list[str] = []
    violations: list[str] = []
    try:
        database = found(place, p, scratch)
    except DiskError:
        told.append("refused when opened or read")
    except Refused as error:
        violations = [f"78, which needs a hand: {error}"]
    else:
        before = broker_of(place, options)
        violations = wrong_with(database, before, p, options)
        told.append("begun anew" if database.next is None else f"opens at batch {database.batch}")
    if not violations:
        violations = finish(
            place, options, scratch, restarts=1, look=lambda: _read_all(place, options)
        )
    aside = len(list(place.state.glob("*.corrupt-*")))
    told.append(f"{aside} moved aside" if aside else "kept")
    return Outcome(", ".join(told), violations)


def _read_all(place: Place, options: Options) -> bool:
    """Read every user as a worker would; False when the store says that it cannot."""
    broker = broker_of(place, options)
    store = place.store()
    for p in range(PARTITIONS):
        keys = {record.key for topic in TOPICS for record in broker.read(topic, p)}
        try:
            rows = store.open(p)
        except DiskError:
            return False
        try:
            rows.get_many([key for key in keys if key is not None])
        except DiskError:
            return False
        finally:
            rows.close()
    return True
