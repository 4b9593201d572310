"""One real year of a gift shop as topic records: orders and what came back of them.

Reads a directory with `orders.ndjson.gz` and `cancellations.ndjson.gz` (UCI Online Retail II, one
JSON object a line) and yields what the shop would have sent, in time order, over the topics
`orders` and `cancellations`. There are no claims: the data belongs to `enrolment: auto`.

The year is as dirty as real data is, and it is sent as dirty as it is:
- guests have no user and no key; the engine sets them aside as `no_user`;
- a return linked to orders becomes one `order.refunded` per order, its id derived from both;
- a return of things never bought here names an order that will never come (a tombstone);
- a line below one unit or below zero pence is no sale and is left out, its index stays taken;
- a document that names no line at all says nothing, and nothing is sent for it.
"""

from __future__ import annotations

import gzip
import zlib
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import orjson

from streams.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ORDERS_FILE = "orders.ndjson.gz"
CANCELLATIONS_FILE = "cancellations.ndjson.gz"
CURRENCY = "GBP"
"""Prices in the files are whole pence, the minor unit of this currency."""

Sent = tuple[str, bytes | None, bytes, int]
"""(topic, key, value, timestamp_ms)."""

MOST = 10**7
"""Units and pence of one line: beyond it no record of this shop, and sums must fit 64 bits."""

ORDER_RANK, CANCELLATION_RANK = 1, 2
"""Order before its return within one minute (79 times in the year), as in the fold's sort key."""


def load(directory: Path) -> Iterator[Sent]:
    """Yield (topic, key, value, timestamp_ms) in time order; the same files give the same bytes.

    timestamp_ms: ms since the epoch, UTC, equal to the value's occurred_at: who writes historic
    data sets the record's timestamp, or all of it would be late (semantics.md 8).
    Raises UsageError before the first record, for a missing or damaged file, naming it.
    """
    rows = _rows(directory / ORDERS_FILE, ORDER_RANK, "order_id")
    rows += _rows(directory / CANCELLATIONS_FILE, CANCELLATION_RANK, "cancellation_id")
    rows.sort(key=itemgetter(0, 1, 2))
    return _records(rows)


def order_paid(row: dict[str, Any]) -> dict[str, Any]:
    """Return the event of one order: paid at once, undiscounted, as the files know it."""
    lines = [
        {
            "line_id": str(index),
            "sku": line["sku"],
            "quantity": line["qty"],
            "unit_minor": line["unit_price"],
        }
        for index, line in enumerate(row["lines"])
        if line["qty"] >= 1 and line["unit_price"] >= 0
    ]
    goods_minor = sum(line["quantity"] * line["unit_minor"] for line in lines)
    return {
        "type": "order.paid",
        "v": 1,
        "user_id": row["customer_id"],
        "occurred_at": row["at"],
        "order_id": row["order_id"],
        "version": 1,
        "currency": CURRENCY,
        "goods_minor": goods_minor,
        "discounts": [],
        "consumption_minor": goods_minor,
        "lines": lines,
    }


def refunds(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one event per order that a return document touches, in the order it names them.

    One line named twice is one line with both quantities. Lines without an order go together,
    numbered by their place in the document, to an order id that nobody else uses.
    """
    document_id = row["cancellation_id"]
    by_order: dict[str, dict[str, int]] = {}
    for index, line in enumerate(row["lines"]):
        if line["qty"] < 1:
            continue
        linked = line["order_id"] is not None
        order_id = line["order_id"] if linked else f"unlinked:{document_id}"
        line_id = str(line["line"] if linked else index)
        units = by_order.setdefault(order_id, {})
        units[line_id] = units.get(line_id, 0) + line["qty"]
    for order_id, units in by_order.items():
        suffix = "unlinked" if order_id == f"unlinked:{document_id}" else order_id
        yield {
            "type": "order.refunded",
            "v": 1,
            "user_id": row["customer_id"],
            "occurred_at": row["at"],
            "cancellation_id": f"{document_id}:{suffix}",
            "order_id": order_id,
            "lines": [{"line_id": i, "quantity": n} for i, n in units.items()],
        }


def _records(rows: list[tuple[int, int, str, dict[str, Any]]]) -> Iterator[Sent]:
    for timestamp_ms, rank, _id, row in rows:
        user_id = row["customer_id"]
        key = None if user_id is None else user_id.encode()
        if rank == ORDER_RANK:
            yield "orders", key, orjson.dumps(order_paid(row)), timestamp_ms
        else:
            for event in refunds(row):
                yield "cancellations", key, orjson.dumps(event), timestamp_ms


def _rows(path: Path, rank: int, id_field: str) -> list[tuple[int, int, str, dict[str, Any]]]:
    """Read one file whole (24 MB unpacked) as (timestamp_ms, rank, id, row)."""
    rows: list[tuple[int, int, str, dict[str, Any]]] = []
    try:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                row = orjson.loads(line)
                _require_shape(row, id_field)
                rows.append((_ms(row["at"]), rank, row[id_field], row))
    except FileNotFoundError:
        raise UsageError(_missing(path)) from None
    except (OSError, EOFError, zlib.error) as error:  # not gzip, cut off, unreadable
        raise UsageError(f"{path}: cannot be read: {error}; fetch the file again") from None
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{path}:{len(rows) + 1}: no record of this data set: {error!r}; fetch the file again"
        ) from None
    return rows


def _require_shape(row: dict[str, Any], id_field: str) -> None:
    """Touch every field used later, so that what is missing is found with its file and line."""
    if not isinstance(row[id_field], str):
        raise TypeError(f"{id_field} is not text")
    if not (row["customer_id"] is None or isinstance(row["customer_id"], str)):
        raise TypeError("customer_id is neither text nor null")
    for line in row["lines"]:
        if type(line["qty"]) is not int or type(line["unit_price"]) is not int:
            raise TypeError("qty and unit_price must be whole numbers")
        if abs(line["qty"]) > MOST or abs(line["unit_price"]) > MOST:
            raise ValueError(f"qty and unit_price must lie within {MOST}")
        if not isinstance(line["sku"], str):
            raise TypeError("sku is not text")
        linked = id_field == "cancellation_id" and line["order_id"] is not None
        if linked and not isinstance(line["order_id"], str):
            raise TypeError("order_id is neither text nor null")
        if linked and type(line["line"]) is not int:
            raise TypeError("line must be a whole number")


def _ms(at: str) -> int:
    """`2009-12-01T07:45:00Z` in ms since the epoch."""
    moment = datetime.fromisoformat(at)
    if moment.tzinfo is None:
        raise ValueError(f"time without offset: {at}")
    return round(moment.astimezone(UTC).timestamp() * 1000)


def _missing(path: Path) -> str:
    return (
        f"{path}: no such file; give the directory that holds {ORDERS_FILE} "
        f"and {CANCELLATIONS_FILE}"
    )
