"""What a run came to for each campaign: its tasks, its rewards, its draws, and what it spent.

Counted from the outputs alone: `task-events`, `rewards`, `lottery-draws`, and what was asked of the
campaign's budget. Money is minor units of the campaign's currency.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from streams.domain.pool import BUDGET

GIVEN = frozenset({"issued", "spent", "returning", "breakage", "debt", "written_off"})
"""Accounts that hold money which a campaign has given (semantics.md 7)."""

STANDS = {
    "task.claimed": "active",
    "task.completed": "completed",
    "task.reopened": "active",
    "task.expired": "expired",
    "task.revived": "active",
    "task.withdrawn": "withdrawn",
    "task.killed": "killed",
}
"""Where a task stands after an event; the others leave it where it is."""


@dataclass
class Tally:
    """One campaign."""

    tasks: dict[str, str] = field(default_factory=dict)  # where each stands, by id
    rejected: Counter[str] = field(default_factory=Counter)  # claims and draws refused, by code
    issued: Counter[str] = field(default_factory=Counter)  # by kind
    revoked: Counter[str] = field(default_factory=Counter)
    failed: int = 0  # rewards that the rights service could not give
    debts: int = 0
    draws: Counter[str] = field(default_factory=Counter)  # by outcome
    spent_on: Counter[str] = field(default_factory=Counter)  # minor units, by kind of reward
    reserved_minor: int = 0  # of the budget: granted to tasks and not yet given back

    @property
    def spent_minor(self) -> int:
        """What was given and not taken back, whether it was used or not."""
        return self.spent_on.total()

    def states(self) -> Counter[str]:
        return Counter(self.tasks.values())


class Tallies:
    """Takes outputs in the order of their partitions; `campaigns` has a Tally for each."""

    def __init__(self) -> None:
        self.campaigns: dict[str, Tally] = defaultdict(Tally)
        self._of_task: dict[str, str] = {}
        self._drawn: list[tuple[str, str]] = []  # task_id, outcome
        self._asked: dict[str, tuple[str, int]] = {}  # request_id: campaign_id, minor units
        self._granted: list[str] = []

    def task_event(self, event: dict[str, Any]) -> None:
        campaign_id, task_id = event.get("campaign_id"), event.get("task_id")
        if event["type"] == "claim.rejected":
            campaign_id = campaign_id or self._of_task.get(task_id or "")
            if campaign_id:
                self.campaigns[campaign_id].rejected[event["code"]] += 1
        elif campaign_id and task_id:
            self._of_task[task_id] = campaign_id
            tasks = self.campaigns[campaign_id].tasks
            stood = tasks.get(task_id, "active")
            if event["type"].startswith("task."):
                tasks[task_id] = STANDS.get(event["type"], stood)

    def entry(self, entry: dict[str, Any]) -> None:
        """Take a record of the ledger."""
        tally = self.campaigns[entry["campaign_id"]]
        for posting in entry["postings"]:
            if posting["account"] in GIVEN:
                tally.spent_on[entry["kind"]] += posting["amount_minor"]
        match entry["type"]:
            case "reward.issued":
                tally.issued[entry["kind"]] += 1
            case "reward.revoked":
                tally.revoked[entry["kind"]] += 1
            case "reward.adjusted" if entry["reason"] == "owed":
                tally.debts += 1
            case "reward.adjusted" if entry["reason"] == "failed":
                tally.failed += 1

    def request(self, request: dict[str, Any]) -> None:
        """Take what was asked of a pool; only budgets concern us."""
        pool_id, minor = request["pool_id"], request.get("amount_minor", 0)
        if not pool_id.startswith(BUDGET):
            return
        campaign_id = pool_id.removeprefix(BUDGET)
        if request["type"] == "pool.reserve":
            self._asked[request["request_id"]] = campaign_id, minor
        elif request["type"] == "pool.release":
            self.campaigns[campaign_id].reserved_minor -= minor

    def answer(self, answer: dict[str, Any]) -> None:
        if answer["type"] == "pool.granted":
            self._granted.append(answer["request_id"])

    def draw(self, record: dict[str, Any]) -> None:
        """Take a public record of a lottery."""
        if record["type"] == "draw.drawn":
            self._drawn.append((record["task_id"], record["outcome"]))

    def close(self) -> dict[str, Tally]:
        """Return all of them, once everything was taken: topics come in any order."""
        for task_id, outcome in self._drawn:
            self.campaigns[self._of_task.get(task_id, "")].draws[outcome] += 1
        for request_id in self._granted:
            campaign_id, minor = self._asked.get(request_id, ("", 0))
            if campaign_id:
                self.campaigns[campaign_id].reserved_minor += minor
        return dict(self.campaigns)
