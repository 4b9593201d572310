"""One user's row: the facts, where the tasks stand, what we have issued, what we asked of pools.

Of its main parts only the last two depend on the order of arrival (D2):
- `facts`: the set of input facts, in key order. The truth about this user.
- `tasks`: what the rules make of the facts; could be computed again at any time.
- `ledger`: what we told the world (a fact of its own: seq counts how often we changed our mind).
- `asks`: what we asked the pools, each with its answer once there is one (D6).

Beside them: `pins` (which order of a group counted where, once it was paid for), what the rights
service answered, and what is still to be said: notices, deadlines.

Facts, ledger entries and asks lie in the row as already encoded runs (`Packed`), so that an event
in order costs the same with 5 orders in the window as with 200: appended, not decoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T", bound=msgspec.Struct)
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class Packed(msgspec.Struct, Generic[T], frozen=True, array_like=True):
    """`count` msgpack values end to end; `facts.py`, `ledger.py`, `asks.py` know what they are."""

    count: int = 0
    data: bytes = b""

    def added(self, value: T) -> Packed[T]:
        return Packed(self.count + 1, self.data + _encode(value))

    def added_all(self, values: Sequence[T]) -> Packed[T]:
        return Packed(self.count + len(values), self.data + b"".join(map(_encode, values)))

    def as_array(self) -> bytes:
        """Return one msgpack array of all values, for a typed decoder."""
        return b"\xdd" + self.count.to_bytes(4, "big") + self.data


def packed(values: list[T]) -> Packed[T]:
    empty: Packed[T] = Packed()
    return empty.added_all(values)


class Key(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Where a fact stands in the walk: time, rank (claim 0, order 1, cancellation 2), then id."""

    at_ms: int
    rank: int
    id: str
    version: int = 0


WITHDRAWN, KILLED = "withdrawn", "killed"  # how a task ends before its time


class Pin(msgspec.Struct, frozen=True, array_like=True):
    """An order that a rewarded step rests on: of its group, it stays with that task.

    since: the newest fact when it was pinned; what lies before is decided without it.
    """

    order_id: str  # of a checkout
    task_id: str
    group: str
    since: Key


class Task(msgspec.Struct, frozen=True, array_like=True):
    """One run of a campaign version for one user.

    Orders in [start, min(end, closed)) may count. A round that an order began starts, and closes
    the one before, at that order: of two orders of one instant the smaller id comes first.
    """

    task_id: str
    campaign_id: str
    campaign_version: int
    round: int
    begun_at_ms: int  # the claim, or the order that began an auto task
    start_ms: int
    end_ms: int  # the deadline; it never moves
    trigger_order_id: str = ""
    start_order_id: str = ""
    closed_ms: int = 0  # when the next round began; 0: it did not
    closed_order_id: str = ""
    counted: int = 0
    completed_at_ms: int = 0  # time of the order that last met the whole target; 0: not met
    last_day: int = -1  # campaign day of the latest counted order, and how many it has counted
    last_day_count: int = 0
    peak: int = 0  # no reward was ever issued for a step above this (a fact, as rev is)
    rev: int = 0  # task events so far
    variant: int = 0  # of the campaign's variants, from 1; 0: none matched
    pending: bool = False  # counts, but says and is paid nothing before its reservation is granted
    lacks: tuple[str, ...] = ()  # supply pools that had nothing left: their rights' fallbacks go
    accumulated_minor: int = 0  # consumption of the orders counted
    saved_minor: int = 0  # banked for the final reward, of `every_n` in the running cycle
    ended_ms: int = 0  # from here on nothing counts: it was withdrawn or killed; 0: it was not
    ended: str = ""  # WITHDRAWN or KILLED
    paid_step: int = 0  # in a group: the highest step that is paid, its orders are pinned
    held: bool = False  # an order that it counts is under review
    # What time has done to it, and what we said of that: facts as rev and peak are.
    passed_ms: int = 0  # the latest of its own deadlines that a tick has reached
    noticed_ms: int = 0  # the latest of its reminders that a tick has reached, sent or dropped
    expired: bool = False  # task.expired was said, and neither revived nor completed since
    closed: bool = False  # task.closed was said: of a task it is said once, wherever its end moves
    # Of a lottery: the counted orders that brought chances, as (step, checkout id).
    chances: tuple[tuple[int, str], ...] = ()
    frozen: bool = False  # its history was compacted: it stays as it stands (frozen.py)


# Where a reward stands; `rights.py` has the table of how it moves (rows hold the numbers).
ISSUED, REVOKED, SPENT, DEBT, VOID, RESERVED, ISSUING, REVOKING = range(1, 9)
STANDING = frozenset({ISSUING, ISSUED, SPENT})  # with the user, or on its way there


