"""What a counted order banks for the final reward of its task, or of its cycle.

Not paid before the target is met: with the window it is forfeited. Source: semantics.md 2 `saved`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.sample import sample

if TYPE_CHECKING:
    from streams.domain.features import Saved

BASIS_POINTS = 10_000


def banked_minor(saved: Saved, task_id: str, step: int, in_cycle: int, spent_minor: int) -> int:
    """Return what the order at `step` banks; no cap applied.

    in_cycle: the step within its cycle, for tables. spent_minor: the order's consumption.
    """
    if saved.rule == "fixed":
        return saved.value_minor
    if saved.rule == "percent":
        return spent_minor * saved.bp // BASIS_POINTS
    if saved.rule == "table":
        return saved.table[min(in_cycle, len(saved.table)) - 1]
    width = saved.max_minor - saved.min_minor + 1
    value, _ = sample(None, ("leidan/saved/1", task_id, str(step)), width)
    return saved.min_minor + value


def with_banked(saved: Saved, so_far_minor: int, banked: int) -> int:
    """Return the sum, at most the cap of the campaign."""
    total = so_far_minor + banked
    return min(total, saved.cap_minor) if saved.cap_minor else total
