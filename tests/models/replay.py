"""The model in order of arrival: what was told the world after each event, and what that pins.

`users.earn` says what a set of events earns. Here the events are taken in the order in which they
were read, and after each the books are brought to what is due. Only two things come of it: the
books themselves, and pins (P5): what an issued reward rested on stays with its task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.models.books import HELD, Books
from tests.models.compaction import heeded
from tests.models.facts import instant_ms, unique
from tests.models.holds import in_vain, is_stuck, waits
from tests.models.ids import draw_id, reward_id
from tests.models.users import Earned, earn
from tests.models.world import Pin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.models.compaction import Refused


class Replay:
    """One user. `earned` is of all events read; a moment before a pin is judged without it."""

    def __init__(
        self, user_id: str, records: list[dict[str, Any]], refused: Refused = frozenset()
    ) -> None:
        self.user_id = user_id
        self.records = records
        self.refused = refused
        self.events: list[dict[str, Any]] = []
        self.books = Books()
        self.pins: list[Pin] = []
        self.chances: dict[str, tuple[str, str, int]] = {}
        self.asked: set[str] = set()  # draws that pools were ever asked for
        self.over: frozenset[str] = frozenset()
        self.earned = Earned([], {}, {})

    def read(self, events: Iterable[dict[str, Any]]) -> Replay:
        for event in events:
            self.events.append(event)
            self.books.at_ms = instant_ms(event.get("occurred_at") or event["at"])
            if event["type"] == "reward.result":
                self.books.result(
                    event["reward_id"],
                    event["seq"],
                    event["outcome"],
                    retryable=event.get("retryable", False),
                )
            self.settle(instant_ms(event["at"]) if event["type"] == "tick" else 0)
            self.note_chances()
            self.note_draws()
            if event["type"] == "tick":
                self.return_prizes(instant_ms(event["at"]))
                self.expire_chances(instant_ms(event["at"]))
        return self

    def note_chances(self) -> None:
        """{draw: (task, label, until when what is lost may come back)} of all that ever were."""
        for task in self.earned.tasks:
            for label in task["chances"]:
                self.chances.setdefault(
                    draw_id(task["task_id"], label), (task["task_id"], label, task["regains"])
                )

    def note_draws(self) -> None:
        """What a pool was once asked for it will answer: lost and regained, "a regained step
        returns the same draw" (semantics.md 5, rule 6), so that chance does not expire (L9).
        """
        labels = {task["task_id"]: task["chances"] for task in self.earned.tasks if task["granted"]}
        for event in self.events:
            if event["type"] != "draw.requested" or event["claim_id"] not in self.earned.answers:
                continue
            code, task_id = self.earned.answers[event["claim_id"]]
            if code == "DRAW" and event["step"] in labels.get(task_id, ()):
                self.asked.add(draw_id(task_id, event["step"]))

    def return_prizes(self, tick_ms: int) -> None:
        """A prize that is lost goes back at end + grace, and is not due again (section 6)."""
        for event in self.events:
            task, label, regains_ms = self.chances.get(event.get("request_id"), ("", "", 0))
            if not task or "right" not in event or tick_ms < regains_ms:
                continue
            name = reward_id(task, label, "prize", event["right"]["right_id"])
            if name not in self.earned.dues and not self.books.still_holds(name):
                self.over |= {event["request_id"]}

    def expire_chances(self, tick_ms: int) -> None:
        self.over |= {
            draw_id(task["task_id"], label)
            for task in self.earned.tasks
            for label, closes_ms in task["expires"].items()
            if tick_ms >= closes_ms and draw_id(task["task_id"], label) not in self.asked
        }

    def settle(self, now_ms: int) -> None:
        """Bring the books to what is due. now_ms: of a tick; 0: of another event."""
        facts = heeded(unique(self.events), self.refused)
        self.earned = earn(
            self.user_id,
            self.events,
            self.records,
            pins=self.pins,
            over=self.over,
            refused=self.refused,
        )
        dues = list(self.earned.dues.values())
        # What a task refused, since its history was over, lets none of its rewards go.
        of = {due.reward_id: heeded(facts, self.refused, due.task_id) for due in dues}
        held = [due for due in dues if waits(due, of[due.reward_id], now_ms)]
        vain = [due for due in dues if in_vain(due, of[due.reward_id], now_ms)]
        stuck = [due for due in dues if is_stuck(due, of[due.reward_id])]
        self.books.settle(
            dues,
            held=frozenset(due.reward_id for due in held),
            in_vain=frozenset(due.reward_id for due in vain),
            stuck=frozenset(due.reward_id for due in stuck),
        )
        # A fallback is given as a reward of its own (section 7), so it pays its step too.
        dues += self.books.fallbacks({due.reward_id: due for due in dues})
        for due in dues:
            if not due.version.group or self.books.rewards[due.reward_id].state not in HELD:
                continue
            group = due.version.group
            latest = {pin.order: pin.task_id for pin in self.pins if pin.group == group}
            self.pins += [
                Pin(order, due.task_id, facts[-1].key, group)
                for order in due.orders
                if latest.get(order) != due.task_id
            ]
