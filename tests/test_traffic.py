"""Traffic: a seed is a log; chaos shows, and changes only what it says."""

# Seeded dice, repeatable by design.
# ruff: noqa: S311, TID251

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

import orjson
import pytest

from streams.errors import Reason, UsageError
from streams.traffic import CHAOS, DAY, DEPTH, POISON_KINDS, START_MS, Traffic, poison, rfc3339
from tests.models.users import earn

SAMPLE = Path(__file__).resolve().parents[1] / "schemas" / "samples" / "grocery-3.json"


def traffic(*chaos: str, seed: int = 7, users: int = 400, orders: int = 3_000) -> list[tuple]:
    return list(Traffic(seed, users, orders, chaos))


def values(records: list[tuple]) -> Counter:
    """What was said, without when it was sent."""
    return Counter((topic, key, value) for topic, key, value, _ in records)


def digest(records: list[tuple]) -> str:
    return hashlib.sha256(repr(records).encode()).hexdigest()


PLAIN = traffic()
EVENTS = [(topic, key, json.loads(value), ms) for topic, key, value, ms in PLAIN]


def ms_of(event: dict) -> int:
    return round(datetime.fromisoformat(event["occurred_at"]).timestamp() * 1000)


# -- a seed is a log -------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    again = Traffic(7, 400, 3_000)
    assert list(again) == list(again) == PLAIN
    assert traffic(*CHAOS) == traffic(*reversed(CHAOS))
    assert traffic(seed=8) != PLAIN


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    """Set order and hash seeds differ between processes; the log must not."""
    code = (
        "import hashlib; from streams.traffic import CHAOS, Traffic;"
        "print(hashlib.sha256(repr(list(Traffic(7, 400, 3_000, CHAOS))).encode()).hexdigest())"
    )
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=SAMPLE.parents[2],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stdout.strip() == digest(traffic(*CHAOS))


def test_orders_bounds_the_order_events_exactly():
    for orders in (1, 2, 37, 3_000):
        records = traffic(orders=orders)
        assert sum(topic == "orders" for topic, *_ in records) == orders


def test_records_are_sent_in_time_order_and_never_before_they_happened():
    sent = [ms for *_, ms in PLAIN]
    assert sent == sorted(sent)
    assert sent[0] >= START_MS
    for _, _, event, ms in EVENTS:
        assert 0 <= ms - ms_of(event) < 2_000


def test_every_record_is_keyed_by_its_user_and_has_an_id_of_its_own():
    ids = Counter()
    for topic, key, event, _ in EVENTS:
        assert key == event["user_id"].encode()
        name = {"orders": "order_id", "claims": "claim_id", "cancellations": "cancellation_id"}
        ids[topic, event[name[topic]], event.get("version")] += 1
    assert max(ids.values()) == 1


def test_amounts_add_up():
    for topic, _, event, _ in EVENTS:
        if topic == "orders":
            goods = sum(line["quantity"] * line["unit_minor"] for line in event["lines"])
            taken = sum(discount["amount_minor"] for discount in event["discounts"])
            assert event["goods_minor"] == goods > 0
            assert event["consumption_minor"] == goods - taken >= 0
            assert 1 <= len(event["lines"]) <= 4


def test_versions_of_an_order_rise_with_time():
    seen = defaultdict(list)
    for topic, _, event, _ in EVENTS:
        if topic == "orders":
            seen[event["order_id"]].append((event["version"], ms_of(event), event["type"]))
    lives = Counter(tuple(kind for *_, kind in versions) for versions in seen.values())
    for versions in seen.values():
        assert [version for version, *_ in versions] == list(range(1, len(versions) + 1))
        assert versions == sorted(versions, key=lambda life: life[1])
    assert lives["order.paid",] > sum(lives.values()) / 2
    assert lives["order.placed", "order.paid", "order.fulfilled"] > 50
    assert lives["order.paid", "order.amended"] > 5
    assert lives["order.placed",] > 5


def test_everything_the_rules_speak_of_happens():
    types = Counter(event["type"] for _, _, event, _ in EVENTS)
    assert types["order.cancelled"] > 50
    assert types["order.refunded"] > 50
    assert types["cancellation.withdrawn"] > 3
    assert types["claim.requested"] > 400
    orders = [event for topic, _, event, _ in EVENTS if topic == "orders"]
    kinds = {discount["kind"] for event in orders for discount in event["discounts"]}
    assert kinds == {"event", "voucher", "full"}
    parents = Counter(event.get("parent_order_id") for event in orders)
    assert len(parents) > 20
    assert max(count for parent, count in parents.items() if parent) >= 3
    claims = [event for topic, _, event, _ in EVENTS if topic == "claims"]
    assert sum("trigger_order_id" in claim for claim in claims) > 30
    assert {claim["entry"] for claim in claims} == {"home", "post_purchase", "search"}


