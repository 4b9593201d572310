"""Proves a lottery from its public records alone: every draw is what the rules make of it.

Each record is written again from what went into it (who, which chance, when) and from the records
before it, and must be the same to the byte. Whatever differs first is named. Source: semantics.md
6, the algorithm's last step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from streams.domain import draws, ids, pools, sample
from streams.domain.campaign import Right  # noqa: TC001 - msgspec reads it from `_Prize`
from streams.domain.days import HOUR_MS, instant_ms
from streams.domain.pool import (
    BudgetAdded,
    Odds,
    OddsAdded,
    Pool,
    PoolClosed,
    Prize,
    ReleasePacing,
    Restocked,
)
from streams.domain.pool_records import FIRST, Public
from streams.domain.pool_requests import DrawAsked
from streams.domain.pool_state import FALLBACK, PoolState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.domain.draws import Drawn
    from streams.domain.pool import PoolChange


LONGEST = 120  # characters of a value that a mismatch shows


class _Head(msgspec.Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    v: int
    pool_id: str
    occurred_at: str
    no: int
    previous: str


class _Digest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    odds_version: int
    digest: str


class _Committed(_Head, frozen=True, tag="draw.committed", kw_only=True):
    commitment: str
    pool: dict[str, Any]
    odds_digests: list[_Digest]


class _Drawn(_Head, frozen=True, tag="draw.drawn", kw_only=True):
    draw_id: str
    odds_version: int
    task_id: str
    step: str
    entrant: str
    counter: int
    ticket: int
    outcome: str
    hit: str | None = None
    given: str | None = None


class _Changed(_Head, frozen=True, tag="draw.stock_changed", kw_only=True):
    reason: str
    change: int
    prize_id: str | None = None
    amount_minor: int | None = None
    draw_id: str | None = None


class _Revealed(_Head, frozen=True, tag="draw.revealed", kw_only=True):
    seed: str
    records: int


_Record = _Committed | _Drawn | _Changed | _Revealed
_record = msgspec.json.Decoder(_Record).decode
_plain = msgspec.json.Decoder().decode


class _Prize(msgspec.Struct, frozen=True):
    prize_id: str
    right: Right
    stock: int
    max_per_user: int = 0
    release: ReleasePacing | None = None


class _Definition(msgspec.Struct, frozen=True):
    """Of a published definition, what a draw depends on."""

    pool_id: str
    effective_from: str
    opens_at: str
    closes_at: str
    prizes: tuple[_Prize, ...]
    odds: tuple[Odds, ...]
    budget_minor: int | None = None
    fallback: Right | None = None
    reveal_after_hours: int = 48


class Mismatch(Exception):
    """The first thing that is not as it should be: `no <n>: <what>`."""


class Verified(NamedTuple):
    """What held. revealed: without the seed, tickets and release times could not be checked."""

    pool_id: str
    records: int
    draws: int
    won: int
    revealed: bool


def revealed_seed(lines: Iterable[bytes]) -> bytes | None:
    """Return the seed that a pool's records end with, if they do; whatever it is, unchecked."""
    for line in lines:
        if b'"draw.revealed"' in line:
            try:
                return bytes.fromhex(_plain(line)["seed"])
            except (msgspec.DecodeError, KeyError, TypeError, ValueError, UnicodeDecodeError):
                return None
    return None


