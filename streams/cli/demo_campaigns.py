"""The part of the demo's summary that is about campaigns and lotteries: one row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.demo.summary import Summary
    from streams.domain.campaign import Campaign
    from streams.domain.definition import Definition
    from streams.domain.pool import Pool
    from streams.domain.verify import Verified

PHASES = ("full_link", "lottery", "dark_box", "light_box")
"""A campaign is named after the first of these that it has."""


def campaign_rows(summary: Summary, definitions: Sequence[Definition]) -> dict[str, dict[str, Any]]:
    """Return what every campaign came to, by id, in the order of the definitions.

    Amounts are minor units. `budget_minor`: the campaign's own; of one that gives prizes alone, the
    pool's; else None. `reserved_minor`: of the budget, set aside for tasks that are not over.
    """
    from streams.demo.tally import Tally

    found = {}
    for campaign_id, one in _campaigns(definitions).items():
        tally = summary.campaigns.get(campaign_id, Tally())
        states, issued, revoked = tally.states(), tally.issued, tally.revoked
        reserved = tally.reserved_minor - tally.spent_minor if one.budget is not None else 0
        found[campaign_id] = {
            "phase": next((phase for phase in PHASES if phase in one.features), ""),
            "tasks": len(tally.tasks),
            "completed": states["completed"],
            "expired": states["expired"],
            "rejected": dict(tally.rejected),
            "rewards_issued": issued.total(),
            "rewards_revoked": revoked.total(),
            "rewards_failed": tally.failed,
            "rewards_net": issued.total() - revoked.total() - tally.failed,
            "issued_by_kind": dict(issued),
            "revoked_by_kind": dict(revoked),
            "draws": dict(tally.draws),
            "currency": one.currency,
            "spent_minor": tally.spent_minor,
            "budget_minor": _budget_minor(one, _pools(definitions)),
            "reserved_minor": reserved,
            "debts": tally.debts,
        }
    return found


def lottery_rows(
    summary: Summary, definitions: Sequence[Definition], proved: Mapping[str, Verified | str]
) -> dict[str, dict[str, Any]]:
    """Return what every lottery came to, by pool, and whether its public records prove it."""
    found = {}
    for pool_id, held in sorted(proved.items()):
        pool = _pools(definitions)[pool_id]
        drawing = [
            summary.campaigns[one.campaign_id].spent_on["prize"]
            for one in _campaigns(definitions).values()
            if one.lottery is not None and one.lottery.pool_id == pool_id
        ]
        found[pool_id] = {
            **({"mismatch": held} if isinstance(held, str) else held._asdict()),
            "currency": pool.currency,
            "spent_minor": sum(drawing),
            "budget_minor": pool.budget_minor,
        }
    return found


def _campaigns(definitions: Sequence[Definition]) -> dict[str, Campaign]:
    """Return the last version of each."""
    from streams.domain.campaign import Campaign

    return {one.campaign_id: one for one in definitions if isinstance(one, Campaign)}


def _pools(definitions: Sequence[Definition]) -> dict[str, Pool]:
    from streams.domain.pool import Pool

    return {one.pool_id: one for one in definitions if isinstance(one, Pool)}


def _budget_minor(one: Campaign, pools: Mapping[str, Pool]) -> int | None:
    if one.budget is not None and one.budget.amount_minor:
        return one.budget.amount_minor
    if one.lottery is None or one.final_rewards or one.step_rewards:
        return None
    return pools[one.lottery.pool_id].budget_minor


def _spent(row: dict[str, Any]) -> str:
    budget = row["budget_minor"]
    spent = f"{row['spent_minor']:,} {row['currency']}"
    return f"{spent} of {budget:,} ({100 * row['spent_minor'] / budget:.0f} %)" if budget else spent


def print_lotteries(rows: dict[str, dict[str, Any]]) -> None:
    """Print a line each on stdout; what is wrong is said elsewhere."""
    for pool_id, row in rows.items():
        if "mismatch" not in row:
            click.echo(
                f"\nlottery {pool_id}: {row['draws']:,} draws, {row['won']:,} won, prizes for"
                f" {_spent(row)}; proved from its {row['records']:,} public records"
                f"{'' if row['revealed'] else ', before the reveal'}"
            )


def print_campaigns(rows: dict[str, dict[str, Any]]) -> None:
    """Print the table on stdout."""
    head = ("campaign", "tasks", "completed", "issued", "revoked", "net", "draws won", "debts")
    click.echo()
    click.echo(_line(head, "spent of its budget, minor units"))
    for campaign_id, row in rows.items():
        draws = row["draws"]
        drawn = f"{draws.get('won', 0):,} of {sum(draws.values()):,}" if draws else "-"
        numbers = [
            f"{row[name]:,}"
            for name in ("tasks", "completed", "rewards_issued", "rewards_revoked", "rewards_net")
        ]
        click.echo(_line((campaign_id, *numbers, drawn, f"{row['debts']:,}"), _spent(row)))


def _line(cells: Sequence[str], last: str) -> str:
    first, *rest = cells
    widths = (7, 11, 8, 9, 8, 14, 7)
    return (
        f"{first:<16}"
        + "".join(f"{c:>{w}}" for c, w in zip(rest, widths, strict=True))
        + f"  {last}"
    )
