"""Engines of the live benchmark: one module each, one small interface, one registry.

An engine drains the input topics in a process of its own and writes the same reward ids to a
ledger of its own. `run(given)` starts it, waits until it has taken every event, stops it and
returns its `Took`; the benchmark reads the ledger, compares the digest and makes the `Leg`.

Time is one thing for all: it runs from an engine's first sign of work to its last, and the events
between these two are divided by it; start-up, recovery and assignment come before and do not count.
What a sign is, each module says: an event taken, or a transaction's rows as they are stamped.
Where a last commit comes after the last sign it is free, which favours whoever commits seldom.

To add one: a module with an `Engine`, and its name in `registry()`. A program written for it, in
whatever language, writes a `--stats-file` every 0.1 s, whole or not at all: one JSON object with
`processed` (events taken), `first_ms` and `last_ms` (when the first and the last was taken, by the
wall clock, in ms); `at_first`, where the first sign is of another number than 1. Then
`drained` or `until_its_end`, `noted` and `Took.noted` do the rest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.bench.sampling import Sampler
from tests.bench.work import FOLDED, Workload
from tests.kafka.harness import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kafka.harness import Topics
    from tests.kafka.workers import Process

LEAST_PER_S = 300  # slower than this is stuck
START_LIMIT_S = 120.0
LOOK_S = 0.25


@dataclass(frozen=True)
class Given:
    """What an engine gets: an input that lies in the topics, and where to put its state.

    directory: the leg's own, empty.
    """

    topics: Topics
    work: Workload
    directory: Path
    events: int

    @property
    def limit_s(self) -> float:
        """How long a leg may take before it counts as stuck."""
        return time_limit_s(self.events)


@dataclass(frozen=True)
class Took:
    """What a leg took: `events` between the first sign and the last, these two, and the process.

    more: what only this engine tells.
    own_cpu_s: processor time of the span by the program's own account, where it is too short for
        the sampler's.
    """

    events: int
    first_ms: float
    last_ms: float
    used: Sampler
    more: dict[str, Any] = field(default_factory=dict)
    own_cpu_s: float | None = None

    @classmethod
    def noted(cls, stats: dict[str, Any], used: Sampler, **more: Any) -> Took:
        """From the stats that a program wrote."""
        taken = stats["processed"] - stats.get("at_first", 1)
        span = stats["first_ms"], stats["last_ms"]
        return cls(taken, *span, used, more, stats.get("cpu_s"))

    @property
    def seconds(self) -> float:
        assert self.last_ms > self.first_ms, (
            "void: all was taken at once, there is nothing to time; --events must be more"
        )
        return (self.last_ms - self.first_ms) / 1000

    @property
    def events_per_s(self) -> float:
        return self.events / self.seconds

    @property
    def cpu_us(self) -> float:
        cpu_s = self.own_cpu_s
        if cpu_s is None:
            cpu_s = self.used.cpu_s(self.first_ms, self.last_ms)
        return cpu_s / self.events * 1e6


@dataclass(frozen=True)
class Engine:
    """One program of the benchmark.

    settings: what it is tuned with, told beside its figures.
    ledger: the topic of its rewards, made for it as `rewards` is; "" for a limit, which has none.
    missing: what the machine lacks to run it and how to get it, or "".
    sustained: whether it drains the long input too, on which commits fall often enough to count.
    after: an engine whose leg must have run on the same topics before, or "".
    only: the one workload that it folds, or "" for all of them.
    """

    name: str
    run: Callable[[Given], Took]
    settings: str
    ledger: str = ""
    task_events: str = ""
    missing: Callable[[], str] = lambda: ""
    sustained: bool = False
    after: str = ""
    only: str = ""

    def lacks(self, workload: str) -> str:
        """Say why it cannot run this workload here, or "" if it can."""
        if self.only not in {"", workload}:
            return f"it folds the workload {self.only} alone"
        return self.missing()

    @property
    def own_topics(self) -> tuple[str, ...]:
        """What is made for it besides the product's topics."""
        product = ("rewards", "task-events", "")
        return tuple(name for name in (self.ledger, self.task_events) if name not in product)


def registry() -> dict[str, Engine]:
    """Every engine by its name, leidan first; the order of the first round."""
    # They import this module.
    from tests.bench.engines import (  # noqa: PLC0415
        faust,
        kafka_streams,
        leidan,
        limits,
        peers,
    )

    engines = (
        leidan.ENGINE,
        faust.AT_LEAST_ONCE,
        faust.EXACTLY_ONCE,
        peers.QUIX,
        peers.BYTEWAX,
        kafka_streams.ENGINE,
        kafka_streams.PROMPT_ENGINE,
        limits.CONSUME,
        limits.DECODE,
        limits.ROWS,
    )
    return {engine.name: engine for engine in engines}


def own(name: str) -> dict[str, str]:
    """An engine's own ledger and task events, beside leidan's, for the same input."""
    return {"ledger": f"{name}-rewards", "task_events": f"{name}-task-events"}


def time_limit_s(events: int) -> float:
    """How long a program may take over so many events before it counts as stuck."""
    return START_LIMIT_S + events / LEAST_PER_S


def drained(topics: Topics, group: str, limit_s: float, *members: Process) -> None:
    """Wait until the group has committed the whole input. Raises TookTooLong, or a member's end."""

    def over() -> bool:
        for one in members:
            assert one.running, f"{one.name} ended with {one.ended()}\n{one.tail()}"
        return topics.lag(group, FOLDED) == 0

    def unread() -> str:
        lag = topics.lag(group, FOLDED)
        return f"{group} to drain: {lag} records are unread\n{members[0].tail()}"

    wait_until(over, unread, limit_s, LOOK_S)


def until_its_end(given: Given, process: Process, stats: Path) -> tuple[dict[str, Any], Sampler]:
    """Let a program take the whole input and end; return what it noted, and what it used.

    Raises TookTooLong, AssertionError.
    """
    try:
        process.start()
        used = Sampler(process.pid)
        status = process.wait(given.limit_s, "take the whole input")
        assert status == 0, f"{process.name} ended with {status}\n{process.tail()}"
        used.stop()
        return noted(stats, given.events), used
    finally:
        process.close()


def noted(
    path: Path, events: int, limit_s: float = 10, process: Process | None = None
) -> dict[str, Any]:
    """What a program has written to its stats file, once it tells of all events.

    process: its, if it may end too early for that. Raises TookTooLong, AssertionError.
    """
    found: dict[str, Any] = {"processed": 0}

    def told() -> bool:
        if path.is_file():
            found.update(json.loads(path.read_text()))
        if found["processed"] < events and process is not None:
            assert process.running, f"{process.name} ended: {process.ended()}\n{process.tail()}"
        return found["processed"] >= events

    wait_until(told, lambda: f"{path} to tell of {events} events: {found}", limit_s, LOOK_S)
    return found
