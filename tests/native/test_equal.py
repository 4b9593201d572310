"""The compiled short path equals the kernel, or leaves the event alone: no third thing."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain import state as states
from streams.domain.campaign import Budget, Campaign, Filter, Lottery, Right, Saved
from streams.domain.definition import campaign_from
from streams.domain.events import Tick
from streams.domain.fold import step
from streams.domain.registry import Campaigns
from streams.domain.state import unpack_ledger
from streams.feed.ports import Record
from streams.native import plan
from streams.wire.campaigns import read_file
from tests import builders as b
from tests import histories
from tests.bench import live
from tests.fuzz import world
from tests.given import registry
from tests.native.beside import Beside, needs_native

pytestmark = needs_native


def record_of(event: dict, offset: int = 7) -> Record:
    value = orjson.dumps({k: v for k, v in event.items() if k != "recorded_at_ms"})
    key = event["user_id"].encode()
    return Record(b.topic_of(event), 3, offset, key, value, [], event["recorded_at_ms"])


def both(beside: Beside, events: list[dict], *, ticks: bool = False) -> None:
    """Every event through Python; every order through the extension too, on the same row.

    ticks: before each event, one of the time at which it is recorded.
    """
    state = states.new(b.USER)
    for offset, event in enumerate(events):
        if ticks:
            tick = Tick(b.USER, event["recorded_at_ms"])
            state = step(state, tick, beside.campaigns).state
        if b.topic_of(event) == "orders":
            beside.judge(record_of(event, offset), state)
        state = step(state, b.decoded(event), beside.campaigns).state


def test_an_order_later_than_a_compacted_history_is_folded_here_and_one_of_its_time_is_not():
    beside = Beside(registry(b.campaign(step_rewards=None, features=["light_box"], entries=None)))
    state = states.new(b.USER)
    for event in [b.claim(), b.order("o1"), b.order("o2"), b.tick(11), b.tick(41), b.tick(60)]:
        state = step(state, b.decoded(event), beside.campaigns).state
    assert state.frozen
    assert beside.judge(record_of(b.order("o70")), state)
    assert not beside.judge(record_of(b.order("o3")), state)  # in the window of what is over
    assert not beside.judge(record_of(b.order("o1", version=2, day=70)), state)
    # A round that begins after it, and what it has earned.
    state = step(state, b.decoded(b.order("o70")), beside.campaigns).state
    assert beside.judge(record_of(b.order("o71")), state)


@settings(max_examples=400, deadline=None)
@given(
    campaigns=st.lists(histories.campaigns(), min_size=1, max_size=3),
    history=histories.histories(),
    in_order=st.booleans(),
    ticks=st.booleans(),
)
def test_any_history_under_any_campaigns(campaigns, history, in_order, ticks):
    named = [{**one, "campaign_id": f"c{n}"} for n, one in enumerate(campaigns)]
    if in_order:
        history = sorted(history, key=lambda event: event["recorded_at_ms"])
    both(Beside(registry(*named)), history, ticks=ticks)


@pytest.mark.parametrize(("workload", "least"), [("paid", 0.95), ("orders", 0.55), ("mixed", 0.55)])
def test_traffic_of_a_shop_is_mostly_taken(workload, least):
    work = live.WORKLOADS[workload]
    beside = Beside(Campaigns.of(read_file(work.campaign)))
    users: dict[str, states.UserState] = {}
    for offset, (topic, key, value, at_ms) in enumerate(live.traffic(work, 3, 3_000, ())):
        record = Record(topic, 1, offset, key, value, [], at_ms)
        before = users.get(key.decode()) or states.new(key.decode())
        if topic == "orders":
            beside.judge(record, before)
        event = world.DECODERS[topic](record)
        users[key.decode()] = step(before, event, beside.campaigns).state
    assert beside.taken > least * (beside.taken + beside.left)


def test_rewards_of_steps_cycles_rounds_and_debts():
    """Long lives: what pays by step, again and again, and what came back when it was spent."""
    definitions = [
        b.campaign(
            campaign_id="again",
            enrolment="auto",
            window={"mode": "from_claim", "days": 3},
            rounds={"max": 5, "cool_down_days": 2},
            qualify={"on": "paid", "daily_cap": 2, "min_amount_minor": 500},
            target={"orders": 3},
            step_rewards=[
                {"step": 2, "right": {"right_id": "s2", "type": "points", "value_minor": 7}}
            ],
        ),
        b.campaign(campaign_id="dark", enrolment="auto", features=["dark_box"], step_rewards=[]),
    ]
    campaigns = registry(*definitions)
    beside = Beside(campaigns)
    orders = [b.order(f"o{day}-{n}", day=day) for day in range(1, 29) for n in range(2)]
    both(beside, orders)
    assert beside.taken > 50
    state = states.new(b.USER)
    for event in orders[:8]:
        state = step(state, b.decoded(event), campaigns).state
    reward = next(iter(unpack_ledger(state.ledger)))
    for event in (b.result(reward, "spent", day=4), b.cancel("o1-0", day=4), *orders[8:]):
        if b.topic_of(event) == "orders":
            beside.judge(record_of(event), state)
        state = step(state, b.decoded(event), campaigns).state


FIRST_ORDERS = st.tuples(
    st.sampled_from([5, 1_400, 1_500, 9_000]),  # below the least amount, or not
    st.sampled_from(["placed", "paid", "paid"]),
    st.sampled_from(["CNY", "CNY", "CNY", "USD"]),
    st.sampled_from([0, 1, 1, 20, 40]),  # hours since the one before
    st.sampled_from([0, 0, 0, 3]),  # an order that was there before, again
)


@settings(max_examples=300, deadline=None)
@given(
    first_day=st.sampled_from([None, "2026-03-01", "2026-03-03"]),
    target=st.integers(1, 3),
    every=st.booleans(),
    first_orders=st.lists(FIRST_ORDERS, min_size=2, max_size=9),
)
def test_orders_that_were_nobodys_before_the_first_task_began(
    first_day, target, every, first_orders
):
    """They lie in its window: the walk tells why each does not count; so does C."""
    window = {"mode": "fixed" if first_day else "from_claim", "days": 10, "first_day": first_day}
    window = {name: value for name, value in window.items() if value is not None}
    steps = [{"step": 1, "right": {"right_id": "s1", "type": "points", "value_minor": 7}}]
    definition = b.campaign(
        enrolment="auto",
        window=window,
        qualify={"on": "paid", "min_amount_minor": 1_500},
        target={"orders": target},
        step_rewards=steps if every else [],
    )
    events, hour = [], 0
    for n, (amount, status, currency, later, again) in enumerate(first_orders):
        hour += later
        when = b.at(1) + timedelta(hours=hour, seconds=n)
        name, version = (f"o{n - again}", 2) if n >= again > 0 else (f"o{n}", 1)
        events.append(
            b.order(
                name, when=when, status=status, version=version, lines=[(1, amount)],
                currency=currency,
            )
        )  # fmt: skip
    both(Beside(registry(definition)), events)


def test_a_first_task_is_begun_here_behind_orders_that_began_none():
    beside = Beside(registry(b.campaign(
        enrolment="auto",
        window={"mode": "fixed", "days": 10, "first_day": "2026-03-01"},
        qualify={"on": "paid", "min_amount_minor": 1_500},
        step_rewards=[],
    )))  # fmt: skip
    both(beside, [b.order("o1", 1, yuan=10), b.order("o2", 2, yuan=10), b.order("o3", 3)])
    assert (beside.taken, beside.left) == (3, 0)


KINDS = [one for one in world.definitions() if one["type"] == "campaign.defined"]


@pytest.mark.parametrize("definition", KINDS, ids=lambda one: one["campaign_id"])
def test_campaigns_of_every_kind(definition):
    """Those that ask for more than counting are left, those that do not are the same."""
    campaign, said = campaign_from(definition)
    assert isinstance(campaign, Campaign), said
    campaign = msgspec.structs.replace(campaign, version=1)  # its first, whatever came before
    campaigns = Campaigns({campaign.campaign_id: (campaign,)})
    beside = Beside(campaigns)
    claim = b.claim(campaign_id=campaign.campaign_id)
    both(beside, [claim, *(b.order(f"o{day}", day=day) for day in range(2, 20))])
    if campaign.auto and not plan.is_plain(campaign):
        assert beside.taken == 0


MORE_THAN_COUNTING = {
    "categories": Filter(include=frozenset({"veg"})),
    "channels": Filter(exclude=frozenset({"app"})),
    "stores": Filter(include=frozenset({"s"})),
    "target_amount_minor": 5,
    "saved": Saved(rule="fixed", value_minor=5),
    "lottery": Lottery(pool_id="p", odds_version=1, chances=()),
    "collect": "manual",
    "holdout_bp": 1,
    "exclusion_group": "g",
    "budget": Budget(amount_minor=5),
    "results": "required",
    "final_rewards": (Right(right_id="r", type="cash", value="saved_amount"),),
}


@pytest.mark.parametrize("field", MORE_THAN_COUNTING)
def test_a_campaign_that_asks_for_more_is_left(field):
    campaign = next(iter(registry(b.campaign(enrolment="auto"))))
    assert plan.is_plain(campaign), "or this test shows nothing"
    more = msgspec.structs.replace(campaign, **{field: MORE_THAN_COUNTING[field]})
    beside = Beside(Campaigns({more.campaign_id: (more,)}))
    assert not beside.judge(record_of(b.order("o1")), states.new(b.USER))


def test_every_field_of_a_campaign_is_read_or_must_have_its_default():
    fields = {field.name for field in msgspec.structs.fields(Campaign)}
    assert fields >= plan.READ | plan.UNMOVED, "a field is gone: does fold.c still read it?"
    assert not plan.READ & plan.UNMOVED


def test_headers_are_passed_on_and_a_foreign_id_is_left():
    beside = Beside(registry(b.campaign(enrolment="auto")))
    record = record_of(b.order("o1"))
    trace = [("ce_id", b"o1:1"), ("traceparent", b"00-a"), ("other", None)]
    assert beside.judge(record._replace(headers=trace), states.new(b.USER))
    for wrong in (b"o1:2", b"o1", b"o1:", b"", None):
        assert not beside.judge(record._replace(headers=[("ce_id", wrong)]), states.new(b.USER))


def test_odd_records_and_rows_are_left():
    beside = Beside(registry(b.campaign(enrolment="auto")))
    good = record_of(b.order("o1"))
    assert beside.judge(good, states.new(b.USER))
    odd_ones = [{"key": None}, {"value": None}, {"value": b""}, {"key": b"u-2"}, {"key": b"\0meta"}]
    for odd in (*odd_ones, *({"recorded_at_ms": at_ms} for at_ms in (0, -1, 2**62))):
        assert not beside.judge(good._replace(**odd), states.new(b.USER))
    made = beside.plans.of(beside.campaigns, good.recorded_at_ms)
    row = next(iter(taken(made, good, None).values()))
    for cut in range(len(row)):  # a row that ends too soon, at every byte
        assert taken(made, good, row[:cut]) == {}
    later = record_of(b.order("o2", day=3))
    assert taken(made, later, row)
    assert not taken(made, later, row + b"\0")
    assert not taken(made, later, b"\1" + row[1:]), "another schema"


def taken(made: object, record: Record, row: bytes | None) -> dict[bytes, bytes]:
    touched: dict[bytes, bytes] = {}
    made.fold([record], 0, 1, touched, {record.key: row}, [])
    return touched


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_spoilt_rows_do_no_harm(data):
    """Rows come from our own disk; whatever they hold, nothing is read beyond their end."""
    beside = Beside(registry(b.campaign(enrolment="auto")))
    made = beside.plans.of(beside.campaigns, b.millis(b.at(1)))
    row = None
    for day in range(1, 5):
        row = taken(made, record_of(b.order(f"o{day}", day=day)), row).popitem()[1]
    spoilt = bytearray(row)
    for _ in range(data.draw(st.integers(1, 4))):
        spoilt[data.draw(st.integers(0, len(row) - 1))] = data.draw(st.integers(0, 255))
    taken(made, record_of(b.order("o9", day=9)), bytes(spoilt))
