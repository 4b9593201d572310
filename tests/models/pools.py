"""One pool in log order: draws, reservations, releases, returns (semantics.md 6 and 7; D6).

Requests are the records of `draw-requests` as parsed JSON, in the order of the log. Each request_id
is answered once; asked again it gets no second answer here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.models.draws import free_from_ms, hit, ticket
from tests.models.facts import instant_ms
from tests.models.ids import entrant


@dataclass(frozen=True)
class Answer:
    """outcome: granted, denied, or of a draw: won, nothing, no_stock, not_released, ..."""

    request_id: str
    outcome: str
    prize_id: str | None = None
    right: dict[str, Any] | None = None
    ticket: int | None = None
    hit: str | None = None


@dataclass
class Pool:
    """A lottery: its definition, secret seed, and what it has given."""

    definition: dict[str, Any]
    seed: bytes
    answers: dict[str, Answer] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)  # by prize, units out and not returned
    released: dict[str, int] = field(default_factory=dict)  # by prize, units ever taken from slots
    taken_by: dict[tuple[str, str], int] = field(default_factory=dict)  # (prize, entrant)
    spent_minor: int = 0
    added_minor: int = 0
    restocked: dict[str, int] = field(default_factory=dict)

    def draw(self, request: dict[str, Any]) -> Answer:
        known = self.answers.get(request["request_id"])
        if known is not None:
            return known
        odds = next(
            o for o in self.definition["odds"] if o["odds_version"] == request["odds_version"]
        )
        number, _counter = ticket(
            self.seed,
            self.definition["pool_id"],
            request["odds_version"],
            request["task_id"],
            request["step"],
            odds["denominator"],
        )
        found = hit(odds, number)
        outcome = "nothing" if found is None else self.check(found, request)
        right = self.prize(found)["right"] if found and outcome == "won" else self.fallback()
        if found and outcome == "won":
            self.give(found, request)
        elif right is not None and not self.afford(right):
            right = None
        if right is not None:
            self.spent_minor += right["value_minor"]
        answer = Answer(
            request["request_id"],
            outcome,
            found if outcome == "won" else None,
            right,
            number,
            found,
        )
        self.answers[request["request_id"]] = answer
        return answer

    def prize(self, prize_id: str) -> dict[str, Any]:
        return next(p for p in self.definition["prizes"] if p["prize_id"] == prize_id)

    def fallback(self) -> dict[str, Any] | None:
        return self.definition.get("fallback")

    def check(self, prize_id: str, request: dict[str, Any]) -> str:
        """Why a hit cannot be given: stock, release, user limit, budget, in this order."""
        prize = self.prize(prize_id)
        stock = prize["stock"] + self.restocked.get(prize_id, 0)
        if self.given.get(prize_id, 0) >= stock:
            return "no_stock"
        if self.free_units(prize, instant_ms(request["occurred_at"])) <= self.given.get(
            prize_id, 0
        ):
            return "not_released"
        name = entrant(self.definition["pool_id"], request["user_id"])
        limit = prize.get("max_per_user")
        if limit and self.taken_by.get((prize_id, name), 0) >= limit:
            return "user_limit"
        return "won" if self.afford(prize["right"]) else "no_budget"

    def free_units(self, prize: dict[str, Any], at_ms: int) -> int:
        """How many units a draw of this time may see; all, if the prize is not paced."""
        every = prize["stock"] + self.restocked.get(prize["prize_id"], 0)
        if "release" not in prize:
            return every
        opens, closes = (instant_ms(self.definition[name]) for name in ("opens_at", "closes_at"))
        times = [
            free_from_ms(self.seed, self.definition["pool_id"], prize, opens, closes, unit)
            for unit in range(prize["stock"])
        ]
        return sum(at_ms >= free for free in times) + self.restocked.get(prize["prize_id"], 0)

    def afford(self, right: dict[str, Any]) -> bool:
        budget = self.definition.get("budget_minor")
        return (
            budget is None or self.spent_minor + right["value_minor"] <= budget + self.added_minor
        )

    def give(self, prize_id: str, request: dict[str, Any]) -> None:
        self.given[prize_id] = self.given.get(prize_id, 0) + 1
        name = (prize_id, entrant(self.definition["pool_id"], request["user_id"]))
        self.taken_by[name] = self.taken_by.get(name, 0) + 1

    def take_back(self, request: dict[str, Any]) -> None:
        """unit.returned: the unit returns to stock, its cost to the budget."""
        answer = self.answers[request["request_id"]]
        if answer.prize_id is not None:
            self.given[answer.prize_id] -= 1
        if answer.right is not None:
            self.spent_minor -= answer.right["value_minor"]


@dataclass
class Purse:
    """A budget `budget:<campaign_id>`, or the units of a rights pool: reserved once an id."""

    amount_minor: int = 0  # 0: not bounded
    max_tasks: int = 0
    units: dict[str, int] = field(default_factory=dict)  # by right, of a rights pool
    reserved: dict[str, tuple[int, dict[str, int]]] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    spent_minor: int = 0
    used: dict[str, int] = field(default_factory=dict)
    tasks: int = 0

    def reserve(self, request_id: str, amount_minor: int, units: dict[str, int]) -> str:
        """granted or denied; L8: what is reserved and out never exceeds the budget."""
        if request_id in self.reserved:
            return "granted"
        if request_id in self.denied:
            return "denied"
        out = self.spent_minor + sum(amount for amount, _units in self.reserved.values())
        fits = not self.amount_minor or out + amount_minor <= self.amount_minor
        fits = fits and (not self.max_tasks or self.tasks < self.max_tasks)
        for right_id, wanted in units.items():
            taken = sum(held.get(right_id, 0) for _amount, held in self.reserved.values())
            left = self.units.get(right_id, 0) - self.used.get(right_id, 0) - taken
            fits = fits and wanted <= left
        if not fits:
            self.denied.add(request_id)
            return "denied"
        self.tasks += 1
        self.reserved[request_id] = (amount_minor, dict(units))
        return "granted"

    def release(self, request_id: str, amount_minor: int, units: dict[str, int]) -> None:
        """What is left of a reservation comes back; the rest of it is out for good."""
        amount, held = self.reserved.pop(request_id)
        assert amount_minor <= amount
        self.spent_minor += amount - amount_minor
        for right_id, count in held.items():
            self.used[right_id] = self.used.get(right_id, 0) + count - units.get(right_id, 0)
