"""A disk and the databases on it: what survives is any prefix of the batches not yet synced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from streams.errors import DiskError
from streams.feed.ports import NotReady
from streams.store import meta
from streams.store.meta import Hint
from streams.wire.rows import ROW_SCHEMA, due_of

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from streams.feed.ports import Offsets
    from tests.sim.fibers import Process
    from tests.sim.world import World

LOCK_WAIT_S = 30.0
THIS = bytes([ROW_SCHEMA])


class Written(NamedTuple):
    """One WriteBatch."""

    rows: dict[bytes, bytes | None]
    next: Offsets | None
    changelog: int
    batch: int
    unmoved: Container[bytes] = ()


class Prepared(NamedTuple):
    """Rows on their way into one."""

    rows: Mapping[bytes, bytes | None]
    unmoved: Container[bytes] = ()


class Disk:
    """The database of one p in one worker's directory."""

    def __init__(self) -> None:
        self.batches: list[Written] = []
        self.synced = 0
        self.lock: Process | None = None
        self.failing: str | None = None  # every write fails with this
        self._replay()

    def _replay(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.hints: set[Hint] = set()
        self.next: Offsets | None = None
        self.changelog = self.batch = 0
        for written in self.batches:
            self._apply(written)

    def _apply(self, written: Written) -> None:
        for key, value in written.rows.items():
            if key.startswith(meta.DUE):
                self.hints.discard(meta.decode_hint(key))
            elif value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
                due_ms = due_of(THIS + value[1:])  # rows of the next version look alike
                if due_ms and key != meta.DATED and key not in written.unmoved:
                    self.hints.add(Hint(due_ms, key))
        if written.next is not None:
            self.next = dict(written.next)
        self.changelog, self.batch = written.changelog, written.batch

    def write(self, written: Written) -> None:
        self.batches.append(written)
        self._apply(written)

    def sync(self) -> None:
        self.synced = len(self.batches)

    def keep(self, batches: int) -> None:
        """Go back to a prefix: what a crash leaves."""
        del self.batches[batches:]
        self.synced = min(self.synced, batches)
        self._replay()


class SimStore:
    """`ports.Store`: the directory of one worker; it outlives the worker's processes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.disks: dict[int, Disk] = {}

    def of(self, process: Process) -> Opener:
        return Opener(self, process)

    def crash(self, process: Process, *, power: bool) -> None:
        """kill -9 keeps what was written, less a torn last batch; a power cut any prefix."""
        dice = self.world.dice
        for p, disk in sorted(self.disks.items()):
            if disk.lock is not process:
                continue
            disk.lock = disk.failing = None
            unsynced = len(disk.batches) - disk.synced
            if not unsynced:
                continue
            if power:
                kept = disk.synced + int(dice.random() * (unsynced + 1))
                if kept < len(disk.batches):
                    self.world.land("power cut lost batches", f"{process} p{p}")
                disk.keep(kept)
            elif dice.random() < 0.2:
                self.world.land("torn tail", f"{process} p{p}")
                disk.keep(len(disk.batches) - 1)

    def lose(self) -> None:
        self.disks.clear()


class Opener:
    """`ports.Store` of one process."""

    def __init__(self, store: SimStore, process: Process) -> None:
        self._store, self._process = store, process

    def open(self, p: int) -> SimRows:
        world, process = self._store.world, self._process
        world.touch(process, "open")
        disk = self._store.disks.setdefault(p, Disk())
        if disk.lock is not None and disk.lock is not process:
            world.land("LOCK held", f"{process} waits for {disk.lock}")
            if not world.clock.wait(lambda: disk.lock is None, LOCK_WAIT_S):
                raise DiskError(f"{process}: p{p} is locked by {disk.lock}")
        disk.lock = process
        world.behind(p, disk.batch)
        return SimRows(world, process, p, disk)


class SimRows:
    """`ports.Rows`."""

    def __init__(self, world: World, process: Process, p: int, disk: Disk) -> None:
        self._world, self._process, self.p, self.disk = world, process, p, disk
        self._open = True
        self.next, self.changelog, self.batch = disk.next, disk.changelog, disk.batch

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        assert self._open
        if keys:
            self._world.touch(self._process, "get")
            self._fail_if_failing("read")
        return [self.disk.rows.get(key) for key in keys]

    def peek(self, key: bytes) -> bytes | None:
        if not self._open:
            raise NotReady
        return self.disk.rows.get(key)

    def prepare(self, rows: Mapping[bytes, bytes | None], unmoved: Container[bytes] = ()) -> Any:
        return Prepared(rows, unmoved)

    def write(
        self,
        rows: Any,
        *,
        next_offsets: Offsets | None,
        changelog: int,
        batch: int,
    ) -> None:
        assert self._open
        assert self.disk.lock is self._process, "two writers"
        self._world.touch(self._process, "write")
        if self.disk.failing is None:
            self.disk.failing = self._world.nemesis.disk_fails(self._process, self.p)
        self._fail_if_failing("write")
        given = rows if isinstance(rows, Prepared) else self.prepare(rows)
        self.disk.write(Written(dict(given.rows), next_offsets, changelog, batch, given.unmoved))
        self.changelog, self.batch = changelog, batch
        if next_offsets is not None:
            self.next = dict(next_offsets)
            self._world.live.rows_written(self._process, self.p, self.next)
        if self._world.dice.random() < 0.3:
            self.disk.sync()
        self._world.touch(self._process, "written")

    load = write  # few rows or many are the same here

    def due(self, at_ms: int, limit: int) -> list[Hint]:
        assert self._open
        self._world.touch(self._process, "due")
        self._fail_if_failing("read")
        return [hint for hint in sorted(self.disk.hints) if hint.due_ms <= at_ms][:limit]

    def after(self, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        assert self._open
        self._world.touch(self._process, "after")
        self._fail_if_failing("read")
        return sorted(row for row in self.disk.rows.items() if row[0] > max(key, b"\2"))[:limit]

    def _fail_if_failing(self, what: str) -> None:
        if self.disk.failing is not None:
            raise DiskError(f"{self._process} p{self.p}: {what}: {self.disk.failing}")

    def close(self) -> None:
        assert self._open, "closed twice"
        self._open = False
        if self._process.dead:
            return  # a killed process closes nothing: it is being unwound
        if self.disk.failing is not None:
            raise DiskError(f"{self._process} p{self.p}: close: {self.disk.failing}")
        self.disk.lock = None
        self.disk.sync()
