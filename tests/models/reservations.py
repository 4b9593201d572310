"""What a claim asks of the pools before its task is granted (C5, C8; semantics.md 7).

The pools' answers are given: facts of the user. A denial holds from the beginning: that claim never
began a task, so a later one may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.models.ids import request_id

if TYPE_CHECKING:
    from tests.models.definitions import Version
    from tests.models.rounds import Round
    from tests.models.world import World


def rights_of(version: Version) -> list[dict[str, Any]]:
    """The rights of all steps and of the end, once each as often as a cycle gives them."""
    return [reward["right"] for reward in version.step_rewards] + list(version.final_rewards)


def worst_case_minor(version: Version) -> int:
    """What one task may cost at most: every step and final reward in every cycle."""
    cycles = version.target // version.per_cycle
    return cycles * sum(worst_value_minor(version, right) for right in rights_of(version))


def worst_value_minor(version: Version, right: dict[str, Any]) -> int:
    """The dearest of a right and its fallbacks; a saved amount costs at most its cap."""
    own = right.get("value_minor", 0)
    if right.get("value") == "saved_amount":
        own = highest_saved_minor(version)
    fallback = right.get("fallback")
    return max(own, worst_value_minor(version, fallback)) if fallback else own


def highest_saved_minor(version: Version) -> int:
    rule = version.saved or {}
    if rule.get("cap_minor"):
        return rule["cap_minor"]
    if rule["rule"] == "fixed":
        return rule["value_minor"] * version.per_cycle
    if rule["rule"] == "table":
        table = rule["table"]
        return sum(table[min(step, len(table)) - 1] for step in range(1, version.per_cycle + 1))
    return rule["max"] * version.per_cycle


def requests_of(this: Round) -> dict[str, str]:
    """{request_id: purpose}: one for the budget, one for each pool that supplies a right."""
    purposes = [f"budget:{this.version.campaign_id}"] if this.version.budget else []
    purposes += supplies_of(this.version)
    return {request_id(this.task_id, purpose, this.cause_id): purpose for purpose in purposes}


def supplies_of(version: Version) -> list[str]:
    return sorted({right["supply"] for right in rights_of(version) if right.get("supply")})


def denied(world: World, this: Round) -> str | frozenset[str]:
    """BUDGET_EXHAUSTED, RIGHTS_EXHAUSTED, or the right_ids whose fallback is given instead."""
    fallbacks: set[str] = set()
    for request, purpose in requests_of(this).items():
        answer = world.answers.get(request)
        if answer is None or answer.kind != "pool.denied":
            continue
        if purpose.startswith("budget:"):
            return "BUDGET_EXHAUSTED"
        wanting = [right for right in rights_of(this.version) if right.get("supply") == purpose]
        if not all(right.get("fallback") for right in wanting):
            return "RIGHTS_EXHAUSTED"
        fallbacks |= {right["right_id"] for right in wanting}
    return frozenset(fallbacks)


def is_granted(world: World, this: Round) -> bool:
    """Whether every request has been answered; until then the task is pending."""
    return all(request in world.answers for request in requests_of(this))
