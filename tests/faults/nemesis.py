"""The nemesis: one fault of brokers, network or membership after the other, at random by a seed.

One at a time, so that a quorum is never away for more than tens of seconds; the kills of workers
(`fleet.py`) go on meanwhile. A fault counts when it landed: a broker's process was gone or stopped,
the proxy's journal has a line, a worker left or slept. After each, the fleet must heal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.faults.proxy import Api, Do
from tests.kafka.cluster import ClusterError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.faults.fleet import Fleet
    from tests.faults.proxy import Proxies
    from tests.kafka.cluster import Cluster

LAND_S = 10.0
"""A fault that waits for a request to come by is given up after that: it did not land."""

HELD = {
    "EndTxn": Api.END_TXN,
    "AddOffsets": Api.ADD_OFFSETS_TO_TXN,
    "TxnOffsetCommit": Api.TXN_OFFSET_COMMIT,
    "Produce": Api.PRODUCE,
}


class Nemesis:
    """Runs in a thread of its own until `stop`."""

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        cluster: Cluster,
        proxies: Proxies,
        fleet: Fleet,
        rng: random.Random,
        *,
        brokers: int,
        every_s: float,
    ) -> None:
        self.landed: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.now = ""
        self.error: BaseException | None = None
        self._cluster, self._proxies, self._fleet, self._rng = cluster, proxies, fleet, rng
        self._brokers, self._every_s = brokers, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nemesis", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> None:
        """End the fault under way; everything runs and is connected once it is not `alive`."""
        self._stop.set()

    def _run(self) -> None:
        try:
            deck: list[tuple[str, Callable[[], bool]]] = []
            while not self._stop.wait(self._every_s * self._rng.uniform(0.5, 1.5)):
                if not deck:  # every fault once, in another order each time
                    deck = list(self._faults().items())
                    self._rng.shuffle(deck)
                name, fault = deck.pop()
                self._one(name, fault)
                self._until(lambda name=name: not self._fleet.healing(name), 90)
        except BaseException as error:  # noqa: BLE001 - told at the end of the round
            self.error = error
        finally:
            self._fleet.blocked, self.now = False, ""

    def _one(self, name: str, fault: Callable[[], bool]) -> None:
        self.now, self._fleet.blocked = name, True
        landed = fault()
        self._fleet.over(name, time.monotonic())
        self.now, self._fleet.blocked = "", False
        (self.landed if landed else self.missed)[name] += 1

    def _until(self, holds: Callable[[], bool], limit_s: float) -> bool:
        until_s = time.monotonic() + limit_s
        while not holds():
            if time.monotonic() > until_s or self._stop.wait(0.1):
                return False
        return True

    def _last(self, least_s: float, most_s: float) -> None:
        self._stop.wait(self._rng.uniform(least_s, most_s))

    # -- the faults: each returns whether it landed, with everything as it was before ------------

    def _faults(self) -> dict[str, Callable[[], bool]]:
        faults: dict[str, Callable[[], bool]] = {
            "broker kill -9": lambda: self._broker(self._cluster.kill),
            "broker SIGTERM": lambda: self._broker(self._cluster.stop),
            "broker SIGSTOP": self._broker_asleep,
            "refused": lambda: self._network(Do.REFUSE, 2, 8),
            "black hole": lambda: self._network(Do.BLACK_HOLE, 3, 14),
            "half open": lambda: self._network(Do.HALF_OPEN, 3, 10),
            "slow 2 s": lambda: self._network(Do.DELAY, 8, 15, delay_s=2.0),
            "markers late": self._markers_late,
            "commit answers lost": lambda: self._spoilt(Do.DROP_ANSWER, 2),
            "commit answers cut": lambda: self._spoilt(Do.CUT_ANSWER, 5),
            "commits lost": lambda: self._spoilt(Do.DROP, 2),
            "rebalance": self._rebalance,
            "worker SIGSTOP": self._worker_asleep,
        }
        for what, api in HELD.items():
            faults[f"{what} held"] = lambda api=api: self._held(api)
        return faults

    def _a_broker(self) -> int:
        return self._rng.randrange(self._brokers)

    def _broker(self, end: Callable[[int], None]) -> bool:
        i = self._a_broker()
        end(i)
        gone = not self._cluster.running(i)
        self._last(0.2, 6)
        try:
            self._cluster.restart(i)
        except ClusterError as error:  # not ready in time on a busy machine: once more
            print(f"broker {i}: {error}", flush=True)
            self._cluster.restart(i)
        return gone

    def _broker_asleep(self) -> bool:
        pid = self._cluster.pid(self._a_broker())
        os.kill(pid, signal.SIGSTOP)
        try:
            self._last(2, 14)
        finally:
            os.kill(pid, signal.SIGCONT)
        return True

    def _network(self, do: Do, least_s: float, most_s: float, delay_s: float = 0.0) -> bool:
        """On one broker's proxy, or on all of them."""
        brokers = () if self._rng.random() < 0.4 else (self._a_broker(),)
        with self._proxies.fault(do, brokers=brokers, delay_s=delay_s) as fault:
            self._last(least_s, most_s)
            return fault.landed > 0

    def _markers_late(self) -> bool:
        late = self._rng.uniform(0.5, 4)
        apis = (Api.WRITE_TXN_MARKERS,)
        with self._proxies.fault(Do.DELAY, listener="BROKER", apis=apis, delay_s=late) as fault:
            self._last(5, 10)
            return fault.landed > 0

    def _spoilt(self, do: Do, times: int) -> bool:
        with self._proxies.fault(do, apis=(Api.END_TXN,), times=times) as fault:
            self._until(lambda: fault.landed == times, LAND_S)
            return fault.landed > 0

    def _held(self, api: Api) -> bool:
        """Held past the client's timeout of 5 s as a rule, then let go into whatever is there."""
        with self._proxies.fault(Do.HOLD, apis=(api,), times=1) as fault:
            if not self._until(lambda: fault.landed > 0, LAND_S):
                return False
            self._last(4, 9)
            fault.release()
            return True

    def _rebalance(self) -> bool:
        slot = self._rng.choice(self._fleet.slots)
        before = self._fleet.departures
        slot.wanted = False
        self._until(lambda: not slot.worker.running and slot.started_s == 0.0, 40)
        left = self._fleet.departures > before
        self._last(5, 12)  # its session is 6 s
        slot.wanted = True
        return left

    def _worker_asleep(self) -> bool:
        slot = self._rng.choice(self._fleet.slots)
        slot.frozen = True  # nobody else kills it meanwhile
        try:
            if not self._until(lambda: slot.worker.running, LAND_S):
                return False
            self._last(0, 4)
            pid = slot.worker.pid
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
            self._last(7, 14)
            slept = slot.worker.running and slot.worker.pid == pid
            if slept:
                os.kill(pid, signal.SIGCONT)
            return slept
        finally:
            slot.frozen = False