def test_the_sample_campaign_gives_every_answer_and_most_steps():
    """By the reference model: the demo must have something to show."""
    campaign = json.loads(SAMPLE.read_text(encoding="utf-8"))
    by_user = defaultdict(list)
    for _, _, event, ms in EVENTS:
        by_user[event["user_id"]].append({**event, "recorded_at_ms": ms})
    earned = [earn(user, events, [campaign]) for user, events in sorted(by_user.items())]
    codes = Counter(code for one in earned for code, _ in one.answers.values())
    assert {"CLAIMED", "ALREADY_ACTIVE", "ROUNDS_USED", "RULE_ENTRY"} <= codes.keys()
    states = Counter(task["state"] for one in earned for task in one.tasks)
    assert states["completed"] > 100
    assert states.keys() >= {"completed", "active"}
    assert {task["counted"] for one in earned for task in one.tasks} >= {1, 2, 3}


def test_what_users_earn_does_not_depend_on_repetition_or_place_in_the_log():
    """By the reference model; the engine must show the same."""
    campaign = json.loads(SAMPLE.read_text(encoding="utf-8"))

    def earned_from(records: list[tuple]) -> dict:
        by_user = defaultdict(list)
        for _, key, value, ms in records:
            by_user[key].append({**json.loads(value), "recorded_at_ms": ms})
        return {key: earn(key.decode(), events, [campaign]) for key, events in by_user.items()}

    assert earned_from(traffic("dup", "reorder")) == earned_from(PLAIN)


def test_campaigns_start_and_currency_are_the_callers():
    records = list(Traffic(1, 50, 400, start=START_MS + DAY, campaigns=["a", "b"], currency="EUR"))
    events = [json.loads(value) for _, _, value, _ in records]
    claimed = {e["campaign_id"] for e in events if e["type"] == "claim.requested"}
    assert {"a", "b"} <= claimed <= {"a", "b", "no-such-campaign"}
    assert {e["currency"] for e in events if "currency" in e} == {"EUR"}
    assert min(ms for *_, ms in records) >= START_MS + DAY


def test_what_nobody_knows_is_refused_by_name():
    with pytest.raises(UsageError, match="unknown chaos: fire; known: dup, late, reorder, poison"):
        Traffic(1, 1, 1, {"fire"})
    with pytest.raises(UsageError, match="at least 1"):
        Traffic(1, 0, 1)


# -- chaos -----------------------------------------------------------------------------------------


def test_dup_sends_records_again_later_and_says_nothing_new():
    records = traffic("dup")
    assert values(records).keys() == values(PLAIN).keys()
    times = Counter(values(records).values())
    assert times.keys() == {1, 2, 3, 4}
    first = {}
    for topic, key, value, ms in records:
        assert ms >= first.setdefault((topic, key, value), ms)
    assert set(PLAIN) <= set(records)  # the first sending is as it was


def test_late_sends_records_for_the_first_time_much_later():
    records = traffic("late")
    assert values(records) == values(PLAIN)
    sent = [ms for *_, ms in records]
    assert sent == sorted(sent)
    delays = [ms - ms_of(json.loads(value)) for _, _, value, ms in records]
    assert min(delays) >= 0
    assert sum(delay > 6 * 3_600_000 for delay in delays) > 20
    assert max(delays) > 9 * DAY  # past the sample's window of 7 days and 48 hours of grace


def test_reorder_moves_records_and_changes_none():
    records = traffic("reorder")
    assert Counter(records) == Counter(PLAIN)
    assert records != PLAIN


def test_reorder_brings_cancellations_before_orders_and_orders_before_claims():
    ordered, claimed, early = set(), set(), Counter()
    said = {(e["order_id"]) for topic, _, e, _ in EVENTS if topic == "orders"}
    for topic, _, value, _ in traffic("reorder"):
        event = json.loads(value)
        if topic == "orders":
            ordered.add(event["order_id"])
        elif topic == "claims":
            claimed.add(event["claim_id"])
            early["order"] += event.get("trigger_order_id", "") in said - ordered
        elif "order_id" in event:
            early["cancellation"] += event["order_id"] in said - ordered
    assert early["cancellation"] > 10
    assert early["order"] > 3  # a claim that names an order not read yet