class Entry(msgspec.Struct, array_like=True):
    """One reward in the ledger. value = paid + offset; `owed` is what is left of its debt.

    A debt is what was spent and is no longer due: debt = owed + written_off + what later rewards
    have set off against it.
    """

    reward_id: str
    task_id: str
    campaign_id: str
    campaign_version: int
    round: int
    step: str
    kind: str
    right_id: str
    type: str
    currency: str
    value: int
    seq: int = 0
    state: int = 0
    offset: int = 0
    owed: int = 0
    set_off: list[tuple[str, int]] = []  # which debts the offset went to
    due: bool = True  # the fold says so, as of its last word
    why: str = ""  # it is void: released, uncollected, failed, lapsed, written_off
    held: int = 0  # set aside for it while it waits
    back: int = 0  # what its last revocation takes, or took, back
    debt: int = 0  # all of its debt so far
    written_off: int = 0
    since_ms: int = 0  # since when it is owed: the time of the cause; or uncollected
    frozen: bool = False  # its task's history was compacted: it stays as due as it is

    @property
    def paid(self) -> int:
        return self.value - self.offset


class Notice(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A notice about a reward that waits for its time; `seq` is the issue that it is about."""

    send_from_ms: int
    due_ms: int
    kind: str
    reward_id: str
    seq: int
    campaign_id: str
    campaign_version: int
    until_ms: int = 0  # when it is too late to tell; 0: never


class UserState(msgspec.Struct, frozen=True):
    """All state of one user.

    `version` counts the facts applied and the deadlines passed, never batches or ticks.
    """

    user_id: str
    version: int = 0
    newest: Key = Key(-(2**62), 0, "")
    facts: Packed[Any] = Packed()  # of Fact
    seen: bytes = b""  # 4 bytes for each id in facts: a miss proves an id new, a hit nothing
    tasks: tuple[Task, ...] = ()
    ledger: Packed[Any] = Packed()  # of Entry
    owed_minor: int = 0  # all debts, any currency: 0 lets issuing skip the set-off
    asks: Packed[Any] = Packed()  # of Ask
    asks_ms: int = 0  # the earliest instant at which time alone does something to them; 0: none
    results: bytes = b""  # 12 bytes for each result known, in order: 6 of its id, 6 of its content
    early: Packed[Any] = Packed()  # of RewardResult: they wait for their command, or for money
    ledger_ms: int = 0  # the earliest instant at which time alone changes the ledger; 0: none
    pins: Packed[Any] = Packed()  # of Pin
    notices: tuple[Notice, ...] = ()  # about rewards, the earliest first
    noticed_ms: int = 0  # the latest time of such a notice that a tick has reached
    gone: tuple[Task, ...] = ()  # tasks we spoke of that a late fact has undone; they may return
    due_ms: int = 0  # the earliest instant at which time alone changes something; 0: none
    compact_ms: int = 0  # when a tick next looks for what can be compacted; 0: never
    past_ms: int = 0  # an event of an earlier time may be about what was compacted
    frozen: bytes = b""  # what is left of that; `frozen.py` knows what it is


def new(user_id: str) -> UserState:
    """Return the state of a user of whom nothing is known."""
    return UserState(user_id)


_entries = msgspec.msgpack.Decoder(list[Entry]).decode
_pins = msgspec.msgpack.Decoder(list[Pin]).decode


def unpack_ledger(ledger: Packed[Entry]) -> dict[str, Entry]:
    """Return fresh entries by reward id, in the order in which they were first issued."""
    return {entry.reward_id: entry for entry in _entries(ledger.as_array())}


def pack_ledger(entries: dict[str, Entry]) -> Packed[Entry]:
    return packed(list(entries.values()))


def unpack_pins(pins: Packed[Pin]) -> list[Pin]:
    """Return the pins, the oldest first; nearly every user has none."""
    return _pins(pins.as_array()) if pins.count else []


def canonical_state(state: UserState, ids: list[bytes] | None = None) -> bytes:
    """Return what must not depend on the order of arrival, as bytes to compare.

    Facts, tasks, and the rewards that are due with their value: waiting, given or spent. Without
    what says how often we changed our mind (ledger seq, task rev and peak), without what ticks have
    reached and let us say, without pins, which are facts of their own, and without what the world
    was once given and is not due: debts, and rewards kept (semantics.md 5, L2 and L11: given the
    same facts). A reward that is due and being taken back will be given again, so it is given.

    ids: in place of the facts. How many of them are compacted is a matter of ticks: where either of
    two rows has a frozen part, they are compared by `frozen.ids_of`.
    """
    due = sorted(
        (entry.reward_id, entry.value, _CLASS[entry.state])
        for entry in unpack_ledger(state.ledger).values()
        if entry.due and entry.state in _CLASS
    )
    tasks = [msgspec.structs.replace(task, **_TOLD) for task in state.tasks]
    known = (state.facts if ids is None else ids, state.results)
    return _encode((state.user_id, state.newest, known, tasks, due))


_TOLD: dict[str, Any] = {
    "rev": 0, "peak": 0, "paid_step": 0, "passed_ms": 0, "noticed_ms": 0, "expired": False,
    "closed": False, "frozen": False,
}  # fmt: skip
_CLASS = {RESERVED: 0, ISSUING: 1, ISSUED: 1, REVOKING: 1, SPENT: 2}
