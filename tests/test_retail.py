"""The real year as records: nothing lost, nothing invented, dirt passed on as it is."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from streams.errors import UsageError
from streams.retail import CANCELLATIONS_FILE, ORDERS_FILE, load
from tests.models.users import earn
from tests.oracle import DATA, oracle

SAMPLE = Path(__file__).resolve().parents[1] / "schemas" / "samples" / "retail-every-3.json"

real = pytest.mark.skipif(not DATA.exists(), reason=f"needs the shared data set {DATA.name}")

ORDER = {
    "order_id": "1",
    "customer_id": "u",
    "at": "2009-12-01T07:45:00Z",
    "country": "France",
    "lines": [
        {"sku": "a", "qty": 12, "unit_price": 695},
        {"sku": "b", "qty": 0, "unit_price": 100},
        {"sku": "c", "qty": 2, "unit_price": 0},
    ],
}
RETURN = {
    "cancellation_id": "C9",
    "customer_id": "u",
    "at": "2009-12-01T07:45:00Z",
    "country": "France",
    "lines": [
        {"sku": "a", "qty": 3, "unit_price": 695, "order_id": "1", "line": 0},
        {"sku": "z", "qty": 1, "unit_price": 5, "order_id": None},
        {"sku": "c", "qty": 2, "unit_price": 0, "order_id": "1", "line": 2},
        {"sku": "a", "qty": 4, "unit_price": 650, "order_id": "1", "line": 0},
        {"sku": "a", "qty": 1, "unit_price": 695, "order_id": "2", "line": 1},
    ],
}


def written(directory: Path, orders: list, cancellations: list) -> Path:
    for name, rows in ((ORDERS_FILE, orders), (CANCELLATIONS_FILE, cancellations)):
        with gzip.open(directory / name, "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row) + "\n" for row in rows)
    return directory


def loaded(directory: Path) -> list[tuple]:
    return [(topic, key, json.loads(value), ms) for topic, key, value, ms in load(directory)]


def test_an_order_becomes_one_paid_event_at_its_own_time(tmp_path):
    ((topic, key, value, timestamp_ms),) = loaded(written(tmp_path, [ORDER], []))
    assert (topic, key, timestamp_ms) == ("orders", b"u", 1_259_653_500_000)
    assert value == {
        "type": "order.paid",
        "v": 1,
        "user_id": "u",
        "occurred_at": "2009-12-01T07:45:00Z",
        "order_id": "1",
        "version": 1,
        "currency": "GBP",
        "goods_minor": 8340,
        "discounts": [],
        "consumption_minor": 8340,
        "lines": [
            {"line_id": "0", "sku": "a", "quantity": 12, "unit_minor": 695},
            {"line_id": "2", "sku": "c", "quantity": 2, "unit_minor": 0},
        ],
    }


def test_a_return_becomes_one_refund_per_order_and_one_for_what_was_never_bought(tmp_path):
    records = loaded(written(tmp_path, [ORDER], [RETURN]))
    assert [topic for topic, *_ in records] == ["orders", *["cancellations"] * 3]
    assert all(value["type"] == "order.refunded" for _, _, value, _ in records[1:])
    assert [(v["cancellation_id"], v["order_id"], v["lines"]) for _, _, v, _ in records[1:]] == [
        ("C9:1", "1", [{"line_id": "0", "quantity": 7}, {"line_id": "2", "quantity": 2}]),
        ("C9:unlinked", "unlinked:C9", [{"line_id": "1", "quantity": 1}]),
        ("C9:2", "2", [{"line_id": "1", "quantity": 1}]),
    ]


def test_guests_have_neither_user_nor_key(tmp_path):
    guest = {"customer_id": None}
    records = loaded(written(tmp_path, [{**ORDER, **guest}], [{**RETURN, **guest}]))
    assert len(records) == 4
    assert {(key, value["user_id"]) for _, key, value, _ in records} == {(None, None)}


def test_records_come_in_time_order_whatever_the_files_have(tmp_path):
    later = {**ORDER, "order_id": "2", "at": "2009-12-02T00:00:00Z"}
    first = {**ORDER, "order_id": "0", "at": "2009-11-30T00:00:00Z"}
    records = loaded(written(tmp_path, [later, ORDER, first], [RETURN]))
    names = [value.get("cancellation_id", value["order_id"]) for _, _, value, _ in records]
    assert names == ["0", "1", "C9:1", "C9:unlinked", "C9:2", "2"]


@pytest.mark.parametrize("missing", [ORDERS_FILE, CANCELLATIONS_FILE])
def test_a_missing_file_is_named_before_anything_is_read(tmp_path, missing):
    (written(tmp_path, [ORDER], []) / missing).unlink()
    with pytest.raises(UsageError, match=f"{missing}: no such file; give the directory"):
        load(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        b"not gzip",
        gzip.compress(b"{}\n" * 9999)[:40],
        gzip.compress(b"{]\n"),
        gzip.compress(b"[]\n"),
        gzip.compress(json.dumps({**ORDER, "at": "2009-12-01"}).encode()),
        gzip.compress(json.dumps({**ORDER, "lines": [{"sku": "a", "qty": "12"}]}).encode()),
        gzip.compress(json.dumps({**ORDER, "customer_id": 13085}).encode()),
    ],
    ids=["not gzip", "cut off", "no JSON", "no object", "no time", "quantity", "customer"],
)
def test_a_damaged_file_is_one_message_and_no_traceback(tmp_path, damage):
    (written(tmp_path, [ORDER], []) / ORDERS_FILE).write_bytes(damage)
    with pytest.raises(UsageError, match=f"{ORDERS_FILE}.*fetch the file again"):
        load(tmp_path)


@real
@pytest.mark.slow
def test_the_real_year_is_complete():
    records = loaded(DATA)
    times = [ms for *_, ms in records]
    assert times == sorted(times)
    orders = [value for topic, _, value, _ in records if topic == "orders"]
    refunds = [value for topic, _, value, _ in records if topic == "cancellations"]
    assert len(orders) == len({order["order_id"] for order in orders}) == 22_100
    assert sum(order["user_id"] is None for order in orders) == 2_885
    assert len(refunds) == len({refund["cancellation_id"] for refund in refunds}) == 5_685
    # C496350, a guest's, is the one document that names no line.
    assert len({refund["cancellation_id"].split(":")[0] for refund in refunds}) == 4_592 - 1
    assert sum(refund["user_id"] is None for refund in refunds) == 219


@real
@pytest.mark.slow
def test_every_value_of_the_real_year_adds_up_to_the_files():
    """Units and pence per customer, counted twice: from the records and from the files."""
    sold: Counter = Counter()
    back: Counter = Counter()
    bought: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for topic, key, value, timestamp_ms in loaded(DATA):
        assert key == (value["user_id"].encode() if value["user_id"] else None)
        assert timestamp_ms % 60_000 == 0  # the shop's clock has no seconds
        if topic == "orders":
            total = sum(line["quantity"] * line["unit_minor"] for line in value["lines"])
            assert total == value["goods_minor"] == value["consumption_minor"]
            assert value["currency"] == "GBP"
            sold[value["user_id"]] += total
            for line in value["lines"]:
                bought[value["order_id"]][line["line_id"]] = (line["quantity"], line["unit_minor"])
        else:
            linked = not value["order_id"].startswith("unlinked:")
            for line in value["lines"]:
                assert line["quantity"] >= 1
                back[value["user_id"], linked] += line["quantity"]
                if linked:  # the order came first, in this data
                    assert line["quantity"] <= bought[value["order_id"]][line["line_id"]][0]
    expected_sold: Counter = Counter()
    expected_back: Counter = Counter()
    with gzip.open(DATA / ORDERS_FILE, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            expected_sold[row["customer_id"]] += sum(
                line["qty"] * line["unit_price"] for line in row["lines"]
            )
    with gzip.open(DATA / CANCELLATIONS_FILE, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            for line in row["lines"]:
                expected_back[row["customer_id"], line["order_id"] is not None] += line["qty"]
    assert sold == expected_sold
    assert back == expected_back


@real
@pytest.mark.slow
def test_over_the_loaded_year_the_reference_model_earns_what_the_oracle_counts():
    """Loader and model on one side, the files and plain dicts on the other; they share no code."""
    campaign = json.loads(SAMPLE.read_text(encoding="utf-8"))
    by_user = defaultdict(list)
    for _, key, value, timestamp_ms in loaded(DATA):
        if key is not None:
            by_user[key.decode()].append({**value, "recorded_at_ms": timestamp_ms})
    expected = oracle(DATA)
    assert expected.counted.keys() <= by_user.keys()
    for user, events in by_user.items():
        earned = earn(user, events, [campaign])
        assert bool(earned.tasks) == (user in expected.tasks)
        assert sum(task["counted"] for task in earned.tasks) == expected.counted.get(user, 0)
        assert len(earned.rewards) == expected.rewards.get(user, 0)


@real
@pytest.mark.slow
def test_the_real_year_loads_to_the_same_bytes_again():
    assert list(load(DATA)) == list(load(DATA))
