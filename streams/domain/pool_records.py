"""What a pool says: public records, each chained to the one before it, and answers to users.

Public records hold no user: entrants are hashes of their own pool. `previous` is the digest of the
record before, as its bytes stand on the topic, so that none can be changed afterwards, not even
where nothing else depends on it. Source: semantics.md 4 and 6.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from streams.domain import sample
from streams.domain.days import Calendar
from streams.domain.draws import right_of
from streams.domain.outputs import Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.draws import Drawn
    from streams.domain.pool import Odds, Pool
    from streams.domain.pool_requests import DrawAsked, Request
    from streams.domain.pool_state import Answered, PoolState

LOTTERY_DRAWS, DRAW_RESULTS = "lottery-draws", "draw-results"
UTC = Calendar("UTC")
FIRST = "0" * 64
"""`previous` of a pool's first record."""

ANSWERS = {"drawn": "draw.result", "granted": "pool.granted", "denied": "pool.denied"}


class Public:
    """Writes the public records of one pool; `state` counts and chains them."""

    def __init__(self, state: PoolState, pool: Pool) -> None:
        self.state, self.pool = state, pool
        self.outputs: list[Output] = []

    def committed(self, odds: Sequence[Odds], at_ms: int) -> None:
        """Every odds table that has taken effect: the first ones, then each added one."""
        tables = [table(each) for each in odds]
        self._say(
            "draw.committed",
            at_ms,
            commitment=self.pool.commitment,
            pool={**self.pool.definition, "odds": tables},
            odds_digests=[
                {"odds_version": each["odds_version"], "digest": sample.odds_digest(each)}
                for each in tables
            ],
        )

    def drawn(self, asked: DrawAsked, entrant: str, drawn: Drawn) -> None:
        said = {"hit": drawn.hit, "given": drawn.given}
        self._say(
            "draw.drawn",
            asked.occurred_at_ms,
            draw_id=asked.request_id,
            odds_version=asked.odds_version,
            task_id=asked.task_id,
            step=asked.step,
            entrant=entrant,
            counter=drawn.counter,
            ticket=drawn.ticket,
            outcome=drawn.outcome,
            **{name: value for name, value in said.items() if value is not None},
        )

    def changed(self, reason: str, at_ms: int, change: int = 0, **fields: Any) -> None:
        """`change`: units; `amount_minor`: money that the pool may give (again)."""
        self._say("draw.stock_changed", at_ms, reason=reason, change=change, **fields)

    def revealed(self, seed: bytes, at_ms: int) -> None:
        self._say("draw.revealed", at_ms, seed=seed.hex(), records=self.state.no + 1)

    def _say(self, type_: str, at_ms: int, **fields: Any) -> None:
        no = self.state.no + 1
        body = {
            "type": type_,
            "v": 1,
            "pool_id": self.pool.pool_id,
            "occurred_at": UTC.text(at_ms),
            "no": no,
            "previous": self.state.previous or FIRST,
            **fields,
        }
        pool_id = self.pool.pool_id
        self.outputs.append(Output(LOTTERY_DRAWS, type_, f"{pool_id}:{no}", pool_id, body))
        digest = sha256(sample.canonical(body)).hexdigest()
        self.state = msgspec.structs.replace(self.state, no=no, previous=digest)


def table(odds: Odds) -> dict[str, Any]:
    """Return an odds object as it is published, and digested."""
    weights = [{"prize_id": each.prize_id, "weight": each.weight} for each in odds.weights]
    return {
        "odds_version": odds.odds_version,
        "denominator": odds.denominator,
        "weights": weights,
    }


def answer(request: Request, pool: Pool | None, answered: Answered) -> list[Output]:
    """Return what the user who asked is told, if anything; the same for the same answer."""
    if answered.answer not in ANSWERS:
        return []
    type_ = ANSWERS[answered.answer]
    body: dict[str, Any] = {
        "type": type_,
        "v": 1,
        "occurred_at": UTC.text(answered.at_ms),
        "request_id": request.request_id,
        "user_id": request.user_id,
        "pool_id": request.pool_id,
        "outcome": answered.outcome,
    }
    if answered.given and pool is not None:
        body["prize_id"] = answered.given
        body["right"] = msgspec.to_builtins(right_of(pool, answered.given))
    return [Output(DRAW_RESULTS, type_, request.request_id, request.user_id, body)]
