"""Rights as an operator writes them, alone or by step, and what becomes of them when lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.campaign import OWABLE, Right
from streams.domain.definition.fields import MAX_MINOR, NAME, REQUIRED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.domain.definition.fields import Fields

RIGHT_TYPES = ("red_packet", "cash", "points", "coupon", "voucher", "physical")
POLICIES = ("keep", "revoke", "debt")
# What no definition says by name: revoke until the right is issued, then keep it.
UNTIL_ISSUED = "until_issued"
DEFAULT_POLICIES = {kind: "debt" if kind in OWABLE else "revoke" for kind in RIGHT_TYPES} | {
    "physical": UNTIL_ISSUED
}
SAVED = "saved_amount"
MOST_FALLBACKS = 3  # one behind another; a deeper chain is a slip, or an attack


def read_right(
    fields: Fields, *, fixed: str = "", supplied: bool = True, fallbacks: int = MOST_FALLBACKS
) -> Right:
    """Read a right. fixed: why its value may not be the saved amount; supplied: it may have a pool.

    A fallback is what is given when units run out, so it cannot have a supply that runs out too.
    """
    value = fields.choice("value", (SAVED,), "")
    if value and fixed:
        fields.problem("value", fixed)
    if value and fields.has("value_minor"):
        fields.problem("value_minor", "does not go with value")
    supply = fields.text("supply", "", NAME)
    if supply and not supplied:
        fields.problem("supply", "not here: these units come from no pool of rights")
    fallback = None
    if fields.has("fallback") and not fallbacks:
        fields.take("fallback", None)
        fields.problem("fallback", f"more than {MOST_FALLBACKS} behind one another")
    elif fields.has("fallback"):
        inner = fields.inner("fallback")
        fallback = read_right(inner, fixed=fixed, supplied=False, fallbacks=fallbacks - 1)
    right = Right(
        right_id=fields.text("right_id", pattern=NAME),
        type=fields.choice("type", RIGHT_TYPES),
        value_minor=fields.integer("value_minor", 0, MAX_MINOR, 0 if value else REQUIRED),
        quantity=fields.integer("quantity", 1, 10**9, 1),
        valid_days=fields.integer("valid_days", 1, 3660, 30),
        face=fields.text("face", ""),
        value=value,
        fallback=fallback,
        supply=supply,
    )
    fields.refuse_unknown()
    return right


def read_final_rewards(fields: Fields) -> tuple[Right, ...]:
    return tuple(read_right(one) for one in fields.items("final_rewards"))


def read_step_rewards(fields: Fields) -> dict[int, tuple[Right, ...]]:
    steps: dict[int, tuple[Right, ...]] = {}
    for one in fields.items("step_rewards"):
        step = one.integer("step", -(10**9), 10**9)
        right = one.inner("right", REQUIRED)
        fixed = read_right(right, fixed="step rewards have a fixed value")
        steps[step] = (*steps.get(step, ()), fixed)
        one.refuse_unknown()
    return steps


def read_policies(top: Fields) -> dict[str, str]:
    fields, policies = top.inner("clawback"), dict(DEFAULT_POLICIES)
    for kind in RIGHT_TYPES:
        policy = fields.choice(kind, POLICIES, policies[kind])
        if policy == "debt" and kind not in OWABLE:
            fields.problem(kind, f"{kind} cannot be owed")
        policies[kind] = policy
    fields.refuse_unknown()
    return policies


def with_fallbacks(rights: Iterable[Right]) -> list[Right]:
    """Return the rights and, behind each, what is given in its stead."""
    found: list[Right] = []
    for right in rights:
        one: Right | None = right
        while one is not None:
            found.append(one)
            one = one.fallback
    return found
