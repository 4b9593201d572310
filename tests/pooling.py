"""Pools in few words: definitions, requests, and a book in which they are folded.

Times are hours since the pool opens, 2023-05-01 in Shanghai, unless told otherwise.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from streams.domain import ids, pools, sample
from streams.domain.pool import Pool, PoolChange
from streams.domain.pool_requests import DrawAsked, Released, Request, Reserved, UnitReturned
from streams.domain.pool_state import PoolState, new, pool_key
from streams.domain.verify import published_pool

if TYPE_CHECKING:
    from streams.domain.outputs import Output

SEED = bytes(range(32))
OPENS = datetime(2023, 4, 30, 16, tzinfo=UTC)
CLOSES_AFTER_H = 40 * 24
HOUR_MS = 3_600_000
OPENS_MS = round(OPENS.timestamp() * 1000)
EVERY_TICKET = 1_000_000


def at(hours: float) -> int:
    """Return ms UTC, hours after the opening."""
    return OPENS_MS + round(hours * HOUR_MS)


def text(hours: float) -> str:
    return (OPENS + timedelta(hours=hours)).isoformat()


def prize(prize_id: str, stock: int, value: int = 500, **fields: Any) -> dict[str, Any]:
    right = {"right_id": f"rp-{prize_id}", "type": "red_packet", "value_minor": value}
    return {"prize_id": prize_id, "right": right, "stock": stock, **fields}


def odds(*weights: tuple[str, int], version: int = 1) -> dict[str, Any]:
    return {
        "odds_version": version,
        "denominator": EVERY_TICKET,
        "weights": [{"prize_id": id_, "weight": weight} for id_, weight in weights],
    }


def definition(**fields: Any) -> dict[str, Any]:
    """The wheel of semantics.md 2, `pool.defined`, with fields of the test's own."""
    return {
        "type": "pool.defined",
        "v": 1,
        "pool_id": "veg-wheel",
        "kind": "lottery",
        "effective_from": text(-24),
        "opens_at": text(0),
        "closes_at": text(CLOSES_AFTER_H),
        "currency": "CNY",
        "budget_minor": 2_000_000,
        "commitment": sample.commitment("veg-wheel", SEED),
        "prizes": [
            prize("top", 31, 10_000, max_per_user=1, release={"kind": "even", "jitter": True}),
            prize("five", 2_000),
        ],
        "odds": [odds(("top", 100), ("five", 20_000))],
        **fields,
    }


def lottery(**fields: Any) -> Pool:
    written = definition(**fields)
    return published_pool(written, written["commitment"])


def certain(stock: int = 1, **fields: Any) -> Pool:
    """A lottery in which every ticket hits the one prize, `sure`."""
    of_prize = {name: fields.pop(name) for name in ("max_per_user", "release") if name in fields}
    value = fields.pop("value", 500)
    return lottery(
        prizes=[prize("sure", stock, value, **of_prize)],
        odds=[odds(("sure", EVERY_TICKET))],
        **fields,
    )


def rights(**stock: int) -> Pool:
    return Pool(pool_id="coffee", kind="rights", effective_from_ms=at(-24), stock=stock)


def budget(
    amount_minor: int | None = None, max_tasks: int = 0, pool_id: str = "budget:veg"
) -> Pool:
    return Pool(
        pool_id=pool_id,
        kind="budget",
        effective_from_ms=at(-24),
        currency="CNY",
        budget_minor=amount_minor,
        max_tasks=max_tasks,
    )


def ask(n: int = 1, hours: float = 1, user: str = "u-1", **fields: Any) -> DrawAsked:
    """The n-th task's chance at step 3."""
    task, step = f"tsk_{n}", str(fields.pop("step", 3))
    version = fields.pop("odds_version", 1)
    pool_id = fields.pop("pool_id", "veg-wheel")
    return DrawAsked(pool_id, user, at(hours), ids.draw_id(task, step), task, step, version)


