"""What the service has done for each reward: commands in, answers out; no clock and no Kafka.

A command is carried out once per (reward_id, seq) and in order of seq. An issue that was never
carried out has nothing to take back, so its revocation succeeds; what was spent or shipped cannot
be taken back. All times are those of the commands, so a service that was restarted answers with the
same bytes; the clock only says which answers are due. Source: semantics.md 4 (`reward-results`), 7.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from streams.domain import ids

if TYPE_CHECKING:
    from streams.rights.faults import Faults

NOTHING, GIVEN, USED = "nothing", "given", "used"  # where a reward is: with us, the user, nobody
LAPSING = frozenset({"red_packet", "points", "coupon", "voucher"})
FINAL = frozenset({"issued", "failed", "revoked", "revoke_failed"})  # answers of a command


class Command(NamedTuple):
    """One record of `rewards` that moves value: odd seqs issue, even ones revoke."""

    user_id: str
    reward_id: str
    seq: int
    at_ms: int  # of its record
    right_type: str = ""  # of an issue


class Answer(NamedTuple):
    """One record for `reward-results`. Answered again, it is the same answer."""

    user_id: str
    reward_id: str
    seq: int
    outcome: str
    retryable: bool
    at_ms: int

    @property
    def result_id(self) -> str:
        word = f"{self.outcome} again" if self.retryable else self.outcome
        return "res_" + ids.derived("result", self.reward_id, str(self.seq), word)


class _Reward:
    """How far one reward has come: the last command taken, and where the right is now."""

    def __init__(self) -> None:
        self.seq, self.stands, self.type = 0, NOTHING, ""
        self.ahead: dict[int, Command] = {}  # commands read before the one that must come first


class Book:
    """All rewards, and what is still to be said or done."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._rewards: dict[str, _Reward] = {}
        self._told: dict[tuple[str, int], set[str]] = {}  # answers of an earlier life
        self._due: list[tuple[int, int, Command, str]] = []  # a heap: when, number, what for, word
        self._number = 0
        self.down_until_ms = 0

    @property
    def idle(self) -> bool:
        return not self._due

    def remember(self, answer: Answer) -> None:
        """Take an answer that was given before the service was started."""
        word = "again" if answer.retryable else answer.outcome
        self._told.setdefault((answer.reward_id, answer.seq), set()).add(word)

    def take(self, command: Command, now_ms: int) -> None:
        """Take a command: once, and not before those of smaller seq."""
        reward = self._rewards.setdefault(command.reward_id, _Reward())
        if command.seq <= reward.seq:
            return
        reward.ahead[command.seq] = command
        while reward.seq + 1 in reward.ahead:
            reward.seq += 1
            if self._met("down", command):
                self.down_until_ms = now_ms + self.faults.down_ms
            self._begin(reward.ahead.pop(reward.seq), reward)

    def answers(self, now_ms: int) -> list[Answer]:
        """Return what is to be answered by now, in the order in which it fell due."""
        found: list[Answer] = []
        while self._due and self._due[0][0] <= now_ms:
            due_ms, _number, command, word = heappop(self._due)
            answer = self._done(command, word, due_ms)
            if answer is not None:
                found.append(answer)
        return found

    def _begin(self, command: Command, reward: _Reward) -> None:
        told = self._told.get((command.reward_id, command.seq), set())
        reward.type = command.right_type or reward.type
        if told & FINAL or told & {"spent", "expired"}:
            self._as_told(command, reward, told)
            return
        at_ms = command.at_ms + (self.faults.late_ms if self._met("late", command) else 0)
        if command.seq % 2 and self._met("retry", command) and "again" not in told:
            self._at(at_ms, command, "again")
            at_ms += self.faults.retry_ms
        self._at(at_ms, command, "try")

    def _as_told(self, command: Command, reward: _Reward, told: set[str]) -> None:
        """Go on from what was answered in an earlier life."""
        if told & {"spent", "expired", "revoke_failed"}:
            reward.stands = USED
        elif "issued" in told:
            reward.stands = GIVEN
            self._use(command, command.at_ms)
        else:
            reward.stands = NOTHING

    def _done(self, command: Command, word: str, at_ms: int) -> Answer | None:
        """Do what has fallen due; return what is to be said of it. Outdated: nothing is done."""
        reward = self._rewards[command.reward_id]
        if word == "again":
            return self._answer(command, "failed", at_ms, retryable=True)
        if word == "try":
            if reward.seq != command.seq:
                return None  # taken back before it was done
            outcome = self._issue(command, reward) if command.seq % 2 else self._revoke(reward)
            if outcome == "issued":
                self._use(command, at_ms)
            if self._met("twice", command):
                self._at(at_ms + self.faults.retry_ms, command, f"{at_ms}:{outcome}")
            return self._answer(command, outcome, at_ms)
        if ":" in word:
            first_ms, _, outcome = word.partition(":")
            return self._answer(command, outcome, int(first_ms))
        if (reward.seq, reward.stands) != (command.seq, GIVEN):
            return None
        reward.stands = USED
        return self._answer(command, word, at_ms)

    def _issue(self, command: Command, reward: _Reward) -> str:
        reward.stands = NOTHING if self._met("fail", command) else GIVEN
        return "issued" if reward.stands == GIVEN else "failed"

    def _revoke(self, reward: _Reward) -> str:
        gone = reward.stands == USED or (reward.stands == GIVEN and reward.type == "physical")
        reward.stands = USED if gone else NOTHING
        return "revoke_failed" if gone else "revoked"

    def _use(self, command: Command, at_ms: int) -> None:
        """Let the user use what was issued, or forget it."""
        reward = self._rewards[command.reward_id]
        if reward.type != "physical" and self._met("spend", command):
            self._at(at_ms + self.faults.use_ms, command, "spent")
        elif reward.type in LAPSING and self._met("expire", command):
            self._at(at_ms + self.faults.use_ms, command, "expired")

    def _met(self, fault: str, command: Command) -> bool:
        return self.faults.happens(fault, command.reward_id, command.seq)

    def _at(self, at_ms: int, command: Command, word: str) -> None:
        self._number += 1
        heappush(self._due, (at_ms, self._number, command, word))

    def _answer(
        self, command: Command, outcome: str, at_ms: int, *, retryable: bool = False
    ) -> Answer:
        return Answer(command.user_id, command.reward_id, command.seq, outcome, retryable, at_ms)
