"""Users and the pools they share: the real folds and decoders, with the log between them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from streams.domain import asks, pools, reservations
from streams.domain.events import RewardResult, Tick
from streams.domain.fold import Outcome, step
from streams.domain.pool_state import PoolState, pool_key
from streams.domain.pool_state import new as new_row
from streams.domain.state import UserState, new, unpack_ledger
from streams.feed.ports import Record
from streams.wire import draw_requests, draw_results
from streams.wire.outputs import encode
from tests.builders import decoded, millis
from tests.given import require_both_paths_alike
from tests.pooling import SEED

if TYPE_CHECKING:
    from streams.domain.events import Event, PoolAnswered
    from streams.domain.outputs import Output
    from streams.domain.pool_requests import Request
    from streams.domain.registry import Campaigns

NO_CAUSE = Record("", 0, 0, None, None, [], 0)


class Rows(dict[str, Any]):
    """The rows of the pools."""

    def __missing__(self, key: str) -> Any:
        return new_row(key)


class Shop:
    """Some users, the pools they share, and what is on its way between them."""

    def __init__(self, campaigns: Campaigns, users: list[str]) -> None:
        self.campaigns, self.rows = campaigns, Rows()
        self.users = {user: new(user) for user in users}
        self.requests: dict[str, list[Request]] = {}  # by pool, in log order
        self.served: dict[str, int] = {}
        self.answers: dict[str, list[PoolAnswered]] = {user: [] for user in users}
        self.heard = dict.fromkeys(users, 0)
        self.said: list[Output] = []

    def tell(self, event: dict[str, Any] | Event) -> Outcome:
        """A user's next event: both paths must say and leave the same."""
        fact = decoded(event) if isinstance(event, dict) else event
        state = self.users[fact.user_id]
        if isinstance(fact, RewardResult):
            folded = step(state, fact, self.campaigns)  # it is no fact of a walk: one path
        else:
            folded = require_both_paths_alike(state, fact, self.campaigns)
        self._leave(folded.state, folded.outputs)
        return folded.outcome

    def tick(self, when: datetime) -> None:
        for user, state in list(self.users.items()):
            folded = step(state, Tick(user, millis(when)), self.campaigns)
            self._leave(folded.state, folded.outputs)

    def _leave(self, state: UserState, outputs: tuple[Output, ...] | list[Output]) -> None:
        self.users[state.user_id] = state
        self.said += outputs
        for output in outputs:
            if output.topic == "draw-requests":
                self.requests.setdefault(output.key, []).append(request_of(output))

    def serve(self, pool_id: str) -> bool:
        """Let a pool take its next request, if there is one."""
        at, log = self.served.get(pool_id, 0), self.requests.get(pool_id, [])
        if at == len(log):
            return False
        self.served[pool_id] = at + 1
        self.ask(log[at])
        return True

    def ask(self, request: Request) -> None:
        campaigns, pool_id = self.campaigns, request.pool_id
        pool, changes = campaigns.pool(pool_id), campaigns.pool_changes(pool_id)
        folded = pools.step(self.rows, request, pool, changes, lambda _pool: SEED)
        self.rows.update(folded.rows)
        self.said += folded.outputs
        for output in folded.outputs:
            if output.topic == "draw-results":
                self.answers[output.key].append(answer_of(output))

    def hear(self, user: str) -> bool:
        """Let a user's fold read its next answer, if there is one."""
        at = self.heard[user]
        if at == len(self.answers[user]):
            return False
        self.heard[user] = at + 1
        self.tell(self.answers[user][at])
        return True

    def drain(self) -> None:
        """Let everything on its way arrive."""
        moved = True
        while moved:
            served = [self.serve(pool_id) for pool_id in sorted(self.requests)]
            moved = any(served + [self.hear(user) for user in self.users])

    # --- what the books say ---------------------------------------------------------------------

    def pool(self, pool_id: str) -> PoolState:
        state = self.rows[pool_key(pool_id)]
        assert isinstance(state, PoolState)
        return state

    def asks(self, user: str) -> list[asks.Ask]:
        asked = asks.unpack(self.users[user].asks)
        return [*asked.reservations(), *asked.draws()]

    def standing(self, user: str) -> dict[str, int]:
        """Return what a user has been given and still has: value by reward id."""
        entries = unpack_ledger(self.users[user].ledger).values()
        return {e.reward_id: e.value for e in entries if reservations.holds(e)}

    def overdrawn(self, user: str) -> list[tuple[str, str, int]]:
        """Return (task, pool, minor) of rewards that no grant covers: none, ever (L8)."""
        state, asked = self.users[user], asks.unpack(self.users[user].asks)
        entries = unpack_ledger(state.ledger)
        owing = {(e.task_id, f"budget:{e.campaign_id}") for e in entries.values()}
        bound = [of for of in owing if self.campaigns.pool(of[1]) is not None]
        free = [(*of, reservations.free(*of, asked, entries, self.campaigns)) for of in bound]
        return [(*of, left[""]) for *of, left in free if left.get("", 0) < 0]


def request_of(output: Output) -> Request:
    return draw_requests.decode(record_of(output))


def answer_of(output: Output) -> PoolAnswered:
    return draw_results.decode(record_of(output))


def record_of(output: Output) -> Record:
    """Return the record as it stands in the log, written when it says."""
    sent = encode(output, NO_CAUSE)
    at_ms = millis(datetime.fromisoformat(output.body["occurred_at"]))
    return Record(sent.topic, 0, 0, sent.key, sent.value, sent.headers, at_ms)