class Verifier:
    """Takes the records of one pool in their order; raises Mismatch at the first that is wrong."""

    def __init__(self, seed: bytes | None) -> None:
        """seed: as revealed, or as its keeper gives it; None checks what needs no seed."""
        self._seed = seed
        self._state = PoolState()
        self._pool: Pool | None = None
        self._changes: list[PoolChange] = []
        self._drawn: dict[str, str] = {}  # by draw, what was given
        self._returned: dict[str, bool] = {}  # by draw, whether its unit came back with its cost
        self._won: dict[str, dict[str, int]] = {}  # by entrant
        self._wins = 0

    def take(self, line: bytes) -> None:
        """Check the next record, as its bytes stand on the topic."""
        no = self._state.no + 1
        try:
            record = _record(line)
            said = _plain(line)
            _require_canonical(line, said)
            _require("no", record.no, no)
            _require("previous", record.previous, self._state.previous or FIRST)
            expected = self._expected(record)
            for name in sorted({*said, *expected}):
                _require(name, said.get(name), expected.get(name))
        except Mismatch as wrong:
            raise Mismatch(f"no {no}: {wrong}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, OverflowError) as wrong:
            raise Mismatch(f"no {no}: {wrong}") from None

    def result(self) -> Verified:
        """Return what held of all records taken. Raises Mismatch when there were none."""
        if self._pool is None:
            raise Mismatch("no record at all")
        drawn, revealed = len(self._drawn), self._state.revealed
        return Verified(self._pool.pool_id, self._state.no, drawn, self._wins, revealed)

    def _expected(self, record: Any) -> dict[str, Any]:
        at_ms = instant_ms(record.occurred_at)
        if self._pool is None:
            if not isinstance(record, _Committed):
                raise Mismatch("the first record is no draw.committed")
            return self._first(record)
        if self._state.revealed:
            raise Mismatch("a record after the reveal")
        public = Public(self._state, self._pool)
        if isinstance(record, _Committed):
            self._odds_added(record, public, at_ms)
        elif isinstance(record, _Drawn):
            self._draw(record, public, at_ms)
        elif isinstance(record, _Changed):
            self._change(record, public, at_ms)
        else:
            self._reveal(record, public)
        if not public.outputs:
            raise Mismatch("changes nothing")
        self._state = public.state
        return public.outputs[0].body

    def _first(self, record: _Committed) -> dict[str, Any]:
        self._pool = published_pool(record.pool, record.commitment)
        if self._seed is not None:
            commitment = sample.commitment(self._pool.pool_id, self._seed)
            _require("commitment", record.commitment, commitment)
        if self._pool.effective_from_ms > self._pool.opens_at_ms:
            raise Mismatch("committed after the pool has opened")
        public = Public(self._state, self._pool)
        pools.open_pool(public)
        self._state = public.state
        return public.outputs[0].body

    def _odds_added(self, record: _Committed, public: Public, at_ms: int) -> None:
        odds = msgspec.convert(record.pool, _Definition).odds
        added = OddsAdded(public.pool.pool_id, at_ms, odds[-1]) if odds else None
        if added is None or any(o.odds_version == added.odds.odds_version for o in self._tables()):
            raise Mismatch("committed again without new odds")
        self._apply(public, added)

    def _tables(self) -> list[Odds]:
        assert self._pool is not None
        return [
            *self._pool.odds,
            *(each.odds for each in self._changes if isinstance(each, OddsAdded)),
        ]

    def _draw(self, record: _Drawn, public: Public, at_ms: int) -> None:
        pool, state = public.pool, public.state
        if record.draw_id in self._drawn:
            raise Mismatch(f"draw {record.draw_id} was drawn before")
        if not pool.opens_at_ms <= at_ms <= (pools.closes_at_ms(state, pool) or 0):
            raise Mismatch("drawn while the pool was closed")
        odds = next((o for o in self._tables() if o.odds_version == record.odds_version), None)
        if odds is None:
            raise Mismatch(f"odds version {record.odds_version} was never published")
        won = self._won.get(record.entrant, {})
        drawn = self._again(record, public, odds, won, at_ms)
        draw_id = ids.draw_id(record.task_id, record.step)
        given = drawn.given or ""
        if given:
            public.state = pools.with_given(state, given, draws.cost_minor(pool, given))
            self._won[record.entrant] = {**won, given: won.get(given, 0) + 1}
        self._drawn[draw_id] = given
        self._wins += drawn.outcome == draws.WON
        asked = DrawAsked(
            pool.pool_id, "", at_ms, draw_id, record.task_id, record.step, record.odds_version
        )
        public.drawn(asked, record.entrant, drawn)

    def _again(
        self, record: _Drawn, public: Public, odds: Odds, won: dict[str, int], at_ms: int
    ) -> Drawn:
        """Draw again; without the seed, believe what only the seed can tell."""
        pool, state = public.pool, public.state
        if self._seed is not None:
            return draws.draw(
                state, pool, odds, won, record.task_id, record.step, at_ms, self._seed
            )
        if not 0 <= record.ticket < odds.denominator:
            raise Mismatch(f"ticket {record.ticket} is not below {odds.denominator}")
        given = record.given
        if given is not None:
            stock = state.stock_of(given)
            has = given == FALLBACK if stock is None else stock.left > 0
            if not has or not state.can_pay(draws.cost_minor(pool, given)):
                raise Mismatch(f"{given} was given and there was none left")
        hit = draws.hit_of(odds, record.ticket)
        return draws.Drawn(record.counter, record.ticket, hit, given, record.outcome)

    def _change(self, record: _Changed, public: Public, at_ms: int) -> None:
        pool_id, prize_id = public.pool.pool_id, record.prize_id or ""
        if record.reason == "returned":
            self._return(record, public, at_ms)
        elif record.reason == "spent":
            self._take_again(record, public, at_ms)
        elif record.reason == "restocked" and record.change > 0:
            self._apply(public, Restocked(pool_id, at_ms, {prize_id: record.change}))
        elif record.reason == "budget_added":
            self._apply(public, BudgetAdded(pool_id, at_ms, record.amount_minor or 0))
        elif record.reason == "closed":
            self._apply(public, PoolClosed(pool_id, at_ms))

    def _return(self, record: _Changed, public: Public, at_ms: int) -> None:
        draw_id = record.draw_id or ""
        given = self._drawn.get(draw_id, "")
        if not given or draw_id in self._returned:
            raise Mismatch(f"draw {draw_id} has nothing to return")
        cost_minor = draws.cost_minor(public.pool, given)
        restored = pools.take_prize_back(public, given, cost_minor, draw_id, at_ms)
        self._returned[draw_id] = restored

    def _take_again(self, record: _Changed, public: Public, at_ms: int) -> None:
        draw_id = record.draw_id or ""
        if draw_id not in self._returned:
            raise Mismatch(f"draw {draw_id} has returned nothing that could be spent")
        given, unit = self._drawn[draw_id], int(self._returned.pop(draw_id))
        cost_minor = draws.cost_minor(public.pool, given)
        pools.take_prize_again(public, given, unit, cost_minor, draw_id, at_ms)

    def _apply(self, public: Public, change: PoolChange) -> None:
        """Let a change take effect as the fold does, and remember it."""
        self._changes.append(change)
        public.state = msgspec.structs.replace(public.state, applied=len(self._changes))
        pools.apply(public, change, self._changes)

    def _reveal(self, record: _Revealed, public: Public) -> None:
        pool = public.pool
        seed = bytes.fromhex(record.seed)
        _require("commitment", pool.commitment, sample.commitment(pool.pool_id, seed))
        closes_ms = pools.closes_at_ms(public.state, pool) or 0
        public.state = msgspec.structs.replace(public.state, revealed=True)
        public.revealed(seed, closes_ms + pool.reveal_after_ms)


def published_pool(definition: dict[str, Any], commitment: str) -> Pool:
    """Return the pool of a published definition. Raises Mismatch."""
    try:
        return _published_pool(definition, commitment)
    except (msgspec.ValidationError, ValueError) as wrong:
        raise Mismatch(f"pool: {wrong}") from None


def _published_pool(definition: dict[str, Any], commitment: str) -> Pool:
    found = msgspec.convert(definition, _Definition)
    return Pool(
        pool_id=found.pool_id,
        kind=pools.LOTTERY,
        effective_from_ms=instant_ms(found.effective_from),
        opens_at_ms=instant_ms(found.opens_at),
        closes_at_ms=instant_ms(found.closes_at),
        commitment=commitment,
        budget_minor=found.budget_minor,
        fallback=found.fallback,
        reveal_after_ms=found.reveal_after_hours * HOUR_MS,
        prizes=tuple(Prize(*msgspec.structs.astuple(each)) for each in found.prizes),
        odds=found.odds,
        definition=definition,
    )


def _require(name: str, found: object, expected: object) -> None:
    if found != expected:
        raise Mismatch(f"{name} is {_short(found)}, must be {_short(expected)}")


def _require_canonical(line: bytes, said: Any) -> None:
    if sample.canonical(said) != line:
        raise Mismatch("not canonical JSON: a byte was changed, or another tool wrote it")


def _short(value: object) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def verify(lines: Sequence[bytes], seed: bytes | None = None) -> Verified:
    """Check all records of one pool, in order. Raises Mismatch.

    seed: what its keeper says it is, where the records do not reveal it yet.
    """
    verifier = Verifier(revealed_seed(lines) or seed)
    for line in lines:
        verifier.take(line)
    return verifier.result()
