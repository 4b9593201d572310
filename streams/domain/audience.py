"""Who may take part: the hold-out, the audience, the entry, and which variant somebody gets.

Judged once, on what the claim says (an automatic task: what its order says). What is not known
never allows: a user without segments is not outside of all of them, nothing is known of that user.
Source: semantics.md 2 (`audience`, `holdout_bp`, `variants`, `entries`), 3 C4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.sample import sample

if TYPE_CHECKING:
    from streams.domain.campaign import Campaign
    from streams.domain.events import Context
    from streams.domain.features import Audience

BASIS_POINTS = 10_000


def refusal(campaign: Campaign, user_id: str, entry: str | None, context: Context | None) -> str:
    """Return HOLDOUT, RULE_AUDIENCE or RULE_ENTRY, the first that refuses, or the empty text.

    entry: None where it is not asked for: most shops do not say from where an order came.
    """
    if campaign.holdout_bp and held_out(campaign, user_id):
        return "HOLDOUT"
    if campaign.audience is not None and not _allows(campaign.audience, context):
        return "RULE_AUDIENCE"
    if campaign.entries and entry is not None and entry not in campaign.entries:
        return "RULE_ENTRY"
    return ""


def held_out(campaign: Campaign, user_id: str) -> bool:
    """Tell whether the user is kept out to measure the uplift: the same answer at every claim."""
    salt = campaign.holdout_salt or campaign.campaign_id
    value, _ = sample(None, ("leidan/holdout/1", salt, user_id), BASIS_POINTS)
    return value < campaign.holdout_bp


def variant_of(campaign: Campaign, context: Context | None) -> int:
    """Return the first variant whose segment the user is in, from 1; 0: none."""
    known = context.segments if context is not None else None
    for number, variant in enumerate(campaign.variants, 1):
        if known is not None and variant.segment in known:
            return number
    return 0


def _allows(audience: Audience, context: Context | None) -> bool:
    segments = context.segments if context is not None else None
    orders_30d = context.orders_30d if context is not None else None
    if audience.segments_any or audience.segments_all or audience.segments_none:
        if segments is None:
            return False
        if audience.segments_any and audience.segments_any.isdisjoint(segments):
            return False
        if not audience.segments_all.issubset(segments):
            return False
        if not audience.segments_none.isdisjoint(segments):
            return False
    most = audience.orders_30d_max
    return most is None or (orders_30d is not None and orders_30d <= most)
