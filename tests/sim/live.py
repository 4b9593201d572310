"""Invariants that can be judged while the faults happen, at the moment the coordinator decides.

Cheap parts of I1, I4 and I8; the whole is `tests/checker`, at the end. A violation is written
down and ends the run: what comes after it proves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from streams.store import meta

if TYPE_CHECKING:
    from streams.feed.ports import Offsets, Record
    from tests.sim.broker import At, Broker, Transactions
    from tests.sim.fibers import Process

OUTPUTS = ("rewards", "task-events")


class Live:
    """``found``: violations so far, each beginning with its invariant."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.found: list[str] = []
        self.tampered = False
        self.compared = 0
        self.newest: dict[int, int] = {}  # batch number of V by p
        self._events: dict[str, At] = {}
        self._seq: dict[str, int] = {}
        broker.on_decided = self.decided

    def decided(self, transaction: Transactions, _commit: bool) -> None:  # noqa: FBT001
        """A commit was taken: V == C for every p of it, C never goes back, causes are new."""
        moved, before = transaction.offsets or {}, self.broker.decided
        for at, offset in moved.items():
            if offset < before.get(at, 0):
                self._say(f"I8: C of {at} goes back from {before[at]} to {offset}")
        vectors: dict[int, Offsets] = {}
        for record in transaction.written:
            if record.key == meta.META:
                found = meta.decode_meta(record.value or b"")
                vectors[record.partition] = found.next
                newest = self.newest.get(record.partition, 0)
                if found.batch != newest + 1:
                    self._say(f"I6: batch {found.batch} of p{record.partition} after {newest}")
                self.newest[record.partition] = found.batch
            elif record.topic in OUTPUTS:
                self._output(record, moved)
        sent: dict[int, Offsets] = {}
        for (topic, p), offset in moved.items():
            sent.setdefault(p, {})[topic] = offset
        if sent != vectors:
            self._say(f"I8: offsets {sent} sent with meta rows {vectors}")

    def _output(self, record: Record, moved: dict[At, int]) -> None:
        self.compared += 1
        body = orjson.loads(record.value or b"null")
        where = record.topic, record.partition, record.offset
        event_id = body["event_id"]
        if event_id in self._events:
            self._say(f"I1: {event_id} at {where} stands at {self._events[event_id]} already")
        self._events[event_id] = record.topic, record.partition
        if "seq" in body and body["type"] != "reward.adjusted":
            seq = self._seq.get(body["reward_id"], 0) + 1
            if body["seq"] != seq:
                self._say(f"I1: {body['reward_id']} at {where} has seq {body['seq']} for {seq}")
            self._seq[body["reward_id"]] = body["seq"]
        headers = dict(record.headers)
        cause = headers["cause-topic"].decode(), int(headers["cause-partition"])
        offset = int(headers["cause-offset"])
        # A tick with many users is taken by the last of the transactions that it is a cause of.
        end = moved.get(cause, 0) + (cause[0] == "ticks")
        if not self.broker.decided.get(cause, 0) <= offset < end:
            self._say(f"I4: {where} names {cause}@{offset}, which this transaction did not take")

    def rows_written(self, process: Process, p: int, following: Offsets) -> None:
        """I8: L <= C always, unless C was moved from outside; that is refused a moment later."""
        if self.tampered:
            return
        for topic, offset in following.items():
            c = self.broker.decided.get((topic, p), 0)
            if offset > c:
                self._say(f"I8: {process} has L {topic}[{p}]@{offset}, C is {c}")

    def _say(self, text: str) -> None:
        self.found.append(text)