def returned(n: int = 1, hours: float = 2, user: str = "u-1", step: str = "3") -> UnitReturned:
    return UnitReturned("veg-wheel", user, at(hours), f"req_back_{n}", f"tsk_{n}", step)


def reserve(pool: Pool, n: int = 1, amount: int = 0, hours: float = 1, **units: int) -> Reserved:
    return Reserved(pool.pool_id, "u-1", at(hours), f"req_{n}", f"tsk_{n}", amount, units)


def spent(n: int = 1, hours: float = 3, user: str = "u-1", step: str = "3") -> Reserved:
    """News that the n-th task's prize, which had returned, is out."""
    return Reserved("veg-wheel", user, at(hours), f"req_spent_{n}", f"tsk_{n}", step=step)


def release(pool: Pool, n: int = 1, amount: int = 0, hours: float = 2, **units: int) -> Released:
    return Released(pool.pool_id, "u-1", at(hours), f"req_rel_{n}", f"tsk_{n}", amount, units)


def written(request: Request) -> tuple[bytes, bytes]:
    """Return key and value of a request's record."""
    type_ = {DrawAsked: "draw.asked", Reserved: "pool.reserve", Released: "pool.release"}.get(
        type(request), "unit.returned"
    )
    body = {
        "type": type_,
        "v": 1,
        "event_id": f"evt-{request.request_id}",
        "cause_id": "test",
        **msgspec.to_builtins(request),
    }
    at_ms = body.pop("occurred_at_ms")
    body["occurred_at"] = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
    given = {name: value for name, value in body.items() if value not in ("", {}, 0)}
    return request.pool_id.encode(), orjson.dumps(given)


class Book(dict[str, Any]):
    """The rows of a partition; folds requests and ticks of one pool into them."""

    def __init__(self, pool: Pool, *changes: PoolChange, seed: bytes = SEED) -> None:
        super().__init__()
        self.pool, self._seed = pool, seed
        self.changes = sorted(changes, key=lambda change: change.effective_from_ms)
        self.said: list[Output] = []  # by the last of them
        self.heard: list[Output] = []  # by all

    def __missing__(self, key: str) -> Any:
        return new(key)

    def seed(self, _pool: Pool) -> bytes:
        return self._seed

    @property
    def state(self) -> PoolState:
        state = self[pool_key(self.pool.pool_id)]
        assert isinstance(state, PoolState)
        return state

    def when(self, *requests: Request) -> Book:
        for request in requests:
            pool = self.pool if request.pool_id == self.pool.pool_id else None
            folded = pools.step(self, request, pool, self.changes, self.seed)
            self.update(folded.rows)
            self.said = folded.outputs
            self.heard += folded.outputs
        return self

    def tick(self, hours: float) -> Book:
        state, said = pools.tick(self.state, self.pool, self.changes, at(hours), self.seed)
        self[pool_key(self.pool.pool_id)] = state
        self.said = said
        self.heard += said
        return self

    def then(self, *expected: str) -> Book:
        """The last of them said exactly this, in this order."""
        assert [short(output) for output in self.said] == list(expected)
        return self

    def lines(self) -> list[bytes]:
        """Return all public records so far, as they stand on the topic."""
        return [
            orjson.dumps(output.body, option=orjson.OPT_SORT_KEYS)
            for output in self.heard
            if output.topic == "lottery-draws"
        ]


def short(output: Output) -> str:
    """Return an output in short: `drawn sure sure won`, `result won sure`, `returned sure 1`."""
    body = output.body
    if output.type == "draw.drawn":
        return f"drawn {body.get('hit', '-')} {body.get('given', '-')} {body['outcome']}"
    if output.type == "draw.stock_changed":
        return f"{body['reason']} {body.get('prize_id', '-')} {body['change']}"
    if output.type == "draw.committed":
        return f"committed {len(body['odds_digests'])}"
    if output.type == "draw.revealed":
        return f"revealed {body['records']}"
    given = f" {body['prize_id']}" if "prize_id" in body else ""
    return f"{output.type.partition('.')[2]} {body['outcome']}{given}"
