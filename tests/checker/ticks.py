"""I14: a tick was not folded before what it had to wait for, so lag expires no task (D8)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.checker.evidence import stands_at
from tests.checker.findings import BROKEN
from tests.checker.transactions import transactions

if TYPE_CHECKING:
    from tests.checker.evidence import Evidence
    from tests.checker.findings import Report


def ticks_wait_for_their_ends(report: Report, evidence: Evidence) -> None:
    """I14: the transaction that takes a tick has read the other topics up to its `ends`."""
    inputs = evidence.all_input()
    for meta, taken, _written in transactions(report, evidence):
        following = json.loads(meta.value or b"null")["next"]
        for tick in (seen for topic in taken for seen in topic if seen.topic == "ticks"):
            report.compared["ticks"] += 1
            for topic, end in (json.loads(tick.value or b"null").get("ends") or {}).items():
                unread = range(following.get(topic, 0), end)
                if any((topic, meta.partition, offset) in inputs for offset in unread):
                    text = f"{stands_at(tick)} was folded before {topic}@{end} was reached"
                    report.add("I14", BROKEN, f"{text}, by {stands_at(meta)}")
