"""The compiled short path beside the kernel: the same record and row go through both.

What the extension takes must leave the same row and say the same records, byte for byte, headers
too; what it leaves must be untouched. `Beside.judge` says which of the two it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from streams import native
from streams.domain import state as states
from streams.domain.fold import Outcome, step
from streams.feed.ports import Outgoing
from streams.wire import orders, outputs, rows

if TYPE_CHECKING:
    from streams.domain.registry import Campaigns
    from streams.domain.state import UserState
    from streams.feed.ports import Record

MODULE, WHY = native.load()
needs_native = pytest.mark.skipif(MODULE is None, reason=f"the compiled short path is {WHY:.40}")
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class Beside:
    """Both paths under one registry."""

    def __init__(self, campaigns: Campaigns) -> None:
        plans = native.plans()
        assert plans is not None, WHY
        self.campaigns, self.plans = campaigns, plans
        self.taken = self.left = 0

    def judge(self, record: Record, before: UserState) -> bool:
        """Return whether the extension took the record; raises AssertionError if it was wrong."""
        row = None if before == states.new(before.user_id) else rows.encode_row(before)
        plan = self.plans.of(self.campaigns, record.recorded_at_ms)
        touched: dict[bytes, bytes] = {}
        said: list[Outgoing] = []
        read = {} if record.key is None else {record.key: row}
        taken = plan.fold([record], 0, 1, touched, read, said) == 1
        if not taken:
            self.left += 1
            assert (touched, said) == ({}, []), "what is not taken has no effect"
            return False
        self.taken += 1
        event = orders.decode(record)  # raises if it took what is refused
        after, expected, outcome = step(before, event, self.campaigns)
        assert outcome is Outcome.APPLIED, "what is in order is applied"
        assert touched == {record.key: rows.encode_row(after)}
        assert said == [outputs.encode(output, record) for output in expected]
        assert all(type(one) is Outgoing for one in said)
        return True

    def scanned(self, record: Record) -> bool:
        """Return whether the scanner takes a record's bytes; it must then read what Python does."""
        plan = self.plans.of(self.campaigns, 0)
        fact = plan.scanned(record.key or b"", record.value or b"", record.recorded_at_ms)
        if fact is None:
            return False
        bare = record._replace(headers=[])  # they are looked at elsewhere
        event = msgspec.structs.replace(orders.decode(bare), user_id="")
        assert fact == _encode(event)
        return True
