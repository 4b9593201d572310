"""The definitions of every simulated run.

One that users claim, one that begins by itself, and those that ask others: two lotteries, a budget
with a supply, and rewards that a rights service must answer.
"""

# Seeded dice, repeatable by design.
# ruff: noqa: S311

from __future__ import annotations

import random
from datetime import UTC, datetime
from functools import cache, reduce
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.domain.campaign import Killed
from streams.domain.registry import Campaigns
from streams.domain.sample import commitment
from streams.topics import TICKS
from tests.builders import CLOSING, campaign, change, pool, shelf
from tests.given import registry as registry_of
from tests.pooling import EVERY_TICKET, SEED, lottery, odds, prize, rights

if TYPE_CHECKING:
    from tests.sim.inputs import Sent


def _steps(*values: int) -> list[dict[str, Any]]:
    return [
        {"step": k, "right": {"right_id": f"s{k}", "type": "red_packet", "value_minor": value}}
        for k, value in enumerate(values, 1)
    ]


CLAIMED, BY_ITSELF = "claimed-3", "auto-2"
SPUN, BY_REQUEST, BUDGETED, ANSWERED = "spun-2", "asked-2", "budgeted-2", "answered-3"

KILLABLE = (CLAIMED, BY_ITSELF, BUDGETED, SPUN, BY_REQUEST, ANSWERED)
LEAD_MS = 60_000

COUPON = {"right_id": "c-1", "type": "coupon", "value_minor": 1}


def _lottery(campaign_id: str, **rules: Any) -> dict[str, Any]:
    return campaign(
        campaign_id=campaign_id,
        features=["light_box", "lottery"],
        target={"orders": 2},
        window={"days": 7},
        qualify={"min_amount_minor": 500, "daily_cap": 0},
        rounds={"max": 3},
        claim=CLOSING,
        step_rewards=None,
        lottery={
            "pool_id": "spinner",
            "odds_version": 1,
            "chances": [{"step": 1, "count": 2}, {"step": "final", "count": 1}],
            **rules,
        },
    )


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
    pool(
        pool_id="spinner",
        commitment=commitment("spinner", SEED),
        prizes=[prize("top", 3, 900, max_per_user=1), prize("five", 6, 50)],
        odds=[odds(("top", 300_000), ("five", 400_000))],
        budget_minor=950,
        fallback=COUPON,
    ),
    shelf(5),
    _lottery(SPUN, draw="immediate"),
    _lottery(BY_REQUEST, draw="request"),
    campaign(
        campaign_id=BUDGETED,
        target={"orders": 2},
        qualify={"min_amount_minor": 500, "daily_cap": 0},
        rounds={"max": 3},
        step_rewards=_steps(10, 20),
        final_rewards=[
            {
                "right_id": "mug",
                "type": "physical",
                "value_minor": 70,
                "supply": "shelf",
                "fallback": COUPON,
            }
        ],
        budget={"amount_minor": 210},
    ),
    campaign(
        campaign_id=ANSWERED,
        results="required",
        window={"days": 7},
        qualify={"min_amount_minor": 500, "daily_cap": 0},
        step_rewards=[
            {"step": k, "right": {**step["right"], "fallback": COUPON}}
            for k, step in enumerate(_steps(100, 200, 300), 1)
        ],
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
def registry(*more: Killed) -> Campaigns:
    """Return all definitions; more: what is defined later on."""
    return reduce(Campaigns.with_record, (*POOLS, *more), registry_of(*DEFINITIONS))


class Late(NamedTuple):
    """A campaign is killed in the middle of a run, a lead after everybody can know of it.

    known: how many records were sent by then, at the most. A process learns of it at its start, or
    any time up to then, whatever others knew before it.
    """

    campaign_id: str
    at_ms: int
    known: int

    @property
    def record(self) -> Killed:
        return Killed(self.campaign_id, self.at_ms)

    @property
    def written(self) -> dict[str, Any]:
        """As an operator writes it, for the models."""
        effective = datetime.fromtimestamp(self.at_ms / 1000, UTC).isoformat()
        return change("campaign.killed", campaign_id=self.campaign_id, effective_from=effective)


def late(seed: int, sent: list[Sent]) -> Late | None:
    """Draw whether a run has one: never without a tick at its end, which tells everybody of it."""
    rng = random.Random(f"definitions {seed}")
    if not sent or sent[-1].topic != TICKS or rng.random() < 0.3:
        return None
    known = rng.randint(len(sent) // 3, len(sent) - 1)
    at_ms = (max(one.at_ms for one in sent[:known]) // 1000 + 1) * 1000 + LEAD_MS
    begun = [one for one in KILLABLE if _may_have_begun(one, sent[:known])]
    if not begun or at_ms > sent[-1].at_ms:
        return None
    return Late(rng.choice(sorted(begun)), at_ms, known)


def _may_have_begun(campaign_id: str, sent: list[Sent]) -> bool:
    """A claim names its campaign; what begins by itself needs no more than an order."""
    if campaign_id == BY_ITSELF:
        return any(one.topic == "orders" for one in sent)
    return any(f'"{campaign_id}"'.encode() in one.value for one in sent)
