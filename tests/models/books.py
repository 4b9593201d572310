"""The books of one user: the table of semantics.md 7, as a machine of its own, slow and obvious.

It depends on the order of arrival, so it is fed step by step: what is due now (`settle`), and what
the rights service answered (`result`). Each change is a record whose postings sum to zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.models.ids import reward_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.models.dues import Due

DEBT_TYPES = ("red_packet", "cash", "points")
"""Rights that can be owed, and that debts are set off against."""
HELD = ("issuing", "issued", "spent")


class Record(NamedTuple):
    """One entry of the ledger topic. paid: of an issued or revoked record."""

    type: str  # issued, revoked, adjusted
    reward_id: str
    seq: int
    reason: str
    paid: int
    offset: int
    postings: tuple[tuple[str, int], ...]


@dataclass
class Reward:
    """Where one reward stands. set_off: {debt's reward_id: minor units}; owed: its own debt.

    since_ms: since when it is owed, by the time of the event that made it so.
    """

    due: Due
    state: str = "due"
    seq: int = 0
    value: int = 0
    set_off: dict[str, int] = field(default_factory=dict)
    owed: int = 0
    since_ms: int = 0
    written_off: int = 0
    never: bool = False  # failed for good, lapsed or written off: not issued again
    is_due: bool = True
    in_vain: bool = False  # it has waited too long, and waits no more

    @property
    def offset(self) -> int:
        return sum(self.set_off.values())

    @property
    def paid(self) -> int:
        return self.value - self.offset

    @property
    def taken_back(self) -> bool:
        """Whether its newest command was to take it back, and was done: L1, even seqs revoke."""
        given_up = self.state == "void" and not self.never
        return self.seq > 0 and self.seq % 2 == 0 and (self.state in ("revoked", "due") or given_up)

    @property
    def policy(self) -> str:
        """keep, revoke or debt. Physical: revoked until it is issued, then kept."""
        kind = self.due.type
        default = "debt" if kind in DEBT_TYPES else "revoke"
        if kind == "physical" and self.state == "issued":
            default = "keep"
        return self.due.version.policies.get(kind, default)


class Books:
    """Rewards by id in the order in which they became due, and all records.

    at_ms: the time of the event that is read, by its own word: an older debt is one of an earlier
    event, whichever was read first.
    """

    def __init__(self) -> None:
        self.rewards: dict[str, Reward] = {}
        self.records: list[Record] = []
        self.failures: set[str] = set()
        self.at_ms = 0

    def debts(self) -> list[Reward]:
        """The oldest first; of one instant, the smaller reward id."""
        return sorted(
            (reward for reward in self.rewards.values() if reward.owed),
            key=lambda reward: (reward.since_ms, reward.due.reward_id),
        )

    # -- what is due -------------------------------------------------------------------------------

    def settle(
        self,
        dues: list[Due],
        held: frozenset[str] = frozenset(),
        in_vain: frozenset[str] = frozenset(),
        stuck: frozenset[str] = frozenset(),
    ) -> None:
        """Bring the books to what is due.

        held: due, but they wait (hold, review, collection); in_vain: they have waited too long;
        stuck: they wait for no time, so once it was in vain they wait no more.
        """
        now = {due.reward_id: due for due in dues}
        now |= {due.reward_id: due for due in self.fallbacks(now)}
        for due in now.values():
            self.rewards.setdefault(due.reward_id, Reward(due))
        for name, reward in self.rewards.items():
            reward.is_due = name in now
            reward.due = now.get(name, reward.due)
        self.take_back()
        for reward in list(self.rewards.values()):
            gone = reward.state == "void" and reward.written_off  # its debt, all of it
            if reward.is_due and (reward.state == "debt" or gone):
                self.regain_debt(reward)
        for name, reward in list(self.rewards.items()):
            if not reward.is_due or (reward.in_vain and name in stuck):
                continue
            if name in in_vain:
                self.give_up(reward)
            elif name in held:
                self.wait(reward)
            else:
                self.issue(reward)

    def take_back(self) -> None:
        """In order of reward_id, so that which debt the cap cuts is no matter of chance."""
        for _name, reward in sorted(self.rewards.items()):
            if not reward.is_due:
                self.no_longer_due(reward)
            elif reward.state in HELD and reward.value != reward.due.value_minor:
                self.value_changed(reward)

    def wait(self, reward: Reward) -> None:
        if reward.state in ("void", "revoked") and not reward.never:
            reward.state, reward.in_vain = "due", False

    def give_up(self, reward: Reward) -> None:
        if reward.state == "due":
            reward.state, reward.in_vain = "void", True

    def fallbacks(self, now: dict[str, Due]) -> Iterator[Due]:
        """What failed for good is given as its fallback, which is a reward of its own."""
        for due in now.values():
            last = due
            while last.reward_id in self.failures and last.right.get("fallback"):
                last = instead(last, last.right["fallback"])
                yield last

    def issue(self, reward: Reward) -> None:
        if reward.state not in ("due", "void", "revoked") or reward.never:
            return
        reward.value = reward.due.value_minor
        reward.set_off = self.take_from_debts(reward, reward.value)
        reward.seq += 1
        offset = reward.offset
        self.say("issued", reward, "", [("reserved", -reward.paid), ("issued", reward.paid)],
                 [("debt", -offset), ("spent", offset)])  # fmt: skip
        reward.state = "issuing" if reward.due.version.required else "issued"

    def take_from_debts(self, reward: Reward, most: int) -> dict[str, int]:
        """The oldest debt first; same currency, any campaign."""
        taken: dict[str, int] = {}
        left = most if reward.due.type in DEBT_TYPES else 0
        for debt in self.debts():
            share = min(left, debt.owed)
            if share and debt.due.currency == reward.due.currency:
                taken[debt.due.reward_id] = share
                debt.owed -= share
                left -= share
        return taken

    def no_longer_due(self, reward: Reward) -> None:
        if reward.state == "due":
            reward.state = "void"
        elif reward.state in ("issuing", "issued"):
            if reward.policy == "keep":
                return
            self.revoke(reward, "not_due")
        elif reward.state == "spent" and reward.policy == "debt":
            self.owe(reward, reward.paid)

    def revoke(self, reward: Reward, reason: str) -> None:
        reward.seq += 1
        paid, offset = reward.paid, reward.offset
        self.undo_set_off(reward)
        self.say("revoked", reward, reason, [("issued", -paid), ("returning", paid)],
                 [("spent", -offset), ("debt", offset)], paid=paid)  # fmt: skip
        reward.state = "revoking"
        if not reward.due.version.required:
            self.revoked(reward)

    def revoked(self, reward: Reward) -> None:
        self.say("adjusted", reward, "returned", [("returning", -reward.value),
                                                  ("reserved", reward.value)])  # fmt: skip
        reward.state = "revoked"

    def undo_set_off(self, reward: Reward) -> None:
        """What was set off is owed again: the value that comes back is the part that was paid."""
        for name, share in reward.set_off.items():
            debt = self.rewards[name]
            if debt.state == "debt" or debt.value > debt.due.value_minor:
                debt.owed += share
        reward.value, reward.set_off = reward.paid, {}

    def value_changed(self, reward: Reward) -> None:
        """Section 5, rule 5: revoked, then issued anew; spent: debt for less, nothing for more.

        Whatever the policy: `keep` is about a reward that is no longer due, and this one is.
        """
        if reward.state == "spent":
            lower = reward.value - reward.due.value_minor - self.debt_so_far(reward)
            if lower > 0 and reward.policy == "debt":
                self.owe(reward, lower, stays="spent")
            return
        self.revoke(reward, "value_changed")

    # -- debts -------------------------------------------------------------------------------------

    def debt_so_far(self, reward: Reward) -> int:
        """All of it: still owed, written off, and what later rewards have set off against it."""
        paid = sum(other.set_off.get(reward.due.reward_id, 0) for other in self.rewards.values())
        return reward.owed + reward.written_off + paid

    def owe(self, reward: Reward, amount: int, stays: str = "debt") -> None:
        reward.state = stays
        reward.owed += amount
        reward.since_ms = self.at_ms
        self.say("adjusted", reward, "owed", [("spent", -amount), ("debt", amount)])
        excess = sum(debt.owed for debt in self.debts()) - reward.due.version.debt_cap_minor
        if excess > 0:
            self.write_off(reward, min(excess, reward.owed))

    def write_off(self, reward: Reward, amount: int) -> None:
        reward.owed -= amount
        reward.written_off += amount
        self.say("adjusted", reward, "written_off", [("debt", -amount), ("written_off", amount)])
        if not reward.owed and reward.state == "debt":
            reward.state, reward.never = "void", True

    def regain_debt(self, reward: Reward) -> None:
        """Spent again, nothing paid; what others had set off against it is paid after all."""
        for other in list(self.rewards.values()):
            if reward.due.reward_id in other.set_off and other.state in ("issuing", "issued"):
                self.revoke(other, "value_changed")
        owed, lost = reward.owed, reward.written_off
        if owed or lost:  # L6: what is due and paid is no longer owed, nor written off
            moved = [("debt", -owed), ("written_off", -lost), ("spent", owed + lost)]
            self.say("adjusted", reward, "restored", moved)
        reward.owed, reward.written_off, reward.state = 0, 0, "spent"
        self.pay_debts_again(reward)

    def pay_debts_again(self, reward: Reward) -> None:
        """Due again, and spent at what was paid of it: what it had set off is set off once more.

        Taking it back has opened those debts; its user is due the whole of it.
        """
        rest = reward.due.value_minor - reward.value
        if rest <= 0:
            return
        for name, share in self.take_from_debts(reward, rest).items():
            reward.set_off[name] = reward.set_off.get(name, 0) + share
            reward.value += share
            self.say("adjusted", reward, "set off", [("debt", -share), ("spent", share)])

    # -- what the rights service answers -----------------------------------------------------------

    def result(
        self, name: str, seq: int, outcome: str, *, retryable: bool = False, over: bool = False
    ) -> None:
        """over: the history of its task is; what failed then has nothing in its stead."""
        reward = self.rewards.get(name)
        if reward is None or seq != reward.seq:
            return  # of an outdated command
        # Where results are assumed, a command was done when it was told; it may still be denied.
        assumed = not reward.due.version.required
        assumed_issued = "issued" if assumed else ""
        # Taken back so far as we know; whether it waits since, or was given up, no command said.
        assumed_revoked = assumed and reward.taken_back
        paid = reward.paid
        if outcome == "issued" and reward.state == "issuing":
            reward.state = "issued"
        elif outcome == "failed" and reward.state in ("issuing", assumed_issued):
            self.failed(reward, retryable=retryable, over=over)
        elif outcome == "spent" and reward.state in ("issuing", "issued"):
            reward.state = "spent"
            self.say("adjusted", reward, "spent", [("issued", -paid), ("spent", paid)])
        elif outcome == "expired" and reward.state in ("issuing", "issued"):
            reward.state, reward.never = "void", True
            self.say("adjusted", reward, "lapsed", [("issued", -paid), ("breakage", paid)])
        elif outcome == "revoked" and reward.state == "revoking":
            self.revoked(reward)
        elif outcome == "revoke_failed" and (reward.state == "revoking" or assumed_revoked):
            if reward.state != "revoking":
                undone = [("reserved", -paid), ("returning", paid)]
                self.say("adjusted", reward, "undone", undone)
            reward.state, reward.in_vain = "spent", False
            self.say("adjusted", reward, "spent", [("returning", -paid), ("spent", paid)])
        failed = outcome == "revoke_failed" and reward.state == "spent"
        self.after_result(reward, not_taken_back=failed)

    def after_result(self, reward: Reward, *, not_taken_back: bool) -> None:
        if not reward.is_due:
            self.no_longer_due(reward)
        elif not_taken_back:
            self.pay_debts_again(reward)

    def failed(self, reward: Reward, *, retryable: bool, over: bool) -> None:
        if retryable:
            self.say("issued", reward, "again", [])
            return
        paid, offset = reward.paid, reward.offset
        self.undo_set_off(reward)
        reward.state, reward.never = "void", True
        self.say("adjusted", reward, "failed", [("issued", -paid), ("reserved", paid)],
                 [("spent", -offset), ("debt", offset)])  # fmt: skip
        if not over:
            self.failures.add(reward.due.reward_id)

    def still_holds(self, name: str) -> bool:
        """Whether a reward was given and not taken back: with its user, kept, spent, owed, lapsed.

        On its way back it is still held.
        """
        reward = self.rewards.get(name)
        if reward is None:
            return False
        lapsed = reward.state == "void" and reward.never and name not in self.failures
        return lapsed or reward.state not in ("due", "void", "revoked")

    # -- records -----------------------------------------------------------------------------------

    def say(
        self,
        kind: str,
        reward: Reward,
        reason: str,
        *postings: list[tuple[str, int]],
        paid: int | None = None,
    ) -> None:
        moved = tuple((account, n) for some in postings for account, n in some if n)
        assert sum(n for _account, n in moved) == 0
        self.records.append(
            Record(
                kind,
                reward.due.reward_id,
                reward.seq,
                reason,
                reward.paid if paid is None else paid,
                reward.offset,
                moved,
            )
        )

    def balances(self) -> dict[str, int]:
        """What lies on each account."""
        found: dict[str, int] = {}
        for record in self.records:
            for account, amount in record.postings:
                found[account] = found.get(account, 0) + amount
        return {account: amount for account, amount in found.items() if amount}


def instead(due: Due, right: dict[str, Any]) -> Due:
    return due._replace(
        reward_id=reward_id(due.task_id, due.step, due.kind, right["right_id"]),
        right_id=right["right_id"],
        type=right["type"],
        value_minor=right.get("value_minor", 0),
        right=right,
    )
