"""What is due of a round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.models.ids import h

if TYPE_CHECKING:
    from tests.models.rounds import Round


def rewards_of(this: Round, counted: int) -> dict[str, tuple[str, str, str, int]]:
    """Step k for each k counted, the final at each multiple of Y; labels run on over cycles."""
    due = {}
    for label in range(1, counted + 1):
        step = (label - 1) % this.version.per_cycle + 1
        rights = [("step", r["right"]) for r in this.version.step_rewards if r["step"] == step]
        if step == this.version.per_cycle:
            rights += [("final", right) for right in this.version.final_rewards]
        for kind, right in rights:
            name = "rwd_" + h("reward", this.task_id, str(label), kind, right["right_id"])
            due[name] = (str(label), kind, right["right_id"], right["value_minor"])
    return due
