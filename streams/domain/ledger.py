"""The ledger: what is due against what stands, and the money of each change.

Nothing else issues or revokes, so a cancellation needs no rule of its own: what is due is the
fold's answer, the entries are what we told the world, and the difference goes out. Results are
assumed, so a command and its result are one record; without a budget the postings are net of the
reservation.
Source: semantics.md 5 `Clawback`, 7; L1, L3, L6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streams.domain import ids
from streams.domain.campaign import OWABLE
from streams.domain.state import DEBT, ISSUED, REVOKED, SPENT, VOID, Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.domain.campaign import Campaign, Right
    from streams.domain.state import Task

Postings = list[tuple[str, int]]


class Due(NamedTuple):
    """A reward that the fold says is owed to a task at a step."""

    task: Task
    campaign: Campaign
    step: str
    kind: str
    right: Right
    order_id: str


class Change(NamedTuple):
    """One ledger record to go out. reason: empty for `reward.issued`."""

    type: str
    entry: Entry  # as it stands after the change
    amount: int
    reason: str
    postings: Postings
    due: Due | None = None


def dues_at(task: Task, campaign: Campaign, k: int, order_id: str) -> list[Due]:
    """Return what the k-th counted order makes due: its step's rights, then the final ones."""
    step_in_cycle = (k - 1) % campaign.target_orders + 1
    rights = [("step", right) for right in campaign.step_rewards.get(step_in_cycle, ())]
    if step_in_cycle == campaign.target_orders:
        rights += [("final", right) for right in campaign.final_rewards]
    return [
        Due(task, campaign, str(k), kind, _in_supply(right, task), order_id)
        for kind, right in rights
    ]


def _in_supply(right: Right, task: Task) -> Right:
    """Return what is given: the fallback where the pool of the right had no units for the task."""
    lacks = right.supply and right.supply in task.lacks and right.fallback
    return right.fallback if lacks and right.fallback else right


def reward_id_of(due: Due) -> str:
    return ids.reward_id(due.task.task_id, due.step, due.kind, due.right.right_id)


def issue_first(due: Due) -> Change:
    """Issue a reward that never was, to a user without debts: the fast path of `settle`."""
    entry = _entry(due)
    return _issue(entry, due, {})


def settle(
    entries: dict[str, Entry], dues: list[Due], policies: Mapping[str, Campaign]
) -> list[Change]:
    """Bring the ledger to what is due: change `entries` in place, return the changes in order.

    policies: campaign by reward id of entries that are no longer due. First what is no longer due,
    so that its debt can be set off; then debts regained; then what is to be issued.
    """
    known = {(e.task_id, e.step, e.kind, e.right_id): e.reward_id for e in entries.values()}
    wanted: dict[str, Due] = {}
    for due in dues:
        name = (due.task.task_id, due.step, due.kind, due.right.right_id)
        wanted[known.get(name) or reward_id_of(due)] = due
    changes: list[Change] = []
    for reward_id in sorted(entries.keys() - wanted.keys()):
        changes += _lose(entries, entries[reward_id], policies[reward_id])
    for reward_id, due in wanted.items():
        entry = entries.get(reward_id)
        if entry is not None and entry.state == DEBT:
            changes += _regain(entries, entry)
        elif entry is not None and entry.state == ISSUED and entry.value != due.right.value_minor:
            changes.append(_revoke(entries, entry, "value_changed"))
    for reward_id, due in wanted.items():
        entry = entries.get(reward_id)
        if entry is None or entry.state == REVOKED:
            seq = entry.seq if entry else 0
            entry = _entry(due)
            entry.seq = seq
            entries[reward_id] = entry
            changes.append(_issue(entry, due, entries))
    return changes


def owed(entries: Mapping[str, Entry]) -> int:
    return sum(entry.owed for entry in entries.values())


