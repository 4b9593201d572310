"""One bringing of the ledger to what is due: which line of `rights.py` applies, and the amounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain import rights
from streams.domain.answers import was_taken_back
from streams.domain.days import DAY_MS
from streams.domain.dues import Change, may_be_given, new_entry, with_fallbacks
from streams.domain.holding import blocked, gone
from streams.domain.rights import ISSUE, REVOKE, TABLE, Postings, home_of, net, posted
from streams.domain.setoff import owed, payers, set_off, undo
from streams.domain.state import (
    DEBT,
    ISSUED,
    ISSUING,
    RESERVED,
    REVOKING,
    SPENT,
    VOID,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from streams.domain.campaign import Campaign
    from streams.domain.dues import Due
    from streams.domain.events import RewardResult
    from streams.domain.state import Entry


class Settling:
    """One bringing of the ledger to what is due; `changes` are the records that say so."""

    def __init__(  # noqa: PLR0913  # what stands, by which rules, and when
        self,
        entries: dict[str, Entry],
        policies: Mapping[str, Campaign],
        at_ms: int = 0,
        now_ms: int = 0,
        over: Collection[str] = (),
        unpaid: Collection[str] = (),
    ) -> None:
        self.entries, self.policies = entries, policies
        self.at_ms, self.now_ms, self.over = at_ms, now_ms, over
        self.unpaid = unpaid  # rewards that were not taken back after all, and wait for their money
        self.changes: list[Change] = []

    def bring_to(self, dues: list[Due]) -> None:
        """First what is no longer due, so that its debt can be set off; then debts; then issues."""
        entries = self.entries
        wanted = {due.reward_id: due for due in with_fallbacks(entries, dues)}
        for entry in entries.values():
            if not entry.frozen:
                entry.due = entry.reward_id in wanted
        for reward_id in sorted(entries.keys() - wanted.keys()):
            if not entries[reward_id].due:  # of a frozen task: it is due as it was
                self.lose(entries[reward_id])
        standing = [(entries[id_], due) for id_, due in wanted.items() if id_ in entries]
        for entry, due in standing:
            self.keep(entry, due)
        for entry, due in standing:  # after all that may have opened a debt again
            self._owe(entry, due.right.value_minor)
        for entry in entries.values():
            self._forgive_in_time(entry)
        for reward_id, due in wanted.items():
            if reward_id not in self.unpaid and may_be_given(entries.get(reward_id), due):
                self.give(entries.get(reward_id), due)

    def lose(self, entry: Entry) -> None:
        """Take back what is no longer due, as its campaign's policy for its type says."""
        if entry.reward_id in self.unpaid:
            return  # once there is money for it, it is owed or forgiven
        if entry.state == RESERVED:
            self._void(entry, rights.LOST, "released")
            return
        policy = self.policies[entry.reward_id].policies[entry.type]
        if policy == "keep" or (policy == "until_issued" and entry.state == ISSUED):
            return
        if entry.state in (ISSUING, ISSUED):
            self.revoke(entry, "not_due")
        else:
            self._owe(entry, 0)

    def keep(self, entry: Entry, due: Due) -> None:
        """Mend what stands and is due: it has waited in vain, or its value changed."""
        value = due.right.value_minor
        if entry.state == REVOKING or entry.reward_id in self.unpaid:
            entry.value = value  # its answer decides; then it is given with this value
        elif entry.state == RESERVED:
            if gone(due, self.now_ms):
                self._void(entry, rights.GONE, "uncollected")
                entry.since_ms = due.collect_by_ms
            elif entry.value != value:
                self._void(entry, rights.LOST, "released")
        elif entry.state in (ISSUING, ISSUED) and entry.value != value:
            self.revoke(entry, "value_changed")
            if entry.state == REVOKING:
                entry.value = value

    def give(self, entry: Entry | None, due: Due) -> None:
        """Issue a due reward, or set it aside while something holds it."""
        if gone(due, self.now_ms):
            return
        if entry is None or entry.state != RESERVED:
            fresh = new_entry(due)
            if entry is not None:
                fresh.seq, fresh.state, fresh.back = entry.seq, entry.state, entry.back
            self.entries[fresh.reward_id] = entry = fresh
        if not blocked(due, self.now_ms):
            self.issue(entry, due)
        elif entry.state != RESERVED:
            self._cover(entry, due)

    def issue(self, entry: Entry, due: Due) -> None:
        """Give the command, and with `assumed` its answer in the same record."""
        postings = [] if entry.state == RESERVED else self._covering(entry, due.campaign)
        set_off(entry, self.entries, entry.value)
        entry.seq += 1
        postings += self._moved(entry, rights.FREE, due.campaign, h=entry.held)
        entry.held = entry.back = 0
        if due.campaign.results == "assumed":
            postings += self._moved(entry, "issued", due.campaign)
        self._say(entry, ISSUE, entry.paid, postings, due=due)

    def revoke(self, entry: Entry, reason: str) -> None:
        """Command that a reward be taken back; its set-off is undone at once."""
        campaign = self.policies[entry.reward_id]
        entry.back = entry.paid
        entry.seq += 1
        postings = self._moved(entry, rights.LOST, campaign, p=entry.back, o=entry.offset)
        undo(entry, self.entries)
        if campaign.results == "assumed":
            postings += self._moved(entry, "revoked", campaign)
        self._say(entry, REVOKE, entry.back, postings, reason=reason)

    def answer(self, entry: Entry, result: RewardResult) -> bool:
        """Fold what the rights service did with the newest command; False: it changes nothing."""
        if not self.takes(entry, result):
            return False
        campaign = self.policies[entry.reward_id]
        move = TABLE[entry.state, result.outcome]
        amount = entry.back if result.outcome.startswith("revoke") else entry.paid
        postings = self._moved(entry, result.outcome, campaign, h=entry.held)
        entry.held, entry.why = 0, move.said if entry.state == VOID else ""
        if result.outcome == "failed":
            undo(entry, self.entries)
        if result.outcome == "revoke_failed":
            postings += self._not_taken_back(entry)
        if move.said:
            self._say(entry, move.said, amount, postings)
        return True

    def takes(self, entry: Entry, result: RewardResult) -> bool:
        """Tell whether an answer to the newest command changes anything.

        One that would contradict an answer already given does not.
        """
        if (entry.state, result.outcome) not in TABLE:
            return False
        assumed = self.policies[entry.reward_id].results == "assumed"
        if result.outcome == "failed":  # retryable: it tries the same seq again
            return not result.retryable and (assumed or entry.state == ISSUING)
        if result.outcome == "revoke_failed":
            return entry.state == REVOKING or (assumed and was_taken_back(entry))
        return True

    def _not_taken_back(self, entry: Entry) -> Postings:
        """A reward whose revocation failed is spent; still due, it pays older debts once more."""
        wanted, entry.value = entry.value, entry.back
        if not entry.due:
            return []
        part = set_off(entry, self.entries, wanted - entry.value)
        entry.value += part
        return [("debt", -part), ("spent", part)]

    def _owe(self, entry: Entry, due_minor: int) -> None:
        """Make the debt of a spent reward what it was worth more than is due; 0: nothing is."""
        campaign = self.policies[entry.reward_id]
        if campaign.policies[entry.type] != "debt":
            return
        if entry.state not in (SPENT, DEBT) and not entry.written_off:
            return
        undone = part = 0
        if entry.value > due_minor:  # what it paid of older debts goes first
            undone = undo(entry, self.entries)
            entry.value -= undone
            part = set_off(entry, self.entries, due_minor - entry.value)
            entry.value += part
        excess = max(0, entry.value - due_minor)
        if excess < entry.debt:
            self._restore(entry, due_minor)
        more = max(0, excess - entry.debt)
        if more or undone > part:
            self._owe_more(entry, more, undone - part)
        if entry.state == SPENT and not entry.due and entry.debt:
            entry.state = DEBT  # later rewards have set all of it off: nothing is left to say

    def _owe_more(self, entry: Entry, more: int, undone: int) -> None:
        """Owe `more` of a reward, and `undone` of the older debts that it had set off."""
        campaign = self.policies[entry.reward_id]
        room = max(0, campaign.debt_cap_minor - owed(self.entries, entry.currency))
        entry.debt += more
        entry.owed += more
        entry.since_ms = self.at_ms
        postings = self._moved(entry, rights.OWED, campaign, d=more, o=undone)
        entry.state = SPENT if entry.due else DEBT
        self._say(entry, "owed", more + undone, postings)
        self._write_off(entry, more - room)

    def _restore(self, entry: Entry, due_minor: int) -> None:
        """A debt's reward is due again: what was set off against it is given back first."""
        for payer in payers(entry, self.entries):
            if payer.state in (ISSUING, ISSUED):
                self.revoke(payer, "value_changed")
        open_, lost = entry.owed, entry.written_off
        entry.debt -= open_ + lost
        entry.owed = entry.written_off = 0
        entry.why = ""
        postings = self._moved(
            entry, rights.REGAINED, self.policies[entry.reward_id], d=open_, w=lost
        )
        part = set_off(entry, self.entries, due_minor - entry.value)
        entry.value += part
        postings += [("debt", -part), ("spent", part)]
        if open_ or lost or part:
            self._say(entry, "restored", open_ + lost, postings)

    def _forgive_in_time(self, entry: Entry) -> None:
        if not entry.owed:
            return
        days = self.policies[entry.reward_id].debt_days
        if self.now_ms >= entry.since_ms + days * DAY_MS:
            self._write_off(entry, entry.owed)

    def _write_off(self, entry: Entry, amount: int) -> None:
        if amount <= 0:
            return
        campaign, state = self.policies[entry.reward_id], entry.state
        entry.owed -= amount
        entry.written_off += amount
        postings = self._moved(entry, rights.WRITTEN_OFF, campaign, d=amount)
        if state == DEBT and entry.written_off < entry.debt:
            entry.state = DEBT  # a part of it is still open, or was set off
        elif state == DEBT:
            entry.why = "written_off"
        self._say(entry, "written_off", amount, postings)

    def _cover(self, entry: Entry, due: Due) -> None:
        postings = self._covering(entry, due.campaign)
        self._say(entry, "reserved", entry.held, postings)

    def _covering(self, entry: Entry, campaign: Campaign) -> Postings:
        entry.held, entry.why = entry.value, ""
        return self._moved(entry, rights.COVERED, campaign)

    def _void(self, entry: Entry, on: str, why: str) -> None:
        amount = entry.held
        postings = self._moved(entry, on, self.policies[entry.reward_id], h=amount)
        entry.held, entry.why = 0, why
        self._say(entry, "released", amount, postings)

    def _moved(self, entry: Entry, on: str, campaign: Campaign, **amounts: int) -> Postings:
        """Take one line of the table; return its postings."""
        move = TABLE[entry.state, on]
        entry.state = move.to
        home = home_of(campaign, entry.kind, over=entry.task_id in self.over)
        letters = {
            "v": entry.value, "p": entry.paid, "o": entry.offset, "b": entry.back,
            "h": 0, "d": 0, "w": 0, **amounts,
        }  # fmt: skip
        letters["r"] = letters["h"] - letters["p"]
        return posted(move, home, letters)

    def _say(  # noqa: PLR0913  # what a record has
        self,
        entry: Entry,
        said: str,
        amount: int,
        postings: Postings,
        *,
        reason: str = "",
        due: Due | None = None,
    ) -> None:
        command = said in (ISSUE, REVOKE)
        self.changes.append(
            Change(
                said if command else "reward.adjusted",
                entry,
                amount,
                reason if command else said,
                net(postings),
                due,
                entry.seq,
                entry.offset,
            )
        )
