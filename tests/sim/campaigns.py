"""The definitions of every simulated run: one that users claim, one that begins by itself."""

from __future__ import annotations

from functools import cache
from typing import Any

from streams.domain.campaign import Campaigns
from streams.domain.definition import campaign_from
from tests.builders import campaign


def _steps(*values: int) -> list[dict[str, Any]]:
    return [
        {"step": k, "right": {"right_id": f"s{k}", "type": "red_packet", "value_minor": value}}
        for k, value in enumerate(values, 1)
    ]


CLAIMED, BY_ITSELF = "claimed-3", "auto-2"

DEFINITIONS = (
    campaign(campaign_id=CLAIMED, window={"days": 7}, step_rewards=_steps(100, 200, 300)),
    campaign(
        campaign_id=BY_ITSELF,
        enrolment="auto",
        target={"orders": 2},
        qualify={"min_amount_minor": 500},
        rounds={"max": 3},
        step_rewards=_steps(10, 20),
    ),
)


@cache
def registry() -> Campaigns:
    parsed = [campaign_from(definition) for definition in DEFINITIONS]
    assert all(found is not None for found, _ in parsed), [said for _, said in parsed]
    return Campaigns.of(found for found, _ in parsed if found is not None)
