r"""The rows of a pool: what is left, and small rows beside it for what must not grow in one.

A row travels as one changelog record, so a pool of a million draws keeps each answered request,
each entrant with a limit and each task with a reservation in a row of its own. All of them have
keys of the same pool and lie in its partition. Source: semantics.md 6 and 7; D6.

Key                               Row
`\x01pool:<pool_id>`              PoolState, about 100 bytes and 20 for each prize or right
`\x01req:<pool_id>:<request_id>`  Answered, 10 to 30 bytes; kept as long as the pool's state is
`\x01ent:<pool_id>:<entrant>`     Entrant, only where a prize with a limit was won
`\x01tsk:<pool_id>:<task_id>`     Held, until all of it has been given back

Control characters cannot occur in ids that come from outside, so no user's row is ever met.
"""

from __future__ import annotations

import msgspec

POOL, REQUEST, ENTRANT, TASK = "\x01pool:", "\x01req:", "\x01ent:", "\x01tsk:"

TASKS = "tasks"
"""The stock of a budget that bounds how many tasks may reserve: one unit each."""

FALLBACK = "fallback"
"""What stands for the pool's fallback right where a prize is named."""


class Stock(msgspec.Struct, frozen=True, array_like=True):
    """Units of one prize or right. L7: defined + restocked + returned = given + left.

    Nothing is given where none is left. Below zero is what had returned and was spent all the same.
    """

    id: str
    defined: int
    restocked: int = 0
    returned: int = 0
    given: int = 0

    @property
    def left(self) -> int:
        return self.defined + self.restocked + self.returned - self.given


class PoolState(msgspec.Struct, frozen=True, array_like=True):
    """One pool, as its requests and its operator's records have made it."""

    known: bool = False  # its definition has taken effect
    applied: int = 0  # how many of its changes have: the first so many of the registry's
    no: int = 0  # public records so far
    previous: str = ""  # digest of the last of them
    closed_at_ms: int | None = None  # before the defined time
    revealed: bool = False
    budget_minor: int | None = None  # with what was added; None: not bounded
    held_minor: int = 0  # reserved or out; L8: above the budget only by what had not returned
    stock: tuple[Stock, ...] = ()

    def stock_of(self, id_: str) -> Stock | None:
        for stock in self.stock:
            if stock.id == id_:
                return stock
        return None

    def with_stock(self, changed: Stock) -> PoolState:
        stock = tuple(changed if each.id == changed.id else each for each in self.stock)
        return msgspec.structs.replace(self, stock=stock)

    def can_pay(self, amount_minor: int) -> bool:
        return self.budget_minor is None or self.held_minor + amount_minor <= self.budget_minor


class Answered(msgspec.Struct, frozen=True, array_like=True):
    """What a request was told; asked again, it is told the same."""

    answer: str = ""  # drawn, granted, denied, taken (nothing is said); empty: never asked
    at_ms: int = 0
    outcome: str = ""
    given: str = ""  # of a draw: the prize, or FALLBACK
    returned: bool = False  # ... which came back
    restored: bool = False  # ... and its unit with it, to the stock of a pool that was open


class Entrant(msgspec.Struct, frozen=True, array_like=True):
    """How often one user has won each prize that has a limit. A prize given back still counts."""

    won: dict[str, int] = {}


class Held(msgspec.Struct, frozen=True, array_like=True):
    """What a task has reserved and not given back."""

    amount_minor: int = 0
    units: dict[str, int] = {}


Row = PoolState | Answered | Entrant | Held


def pool_key(pool_id: str) -> str:
    return POOL + pool_id


def request_key(pool_id: str, request_id: str) -> str:
    return f"{REQUEST}{pool_id}:{request_id}"


def entrant_key(pool_id: str, entrant: str) -> str:
    return f"{ENTRANT}{pool_id}:{entrant}"


def task_key(pool_id: str, task_id: str) -> str:
    return f"{TASK}{pool_id}:{task_id}"


def pool_of(key: str) -> str:
    """Return whose row this is of a pool's; the other half of the key holds no colon."""
    kind, _, rest = key.partition(":")
    return rest if kind + ":" == POOL else rest.rpartition(":")[0]


_EMPTY: dict[str, Row] = {
    POOL: PoolState(),
    REQUEST: Answered(),
    ENTRANT: Entrant(),
    TASK: Held(),
}


def is_pool_key(key: str) -> bool:
    return key.startswith("\x01")


def new(key: str) -> Row:
    """Return the row of which nothing is known, by the kind of its key."""
    return _EMPTY[key[: key.index(":") + 1]]
