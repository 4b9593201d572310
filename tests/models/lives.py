"""What has become of a task by a moment (the last lines of section 3; section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.models.counting import Tally
    from tests.models.rounds import Begun
    from tests.models.world import World


def state_of(world: World, begun: Begun, tally: Tally, now_ms: int, told_ms: int) -> str:
    """pending, active, completed, expired, withdrawn or killed.

    now_ms: the largest tick, since only ticks let tasks expire. told_ms: the latest time that
    anything has told, which is what ends a killed one.
    """
    this = tally.round
    if tally.met:
        return "completed"
    if this.task_id in begun.left_ms:
        return "withdrawn"
    kill = world.kills.get(this.version.campaign_id)
    is_last = this is begun.of(this.version.campaign_id)[-1]
    if kill is not None and is_last and this.begun_ms < kill.at_ms < this.end_ms:
        if told_ms >= kill.at_ms:
            return "killed"
    elif not is_last or now_ms >= this.end_ms:
        return "expired"
    return "active" if this.granted else "pending"


def is_closed(tally: Tally, now_ms: int) -> bool:
    """Nothing acts on it any more: the horizon is past (`task.closed`)."""
    return now_ms >= tally.round.version.horizon(tally.round.end_ms)
