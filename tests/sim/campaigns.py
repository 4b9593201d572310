"""The definitions of every simulated run: one that users claim, one that begins by itself."""

from __future__ import annotations

from functools import cache
from typing import Any

from streams.domain.campaign import Campaigns
from streams.domain.definition import campaign_from
from streams.domain.sample import commitment
from tests.builders import campaign
from tests.pooling import EVERY_TICKET, SEED, lottery, odds, prize, rights


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


POOLS = (
    lottery(
        pool_id="wheel",
        commitment=commitment("wheel", SEED),
        prizes=[
            prize("top", 3, 900, max_per_user=1, release={"kind": "even", "jitter": True}),
            prize("five", 5, 50),
        ],
        odds=[odds(("top", 300_000), ("five", 400_000))],
        budget_minor=3_000,
        fallback={"right_id": "c-1", "type": "coupon", "value_minor": 1},
    ),
    lottery(
        pool_id="last-one",
        commitment=commitment("last-one", SEED),
        prizes=[prize("sure", 1, 10)],
        odds=[odds(("sure", EVERY_TICKET))],
    ),
    rights(cup=4, cake=2),
)
"""Drawn and reserved from by requests that a test client sends, beside the shops' records."""


@cache
def registry() -> Campaigns:
    parsed = [campaign_from(definition) for definition in DEFINITIONS]
    assert all(found is not None for found, _ in parsed), [said for _, said in parsed]
    return Campaigns.of([*POOLS, *(found for found, _ in parsed if found is not None)])
