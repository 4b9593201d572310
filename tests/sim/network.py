"""What lies between a client and the broker: requests and answers are lost, late and doubled.

As librdkafka does, a request that was not answered within its socket timeout is sent again until
the call's own limit; so a first copy may arrive after the second was answered, or after the client
gave up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.sim.broker import KafkaSays

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.broker import Broker
    from tests.sim.fibers import Scheduler

SOCKET_S = 5.0
AGAIN_S = 0.02

INTO_THE_NEXT = -1.0
"""A delay: until the same transactional id has begun another transaction."""

REQUEST_LOST, RESPONSE_LOST, DELAYED, SLOW = "request lost", "response lost", "delayed", "slow"


class Fault(NamedTuple):
    """What happens to one request. hard: sending it again does not help within the call."""

    kind: str
    delay_s: float
    hard: bool


class TimedOut(Exception):
    """No answer within the call's limit."""


class Network:
    """``fault_of(api, who)`` is asked for every request; None: nothing happens to it."""

    def __init__(self, clock: Scheduler, broker: Broker) -> None:
        self.clock, self.broker = clock, broker
        self.fault_of: Callable[[str, str], Fault | None] = lambda _api, _who: None
        self.on_error: Callable[[str], None] = lambda _who: None

    def call(self, who: str, api: str, ask: Callable[[], Any], limit_s: float) -> Any:
        """Return the broker's answer. Raises KafkaSays, TimedOut. ``ask`` may run twice."""
        clock, broker = self.clock, self.broker
        clock.point()
        deadline_s = clock.now_s + limit_s
        hard = False
        while clock.now_s < deadline_s:
            left_s = min(deadline_s - clock.now_s, SOCKET_S)
            if broker.away():
                self.on_error(who)
                clock.wait(lambda: not broker.away(), left_s)
                continue
            fault = Fault(REQUEST_LOST, 0.0, hard=True) if hard else self.fault_of(api, who)
            if fault is not None and fault.kind == SLOW:
                clock.sleep(min(fault.delay_s, left_s))
                fault = None
            if fault is None:
                try:
                    return ask()
                except KafkaSays as says:
                    if says.code != "CONCURRENT_TRANSACTIONS":
                        raise
                    clock.sleep(AGAIN_S)
                    continue
            hard = fault.hard
            if fault.kind == RESPONSE_LOST:
                self._arrive(api, ask)
            elif fault.kind == DELAYED:
                self._later(who, api, ask, fault.delay_s)
            clock.sleep(left_s)
        raise TimedOut(api)

    def _later(self, who: str, api: str, ask: Callable[[], Any], delay_s: float) -> None:
        def arrive() -> None:
            self._arrive(api, ask, late=True)

        if delay_s == INTO_THE_NEXT:
            self.broker.held.setdefault(who, []).append(arrive)
        else:
            self.clock.after(delay_s, arrive)

    def _arrive(self, api: str, ask: Callable[[], Any], *, late: bool = False) -> None:
        try:
            ask()
        except KafkaSays as says:
            if late:
                self.broker.count(f"late {api} refused: {says.code}")
        else:
            if late:
                self.broker.count(f"late {api} obeyed")
