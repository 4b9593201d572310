"""I1: no event twice, seq 1, 2, 3 for each reward; what was readable once stays so."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.checker.evidence import stands_at
from tests.checker.findings import BROKEN, TWICE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.checker.evidence import Entry, Evidence
    from tests.checker.findings import Report


def each_event_once(report: Report, entries: Iterable[Entry]) -> None:
    """I1: no event id twice; downstream dedupes by it, but must never have to."""
    first: dict[str, Entry] = {}
    for entry in entries:
        report.compared["events"] += 1
        before = first.setdefault(entry.event_id, entry)
        if before is not entry:
            same = "the same bytes" if before.seen.value == entry.seen.value else "OTHER bytes"
            text = f"{entry}: {entry.event_id} stands at {stands_at(before.seen)} already, {same}"
            report.add("I1", TWICE if entry.body["type"].startswith("reward.") else BROKEN, text)


def seq_without_gap(report: Report, ledger: Iterable[Entry]) -> None:
    """I1: per reward issued, revoked, issued ..., seq 1, 2, 3; what repeats is counted above."""
    by_reward: dict[str, list[Entry]] = defaultdict(list)
    known: set[str] = set()
    for entry in ledger:
        if entry.body["type"] != "reward.adjusted" and entry.event_id not in known:
            known.add(entry.event_id)
            by_reward[entry.body["reward_id"]].append(entry)
    for reward_id, entries in by_reward.items():
        report.compared["rewards"] += 1
        found = [(entry.body["seq"], entry.body["type"]) for entry in entries]
        wanted = [
            (seq, "reward.issued" if seq % 2 else "reward.revoked")
            for seq in range(1, len(found) + 1)
        ]
        if found != wanted:
            report.add("I1", BROKEN, f"{reward_id}: {found}, first {entries[0]}")


def nothing_unseen(report: Report, evidence: Evidence) -> None:
    """What a read_committed reader was given during the faults is still there, unchanged."""
    for topic, followed in evidence.followed.items():
        final = {(s.partition, s.offset): s for s in evidence.outputs.get(topic, ())}
        for seen in followed:
            report.compared["followed"] += 1
            if final.get((seen.partition, seen.offset)) != seen:
                report.add("I1", BROKEN, f"{stands_at(seen)} was readable once and is not any more")
