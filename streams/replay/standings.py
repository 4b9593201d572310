"""Where each reward stands, from the records of the ledger alone: of a topic, or of a fold.

Kept in memory: the newest record of each command, and two numbers; of the users of one partition.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from streams.position import Position

ISSUED, SPENT, GONE = "issued", "spent", "gone"
"""With the user; used up; taken back, owed, void, or never given."""

AFTER = {
    "spent": SPENT,
    "restored": SPENT,
    "owed": GONE,
    "failed": GONE,
    "lapsed": GONE,
    "written_off": GONE,
}
"""Where an adjustment leaves a reward; those that are not here leave it where it was."""


class Standing(msgspec.Struct):
    """One reward. `body`: its newest `reward.issued`, which stands at `position`."""

    state: str = GONE
    why: str = ""  # it is gone: the adjustment's reason
    seq: int = 0
    body: dict[str, Any] = {}
    position: Position | None = None

    @property
    def value_minor(self) -> int:
        return int(self.body["amount_minor"]) + int(self.body["offset_minor"])


class Standings:
    """Takes ledger records in the order of their partition; one seen twice changes nothing."""

    def __init__(self) -> None:
        self.rewards: dict[str, Standing] = {}
        self.reserved_minor: defaultdict[str, int] = defaultdict(int)
        """By task: set aside for it and not used."""
        self._seen: set[str] = set()

    def take(self, body: dict[str, Any], position: Position | None = None) -> None:
        """Take a record. A command of a seq that was given before is the same command again."""
        if body["event_id"] in self._seen:
            return
        self._seen.add(body["event_id"])
        for posting in body["postings"]:
            if posting["account"] == "reserved":
                self.reserved_minor[body["task_id"]] += posting["amount_minor"]
        if "reward_id" not in body:
            return  # of a task: its budget
        standing = self.rewards.setdefault(body["reward_id"], Standing())
        if body["type"] == "reward.adjusted":
            state = AFTER.get(body["reason"], standing.state)
            standing.why = body["reason"] if state == GONE else ""
            standing.state = state
        elif body["seq"] > standing.seq:
            standing.seq = body["seq"]
            standing.why = ""
            standing.state = GONE
            if body["type"] == "reward.issued":
                standing.state, standing.body, standing.position = ISSUED, body, position
