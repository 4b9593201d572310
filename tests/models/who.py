"""Who may take part: audience, hold-out, entry, risk, and the variant (C4, C6; semantics.md 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.models.ids import sample

if TYPE_CHECKING:
    from tests.models.definitions import Version
    from tests.models.facts import Fact, Key


def kept_out(version: Version, user_id: str, event: dict[str, Any]) -> str | None:
    """The first of HOLDOUT, RULE_AUDIENCE, RULE_ENTRY that refuses the event, or None.

    An order that names no entry came from none, and is not judged by it; a claim has to name one.
    """
    if held_out(version, user_id):
        return "HOLDOUT"
    if not in_audience(version, event.get("context")):
        return "RULE_AUDIENCE"
    unnamed = event["type"].startswith("order.") and not event.get("entry")
    if version.entries and not unnamed and event.get("entry") not in version.entries:
        return "RULE_ENTRY"
    return None


def held_out(version: Version, user_id: str) -> bool:
    """Users kept out, to measure uplift: the same ones for every campaign of one salt."""
    lines = ["leidan/holdout/1", version.holdout_salt, user_id]
    return sample(None, lines, 10_000) < version.holdout_bp


def in_audience(version: Version, context: dict[str, Any] | None) -> bool:
    """All clauses hold; what is not said of the user never allows."""
    wanted = version.audience
    segments = (context or {}).get("segments")
    if any(wanted.get(name) for name in ("segments_any", "segments_all", "segments_none")):
        if segments is None:
            return False
        if wanted.get("segments_any") and not set(wanted["segments_any"]) & set(segments):
            return False
        if not set(wanted.get("segments_all", [])) <= set(segments):
            return False
        if set(wanted.get("segments_none", [])) & set(segments):
            return False
    if wanted.get("orders_30d_max") is not None:
        orders = (context or {}).get("orders_30d")
        return orders is not None and orders <= wanted["orders_30d_max"]
    return True


def variant_of(version: Version, context: dict[str, Any] | None) -> Version:
    """The first variant whose segment the user is in has days, target and rewards of its own."""
    segments = (context or {}).get("segments") or []
    for number, variant in enumerate(version.variants, start=1):
        if variant["segment"] in segments:
            return version.of_variant(number)
    return version


def verdict(facts: list[Fact], order_id: str | None, before: Key | None = None) -> str | None:
    """The latest verdict on an order, or with None on the user; before: of the facts before it."""
    said = None
    for fact in facts:
        if fact.kind == "risk.verdict" and (fact.event.get("order_id") or None) == order_id:
            if before is not None and fact.key >= before:
                break
            said = fact["verdict"]
    return said
