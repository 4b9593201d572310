"""What an operator writes, checked: every problem named at once, nothing guessed.

`definition_from` turns one JSON object of the `campaigns` topic into a campaign, a pool, or a
change of one of them. `fields.py` takes a field by name and type, `campaign.py` and `pool.py` know
the fields of each record, `between.py` the rules between them. What depends on other records, as a
pool that must exist, is the registry's (`Campaigns.with_record`).
Source: semantics.md 2, the field table and the table `Refused`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.domain.campaign import Campaign, Killed, Stopped
from streams.domain.definition import pool
from streams.domain.definition.between import refuse_unclear
from streams.domain.definition.campaign import read_campaign
from streams.domain.definition.fields import Fields
from streams.domain.pool import BudgetAdded, OddsAdded, Pool, PoolChange, PoolClosed, Restocked

if TYPE_CHECKING:
    from collections.abc import Callable

Definition = Campaign | Stopped | Killed | Pool | PoolChange


def _campaign(top: Fields) -> Campaign | None:
    campaign = read_campaign(top)
    if campaign is not None:
        refuse_unclear(top, campaign)
    return None if top.problems else campaign


READERS: dict[str, Callable[[Fields], Definition | None]] = {
    "campaign.defined": _campaign,
    "campaign.stopped": pool.read_stopped,
    "campaign.killed": pool.read_killed,
    "budget.added": pool.read_budget_added,
    "pool.defined": pool.read_pool,
    "pool.odds_added": pool.read_odds_added,
    "pool.restocked": pool.read_restocked,
    "pool.closed": pool.read_closed,
}
TYPES: dict[type, str] = {
    Campaign: "campaign.defined",
    Stopped: "campaign.stopped",
    Killed: "campaign.killed",
    BudgetAdded: "budget.added",
    Pool: "pool.defined",
    OddsAdded: "pool.odds_added",
    Restocked: "pool.restocked",
    PoolClosed: "pool.closed",
}


def definition_from(definition: Any) -> tuple[Definition | None, list[str]]:
    """Return what one record defines, or None and every problem as `<path>: <problem>`.

    definition: the parsed JSON object of one record of `campaigns`.
    """
    top = Fields(definition, "")
    if top.problems:
        return None, top.problems
    type_ = top.choice("type", tuple(READERS))
    top.integer("v", 1, 1)
    if type_ not in READERS:  # its other fields would all be unknown
        return None, top.problems
    record = READERS[type_](top)
    top.refuse_unknown()
    return (None, top.problems) if top.problems else (record, [])


def campaign_from(definition: Any) -> tuple[Campaign | None, list[str]]:
    """As `definition_from`, of `campaign.defined` alone."""
    record, problems = definition_from(definition)
    if record is not None and not isinstance(record, Campaign):
        return None, ["type: must be campaign.defined"]
    return record, problems


def label(record: Definition) -> str:
    """Return what people call a record: `veg-spin version 2`, `pool.closed of veg-wheel`."""
    if isinstance(record, Campaign):
        return f"{record.campaign_id} version {record.version}"
    of = record.campaign_id if isinstance(record, Stopped | Killed) else record.pool_id
    return f"{TYPES[type(record)]} of {of}"
