"""Users of several campaigns at once: a seed is a log, and everything the phases need occurs."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

from streams.cli.campaign import campaigns_of, read_all
from streams.demo import sources
from streams.demo.sending import TickDue
from streams.domain import ids
from streams.traffic import CHAOS, DAY

FOUR = campaigns_of(read_all(tuple(map(str, sources.sample_phases()))))


def shoppers(seed: int = 3, chaos: str = "", users: int = 200, orders: int = 2_000) -> list[tuple]:
    made = sources.side_by_side(seed=seed, users=users, orders=orders, chaos=chaos, campaigns=FOUR)
    assert list(made) == list(made)
    return list(made)


PLAIN = shoppers()
CLAIMS = [json.loads(value) for topic, _, value, _ in PLAIN if topic == "claims"]


def test_a_seed_is_a_log_in_the_order_of_its_clock():
    assert PLAIN == shoppers() != shoppers(seed=4)
    assert sum(topic == "orders" for topic, *_ in PLAIN) == 2_000
    assert all(before[3] <= after[3] for before, after in pairwise(PLAIN))


def test_chaos_changes_no_record_but_adds_copies_and_poison():
    said = Counter((topic, key, value) for topic, key, value, _ in PLAIN)
    disturbed = Counter(
        (topic, key, value) for topic, key, value, _ in shoppers(chaos=",".join(CHAOS))
    )
    assert said <= disturbed
    assert disturbed.total() > said.total()


def test_every_phase_is_claimed_as_it_may_be_and_rounds_more_than_once():
    claims = [event for event in CLAIMS if event["type"] == "claim.requested"]
    entries = {(event["campaign_id"], event["entry"]) for event in claims}
    assert entries == {
        ("grocery-dark", "sign_in"),
        ("grocery-light", "sign_in"),
        ("grocery-spin", "sign_in"),
        ("grocery-full", "home"),
        ("grocery-full", "post_purchase"),
    }
    orders = {json.loads(value)["order_id"] for topic, _, value, _ in PLAIN if topic == "orders"}
    triggers = {event["trigger_order_id"] for event in claims if "trigger_order_id" in event}
    assert len(triggers) > 50
    assert triggers <= orders
    assert {"price_sensitive"} < {s for event in claims for s in event["context"]["segments"]}
    rounds = Counter((event["user_id"], event["campaign_id"]) for event in claims)
    assert max(n for (_, campaign), n in rounds.items() if campaign == "grocery-light") > 1


def test_draws_are_asked_for_by_the_id_that_the_task_must_have():
    draws = [event for event in CLAIMS if event["type"] == "draw.requested"]
    assert {event["step"] for event in draws} == {"3", "5"}
    for event in draws:
        assert event["task_id"] == ids.task_id(event["user_id"], "grocery-spin", 1)


def test_ticks_come_as_the_clock_of_the_records_goes_and_not_in_the_thin_end():
    mixed = list(sources.with_ticks(PLAIN, DAY, at_least=100))
    assert [one for one in mixed if not isinstance(one, TickDue)] == PLAIN
    ticks = [one.at_ms for one in mixed if isinstance(one, TickDue)]
    assert 4 < len(ticks) <= len(PLAIN) // 100
    assert ticks == sorted(set(ticks))
    for n, one in enumerate(mixed):
        if isinstance(one, TickDue):
            assert mixed[n - 1][3] < one.at_ms <= mixed[n + 1][3]
