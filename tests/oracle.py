"""What the real year must earn, from the files alone: plain dicts, nothing of `streams`.

The campaign it answers for: automatic enrolment, every `every` counted orders earn one final
reward (`every_n`), `days` UTC days from `first_day`, an order counts if at least `min_minor` pence
are left after returns, at most `daily_cap` orders a day (0: no cap), at most `max_cycles` rewards.
There are no discounts in the data, so what a line cost is what its return gives back
(semantics.md 5, rule 2, with C = A).

Run as a program it prints the figures and the dirt it met: `python -m tests.oracle DIRECTORY`.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "online-retail-2010"
"""Beside the checkout; tests that need it skip by name where it is absent."""

TOMBSTONE = timedelta(days=60)  # semantics.md 5, rule 8


@dataclass(frozen=True)
class Outcome:
    """Per user and in all; users are customer ids, a user without a counted order has 0."""

    counted: dict[str, int]
    rewards: dict[str, int]
    tasks: frozenset[str]  # users with an order that would count when it was placed
    guests: int  # orders without a customer: dead letters `no_user`
    guest_returns: int  # documents without a customer that name at least one line
    orders: int
    documents: int

    @property
    def rewards_net(self) -> int:
        return sum(self.rewards.values())


def read(path: Path) -> list[dict]:
    """Return a file's objects in time order, ties in file order."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return sorted((json.loads(line) for line in lines), key=lambda row: instant(row["at"]))


def instant(at: str) -> datetime:
    """The shop's local time, which the data writes as UTC."""
    return datetime.fromisoformat(at).astimezone(UTC)


def oracle(  # noqa: PLR0913  the campaign, field by field
    directory: Path = DATA,
    *,
    every: int = 3,
    min_minor: int = 5000,
    first_day: str = "2009-12-01",
    days: int = 400,
    daily_cap: int = 1,
    max_cycles: int = 133,
) -> Outcome:
    """Read both files and count; see `count` for the rules."""
    return count(
        read(directory / "orders.ndjson.gz"),
        read(directory / "cancellations.ndjson.gz"),
        every=every,
        min_minor=min_minor,
        first_day=first_day,
        days=days,
        daily_cap=daily_cap,
        max_cycles=max_cycles,
    )


