"""What a claim asks of the pools before its task is granted (C5, C8; semantics.md 7).

The pools' answers are given: facts of the user. A denial holds from the beginning: that claim never
began a task, so a later one may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.models.ids import request_id

if TYPE_CHECKING:
    from tests.models.definitions import Version
    from tests.models.facts import Fact
    from tests.models.rounds import Round
    from tests.models.world import World


BUDGET = "reserve"


def rights_of(version: Version) -> list[dict[str, Any]]:
    """The rights of all steps and of the end, once each as often as a cycle gives them."""
    return [reward["right"] for reward in version.step_rewards] + list(version.final_rewards)


def purposes_of(version: Version) -> list[str]:
    """`reserve` money of the campaign's budget, `reserve:<pool>` units of a pool of rights."""
    purposes = [BUDGET] if version.budget else []
    return purposes + [f"{BUDGET}:{pool}" for pool in supplies_of(version)]


def supplies_of(version: Version) -> list[str]:
    return sorted({right["supply"] for right in rights_of(version) if right.get("supply")})


def answers_to(world: World, this: Round, cause_id: str) -> dict[str, Fact | None]:
    """{purpose: what the pool answered} to what one cause asked for this task."""
    return {
        purpose: world.answers.get(request_id(this.task_id, purpose, cause_id))
        for purpose in purposes_of(this.version)
    }


def outcome(version: Version, answers: dict[str, Fact | None]) -> str | frozenset[str]:
    """BUDGET_EXHAUSTED, RIGHTS_EXHAUSTED, or the right_ids whose fallback is given instead."""
    fallbacks: set[str] = set()
    for purpose, answer in answers.items():
        if answer is None or answer.kind != "pool.denied":
            continue
        if purpose == BUDGET:
            return "BUDGET_EXHAUSTED"
        wanting = [r for r in rights_of(version) if purpose == f"{BUDGET}:{r.get('supply')}"]
        if not all(right.get("fallback") for right in wanting):
            return "RIGHTS_EXHAUSTED"
        fallbacks |= {right["right_id"] for right in wanting}
    return frozenset(fallbacks)


def reserved(world: World, this: Round) -> tuple[str | frozenset[str], bool]:
    """(`outcome`, whether every pool has answered): until it has, the task is pending.

    What began a task is the task's, whichever cause asked for it: an earlier claim or order that
    is read later begins the same task, and needs no second reservation.
    """
    own = answers_to(world, this, this.cause_id)
    if any(own.values()):
        return outcome(this.version, own), all(own.values())
    for fact in world.facts:
        found = answers_to(world, this, fact.cause_id)
        if found and all(found.values()):
            began = outcome(this.version, found)
            if not isinstance(began, str):
                return began, True
    return frozenset(), not own
