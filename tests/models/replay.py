"""The model in order of arrival: what was told the world after each event, and what that pins.

`users.earn` says what a set of events earns. Here the events are taken in the order in which they
were read, and after each the books are brought to what is due. Only two things come of it: the
books themselves, and pins (P5): what an issued reward rested on stays with its task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.models.books import HELD, Books
from tests.models.compaction import heeded
from tests.models.facts import RANKS, event_id, instant_ms, unique
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
        self,
        user_id: str,
        records: list[dict[str, Any]],
        refused: Refused = frozenset(),
        unheard: Refused = frozenset(),
    ) -> None:
        self.user_id = user_id
        self.records = records
        self.refused = refused
        self.unheard = unheard
        self.events: list[dict[str, Any]] = []
        self.books = Books()
        self.pins: list[Pin] = []
        self.chances: dict[str, tuple[str, str, int]] = {}
        self.asked: set[str] = set()  # draws that pools were ever asked for
        self.over: frozenset[str] = frozenset()
        self.heard: dict[str, int] = {}  # the latest time that each task has lived to see
        self.kills = sorted(
            instant_ms(r["effective_from"]) for r in records if r.get("type") == "campaign.killed"
        )
        self.known: set[tuple[Any, ...]] = set()
        self.earned = Earned([], {}, {})

    def read(self, events: Iterable[dict[str, Any]]) -> Replay:
        for event in events:
            self.pass_kills(event)
            self.events.append(event)
            self.books.at_ms = instant_ms(event.get("occurred_at") or event["at"])
            if event["type"] == "reward.result":
                self.books.result(
                    event["reward_id"],
                    event["seq"],
                    event["outcome"],
                    retryable=event.get("retryable", False),
                    over=self.is_over(event),
                )
            if event["type"] == "tick":
                self.hear(self.books.at_ms)
            self.settle(instant_ms(event["at"]) if event["type"] == "tick" else 0)
            self.note_chances()
            self.note_draws()
            if event["type"] == "tick":
                self.return_prizes(instant_ms(event["at"]))
                self.expire_chances(instant_ms(event["at"]))
        return self

    def pass_kills(self, event: dict[str, Any]) -> None:
        """A kill is said at the first event of its time, ahead of what that does; what is known
        already tells no time.
        """
        rank = RANKS.get(event["type"])
        name = event.get("result_id") if rank is None else (rank, event_id(rank, event))
        if event["type"] == "tick" or name in self.known:
            return
        self.known.add(name)
        for kill_ms in self.kills:
            if kill_ms <= instant_ms(event["occurred_at"]):
                self.books.at_ms = kill_ms
                if self.hear(kill_ms):
                    self.settle(0)

    def hear(self, at_ms: int) -> bool:
        """Let the tasks that have begun know the time; return whether that is news to one."""
        names = {task["task_id"] for task in self.earned.tasks}
        news = {name: at_ms for name in names if self.heard.get(name, 0) < at_ms}
        self.heard |= news
        return bool(news)

    def is_over(self, result: dict[str, Any]) -> bool:
        """Whether a result was read when the history that its reward is of was over."""
        reward = self.books.rewards.get(result["reward_id"])
        return reward is not None and (result.get("result_id"), reward.due.task_id) in self.unheard

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
            unheard=self.unheard,
            heard=self.heard,
        )
        dues = list(self.earned.dues.values())
        held, vain, stuck = set[str](), set[str](), set[str]()
        for due in dues:
            # What stands in for a reward that failed waits as that did: it was collected once.
            names = {due.reward_id, *(d.reward_id for d in self.books.fallbacks({"": due}))}
            heard = heeded(facts, self.unheard, due.task_id)
            held |= names if waits(due, heard, now_ms) else set()
            vain |= names if in_vain(due, heard, now_ms) else set()
            stuck |= names if is_stuck(due, heard) else set()
        self.books.settle(
            dues, held=frozenset(held), in_vain=frozenset(vain), stuck=frozenset(stuck)
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
