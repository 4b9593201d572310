"""The fold of a pool: one request in log order in, its changed rows and what to say out (D6).

The pool stage is the single writer of stock and money that users share. It answers each request
once, gives nothing it does not have, and numbers what it says in public. Source: semantics.md 6, 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from streams.domain import draws, ids
from streams.domain.pool import BudgetAdded, OddsAdded, PoolClosed, Restocked
from streams.domain.pool_records import Public, answer
from streams.domain.pool_requests import DrawAsked, Released, Request, Reserved
from streams.domain.pool_state import (
    TASKS,
    Answered,
    Entrant,
    Held,
    PoolState,
    Row,
    Stock,
    entrant_key,
    pool_key,
    request_key,
    task_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streams.domain.outputs import Output
    from streams.domain.pool import Odds, Pool, PoolChange
    from streams.domain.pool_requests import UnitReturned

    Seed = Callable[[Pool], bytes]

LOTTERY = "lottery"
CLOSED, UNKNOWN = "closed", "unknown"  # nothing was drawn or reserved, and nothing will be
GRANTED, NO_TASKS = "granted", "no_tasks"


class Rows(Protocol):
    """Rows by key; one of which nothing is known is `pool_state.new(key)`."""

    def __getitem__(self, key: str) -> Row: ...


class Folded(NamedTuple):
    """The rows that are other than before, and what to say. `again`: answered before, no effect."""

    rows: dict[str, Row]
    outputs: list[Output]
    again: bool = False


def keys_of(request: Request) -> list[str]:
    """Return the keys of all rows that `step` reads, so that they can be fetched in one go."""
    pool_id = request.pool_id
    keys = [pool_key(pool_id), request_key(pool_id, request.request_id)]
    if isinstance(request, DrawAsked):
        return [*keys, entrant_key(pool_id, ids.entrant(pool_id, request.user_id))]
    keys.append(task_key(pool_id, request.task_id))
    step_of = getattr(request, "step", "")
    if step_of:
        keys.append(request_key(pool_id, ids.draw_id(request.task_id, step_of)))
    return keys


def step(
    rows: Rows, request: Request, pool: Pool | None, changes: Sequence[PoolChange], seed: Seed
) -> Folded:
    """Fold one request. Total: every request is answered, or taken, exactly once.

    pool: its definition, None if there is none. changes: all that was ever recorded about it, in
    the order in which they take effect (`pool_history.py`). seed: gives the secret seed of a
    lottery; asked for only when something is drawn.
    """
    key = request_key(request.pool_id, request.request_id)
    known = rows[key]
    assert isinstance(known, Answered)
    if known.answer:
        return Folded({}, answer(request, pool, known), again=True)
    if pool is None or pool.effective_from_ms > request.occurred_at_ms:
        answered = _refused(request, UNKNOWN)
        return Folded({key: answered}, answer(request, pool, answered))
    state = rows[pool_key(pool.pool_id)]
    assert isinstance(state, PoolState)
    public = Public(state, pool)
    _advance(public, changes, request.occurred_at_ms)
    changed: dict[str, Row] = {}
    if isinstance(request, DrawAsked):
        answered = _draw(rows, request, public, changes, seed, changed)
    elif isinstance(request, Reserved):
        answered = _reserve(rows, request, public, changed)
    elif pool.kind == LOTTERY:
        answered = _take_back(rows, request, public, changed)
    else:
        answered = _give_back(rows, request, public, changed)
    changed[key] = answered
    if public.state is not state:
        changed[pool_key(pool.pool_id)] = public.state
    return Folded(changed, [*public.outputs, *answer(request, pool, answered)])


def tick(
    state: PoolState, pool: Pool, changes: Sequence[PoolChange], at_ms: int, seed: Seed
) -> tuple[PoolState, list[Output]]:
    """Apply what time brings: the commitment, the operator's changes, and in the end the reveal.

    A tick says the same as any number of ticks before it: records carry the time they were due.
    """
    public = Public(state, pool)
    if pool.effective_from_ms <= at_ms:
        _advance(public, changes, at_ms, seed)
    return public.state, public.outputs


def next_deadline_ms(state: PoolState, pool: Pool, changes: Sequence[PoolChange]) -> int:
    """Return the earliest instant at which a tick would change something; 0: none, ever."""
    if not state.known:
        return pool.effective_from_ms
    if state.revealed:
        return 0
    due = [change.effective_from_ms for change in changes[state.applied :]]
    reveal_ms = _reveal_ms(state, pool)
    return min(due if reveal_ms is None else [*due, reveal_ms], default=0)


def closes_at_ms(state: PoolState, pool: Pool) -> int | None:
    """Return when the pool closes, or closed; None: never."""
    return pool.closes_at_ms if state.closed_at_ms is None else state.closed_at_ms


def _reveal_ms(state: PoolState, pool: Pool) -> int | None:
    closes_ms = closes_at_ms(state, pool)
    if pool.kind != LOTTERY or state.revealed or closes_ms is None:
        return None
    return closes_ms + pool.reveal_after_ms


def _advance(
    public: Public, changes: Sequence[PoolChange], at_ms: int, seed: Seed | None = None
) -> None:
    """Apply the definition and the operator's changes as of an instant, each once.

    seed: given by a tick, which also reveals it when that is due. What would take effect at the
    reveal or later never does: the public records end there.
    """
    if not public.state.known:
        open_pool(public)
    for change in changes[public.state.applied :]:
        reveal_ms = _reveal_ms(public.state, public.pool)
        if public.state.revealed or change.effective_from_ms > at_ms:
            break
        if reveal_ms is not None and change.effective_from_ms >= reveal_ms:
            break
        applied = public.state.applied + 1
        public.state = msgspec.structs.replace(public.state, applied=applied)
        apply(public, change, changes)
    reveal_ms = _reveal_ms(public.state, public.pool)
    if seed is not None and reveal_ms is not None and reveal_ms <= at_ms:
        public.state = msgspec.structs.replace(public.state, revealed=True)
        public.revealed(seed(public.pool), reveal_ms)


def open_pool(public: Public) -> None:
    """Let the definition take effect: its stock and money, and what is published of a lottery."""
    pool = public.pool
    public.state = msgspec.structs.replace(
        public.state, known=True, budget_minor=pool.budget_minor, stock=defined_stock(pool)
    )
    if pool.kind == LOTTERY:
        public.committed(pool.odds, pool.effective_from_ms)


def defined_stock(pool: Pool) -> tuple[Stock, ...]:
    """Return the units of each prize, right and task place that a definition begins with."""
    stock = [Stock(prize.prize_id, prize.stock) for prize in pool.prizes]
    stock += [Stock(right_id, units) for right_id, units in pool.stock.items()]
    if pool.max_tasks:
        stock.append(Stock(TASKS, pool.max_tasks))
    return tuple(stock)


def apply(public: Public, change: PoolChange, changes: Sequence[PoolChange]) -> None:
    """Let one of the operator's records take effect. changes: for the odds tables so far."""
    if isinstance(change, PoolClosed):
        _close(public, change)
    elif isinstance(change, BudgetAdded):
        _add_budget(public, change)
    elif isinstance(change, Restocked):
        for id_, units in sorted(change.units.items()):
            if _restock(public, id_, units) and public.pool.kind == LOTTERY:
                public.changed("restocked", change.effective_from_ms, units, prize_id=id_)
    elif public.pool.kind == LOTTERY:
        public.committed(_tables(public, changes), change.effective_from_ms)


