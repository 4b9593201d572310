"""One thing runs at a time, and the seed says which: processes of the simulation as fibers.

The code under test blocks (a restore waits for the LSO, a result for its task), so each of its
threads is a fiber: a thread that runs only while it holds the baton. The baton changes hands at
port calls and nowhere else, to a fiber that the seed draws; time is virtual and moves only when
nobody can run. So a schedule is a function of the seed, though the code under test is unchanged.

A killed process raises `Killed` wherever it stands; from then on none of its calls has an effect.
"""

from __future__ import annotations

import heapq
import math
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

CALL_S = 0.0005
"""What a call costs by itself: time must pass, or two things could wait for each other."""


class Killed(BaseException):
    """kill -9. Not an Exception, so that nothing in the code under test takes it for an error."""


class Stuck(AssertionError):
    """Nobody can run and nothing is due."""


class Process:
    """One incarnation of a worker: what dies, sleeps and wakes as a whole."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.dead = False
        self.stopped_until_s = 0.0  # SIGSTOP

    def __str__(self) -> str:
        return f"{self.name}.{self.number}"


class Fiber:
    """A thread of a process. Made by `Scheduler.spawn`."""

    def __init__(self, name: str, process: Process | None) -> None:
        self.name, self.process = name, process
        self.baton = threading.Lock()
        self.baton.acquire()
        self.ready_when: Callable[[], bool] | None = None
        self.wake_s = 0.0

    def wakes_s(self) -> float:
        """When it can go on if nothing but time passes."""
        process = self.process
        if process is None:
            return self.wake_s
        return self.wake_s if process.dead else max(self.wake_s, process.stopped_until_s)

    def can_run(self, now_s: float) -> bool:
        process = self.process
        if process is not None:
            if process.dead:
                return True  # to unwind
            if now_s < process.stopped_until_s:
                return False
        return now_s >= self.wake_s or (self.ready_when is not None and self.ready_when())


class Scheduler:
    """Draws who runs. The thread that makes it is the first fiber, the conductor."""

    def __init__(self, rng: random.Random, switch_rate: float) -> None:
        self.rng, self.switch_rate = rng, switch_rate
        self.now_s = 1_000.0
        self.current = self.conductor = Fiber("conductor", None)
        self.fibers = [self.conductor]
        self.failed: list[BaseException] = []  # errors of the simulation itself
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._tie = 0
        self.switches = 0
        self.in_timer = False

    def spawn(self, name: str, fn: Callable[[], None], process: Process) -> None:
        """Begin a fiber; it runs when it is drawn."""
        fiber = Fiber(name, process)

        def body() -> None:
            fiber.baton.acquire()
            try:
                if not process.dead:
                    fn()
            except Killed:
                pass
            except BaseException as error:  # noqa: BLE001 - the conductor raises it
                self.failed.append(error)
            self.fibers.remove(fiber)
            self._hand_over(self._draw())

        self.fibers.append(fiber)
        threading.Thread(target=body, name=name, daemon=True).start()

    def after(self, delay_s: float, fn: Callable[[], None]) -> None:
        """Call it once so much time has passed. It must not wait for anything."""
        self._tie += 1
        heapq.heappush(self._timers, (self.now_s + delay_s, self._tie, fn))

    def point(self) -> None:
        """A call from the code under test: time passes, and perhaps somebody else runs."""
        self._die_if_dead()
        self.now_s += CALL_S
        if self._timers and self._timers[0][0] <= self.now_s:
            self._run_timers()
            self._die_if_dead()
        if self.rng.random() < self.switch_rate:
            self._yield(self.now_s, None)

    def sleep(self, seconds: float) -> None:
        self._yield(self.now_s + seconds, None)

    def wait(self, ready_when: Callable[[], bool], timeout_s: float = math.inf) -> bool:
        """Return once it is so, True, or once the time is over, False."""
        if not ready_when():
            self._yield(self.now_s + timeout_s, ready_when)
            return ready_when()
        self.point()
        return True

    def end(self, processes: list[Process]) -> None:
        """Kill what is left and unwind it, so that no thread stays behind."""
        assert self.current is self.conductor
        for process in processes:
            process.dead = True
        self.wait(lambda: len(self.fibers) == 1)
        if self.failed:
            raise self.failed[0]

    def _yield(self, wake_s: float, ready_when: Callable[[], bool] | None) -> None:
        me = self.current
        self._die_if_dead()
        me.wake_s, me.ready_when = wake_s, ready_when
        chosen = self._draw()
        if chosen is not me:
            self._hand_over(chosen)
            me.baton.acquire()
        me.ready_when = None
        self._die_if_dead()

    def _hand_over(self, fiber: Fiber) -> None:
        self.switches += 1
        self.current = fiber
        fiber.baton.release()

    def _die_if_dead(self) -> None:
        process = self.current.process
        if process is not None and process.dead:
            raise Killed

    def _draw(self) -> Fiber:
        while True:
            self._run_timers()
            now_s = self.now_s
            able = [fiber for fiber in self.fibers if fiber.can_run(now_s)]
            if able:
                return able[0] if len(able) == 1 else able[int(self.rng.random() * len(able))]
            due_s = min(fiber.wakes_s() for fiber in self.fibers)
            if self._timers:
                due_s = min(due_s, self._timers[0][0])
            if due_s == math.inf:
                raise Stuck([fiber.name for fiber in self.fibers])
            self.now_s = max(now_s, due_s)

    def _run_timers(self) -> None:
        while self._timers and self._timers[0][0] <= self.now_s:
            fn: Any = heapq.heappop(self._timers)[2]
            self.in_timer = True  # nobody's call: what it kills finds out at its next one
            try:
                fn()
            except Exception as error:  # noqa: BLE001 - not the fiber's that happens to run
                self.failed.append(error)
            finally:
                self.in_timer = False
