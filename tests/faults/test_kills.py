"""Killed with -9 at every line, in every state, and at random, over and over (T4).

Every cell of row 1 is a death that landed: the worker's own SIGKILL at that pass of that line. One
storm brings about many of them under steady, dirty traffic; one check at its end looks at all that
a reader can see, and the partitions of every dead worker must commit again within 60 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.kill_round import Plan, Round, run_round
from tests.faults.storm import deck
from tests.faults.victim import MOVED, RESTORE, Death
from tests.kafka.workers import K_POINTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster
    from tests.kafka.harness import Dice

MODES = {"normal": "", "restore": RESTORE, "revoke": MOVED}
"""Row 1: killed and back; killed again in the restore; killed and gone until others took over."""

SESSIONS_MS = {"normal": 6_000, "restore": 6_000, "revoke": 2_500}
WHEN = ("first", "middle")
CELLS = [(mode, point, when) for mode in MODES for point in K_POINTS for when in WHEN]


@pytest.fixture(scope="module")
def storms(broker: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Round]:
    """One storm for each mode, run when the first of its cells is asked for."""
    return Storms(broker, tmp_path_factory.mktemp("row01"))


class Storms(dict[str, Round]):
    def __init__(self, broker: Cluster, directory: Path) -> None:
        super().__init__()
        self._broker, self._directory = broker, directory

    def __missing__(self, mode: str) -> Round:
        def cards(dice: Dice) -> list[Death]:
            deaths = [Death(point, when, MODES[mode]) for point in K_POINTS for when in WHEN]
            dice.shuffle(deaths)
            return deaths

        found = self[mode] = Round(0, f"row01/{mode}")
        plan = Plan(kills=None, partitions=4, session_ms=SESSIONS_MS[mode])
        run_round(self._broker, f"row01-{mode}.", self._directory / mode, found, plan, cards=cards)
        print(f"{mode}: {found}")
        return found


@pytest.mark.parametrize(
    ("mode", "point", "when"), CELLS, ids=[f"row01-{p}-{when}-{mode}" for mode, p, when in CELLS]
)
def test_a_kill_at_any_line_loses_and_repeats_nothing(
    storms: dict[str, Round], mode: str, point: str, when: str
) -> None:
    found = storms[mode]
    assert found.violations == []
    assert found.complete
    assert found.cells.get(Death(point, when, MODES[mode]).cell), f"void: missed {found.missed}"


def test_row02_kills_at_random_in_bursts_and_in_restores_lose_and_repeat_nothing(
    broker: Cluster, tmp_path: Path
) -> None:
    found = Round(2, "row02")

    def cards(dice: Dice) -> list[Death]:
        """Only what row 2 asks for, more often than a storm deals it."""
        restores = [death for death in deck(dice) if death.kind.startswith("R")]
        deaths = [*restores, *[Death("random")] * 8, *[Death("startup")] * 8]
        deaths += [Death("burst")] * 5
        dice.shuffle(deaths)
        return [death for death in deaths if death.kind != "revoke"]

    run_round(broker, "row02.", tmp_path / "row02", found, Plan(kills=45), cards=cards)
    print(found)
    assert found.violations == []
    assert found.complete
    assert found.kills >= 45
    assert found.landed["burst"] >= 3, "void: no burst landed"
    assert sum(n for cell, n in found.landed.items() if cell.startswith("R")) >= 5
    assert len(found.healed_s) >= 5, "void: next to nothing healed in between"
