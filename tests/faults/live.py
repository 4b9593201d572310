"""A read_committed reader that checks what it is given *while* the faults happen.

It reads inputs and outputs together. Each entry it is given is checked at once, beside all earlier
ones of its user, with the functions of `tests/checker.py` that hold for any prefix of a ledger: I1
no event twice and seq without a gap, I3 balanced books, I4 a cause that exists. At the end
`compare` holds what it saw against a fresh read: a record once seen must stand there, unchanged.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from tests import checker
from tests.kafka.harness import USER_KEYED, Reader

if TYPE_CHECKING:
    from tests.checker import Entry, Seen
    from tests.kafka.harness import Topics

LEDGER, SAID = "rewards", "task-events"


class LiveReader:
    """Reads in a thread of its own from its making until `stop`; brokers may come and go."""

    def __init__(self, topics: Topics) -> None:
        self.report = checker.Report()
        self.read = 0
        self._reader = Reader(topics, (LEDGER, SAID, *USER_KEYED), patient=True)
        self._taken = dict.fromkeys((LEDGER, SAID, *USER_KEYED), 0)
        self._inputs: dict[tuple[str, int, int], Seen] = {}
        self._by_user: dict[str, dict[str, list[Entry]]] = {
            name: defaultdict(list) for name in (LEDGER, SAID)
        }
        self._uncaused: list[tuple[Entry, tuple[str, int, int]]] = []
        self._told: set[checker.Finding] = set()
        self._stop = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._reader.some(0.25)
                self.check()
        except BaseException as error:  # noqa: BLE001 - handed over in stop()
            self.error = error

    def check(self) -> None:
        """Check what came since the last time."""
        for topic in USER_KEYED:
            for seen in self._new(topic):
                self._inputs[topic, seen.partition, seen.offset] = seen
        for topic in (LEDGER, SAID):
            touched = set()
            for seen in self._new(topic):
                entry = checker.Entry.of(seen)
                self._by_user[topic][entry.body["user_id"]].append(entry)
                touched.add(entry.body["user_id"])
                at = checker.cause_at(self.report, entry)
                if at is not None:
                    self._uncaused.append((entry, at))
                self.read += 1
            for user_id in touched:
                self._check_user(topic, self._by_user[topic][user_id])
        waiting = []
        for entry, at in self._uncaused:
            topic, p, offset = at
            if self._reader.position(topic, p) > offset:
                checker.cause_is(self.report, entry, at, self._inputs.get(at))
            else:  # written before, as its output is there, but not yet read by us
                waiting.append((entry, at))
        self._uncaused = waiting

    def _new(self, topic: str) -> list[Seen]:
        seen = self._reader.seen[topic]
        new = seen[self._taken[topic] :]
        self._taken[topic] = len(seen)
        return new

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
                self.report.add(finding.invariant, finding.kind, finding.text)

    def close(self) -> None:
        """End it, whatever it has read; `stop` has done so already when a run went well."""
        self._stop.set()
        self._thread.join(30)

    def stop(self) -> dict[str, list[Seen]]:
        """Read to the end, check that too; return the outputs seen, for `Evidence.followed`."""
        self._stop.set()
        self._thread.join(30)
        if self.error is not None:
            raise self.error
        try:
            self._reader.to_the_end()
        finally:
            self._reader.close()
        self.check()
        for entry, at in self._uncaused:
            checker.cause_is(self.report, entry, at, self._inputs.get(at))
        return {topic: self._reader.seen[topic] for topic in (LEDGER, SAID)}
