"""The reference rights service in a simulated run: it reads the ledger, answers, and is killed too.

The shipped book and the shipped bytes of an answer; the service around them is this one. It keeps
nothing: killed, it remembers its own answers from the log and goes on, as `streams.rights.serving`.

It lives by the time of the shops' records, not by the world's clock, which is months ahead of them:
an answer dated later than all the shops say would be later than any kill that is still to be told.
"""

# Seeded dice, repeatable by design.
# ruff: noqa: S311

from __future__ import annotations

import random
from bisect import bisect_left
from typing import TYPE_CHECKING

from streams.feed.ports import Outgoing
from streams.rights.book import Book
from streams.rights.faults import Faults
from streams.rights.serving import answer_of, command_of, written
from streams.topics import REWARD_RESULTS, REWARDS
from tests.sim.campaigns import ANSWERED

if TYPE_CHECKING:
    from streams.feed.ports import Record
    from tests.sim.world import World

EVERY_S = 0.7
LOST = 0.3
"""Of the times it is killed: how often not all that was ready to be said was written."""


class ShopTime:
    """What time it is to those who read the shops' records: that of the latest one sent."""

    def __init__(self) -> None:
        self._sent_ms: list[int] = []  # on the world's clock
        self._latest_ms = [0]  # before any record, and from each of them on
        self.whole = False  # all were sent: from then on it passes as the world's does

    def tell(self, wall_ms: int, at_ms: int) -> None:
        self._sent_ms.append(wall_ms)
        self._latest_ms.append(max(self._latest_ms[-1], at_ms))

    def at(self, wall_ms: int) -> int:
        """Return the shops' time at a past moment or now: asked again later, it is the same."""
        n = bisect_left(self._sent_ms, wall_ms)  # more may be sent within this millisecond
        passed_ms = wall_ms - self._sent_ms[-1] if self.whole and n == len(self._sent_ms) else 0
        return self._latest_ms[n] + passed_ms


class RightsService:
    """Looks at the log every `EVERY_S`, from the first command on."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._dice = random.Random(f"rights {seed}")
        self._faults = Faults(
            seed, fail=0.15, retry=0.2, late=0.2, twice=0.2, spend=0.3, expire=0.1
        )
        self._kill_rate = self._dice.choice((0.0, 0.02, 0.1))
        self._begin()
        world.clock.after(EVERY_S, self._turn)

    def _begin(self) -> None:
        self._book = Book(self._faults)
        self._position: dict[int, int] = {}
        for p in range(self._world.broker.partitions):
            for record in self._read(REWARD_RESULTS, p, 0)[0]:
                answer = answer_of(record.value or b"null")
                if answer is not None:
                    self._book.remember(answer)

    @property
    def idle(self) -> bool:
        """It has read all that there is, and has nothing more to say."""
        return self._book.idle and all(
            not self._read(REWARDS, p, self._position.get(p, 0))[0]
            for p in range(self._world.broker.partitions)
        )

    def _read(self, topic: str, p: int, position: int) -> tuple[list[Record], int]:
        return self._world.broker.log(topic, p).read(position, 1 << 30)

    def _turn(self) -> None:
        world = self._world
        world.clock.after(EVERY_S, self._turn)
        if world.broker.away():
            return
        now_ms = world.shop_time.at(world.broker.wall_ms())
        for p in range(world.broker.partitions):
            found, self._position[p] = self._read(REWARDS, p, self._position.get(p, 0))
            for record in found:
                at_ms = world.shop_time.at(record.recorded_at_ms)
                command = command_of(record.value or b"null", at_ms)
                if command is not None and b'"%s"' % ANSWERED.encode() in (record.value or b""):
                    self._book.take(command, now_ms)
        answers = self._book.answers(now_ms)
        killed = world.nemesis.active and self._dice.random() < self._kill_rate
        if killed and self._dice.random() < LOST:
            answers = answers[: self._dice.randint(0, len(answers))]
        for answer in answers:
            p = world.broker.partition_of(answer.user_id.encode())
            sent = Outgoing(REWARD_RESULTS, answer.user_id.encode(), written(answer), [])
            world.broker.log(REWARD_RESULTS, p).append(sent, max(answer.at_ms, now_ms))
            world.ended.figures[f"answers: {answer.outcome}"] += 1
        if killed:
            world.land("rights service killed")
            self._begin()
