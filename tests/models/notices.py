"""Which notices are planned for a task, and from when they may be sent (semantics.md 8)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from tests.models.chances import chances_of
from tests.models.definitions import HOUR_MS
from tests.models.facts import DAY_MS
from tests.models.ids import draw_id

if TYPE_CHECKING:
    from tests.models.counting import Tally
    from tests.models.definitions import Version
    from tests.models.rounds import Begun
    from tests.models.world import World


class Notice(NamedTuple):
    """One notice. true: whether it would still be so now."""

    kind: str
    object_id: str
    due_ms: int
    send_from_ms: int
    true: bool


def planned(world: World, begun: Begun, tally: Tally, state: str) -> list[Notice]:
    """The notices about a task and its chances; those about rewards need the books."""
    this = tally.round
    found = []
    for reminder in this.version.reminders:
        kind, before_ms = reminder["kind"], reminder.get("before_hours", 0) * HOUR_MS
        if kind == "task_expiring":
            found.append((kind, this.task_id, this.end_ms - before_ms, state == "active"))
        elif kind == "one_order_left":
            left = state == "active" and one_left(tally)
            found.append((kind, this.task_id, this.end_ms - before_ms, left))
        elif kind == "chance_expiring" and this.version.lottery:
            closes = world.pool_closes.get(this.version.lottery["pool_id"])
            for label in chances_of(tally) if closes is not None else []:
                name = draw_id(this.task_id, label)
                undrawn = name not in begun.draws and name not in world.answers
                found.append((kind, name, closes - before_ms, undrawn))
    return [
        Notice(kind, name, due_ms, out_of_quiet(this.version, due_ms), true)
        for kind, name, due_ms, true in found
    ]


def one_left(tally: Tally) -> bool:
    return len(tally.counted) + 1 == tally.round.version.target


def out_of_quiet(version: Version, at_ms: int) -> int:
    """The end of the quiet hours that an instant lies in, else the instant itself."""
    begin, end = version.quiet
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(version.zone)
    clock = local.time()
    inside = begin <= clock < end if begin < end else clock >= begin or clock < end
    if begin == end or not inside:
        return at_ms
    day = local.date() if clock < end else local.date() + timedelta(days=1)
    until = datetime.combine(day, end, tzinfo=version.zone)
    return int(until.timestamp() * 1000)


def to_send(notices: list[Notice], sent: set[str], tick_ms: int) -> list[Notice]:
    """Those that go out at this tick: true now, not yet sent, and at most a day late."""
    return [
        notice
        for notice in notices
        if notice.true
        and notice.send_from_ms <= tick_ms < notice.send_from_ms + DAY_MS
        and f"{notice.kind}:{notice.object_id}:{notice.due_ms}" not in sent
    ]
