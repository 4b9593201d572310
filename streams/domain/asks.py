"""What a user's fold asked of pools, and what they answered: one `Ask` a request (D6).

Shared stock has a single writer; a fold only asks, and an ask is said once. The answer to it is a
fact of the user and stands in the ask as well, so that nobody has to search the history for it.
Source: semantics.md 4 (`draw-requests`), 6, 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.domain.splice import Splice
from streams.domain.state import packed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.domain.events import PoolAnswered
    from streams.domain.state import Packed

RESERVE, DRAW = "reserve", "draw"
ASKED, GRANTED, DENIED, DRAWN, EXPIRED, RELEASED, RETURNED = range(1, 8)
_STATES = {(RESERVE, "granted"): GRANTED, (RESERVE, "denied"): DENIED, (DRAW, "drawn"): DRAWN}


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """One request to a pool, and how far it has come.

    A reservation: asked, then granted or denied; a grant is released in the end, down to what the
    task's rewards still hold. A chance: asked, then drawn; a prize lost for good is returned. A
    chance that died with its pool is here as expired, though nobody asked.
    """

    request_id: str
    purpose: str  # RESERVE, DRAW
    pool_id: str
    task_id: str
    at_ms: int  # of what made us ask
    until_ms: int  # the task's end + grace: until then nothing is given back
    state: int = ASKED
    step: str = ""  # of a draw: the chance's label
    cause_id: str = ""  # of a reservation: what would begin the task, or fell short of money
    amount_minor: int = 0
    units: dict[str, int] = {}  # by right_id
    released: dict[str, int] = {}  # as units; minor units under the empty name
    right: bytes = b""  # of a draw: canonical JSON of what was won; empty: nothing
    round: int = 0  # of a reservation: its task's, which may be gone when the answer comes
    campaign_version: int = 0


def with_answer(ask: Ask, answer: PoolAnswered) -> Ask | None:
    """Return an ask with the answer to it; None: it has one already, or is another pool's."""
    state = _STATES.get((ask.purpose, answer.answer))
    if state is None or ask.state != ASKED or ask.pool_id != answer.pool_id:
        return None
    return msgspec.structs.replace(ask, state=state, right=answer.right)


class Asked:
    """All asks of one user, in the order in which they were made."""

    def __init__(self, asks: Iterable[Ask] = ()) -> None:
        self._by_id = {ask.request_id: ask for ask in asks}
        self._draws = {(a.task_id, a.step): a for a in self._by_id.values() if a.purpose == DRAW}

    @property
    def any(self) -> bool:
        return bool(self._by_id)

    def get(self, request_id: str) -> Ask:
        return self._by_id[request_id]

    def put(self, ask: Ask) -> None:
        """Add an ask, or what has become of one."""
        self._by_id[ask.request_id] = ask
        if ask.purpose == DRAW:
            self._draws[ask.task_id, ask.step] = ask

    def draw(self, task_id: str, label: str) -> Ask | None:
        return self._draws.get((task_id, label))

    def draws(self) -> list[Ask]:
        return list(self._draws.values())

    def reservations(self) -> list[Ask]:
        return [ask for ask in self._by_id.values() if ask.purpose == RESERVE]

    def over(self) -> frozenset[str]:
        """Return the tasks whose reservation was released: what they get back is the budget's."""
        of_budget = [ask for ask in self.reservations() if ask.amount_minor]
        released = {ask.task_id for ask in of_budget if ask.state == RELEASED}
        return frozenset(released - {ask.task_id for ask in of_budget if ask.state == GRANTED})

    def answered(self, answer: PoolAnswered) -> Asked | None:
        """Return the asks with one more answer; None: nobody asked that, or not so."""
        ask = self._by_id.get(answer.request_id)
        told = None if ask is None else with_answer(ask, answer)
        if told is None:
            return None
        after = Asked(self._by_id.values())
        after.put(told)
        return after

    def pack(self) -> Packed[Ask]:
        return packed(list(self._by_id.values()))


SPLICE = Splice(Ask)
_RESERVATION = "req_"  # what the ids of reservations begin with; those of draws do not
_decode = msgspec.msgpack.Decoder(list[Ask]).decode


def reservations(asks: Packed[Ask]) -> list[Ask]:
    """Return what was asked of budgets and supplies: draws, of which there are many, unread."""
    return list(SPLICE.each(asks, _RESERVATION)) if asks.count else []


def unpack(asks: Packed[Ask]) -> Asked:
    return Asked(_decode(asks.as_array()) if asks.count else ())
