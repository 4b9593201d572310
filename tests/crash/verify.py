"""All rows of a database against the log and against the model; what is wrong comes as text.

Looked at is a copy, opened by the shipped store, so that recovery runs on the files as the kill
left them, and again in the worker that comes next.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from streams.store import meta
from tests.crash.world import CHANGELOG, TOPICS, Options, Place, broker_of, model

if TYPE_CHECKING:
    from pathlib import Path

    from streams.feed.ports import Offsets
    from tests.feed.memory import Broker


class Found(NamedTuple):
    """What a database says of itself, and every row of it."""

    next: Offsets | None
    changelog: int
    batch: int
    rows: dict[bytes, bytes]

    def digest(self) -> str:
        """Return a hash of all rows."""
        digest = hashlib.sha256()
        for key, value in sorted(self.rows.items()):
            digest.update(len(key).to_bytes(4) + key + len(value).to_bytes(4) + value)
        return digest.hexdigest()


def found(place: Place, p: int, scratch: Path) -> Found:
    """Open a copy and read all of it. Raises what the store raises."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    if (place.state / str(p)).exists():
        shutil.copytree(place.state / str(p), scratch / str(p))
    label = place.state / f"{p}.identity.json"
    if label.exists():
        shutil.copy(label, scratch)
    rows = place.store(below=scratch).open(p)
    try:
        walk = rows.users()
        try:
            return Found(rows.next, rows.changelog, rows.batch, dict(walk))
        finally:
            walk.close()  # type: ignore[attr-defined]
    finally:
        rows.close()
        shutil.rmtree(scratch, ignore_errors=True)


def wrong_with(database: Found, broker: Broker, p: int, options: Options) -> list[str]:
    """Rows, L, batch number and changelog offset must be those of one and the same moment."""
    name, next_offsets = f"partition {p}", database.next or {}
    end = len(broker.logs.get((CHANGELOG, p), []))
    if database.changelog > end:
        return [f"{name}: changelog offset {database.changelog} of {end}"]
    rows, newest, whole = _replayed(broker, p, database.changelog)
    wrong = []
    if database.rows != rows:
        wrong.append(f"{name}: {_differ(database.rows, rows)} the changelog up to its own offset")
    if database.next != newest.next and (newest.batch or any(next_offsets.values())):
        wrong.append(f"{name}: L is {database.next}, its newest batch says {newest.next}")
    if database.batch != newest.batch:
        wrong.append(f"{name}: batch {database.batch}, its changelog offset says {newest.batch}")
    if whole and next_offsets:
        due = model(broker, p, next_offsets, options.row_bytes)
        if database.rows != due:
            wrong.append(f"{name}: {_differ(database.rows, due)} the fold of the input up to L")
    for topic, offset in next_offsets.items():
        if offset > broker.committed.get((topic, p), 0):
            wrong.append(f"{name}: L of {topic} is {offset}, committed is less: L > C")
    return wrong


def _replayed(broker: Broker, p: int, until: int) -> tuple[dict[bytes, bytes], meta.Meta, bool]:
    """Return rows and newest meta row of the changelog below an offset.

    Last: whether that offset lies behind a meta row (or its marker), so that the rows are those of
    L; a restore may have stopped between two of them.
    """
    rows: dict[bytes, bytes] = {}
    newest, whole = meta.Meta({}, 0, 1, 1), True
    for record in broker.logs.get((CHANGELOG, p), [])[:until]:
        if record is None:
            continue
        assert record.key is not None
        whole = record.key == meta.META
        if whole:
            assert record.value is not None
            newest = meta.decode_meta(record.value)
        elif record.value is None:
            rows.pop(record.key, None)
        else:
            rows[record.key] = record.value
    return rows, newest, whole


def _differ(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> str:
    keys = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
    return f"{len(keys)} of {len(one)} rows ({min(keys, default=b'')!r}...) differ from"


def wrong_outputs(broker: Broker, options: Options) -> list[str]:
    """Every record below C has its output, once; no other has one."""
    del options
    wrong = []
    for p in range(broker.partitions):
        said = Counter(record.key for record in broker.read("rewards", p))
        due = {
            f"{topic}/{p}/{offset}".encode()
            for topic in TOPICS
            for offset in range(broker.committed.get((topic, p), 0))
        }
        if lost := due - said.keys():
            wrong.append(f"partition {p}: {len(lost)} outputs lost, {min(lost)!r} first")
        if spurious := said.keys() - due:
            wrong.append(f"partition {p}: {len(spurious)} outputs of uncommitted input")
        if twice := [key for key, times in said.items() if times > 1]:
            wrong.append(f"partition {p}: {len(twice)} outputs twice, {twice[0]!r} first")
    return wrong


def wrong_at_rest(place: Place, options: Options, scratch: Path) -> list[str]:
    """When all input is folded: everything above, and C == V == L == the end of the input."""
    broker = broker_of(place, options)
    wrong = wrong_outputs(broker, options)
    for p in range(broker.partitions):
        database = found(place, p, scratch)
        wrong += wrong_with(database, broker, p, options)
        end = {topic: len(broker.logs.get((topic, p), [])) for topic in TOPICS}
        committed = {topic: broker.committed.get((topic, p), 0) for topic in TOPICS}
        if not database.next == committed == end:
            wrong.append(f"partition {p}: L {database.next}, C {committed}, input ends at {end}")
    return wrong
