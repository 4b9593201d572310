"""What a check says: each violation with its invariant and kind, and how much was compared."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

LOST, TWICE, SPURIOUS, BROKEN = "lost", "twice", "spurious", "broken"
"""Kinds. The first three are about rewards (and, by I10, dead letters); BROKEN is all else."""


class Finding(NamedTuple):
    """One violation: which invariant, of which kind, in words with ids and positions."""

    invariant: str
    kind: str
    text: str


@dataclass
class Report:
    """All findings of one check, and how much was compared (a check of nothing proves nothing)."""

    findings: list[Finding] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)

    def add(self, invariant: str, kind: str, text: str) -> None:
        self.findings.append(Finding(invariant, kind, text))

    def count(self, kind: str) -> int:
        return sum(finding.kind == kind for finding in self.findings)

    @property
    def lost(self) -> int:
        """Rewards that the input earned and the ledger does not have, or not any more."""
        return self.count(LOST)

    @property
    def twice(self) -> int:
        """Ledger entries that a reader gets once too often."""
        return self.count(TWICE)

    @property
    def spurious(self) -> int:
        """Rewards that stand in the ledger and that the input did not earn."""
        return self.count(SPURIOUS)

    def summary(self) -> str:
        """One line: the four counts, and what was compared."""
        counts = ", ".join(f"{self.count(kind)} {kind}" for kind in (LOST, TWICE, SPURIOUS, BROKEN))
        compared = ", ".join(f"{number} {what}" for what, number in sorted(self.compared.items()))
        return f"{counts} (compared: {compared})"

    def __str__(self) -> str:
        lines = [self.summary()]
        by_kind: dict[tuple[str, str], list[Finding]] = defaultdict(list)
        for finding in self.findings:
            by_kind[finding.invariant, finding.kind].append(finding)
        for (invariant, kind), found in sorted(by_kind.items()):
            lines.append(f"  {invariant} {kind}: {len(found)}, first: {found[0].text}")
        return "\n".join(lines)

    def require_clean(self) -> None:
        """Raise AssertionError with counts and first examples, unless nothing was found."""
        assert not self.findings, str(self)
