"""`ports.Log` on the simulated group and log: one member, eager rebalances inside `poll`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.errors import Fenced
from streams.feed.ports import Record, TopicPartition
from tests.sim.group import Metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.feed.ports import Listener, Offsets
    from tests.sim.fibers import Process
    from tests.sim.group import Member
    from tests.sim.world import World


class SimLog:
    """See the module. What was fetched but not returned is never kept, as after a pause."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process
        self._topics: tuple[str, ...] = ()
        self._listener: Listener | None = None
        self._member: Member | None = None
        self._generation = -1
        self._assigned: list[int] = []
        self._next: dict[tuple[str, int], int] = {}
        self._running: set[tuple[str, int]] = set()
        self._at_end: set[tuple[str, int]] = set()

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        self._topics, self._listener = tuple(topics), listener

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        world = self._world
        world.touch(self._process, "poll")
        deadline_s = world.clock.now_s + timeout_s
        while True:
            if not world.broker.away():
                if self._tend():
                    return []
                records = self._fetch(max_records)
                if records:
                    return records
            left_s = deadline_s - world.clock.now_s
            if left_s <= 0:
                return []
            world.clock.wait(self._something, left_s)

    # -- the group -------------------------------------------------------------------------------

    def _tend(self) -> bool:
        """Do what the group asks of this member; say whether a callback ran."""
        group, listener = self._world.group, self._listener
        assert listener is not None
        member = self._member
        if member is None:
            self._member = group.join(self._process.name, self._process)
            self._generation = -1
            return False
        if member.fenced:
            self._world.land("fenced", f"{self._process} poll: FENCED_INSTANCE_ID")
            raise Fenced("FENCED_INSTANCE_ID")
        if member.gone:
            self._member = None
            self._world.land("partitions lost", str(self._process))
            self._give_up(lost=True)
            return True
        if group.preparing and not member.rejoined:
            self._give_up(lost=False)
            if not (member.fenced or member.gone):
                group.rejoin(member)
            return True
        if not group.preparing and member.generation > self._generation:
            if self._assigned:
                self._give_up(lost=False)
            self._generation = member.generation
            self._assigned = list(member.assigned)
            self._next.clear()
            self._running.clear()
            self._at_end.clear()
            self._world.land("rebalance", str(self._process))
            listener.on_assign(self._all(self._assigned))
            return True
        return False

    def _give_up(self, *, lost: bool) -> None:
        assert self._listener is not None
        given, self._assigned = self._assigned, []
        if given and lost:
            self._listener.on_lost(self._all(given))
        elif given:
            self._listener.on_revoke(self._all(given))
        self._running.clear()
        self._next.clear()
        self._at_end.clear()

    def _all(self, partitions: Sequence[int]) -> list[TopicPartition]:
        return [TopicPartition(topic, p) for topic in self._topics for p in partitions]

    def group(self) -> Metadata:
        member = self._member
        if member is None or self._generation < 0:
            raise Fenced("no generation in the group metadata: not a member any more")
        return Metadata(self._generation, member.number, self._process.name)

    # -- records ---------------------------------------------------------------------------------

    def _something(self) -> bool:
        if self._world.broker.away():
            return False
        member, group = self._member, self._world.group
        if member is None or member.fenced or member.gone:
            return True
        if group.preparing:
            return not member.rejoined
        if member.generation > self._generation:
            return True
        log = self._world.broker.log
        for at in self._running:  # noqa: SIM110 - asked most often of all: no generator for it
            if self._next[at] < log(*at).stable:
                return True
        return False

    def _fetch(self, max_records: int) -> list[Record]:
        dice = self._world.dice
        records: list[Record] = []
        running = sorted(self._running)
        dice.shuffle(running)
        for at in running:
            log = self._world.broker.log(*at)
            most = min(max_records - len(records), 1 + int(dice.random() * max_records))
            if most <= 0:
                break
            found, self._next[at] = log.read(self._next[at], most)
            records += found
            if self._next[at] >= log.stable:
                self._at_end.add(at)
            else:
                self._at_end.discard(at)
        return records

    def start(self, p: int, offsets: Offsets) -> None:
        self._world.touch(self._process, "start")
        for topic in self._topics:
            self._next[topic, p] = offsets[topic]
            self._at_end.discard((topic, p))
            self._running.add((topic, p))

    def pause(self, p: int) -> None:
        for topic in self._topics:
            self.hold(topic, p)
            self._at_end.discard((topic, p))

    def hold(self, topic: str, p: int) -> None:
        self._running.discard((topic, p))

    def resume(self, topic: str, p: int) -> None:
        self._running.add((topic, p))

    def at_end(self, topic: str, p: int) -> bool:
        at = (topic, p)
        return at in self._at_end or 0 <= self.high(topic, p) <= self._next.get(at, -1)

    def reached(self, topic: str, p: int) -> int:
        return self._next.get((topic, p), 0)

    def high(self, topic: str, p: int) -> int:
        return self._world.broker.log(topic, p).high

    def close(self) -> None:
        self._world.touch(self._process, "close")
        self._give_up(lost=False)
