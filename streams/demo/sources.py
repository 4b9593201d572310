"""What the demo sends: simulated users or a real year, as it is or as unkind as a log can be."""

from __future__ import annotations

import random  # an edge: seeded, decides about the order of arrival and nothing else
from typing import TYPE_CHECKING

from streams.demo.sending import TickDue
from streams.demo.shoppers import Shoppers
from streams.topics import schemas_dir
from streams.traffic import START_MS, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from streams.demo.sending import Sent
    from streams.domain.campaign import Campaign

TIMES_MAX = 3  # `repeated` sends each record one to three times


def sample_phases() -> list[Path]:
    """Return the definitions of the four phases, in their order: what the demo shows."""
    return sorted((schemas_dir() / "samples").glob("phase-*.json"))


def sample_campaign_for_data(*, lottery: bool = False) -> Path:
    """Return the definition that fits the real year, with a draw for every cycle if wanted."""
    name = "retail-lottery.json" if lottery else "retail-every-3.json"
    return schemas_dir() / "samples" / name


def simulated(
    *, seed: int, users: int, orders: int, chaos: str, campaigns: Sequence[Campaign] = ()
) -> Traffic:
    """Return seeded traffic that begins when all of the campaigns are in force.

    chaos: names joined by commas, as traffic.CHAOS has them. Raises UsageError for others.
    """
    kinds = _kinds(chaos)
    if not campaigns:
        return Traffic(seed, users, orders, kinds)
    first_days = [c.calendar.begins_ms(c.first_day) for c in campaigns if c.first_day is not None]
    in_force = max(c.effective_from_ms for c in campaigns)
    # A window with a first day must be met; any other is as good in the traffic's own weeks.
    start = max(in_force, *first_days) if first_days else max(in_force, START_MS)
    return Traffic(
        seed,
        users,
        orders,
        kinds,
        start=start,
        campaigns=[one.campaign_id for one in campaigns],
        currency=campaigns[0].currency,
    )


def _kinds(chaos: str) -> list[str]:
    return [kind.strip() for kind in chaos.split(",") if kind.strip()]


def side_by_side(
    *, seed: int, users: int, orders: int, chaos: str, campaigns: Sequence[Campaign]
) -> Shoppers:
    """Return seeded traffic of users who take part in all of the campaigns at once."""
    return Shoppers(seed, users, orders, _kinds(chaos), campaigns)


def with_ticks(records: Sequence[Sent], every_ms: int, at_least: int) -> Iterator[Sent | TickDue]:
    """Yield the records, and the time whenever their own clock has moved on by so much.

    at_least: records between two ticks, so that the thin end of a log does not come in drops.
    """
    day_ms, number = 0, 0
    for record in records:
        at_ms = record[3] // every_ms * every_ms
        if at_ms > day_ms:
            if number >= max(at_least, 1):
                yield TickDue(at_ms)
                number = 0
            day_ms = at_ms
        number += 1
        yield record


def repeated(records: Iterable[Sent], seed: int) -> Iterator[Sent]:
    """Yield each record one to three times, one after the other."""
    rng = random.Random(f"leidan/repeat/1 {seed}")
    for record in records:
        for _ in range(1 + int(rng.random() * TIMES_MAX)):
            yield record


def shuffled(records: Iterable[Sent], seed: int) -> list[Sent]:
    """Return the records in an order that has nothing to do with time, across and within topics."""
    rng = random.Random(f"leidan/shuffle/1 {seed}")
    return sorted(records, key=lambda _: rng.random())