def count(  # noqa: PLR0913  the campaign, field by field
    orders: list[dict],
    documents: list[dict],
    *,
    every: int,
    min_minor: int,
    first_day: str,
    days: int,
    daily_cap: int,
    max_cycles: int,
) -> Outcome:
    """Count what survives; both lists in time order.

    An order id seen again is not a second order; the first stays. A line below one unit or below
    zero pence is no sale and no return. A return acts on an order of the same customer only, on a
    line that exists, up to the units bought, and if the order came at most 60 days after it.
    """
    first = date.fromisoformat(first_day)
    last = first + timedelta(days=days)  # exclusive
    known: dict[str, dict] = {}
    for order in orders:
        known.setdefault(order["order_id"], order)
    back = units_back(known, documents)

    per_day: dict[str, Counter[date]] = defaultdict(Counter)
    tasks = set()
    for order_id, order in known.items():
        user, day = order["customer_id"], instant(order["at"]).date()
        if user is None or not first <= day < last:
            continue
        if pence_left(order, {}) >= min_minor:
            tasks.add(user)
        returned = back.get(order_id, {})
        if pence_left(order, returned) >= min_minor and not all_back(order, returned):
            per_day[user][day] += 1

    counted = {}
    for user in {order["customer_id"] for order in known.values()} - {None}:
        reached = sum(min(n, daily_cap) if daily_cap else n for n in per_day[user].values())
        counted[user] = min(reached, every * max_cycles)
    return Outcome(
        counted=counted,
        rewards={user: n // every for user, n in counted.items()},
        tasks=frozenset(tasks),
        guests=sum(order["customer_id"] is None for order in orders),
        guest_returns=sum(d["customer_id"] is None and bool(d["lines"]) for d in documents),
        orders=len(orders),
        documents=len(documents),
    )


def units_back(known: dict[str, dict], documents: list[dict]) -> dict[str, dict[int, int]]:
    """{order_id: {line index: units back}}, not yet capped at what was bought."""
    back: dict[str, dict[int, int]] = {}
    seen = set()
    for document in documents:
        if document["cancellation_id"] in seen:
            continue
        seen.add(document["cancellation_id"])
        for line in document["lines"]:
            order = known.get(line["order_id"] or "")
            if order is None or order["customer_id"] != document["customer_id"]:
                continue  # never bought here, or by somebody else
            if line["qty"] < 1 or not 0 <= line["line"] < len(order["lines"]):
                continue
            if instant(order["at"]) > instant(document["at"]) + TOMBSTONE:
                continue
            units = back.setdefault(order["order_id"], {})
            units[line["line"]] = units.get(line["line"], 0) + line["qty"]
    return back


def pence_left(order: dict, returned: dict[int, int]) -> int:
    left = 0
    for index, line in enumerate(order["lines"]):
        if line["qty"] >= 1 and line["unit_price"] >= 0:
            left += (line["qty"] - min(line["qty"], returned.get(index, 0))) * line["unit_price"]
    return left


def all_back(order: dict, returned: dict[int, int]) -> bool:
    sold = [(index, line["qty"]) for index, line in enumerate(order["lines"]) if line["qty"] >= 1]
    return bool(sold) and all(returned.get(index, 0) >= units for index, units in sold)


def dirt(directory: Path = DATA) -> dict[str, int]:
    """How often each oddity of real data occurs, zeros included: what was looked for is said."""
    orders = read(directory / "orders.ndjson.gz")
    documents = read(directory / "cancellations.ndjson.gz")
    known = {order["order_id"]: order for order in reversed(orders)}
    found = Counter(
        {
            "order ids again": len(orders) - len(known),
            "document ids again": len(documents) - len({d["cancellation_id"] for d in documents}),
            "guest orders": sum(order["customer_id"] is None for order in orders),
            "guest documents": sum(d["customer_id"] is None for d in documents),
            "orders without lines": sum(not order["lines"] for order in orders),
            "documents without lines": sum(not d["lines"] for d in documents),
            "orders worth nothing": sum(pence_left(order, {}) == 0 for order in orders),
        }
    )
    for order in orders:
        for line in order["lines"]:
            found["order lines below one unit"] += line["qty"] < 1
            found["order lines below zero pence"] += line["unit_price"] < 0
            found["order lines for nothing"] += line["unit_price"] == 0
    for document in documents:
        links = Counter((line["order_id"], line.get("line")) for line in document["lines"])
        links = Counter({link: n for link, n in links.items() if link[0] is not None})
        found["documents naming one line twice"] += any(n > 1 for n in links.values())
        found["documents over several orders"] += len({link[0] for link in links}) > 1
        found["documents without any link"] += bool(document["lines"]) and not links
        for line in document["lines"]:
            found["return lines below one unit"] += line["qty"] < 1
            found["return lines unlinked"] += line["order_id"] is None
            if line["order_id"] is not None:
                found.update(oddities(known.get(line["order_id"]), document, line))
    for order_id, returned in units_back(known, documents).items():
        bought = [line["qty"] for line in known[order_id]["lines"]]
        found["orders all back"] += all_back(known[order_id], returned)
        found["lines returned beyond bought"] += sum(n > bought[i] for i, n in returned.items())
    return dict(sorted(found.items()))


def oddities(order: dict | None, document: dict, line: dict) -> dict[str, int]:
    """The same questions of every linked return line."""
    if order is None or not 0 <= line["line"] < len(order["lines"]):
        return {"links into nothing": 1}
    bought = order["lines"][line["line"]]
    lag = instant(document["at"]) - instant(order["at"])
    return {
        "links into nothing": 0,
        "links to another sku": int(bought["sku"] != line["sku"]),
        "links to another price": int(bought["unit_price"] != line["unit_price"]),
        "links to another customer": int(order["customer_id"] != document["customer_id"]),
        "returns dated before the order": int(lag < timedelta(0)),
        "returns dated with the order": int(lag == timedelta(0)),
    }


def main(directory: Path) -> None:
    outcome = oracle(directory)
    print(f"orders {outcome.orders}, documents {outcome.documents}")
    print(f"guest orders {outcome.guests}, guest documents with lines {outcome.guest_returns}")
    print(f"users {len(outcome.counted)}, with a task {len(outcome.tasks)}")
    print(f"counted days {sum(outcome.counted.values())}")
    print(
        f"rewards {outcome.rewards_net}, users with one {sum(map(bool, outcome.rewards.values()))}"
    )
    for what, often in dirt(directory).items():
        print(f"{often:8d}  {what}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
