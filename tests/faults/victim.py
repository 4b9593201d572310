"""One worker of a kill storm between its deaths: what its life is armed with, how it ended."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.errors import Exit
from tests.faults.healing import now_ms

if TYPE_CHECKING:
    from tests.faults.storm import Storm
    from tests.kafka.harness import Dice
    from tests.kafka.workers import Worker

KILLED = -int(signal.SIGKILL)
PATIENCE_S = 25.0  # a death that was dealt and does not come is taken back, and counted as missed

PASSES = {"first": (1, 1), "middle": (3, 8), "later": (12, 30)}
"""Which pass of a line: the first after the restart, one in the middle, one much later."""

RESTORE, MOVED = "restore", "moved"
"""What may follow a death: the next life dies in its restore; or there is none until the
partitions have moved to somebody else, so that they are restored there, and revoked from there
when the dead one comes back."""


@dataclass(frozen=True)
class Death:
    """One card of the deck."""

    kind: str  # a K- or R-point, random, startup, burst or revoke
    when: str = ""  # first, middle, later; of R-points and REVOKE the pass itself
    then: str = ""  # RESTORE, MOVED

    @property
    def cell(self) -> str:
        return "-".join(part for part in (self.kind, self.when, self.then) if part)

    def passes(self, dice: Dice) -> int:
        return dice.randint(*PASSES[self.when]) if self.when in PASSES else int(self.when)


class Victim:
    """See the module. The storm deals, `turn` looks after it."""

    def __init__(self, worker: Worker, storm: Storm) -> None:
        self.worker, self.storm = worker, storm
        self.spared = False  # started for good
        self.owes: Death | None = None  # died, and its second half is still to come
        self.partitions: list[int] = []  # the last it was known to own
        self._death: Death | None = None  # armed with
        self._away_until_s: float | None = None
        self._kill_at_s: float | None = None
        self._kill_after_up_s: float | None = None
        self._began_s = 0.0
        self._how = ""  # why we killed it, or are going to

    @property
    def away(self) -> bool:
        return self._away_until_s is not None

    @property
    def busy(self) -> bool:
        """Say whether a death of its is still to land."""
        return self._death is not None or self.owes is not None or self.away

    # -- its next life -------------------------------------------------------------------------

    def live(
        self,
        *,
        spared: bool = False,
        kill_after_s: float | None = None,
        kill_after_up_s: float | None = None,
    ) -> None:
        self._begin(None)
        self.spared, self._kill_after_up_s = spared, kill_after_up_s
        if kill_after_s is not None:
            self._kill_at_s, self._how = self._began_s + kill_after_s, "startup"
        self.worker.start()

    def armed(self, death: Death) -> None:
        self._begin(death)
        self.worker.start_and_die_at(f"{death.kind}:{death.passes(self.storm.dice)}")

    def stay_away(self, until_s: float) -> None:
        self._begin(None)
        self._away_until_s = until_s

    def _begin(self, death: Death | None) -> None:
        self._death, self._began_s, self._how = death, time.monotonic(), ""
        self._kill_at_s = self._kill_after_up_s = self._away_until_s = None
        self.spared = False

    def up(self) -> bool:
        """Say whether this life owns partitions; remember which."""
        owned = [] if self.away else self.worker.own_stats().get("partitions", [])
        self.partitions = owned or self.partitions
        return bool(owned)

    def kill(self, how: str) -> None:
        """SIGKILL from outside; whether it landed is seen in the exit status."""
        if self.worker.running and not self.spared:
            self._how = how
            self.worker.kill()

    # -- looking after it ----------------------------------------------------------------------

    def turn(self, now_s: float) -> None:
        if self._away_until_s is not None:
            self._turn_away(now_s, self._away_until_s)
        elif not self.worker.running:
            self._note_end()
            self.storm.deal(self, now_s)
        elif self._kill_at_s is not None and now_s >= self._kill_at_s:
            self.kill(self._how)
        elif self._kill_after_up_s is not None and self.up():
            self._kill_at_s, self._how = now_s + self._kill_after_up_s, "random"
            self._kill_after_up_s = None
        elif now_s - self._began_s > PATIENCE_S and not self.spared:
            if self._death is not None and self._death.kind != "REVOKE":
                self.storm.missed(self._death)
                self._death = None
            self.kill("random")

    def _turn_away(self, now_s: float, until_s: float) -> None:
        landed = self.storm.may_return(self)
        if landed or now_s >= until_s or self.storm.all_away():
            self.storm.returns(self, landed=landed)
            self._away_until_s = None
            self.storm.deal(self, now_s)

    def _note_end(self) -> None:
        storm, status, death = self.storm, self.worker.ended(), self._death
        self._death = None
        if status == KILLED:
            self._note_kill(death)
            return
        storm.tally.restarts[str(status)] += 1
        if death is not None and death.kind != "REVOKE":
            storm.give_back(death)
        if status not in (Exit.FENCED, Exit.UNREACHABLE):
            said = f"{self.worker.name} ended with {status}\n{self.worker.tail(15)}"
            storm.tally.violations.append(said)
            storm.note(said)

    def _note_kill(self, death: Death | None) -> None:
        storm, tally = self.storm, self.storm.tally
        self.partitions = self.worker.stats().get("partitions") or self.partitions
        storm.healing.died(self.worker.instance, self.partitions, now_ms())
        how = self._how or (death.kind if death else "nobody of ours")
        tally.landed[how] += 1
        if how == "nobody of ours":
            tally.violations.append(f"{self.worker.name}: SIGKILL by nobody of ours")
        if death is None:
            return
        if self._how:  # by us, before it came to die by itself
            if self.owes is None and death.kind != "REVOKE":
                storm.give_back(death)
        elif death.kind == "REVOKE":
            storm.revoked(self)
        elif self.owes is not None:  # it died again, in the restore
            tally.cells[self.owes.cell] += 1
            self.owes = None
        elif death.then:
            self.owes = death
        else:
            tally.cells[death.cell] += 1