def _close(public: Public, change: PoolClosed) -> None:
    closes_ms = closes_at_ms(public.state, public.pool)
    if closes_ms is None or closes_ms > change.effective_from_ms:
        closed_ms = change.effective_from_ms
        public.state = msgspec.structs.replace(public.state, closed_at_ms=closed_ms)
        if public.pool.kind == LOTTERY:
            public.changed("closed", closed_ms)


def _add_budget(public: Public, change: BudgetAdded) -> None:
    state, amount_minor = public.state, change.amount_minor
    if state.budget_minor is not None and amount_minor:
        budget_minor = state.budget_minor + amount_minor
        public.state = msgspec.structs.replace(state, budget_minor=budget_minor)
        if public.pool.kind == LOTTERY:
            public.changed("budget_added", change.effective_from_ms, amount_minor=amount_minor)
    if change.max_tasks:
        _restock(public, TASKS, change.max_tasks)


def _restock(public: Public, id_: str, units: int) -> bool:
    stock = public.state.stock_of(id_)
    if stock is not None:
        more = msgspec.structs.replace(stock, restocked=stock.restocked + units)
        public.state = public.state.with_stock(more)
    return stock is not None


def _tables(public: Public, changes: Sequence[PoolChange]) -> list[Odds]:
    """Return every odds table in effect, in the order in which they came."""
    added = changes[: public.state.applied]
    return [*public.pool.odds, *(each.odds for each in added if isinstance(each, OddsAdded))]