def test_poison_adds_every_kind_and_touches_no_good_record():
    records = traffic("poison", orders=6_000)
    good = values(traffic(orders=6_000))
    bad = values(records) - good
    assert good <= values(records)
    assert bad.total() > 60
    assert len({topic for topic, _, _ in bad}) == 3
    assert any(key is None for _, key, _ in bad)
    assert max(len(value) for _, _, value in bad) > 2 * DEPTH


def test_all_chaos_at_once_keeps_every_good_value():
    assert values(PLAIN).keys() <= values(traffic(*CHAOS)).keys()


# -- poison ----------------------------------------------------------------------------------------


def test_reasons_are_of_the_closed_list_and_nearly_all_are_provoked():
    assert set(POISON_KINDS.values()) <= {str(reason) for reason in Reason}
    # conflict needs a good record first; the others are about campaigns, rows and sizes.
    beyond = {"conflict", "row_full", "too_large", "campaign_invalid", "campaign_too_soon"}
    assert {str(reason) for reason in Reason} - set(POISON_KINDS.values()) == beyond


@pytest.mark.parametrize("kind", POISON_KINDS)
def test_poison_is_repeatable_and_belongs_to_nobody(kind):
    for seed in range(20):
        first, again = (poison(kind, random.Random(seed), START_MS) for _ in range(2))
        assert first == again
        topic, key, value, ms = first
        assert topic in ("orders", "claims", "cancellations")
        assert key is None or key.startswith(b"bad-") or key == b"x" * 129
        assert isinstance(value, bytes)
        assert ms == START_MS


def parsed(kind: str, seed: int) -> dict:
    return json.loads(poison(kind, random.Random(seed))[2])


@pytest.mark.parametrize("kind", [k for k, reason in POISON_KINDS.items() if reason == "not_json"])
def test_what_is_not_json_cannot_be_parsed(kind):
    for seed in range(20):
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(poison(kind, random.Random(seed))[2])


@pytest.mark.parametrize("kind", [k for k, reason in POISON_KINDS.items() if reason == "not_utf8"])
def test_what_is_not_utf8_is_sound_but_for_one_byte(kind):
    value = poison(kind, random.Random(1))[2]
    with pytest.raises(UnicodeDecodeError):
        value.decode()
    assert json.loads(value.decode(errors="replace"))["type"] == "order.paid"


def test_each_other_kind_is_wrong_in_the_way_it_says():
    for seed in range(50):
        assert not isinstance(parsed("not_object", seed), dict)
        assert parsed("unknown_major", seed)["v"] != 1
        assert parsed("null_user", seed)["user_id"] is None
        assert "user_id" not in parsed("missing_user", seed)
        assert parsed("huge_int", seed)["version"] > 2**64
        assert ms_of(parsed("future", seed)) == START_MS + 61_000
        spoilt = parsed("amounts", seed)
        goods = sum(line["quantity"] * line["unit_minor"] for line in spoilt["lines"])
        taken = sum(discount["amount_minor"] for discount in spoilt["discounts"])
        assert (goods, goods - taken) != (spoilt["goods_minor"], spoilt["consumption_minor"])
        for kind in ("key_mismatch", "doubled_keys"):
            assert parsed(kind, seed)["user_id"] == "bad-other"
            assert poison(kind, random.Random(seed))[1] != b"bad-other"
        assert poison("null_key", random.Random(seed))[1] is None
        assert parsed("null_key", seed)["user_id"]
    assert poison("empty_value", random.Random(1))[2] == b""


def test_a_kind_nobody_knows_is_an_error():
    with pytest.raises(KeyError):
        poison("arsenic", random.Random(1))


# -- times and speed -------------------------------------------------------------------------------


def test_times_are_written_in_whole_milliseconds_with_an_offset():
    assert rfc3339(START_MS) == "2026-01-05T08:00:00.000+08:00"
    assert rfc3339(START_MS + DAY * 55 + 1) == "2026-03-01T08:00:00.001+08:00"
    rng = random.Random(5)
    for _ in range(1_000):
        at_ms = int(rng.random() * 4_000_000_000_000)
        assert round(datetime.fromisoformat(rfc3339(at_ms)).timestamp() * 1000) == at_ms


def test_traffic_is_quick():
    """150,000 records/s on the machine it was written on; a tenth of it must do in a busy run."""
    begun = time.process_time()
    records = sum(1 for _ in Traffic(1, 2_000, 20_000, CHAOS))
    assert records / (time.process_time() - begun) > 15_000
