"""A read_committed reader that checks what it is given *while* the faults happen.

It reads inputs and outputs together. Each entry it is given is checked at once, beside all earlier
ones of its user, with the functions of `tests/checker` that hold for any prefix of a ledger: I1
no event twice and seq without a gap, I3 balanced books, I4 a cause that exists. What it saw is
handed on as `Evidence.followed`: a fresh read at the end must find it there, unchanged.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from tests import checker
from tests.kafka.harness import FOLDED, Reader, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.checker import Entry, Position, Seen
    from tests.kafka.harness import Topics

LEDGER, SAID = "rewards", "task-events"


class LiveCheck:
    """The check, fed records of inputs and outputs in offset order of their partitions."""

    def __init__(self) -> None:
        self.report = checker.Report()
        self.read = 0  # outputs
        self._inputs: dict[Position, Seen] = {}
        self._by_user: dict[tuple[str, str], list[Entry]] = defaultdict(list)
        self._uncaused: list[tuple[Entry, Position]] = []
        self._told: set[checker.Finding] = set()

    def take_input(self, records: Iterable[Seen]) -> None:
        for seen in records:
            self._inputs[seen.position] = seen

    def take_output(self, records: Iterable[Seen]) -> None:
        """Check them beside what their users were given before."""
        touched = set()
        for seen in records:
            entry = checker.Entry.of(seen)
            whose = seen.topic, entry.body["user_id"]
            self._by_user[whose].append(entry)
            touched.add(whose)
            at = checker.cause_at(self.report, entry)
            if at is not None:
                self._uncaused.append((entry, at))
            self.read += 1
        for topic, user_id in touched:
            self._check_user(topic, self._by_user[topic, user_id])

    def settle(self, position: Callable[[str, int], int]) -> None:
        """Check causes as far as the input has been read, up to `position(topic, partition)`.

        A cause was written before its output could be, but we may not have come so far.
        """
        waiting = []
        for entry, at in self._uncaused:
            topic, p, offset = at
            if position(topic, p) > offset:
                checker.cause_is(self.report, entry, at, self._inputs.get(at))
            else:
                waiting.append((entry, at))
        self._uncaused = waiting

    def _check_user(self, topic: str, entries: list[Entry]) -> None:
        """One user's entries lie in one partition, so what we have is a prefix of them."""
        found = checker.Report()
        checker.each_event_once(found, entries)
        if topic == LEDGER:
            checker.seq_without_gap(found, entries)
            checker.books_balance(found, entries)
        self.report.compared[f"{topic} read live"] += 1
        for finding in found.findings:
            if finding not in self._told:  # the user's next entry would tell it again
                self._told.add(finding)
                self.report.add(*finding)


class LiveReader:
    """Reads in a thread of its own from its making until `stop`; brokers may come and go."""

    def __init__(self, topics: Topics) -> None:
        self.checked = LiveCheck()
        self.error: BaseException | None = None
        names = (LEDGER, SAID, *FOLDED)
        # of three brokers one may not have heard of a topic that was just made
        wait_until(
            lambda: {topic for topic, _ in topics.partitions(names)} == set(names),
            lambda: "every topic to be known",
            30,
        )
        self._reader = Reader(topics, names, patient=True)
        self._taken = dict.fromkeys(names, 0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()

    @property
    def report(self) -> checker.Report:
        return self.checked.report

    @property
    def read(self) -> int:
        return self.checked.read

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._reader.some(0.25)
                self._check()
        except BaseException as error:  # noqa: BLE001 - handed over in stop()
            self.error = error

    def _check(self) -> None:
        for topic in FOLDED:
            self.checked.take_input(self._new(topic))
        for topic in (LEDGER, SAID):
            self.checked.take_output(self._new(topic))
        self.checked.settle(self._reader.position)

    def _new(self, topic: str) -> list[Seen]:
        seen = self._reader.seen[topic]
        new = seen[self._taken[topic] :]
        self._taken[topic] = len(seen)
        return new

    def close(self) -> None:
        """End it, whatever it has read; `stop` has done so already when a run went well."""
        self._stop.set()
        self._thread.join(30)

    def stop(self) -> dict[str, list[Seen]]:
        """Read to the end, check that too; return the outputs seen, for `Evidence.followed`."""
        self.close()
        if self.error is not None:
            raise self.error
        try:
            self._reader.to_the_end()
        finally:
            self._reader.close()
        self._check()
        self.checked.settle(lambda _topic, _p: 1 << 62)  # what has no cause by now never will
        return {topic: self._reader.seen[topic] for topic in (LEDGER, SAID)}