def _refused(request: Request, outcome: str) -> Answered:
    if isinstance(request, DrawAsked):
        return Answered("drawn", request.occurred_at_ms, outcome)
    if isinstance(request, Reserved):
        return Answered("denied", request.occurred_at_ms, outcome)
    return Answered("taken", request.occurred_at_ms, outcome)


def _draw(  # noqa: PLR0913 - the rows, the request, and where each result goes
    rows: Rows,
    asked: DrawAsked,
    public: Public,
    changes: Sequence[PoolChange],
    seed: Seed,
    changed: dict[str, Row],
) -> Answered:
    pool, at_ms = public.pool, asked.occurred_at_ms
    tables = _tables(public, changes)
    odds = next((each for each in tables if each.odds_version == asked.odds_version), None)
    if pool.kind != LOTTERY or odds is None or not _is_own_id(asked):
        return _refused(asked, UNKNOWN)
    closes_ms = closes_at_ms(public.state, pool)
    if public.state.revealed or at_ms < pool.opens_at_ms or at_ms > (closes_ms or 0):
        return _refused(asked, CLOSED)
    entrant = ids.entrant(pool.pool_id, asked.user_id)
    row = rows[entrant_key(pool.pool_id, entrant)]
    assert isinstance(row, Entrant)
    drawn = draws.draw(
        public.state, pool, odds, row.won, asked.task_id, asked.step, at_ms, seed(pool)
    )
    given = drawn.given or ""
    if given:
        public.state = with_given(public.state, given, draws.cost_minor(pool, given))
        prize = pool.prize(given)
        if prize is not None and prize.max_per_user:
            won = {**row.won, given: row.won.get(given, 0) + 1}
            changed[entrant_key(pool.pool_id, entrant)] = Entrant(won)
    public.drawn(asked, entrant, drawn)
    return Answered("drawn", at_ms, drawn.outcome, given)


def _is_own_id(asked: DrawAsked) -> bool:
    """One draw a chance (L9): under another id the same chance would be drawn again."""
    return asked.request_id == ids.draw_id(asked.task_id, asked.step)


def with_given(state: PoolState, id_: str, cost_minor: int) -> PoolState:
    """Return the state with one unit of a prize (or the fallback, which has no stock) given."""
    stock = state.stock_of(id_)
    if stock is not None:
        state = state.with_stock(msgspec.structs.replace(stock, given=stock.given + 1))
    return msgspec.structs.replace(state, held_minor=state.held_minor + cost_minor)


def _take_back(
    rows: Rows, request: Released | UnitReturned, public: Public, changed: dict[str, Row]
) -> Answered:
    """A prize that was clawed back: its cost returns, its unit too while the pool is open."""
    pool, at_ms = public.pool, request.occurred_at_ms
    taken = Answered("taken", at_ms)
    if isinstance(request, Released):
        return taken
    draw_id = ids.draw_id(request.task_id, request.step)
    key = request_key(pool.pool_id, draw_id)
    drawn = rows[key]
    assert isinstance(drawn, Answered)
    if not drawn.given or drawn.returned:
        return taken
    cost_minor = draws.cost_minor(pool, drawn.given)
    restored = take_prize_back(public, drawn.given, cost_minor, draw_id, at_ms)
    changed[key] = msgspec.structs.replace(drawn, returned=True, restored=restored)
    return taken


def take_prize_back(public: Public, given: str, cost_minor: int, draw_id: str, at_ms: int) -> bool:
    """Return a prize's cost to the budget, and its unit to the stock while the pool is open.

    Returns whether the unit came back.
    """
    closes_ms = closes_at_ms(public.state, public.pool) or 0
    is_unit = public.state.stock_of(given) is not None
    restored = is_unit and at_ms < closes_ms and not public.state.revealed
    _move_prize(public, given, int(restored), cost_minor)
    if not public.state.revealed:
        said = {"prize_id": given, "amount_minor": cost_minor, "draw_id": draw_id}
        public.changed("returned", at_ms, int(restored), **said)
    return restored


