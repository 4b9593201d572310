"""A kill storm: workers that are kept running and killed again and again, then checked in full.

A deck of deaths is dealt to the workers one by one. Each is of one kind:

    K6:9      SIGKILL by itself at the ninth pass of that line; first, middle and later passes
    R4:2      the same in the restore of its second partition: killed while it recovers from a kill
    random    SIGKILL from outside at no particular line, soon after it works again
    startup   the same while it starts, joins or restores
    burst     all workers, 0.1 to 1 s apart
    revoke    one stays away past its session; the others die in REVOKE, while partitions move

A death counts once the exit status is -9. A worker that ends in any other way is a violation,
except with 75 (fenced), which is what a partition that moved meanwhile may ask for, and 4, before
it has begun, where the broker is too busy to answer; both are counted.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.faults.victim import MOVED, PASSES, PATIENCE_S, RESTORE, Death, Victim
from tests.kafka.harness import wait_until
from tests.kafka.workers import K_POINTS, R_POINTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.faults.healing import Healing
    from tests.kafka.harness import Dice
    from tests.kafka.workers import Worker


UP_S = 90.0
AWAY_S = 25.0  # at most; its session of 6 s must end and the others die in REVOKE
MOST_MISSED = 40


def deck(dice: Dice) -> list[Death]:
    """Every line three times, every line of the restore twice, and faults without a line."""
    cards = [Death(point, when) for point in K_POINTS for when in PASSES]
    cards += [Death(point, nth) for point in R_POINTS for nth in ("1", "2")]
    cards += [Death("random")] * 8 + [Death("startup")] * 4 + [Death("burst")] * 3
    dice.shuffle(cards)
    return [*cards, Death("revoke")]


@dataclass
class Tally:
    """What landed and what came of it; everything else is worked out from it."""

    landed: Counter[str] = field(default_factory=Counter)  # by point, or how it was killed
    cells: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)  # dealt, armed, did not come
    restarts: Counter[str] = field(default_factory=Counter)  # other ends, by exit code
    violations: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return self.landed.total()


class Storm:
    """Deals deaths to workers until enough have landed; then all of them live.

    `turn` is called again and again and never blocks for long.
    """

    def __init__(  # noqa: PLR0913 - what makes a storm
        self,
        workers: Sequence[Worker],
        healing: Healing,
        dice: Dice,
        kills: int | None,
        *,
        cards: Callable[[Dice], list[Death]] = deck,
        note: Callable[[str], None] = print,
    ) -> None:
        """``kills`` None: every card once, and again where it did not land."""
        self.healing, self.dice, self.wanted, self.tally = healing, dice, kills, Tally()
        self.victims = [Victim(worker, self) for worker in workers]
        self._cards, self.note = cards, note
        self._deck = cards(dice)
        self._burst: list[tuple[float, Victim]] = []
        self._absent: Victim | None = None  # of a revoke: the others are to die in REVOKE
        self._revoked: set[str] = set()  # and these have

    def start(self) -> None:
        """Start everybody, wait until each owns partitions, and begin with a kill of each."""
        for victim in self.victims:
            victim.live()
        wait_until(
            lambda: all(victim.up() for victim in self.victims),
            lambda: f"every worker to own partitions: {[v.worker.stats() for v in self.victims]}",
            UP_S,
        )
        for victim in self.victims:
            victim.kill("random")

    @property
    def enough(self) -> bool:
        if self.wanted is not None:
            return self.tally.kills >= self.wanted
        return not self._deck and not any(victim.busy for victim in self.victims)

    @property
    def over(self) -> bool:
        """Say whether all kills have landed and everybody has been started for good."""
        return self.enough and all(victim.spared for victim in self.victims)

    def turn(self) -> None:
        now_s = time.monotonic()
        while self._burst and self._burst[0][0] <= now_s:
            self._burst.pop(0)[1].kill("burst")
        for victim in self.victims:
            if victim.spared and not self.enough and self._deck:
                victim.spared = False  # a card came back
                victim.kill("random")
            victim.turn(now_s)

    # -- dealing -------------------------------------------------------------------------------

    def deal(self, victim: Victim, now_s: float) -> None:
        """Give a dead worker its next life."""
        if self.wanted is not None and self.enough:
            self._absent, self._burst = None, []
            victim.live(spared=True)
        elif self._must_be_revoked(victim):
            victim.armed(Death("REVOKE", "1"))
        elif victim.owes is not None and victim.owes.then == RESTORE:
            victim.armed(Death(self.dice.choice(R_POINTS), "1"))
        elif victim.owes is not None and victim.owes.then == MOVED:
            victim.stay_away(now_s + PATIENCE_S)
        else:
            self._deal_card(victim, now_s)

    def _must_be_revoked(self, victim: Victim) -> bool:
        absent = self._absent
        return absent not in (None, victim) and victim.worker.instance not in self._revoked

    def revoked(self, victim: Victim) -> None:
        self._revoked.add(victim.worker.instance)

    def _deal_card(self, victim: Victim, now_s: float) -> None:
        if not self._deck:
            if self.wanted is None:
                victim.live(spared=True)
                return
            self._deck = self._cards(self.dice)
        death = self._deck.pop(0)
        match death.kind:
            case "burst":
                self._kill_soon(self.victims, now_s)
                victim.live()
            case "revoke" if self._absent is None:
                self._absent, self._revoked = victim, set()
                victim.stay_away(now_s + AWAY_S)
                self._kill_soon([v for v in self.victims if v is not victim], now_s)
            case "random" | "revoke":
                victim.live(kill_after_up_s=self.dice.uniform(0.0, 1.5))
            case "startup":
                victim.live(kill_after_s=self.dice.uniform(0.3, 2.5))
            case _:
                victim.armed(death)

    def _kill_soon(self, victims: Sequence[Victim], now_s: float) -> None:
        """SIGKILL each of them, 0.1 to 1 s apart, in any order."""
        order, at_s = list(victims), now_s
        self.dice.shuffle(order)
        self._burst = []
        for each in order:
            at_s += self.dice.uniform(0.1, 1.0)
            self._burst.append((at_s, each))

    def give_back(self, death: Death) -> None:
        """Take a card that did not land back into the deck."""
        if self.wanted is None:
            self._deck.append(death)

    def missed(self, death: Death) -> None:
        self.tally.missed[death.cell] += 1
        assert self.tally.missed.total() < MOST_MISSED, f"void: did not land: {self.tally.missed}"
        self.give_back(death)

    # -- those who stay away -------------------------------------------------------------------

    def may_return(self, victim: Victim) -> bool:
        """Say whether what an absent worker is away for has happened."""
        others = [other for other in self.victims if other is not victim]
        if victim is self._absent:
            return not any(self._must_be_revoked(other) for other in others)
        taken = {p for other in others if other.up() for p in other.partitions}
        return taken.issuperset(victim.partitions)

    def returns(self, victim: Victim, *, landed: bool) -> None:
        """An absent worker comes back: what it was away for has happened, or took too long."""
        death = victim.owes or Death("revoke")
        victim.owes = None
        if victim is self._absent:
            self._absent = None
        if landed:
            self.tally.cells[death.cell] += 1
        else:
            self.missed(death)

    def all_away(self) -> bool:
        return all(victim.away for victim in self.victims)