def mark_spent(entry: Entry) -> Change | None:
    """Fold `spent`: from here a lost reward is a debt, not a revocation."""
    if entry.state != ISSUED:
        return None
    entry.state = SPENT
    return _adjusted(entry, entry.paid, "spent", [("issued", -entry.paid), ("spent", entry.paid)])


def mark_void(entry: Entry, reason: str) -> Change | None:
    """Fold `expired` or a final `failed`: never issued again."""
    if entry.state != ISSUED:
        return None
    entry.state = VOID
    account = "breakage" if reason == "lapsed" else "budget"
    return _adjusted(entry, entry.paid, reason, [("issued", -entry.paid), (account, entry.paid)])


def _entry(due: Due) -> Entry:
    task, right = due.task, due.right
    return Entry(
        reward_id=reward_id_of(due),
        task_id=task.task_id,
        campaign_id=task.campaign_id,
        campaign_version=task.campaign_version,
        round=task.round,
        step=due.step,
        kind=due.kind,
        right_id=right.right_id,
        type=right.type,
        currency=due.campaign.currency,
        value=right.value_minor,
    )


def _issue(entry: Entry, due: Due, entries: Mapping[str, Entry]) -> Change:
    left = entry.value if entry.type in OWABLE else 0
    entry.set_off = []
    for debt in entries.values():  # oldest first: entries stand in the order they were first issued
        part = min(left, debt.owed) if debt.currency == entry.currency else 0
        if part:
            debt.owed -= part
            left -= part
            entry.set_off.append((debt.reward_id, part))
    entry.offset = sum(part for _, part in entry.set_off)
    entry.seq += 1
    entry.state = ISSUED
    postings = [("budget", -entry.paid), ("issued", entry.paid)]
    if entry.offset:
        postings += [("debt", -entry.offset), ("spent", entry.offset)]
    return Change("reward.issued", entry, entry.paid, "", postings, due)


def _revoke(entries: Mapping[str, Entry], entry: Entry, reason: str) -> Change:
    postings = [("issued", -entry.paid), ("budget", entry.paid)]
    if entry.offset:
        postings += [("spent", -entry.offset), ("debt", entry.offset)]
    paid = entry.paid
    for debt_id, part in entry.set_off:
        entries[debt_id].owed += part
    entry.set_off, entry.offset = [], 0
    entry.seq += 1
    entry.state = REVOKED
    return Change("reward.revoked", entry, paid, reason, postings)


def _lose(entries: Mapping[str, Entry], entry: Entry, campaign: Campaign) -> list[Change]:
    policy = campaign.policies[entry.type]
    if policy == "keep":
        return []
    if entry.state == ISSUED:
        return [_revoke(entries, entry, "not_due")]
    if entry.state == SPENT and policy == "debt":
        room = max(0, campaign.debt_cap_minor - owed(entries))
        entry.owed = min(entry.paid, room)
        entry.state = DEBT
        changes = [
            _adjusted(entry, entry.paid, "owed", [("spent", -entry.paid), ("debt", entry.paid)])
        ]
        if entry.owed < entry.paid:
            excess = entry.paid - entry.owed
            postings = [("debt", -excess), ("written_off", excess)]
            changes.append(_adjusted(entry, excess, "written_off", postings))
        return changes
    return []


def _regain(entries: Mapping[str, Entry], entry: Entry) -> list[Change]:
    """A debt's reward is due again: give back what was set off against it, then restore it."""
    changes = [
        _revoke(entries, other, "value_changed")
        for other in entries.values()
        if other.state == ISSUED and any(debt_id == entry.reward_id for debt_id, _ in other.set_off)
    ]
    amount, entry.owed, entry.state = entry.owed, 0, SPENT
    changes.append(_adjusted(entry, amount, "restored", [("debt", -amount), ("spent", amount)]))
    return changes


def _adjusted(entry: Entry, amount: int, reason: str, postings: Postings) -> Change:
    return Change("reward.adjusted", entry, amount, reason, postings)
