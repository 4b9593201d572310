"""The group coordinator: classic protocol, static members, eager rebalances, range assignor."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.sim.broker import KafkaSays

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.broker import Broker
    from tests.sim.fibers import Process, Scheduler

SESSION_S, REBALANCE_S, TICK_S = 6.0, 120.0, 0.5


class Metadata(NamedTuple):
    """What a consumer hands to a producer: it fences whoever has been away."""

    generation: int
    member: int
    instance: str


class Member:
    """One consumer's place in the group."""

    def __init__(self, number: int, instance: str, process: Process, now_s: float) -> None:
        self.number, self.instance, self.process = number, instance, process
        self.generation = -1
        self.assigned: list[int] = []
        self.rejoined = False
        self.gone = False  # its session ended
        self.fenced = False  # another has its name
        self.heard_s = now_s


class Group:
    """See the module. ``counts`` of generations and fenced members are the broker's."""

    def __init__(self, clock: Scheduler, broker: Broker) -> None:
        self.clock, self.broker = clock, broker
        self.generation = 0
        self.preparing = False
        self.members: dict[str, Member] = {}
        self._next = 0
        self._deadline_s = 0.0
        self.on_generation: Callable[[dict[str, list[int]]], None] = lambda _assigned: None
        clock.after(TICK_S, self._tick)

    def join(self, instance: str, process: Process) -> Member:
        """A static member that comes back takes its place over, without a rebalance."""
        self._next += 1
        member = Member(self._next, instance, process, self.clock.now_s)
        old = self.members.get(instance)
        self.members[instance] = member
        if old is not None:
            old.fenced = True
            if not self.preparing:
                member.generation, member.assigned = self.generation, old.assigned
                self.broker.count("static restarts")
                return member
        else:
            self.rebalance()
        self.rejoin(member)
        return member

    def leave(self, instance: str) -> None:
        """What an operator does to a static member that will not come back."""
        member = self.members.pop(instance, None)
        if member is not None:
            member.gone = True
            self.rebalance()

    def rebalance(self) -> None:
        if not self.preparing:
            for member in self.members.values():
                member.rejoined = False
        self.preparing = True
        self._deadline_s = self.clock.now_s + REBALANCE_S
        self._complete()

    def rejoin(self, member: Member) -> None:
        member.rejoined = True
        self._complete()

    def _complete(self) -> None:
        if not self.preparing or not all(m.rejoined for m in self.members.values()):
            return
        if not self.members:
            return
        self.preparing = False
        self.generation += 1
        self.broker.count("generations")
        names = sorted(self.members)
        share, more = divmod(self.broker.partitions, len(names))
        first = 0
        for n, name in enumerate(names):
            count = share + (n < more)
            member = self.members[name]
            member.assigned = list(range(first, first + count))
            member.generation = self.generation
            first += count
        self.on_generation({name: self.members[name].assigned for name in names})

    def validate(self, metadata: Metadata) -> None:
        member = self.members.get(metadata.instance)
        if member is None:
            raise KafkaSays("UNKNOWN_MEMBER_ID")
        if member.number != metadata.member:
            raise KafkaSays("FENCED_INSTANCE_ID")
        if self.generation != metadata.generation:
            raise KafkaSays("ILLEGAL_GENERATION")

    def _tick(self) -> None:
        """Heartbeats come from a thread of their own: from every process that runs at all."""
        now_s = self.clock.now_s
        self.clock.after(TICK_S, self._tick)
        ended = []
        for member in self.members.values():
            process = member.process
            if self.broker.away() or not (process.dead or now_s < process.stopped_until_s):
                member.heard_s = now_s
            elif now_s - member.heard_s > SESSION_S:
                ended.append(member)
        if self.preparing and now_s > self._deadline_s:
            ended += [member for member in self.members.values() if not member.rejoined]
        for member in ended:
            if self.members.get(member.instance) is member:
                self.broker.count("sessions ended")
                del self.members[member.instance]
                member.gone = True
        if ended:
            self.rebalance()
