"""Users and the pools they share under one registry, in memory: the kernel without its engine.

What a user asks of a pool is answered before the next record is read, as if pools never lagged:
user, `draw-requests`, pool, `draw-results`, user, through the codecs that the workers use; or with
the answers of the log, where it was asked before. Whoever has a world lets time pass in it: each
deadline then passes at its own instant, in the order in which they are due.

Kept in memory: the row of every user met, the rows of the pools, one deadline a user; or, with a
`Scratch`, the newest MOST_ROWS of each and the next deadlines, and the rest in a temporary RocksDB.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, Any

from streams.domain import pools
from streams.domain.events import PoolAnswered, Tick
from streams.domain.fold import step
from streams.domain.pool_state import PoolState, pool_key
from streams.domain.pool_state import new as new_row
from streams.domain.state import new
from streams.feed.ports import Record
from streams.store.scratch import Agenda, Scratch, Spilled
from streams.store.states import CODEC
from streams.topics import DRAW_REQUESTS, DRAW_RESULTS
from streams.wire import draw_requests, draw_results
from streams.wire.outputs import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streams.domain.events import Event
    from streams.domain.outputs import Output
    from streams.domain.pool import Pool
    from streams.domain.pool_requests import Request
    from streams.domain.registry import Campaigns

    Heard = Callable[[Output], None]
    Answers = Callable[[Request], Iterable[PoolAnswered]]

NO_CAUSE = Record("", 0, 0, None, None, [], 0)
OF_POOL, OF_USER = 0, 1  # at one instant pools first, as whoever asks them waits for it


def stand_in_seed(pool: Pool) -> bytes:
    """Return a seed to draw with where the secret is not ours to know: the same in every run."""
    return hashlib.sha256(f"leidan/whatif/1\n{pool.pool_id}".encode()).digest()


MOST_ROWS = 5_000
"""Of users, of pools, and of deadlines in memory: a few kB each row."""
UNBOUNDED = 1 << 62


class Rows(Spilled[Any]):
    """Rows of pools; one of which nothing is known is empty."""

    def __getitem__(self, key: str) -> Any:
        found = self.get(key)
        return new_row(key) if found is None else found


class World:
    """Takes events in log order; tells `heard` every output, at once."""

    def __init__(
        self,
        campaigns: Campaigns,
        heard: Heard,
        answers: Answers | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        """``answers``: what pools have said to a request; None: they fold it in here.

        ``scratch``: where rows and deadlines go that are not needed soon; None: all in memory.
        """
        self.campaigns, self._heard = campaigns, heard
        self._answers = answers or self._pool_answers
        most = UNBOUNDED if scratch is None else MOST_ROWS
        scratch = scratch or Scratch()
        self.users = Spilled[Any](scratch, most, CODEC.encode, CODEC.decode)
        self.pools = Rows(scratch, most, CODEC.encode, CODEC.decode)
        self._now_ms = 0
        self._due = Agenda(scratch, most)
        if answers is None:
            for pool in campaigns.pools:
                for at_ms in _moments(pool, campaigns):
                    self._due.add(at_ms, OF_POOL, pool.pool_id)

    def take(self, event: Event) -> None:
        """Fold an event of a user, and what pools answer to what it makes the user ask."""
        asked = self._fold(event)
        while asked:
            for answer in self._answers(asked.popleft()):
                asked += self._fold(answer)

    def pass_time(self, until_ms: int) -> None:
        """Let time pass up to and including this instant."""
        while (due := self._due.next(until_ms)) is not None:
            at_ms, kind, name = due
            self._now_ms = max(self._now_ms, at_ms)
            if kind == OF_POOL:
                self._tick_pool(name)
            elif self.users[name].due_ms == at_ms:  # else it was moved meanwhile
                self.take(Tick(name, self._now_ms))
        self._now_ms = max(self._now_ms, until_ms)

    def leave_users(self) -> None:
        """Forget users and deadlines: the next partition has others. Pools stay."""
        self.users.clear()
        self._due.keep(OF_POOL)
        self._now_ms = 0

    def pool(self, pool_id: str) -> PoolState:
        state = self.pools[pool_key(pool_id)]
        assert isinstance(state, PoolState)
        return state

    def _fold(self, event: Event) -> deque[Request]:
        """Fold an event of a user; return what pools are asked."""
        user_id = event.user_id
        before = self.users.get(user_id) or new(user_id)
        state, outputs, _ = step(before, event, self.campaigns)
        if state is not before:
            self.users[user_id] = state
            if state.due_ms and state.due_ms != before.due_ms:
                self._due.add(state.due_ms, OF_USER, user_id)
        asked: deque[Request] = deque()
        for output in outputs:
            self._heard(output)
            if output.topic == DRAW_REQUESTS:
                asked.append(draw_requests.decode(_record(output, self._now_ms)))
        return asked

    def _pool_answers(self, request: Request) -> Iterable[PoolAnswered]:
        campaigns, pool_id = self.campaigns, request.pool_id
        pool, changes = campaigns.pool(pool_id), campaigns.pool_changes(pool_id)
        folded = pools.step(self.pools, request, pool, changes, stand_in_seed)
        self.pools.update(folded.rows)
        for output in folded.outputs:
            self._heard(output)
            if output.topic == DRAW_RESULTS:
                yield draw_results.decode(_record(output, self._now_ms))

    def _tick_pool(self, pool_id: str) -> None:
        pool, changes = self.campaigns.pool(pool_id), self.campaigns.pool_changes(pool_id)
        assert pool is not None, "a pool of this registry"
        state, outputs = pools.tick(self.pool(pool_id), pool, changes, self._now_ms, stand_in_seed)
        self.pools[pool_key(pool_id)] = state
        for output in outputs:
            self._heard(output)


def _moments(pool: Pool, campaigns: Campaigns) -> list[int]:
    """Return when time does something to a pool: it is known, it is changed, it is revealed."""
    moments = [pool.effective_from_ms]
    moments += [change.effective_from_ms for change in campaigns.pool_changes(pool.pool_id)]
    closes_ms = campaigns.pool_closes_ms(pool.pool_id)
    if pool.kind == pools.LOTTERY and closes_ms is not None:
        moments.append(closes_ms + pool.reveal_after_ms)
    return moments


def _record(output: Output, now_ms: int) -> Record:
    """Return an output as it would stand in the log, read as soon as it was written."""
    sent = encode(output, NO_CAUSE)
    return Record(sent.topic, 0, 0, sent.key, sent.value, sent.headers, now_ms)