def _take_again(rows: Rows, request: Reserved, public: Public, changed: dict[str, Row]) -> Answered:
    """A prize that had come back is spent: it is out, whoever has its unit and money by now."""
    draw_id = ids.draw_id(request.task_id, request.step)
    key = request_key(request.pool_id, draw_id)
    drawn = rows[key]
    assert isinstance(drawn, Answered)
    if drawn.returned:
        changed[key] = msgspec.structs.replace(drawn, returned=False, restored=False)
        cost_minor = draws.cost_minor(public.pool, drawn.given)
        at_ms, unit = request.occurred_at_ms, int(drawn.restored)
        take_prize_again(public, drawn.given, unit, cost_minor, draw_id, at_ms)
    return Answered("taken", request.occurred_at_ms)


def take_prize_again(  # noqa: PLR0913 - what is out, of which draw, and when
    public: Public, given: str, unit: int, cost_minor: int, draw_id: str, at_ms: int
) -> None:
    """Undo a prize's return. What was given to others since stays theirs: less than none is left.

    unit: whether its unit had come back, 1 or 0.
    """
    _move_prize(public, given, -unit, -cost_minor)
    if not public.state.revealed:
        said = {"prize_id": given, "amount_minor": -cost_minor, "draw_id": draw_id}
        public.changed("spent", at_ms, -unit, **said)


def _move_prize(public: Public, given: str, units: int, cost_minor: int) -> None:
    """Let units and money come back, or (below zero) go again."""
    state, stock = public.state, public.state.stock_of(given)
    if stock is not None:
        state = state.with_stock(msgspec.structs.replace(stock, returned=stock.returned + units))
    held_minor = state.held_minor - cost_minor
    public.state = msgspec.structs.replace(state, held_minor=held_minor)


def _reserve(rows: Rows, request: Reserved, public: Public, changed: dict[str, Row]) -> Answered:
    """Set aside all that is asked for, or nothing. A budget that bounds tasks takes one for each.

    Checked in this order: units, tasks, money.
    """
    state, pool, at_ms = public.state, public.pool, request.occurred_at_ms
    if pool.kind == LOTTERY and request.step:
        return _take_again(rows, request, public, changed)
    if pool.kind == LOTTERY:  # its stock moves by draws alone, in public
        return _refused(request, UNKNOWN)
    closes_ms = closes_at_ms(state, pool)
    if at_ms < pool.opens_at_ms or (closes_ms is not None and at_ms >= closes_ms):
        return _refused(request, CLOSED)
    key = task_key(pool.pool_id, request.task_id)
    held = rows[key]
    assert isinstance(held, Held)
    units = dict(request.units)
    if state.stock_of(TASKS) is not None:
        units[TASKS] = 0 if held.units.get(TASKS) else 1
    for id_, wanted in sorted(units.items()):
        stock = state.stock_of(id_)
        if (stock.left if stock else 0) < wanted:
            return _refused(request, NO_TASKS if id_ == TASKS else draws.NO_STOCK)
    if not state.can_pay(request.amount_minor):
        return _refused(request, draws.NO_BUDGET)
    for id_, wanted in units.items():
        stock = state.stock_of(id_)
        if stock is not None:
            state = state.with_stock(msgspec.structs.replace(stock, given=stock.given + wanted))
    public.state = msgspec.structs.replace(
        state, held_minor=state.held_minor + request.amount_minor
    )
    together = {id_: held.units.get(id_, 0) + units.get(id_, 0) for id_ in {*held.units, *units}}
    changed[key] = _held(held.amount_minor + request.amount_minor, together)
    return Answered("granted", at_ms, GRANTED)


def _give_back(
    rows: Rows, request: Released | UnitReturned, public: Public, changed: dict[str, Row]
) -> Answered:
    """Take back what the task holds, at most: no request makes stock or money of nothing."""
    key = task_key(public.pool.pool_id, request.task_id)
    held = rows[key]
    assert isinstance(held, Held)
    state, left = public.state, dict(held.units)
    for id_, units in request.units.items():
        stock = state.stock_of(id_)
        back = min(units, left.get(id_, 0))
        if stock is not None and back:
            left[id_] -= back
            more = msgspec.structs.replace(stock, returned=stock.returned + back)
            state = state.with_stock(more)
    amount_minor = min(request.amount_minor, held.amount_minor)
    held_minor = state.held_minor - amount_minor
    public.state = msgspec.structs.replace(state, held_minor=held_minor)
    changed[key] = _held(held.amount_minor - amount_minor, left)
    return Answered("taken", request.occurred_at_ms)


def _held(amount_minor: int, units: dict[str, int]) -> Held:
    return Held(amount_minor, {id_: units[id_] for id_ in sorted(units) if units[id_]})
