"""What a worker's page says after a scripted run, and no word of what it has given away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import orjson
import pytest
from prometheus_client.openmetrics.exposition import generate_latest

from streams import metrics
from streams.agents.draws import fold_requests
from streams.agents.folding import fold_batch
from streams.domain.pool_state import PoolState, Stock, pool_key
from streams.domain.registry import Campaigns
from streams.errors import CommitUnknown, Reason
from streams.feed import measure
from streams.feed.batch import Batch
from streams.feed.measure import Meter
from streams.feed.pool_gauges import PoolGauges
from streams.feed.ports import Record
from streams.store.meta import Identity
from streams.store.overlay import Codec, Overlay, StateCache
from streams.store.rows import DiskStore
from streams.wire import cancellations, orders, outputs, rows
from tests import builders as b
from tests.feed.memory import MemoryStore, World, fold
from tests.given import registry
from tests.pooling import CLOSES_AFTER_H, SEED, ask, at, lottery, odds, prize, written

if TYPE_CHECKING:
    from streams.domain.pool import Pool


def value(name: str, **labels: str) -> float:
    """A sample of our page; 0.0 where there is none."""
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def series(name: str) -> set[tuple[str, ...]]:
    """The label values of every series of a metric, topics of a worker's own left out."""
    return {
        tuple(sample.labels.values())
        for family in metrics.REGISTRY.collect()
        for sample in family.samples
        if sample.name == name
    }


@pytest.fixture(autouse=True)
def _nothing_shown():
    """A process has one worker and one page; the tests of this file share both."""
    for shown in (
        metrics.LAG, metrics.LAG_SECONDS, metrics.COMMITTED, metrics.RESTORE_ROWS,
        metrics.STATE_ROWS, metrics.CAMPAIGNS_REFUSED, metrics.BUDGET, metrics.BUDGET_LEFT,
        metrics.STOCK, metrics.STOCK_LEFT, metrics.REVEAL_DUE,
    ):  # fmt: skip
        shown.clear()


class Since:
    """Counters stand in one registry for all tests of a process: only their rise is looked at."""

    def __init__(self) -> None:
        self._before = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in metrics.REGISTRY.collect()
            for sample in family.samples
        }

    def rise(self, name: str, **labels: str) -> float:
        return value(name, **labels) - self._before.get((name, tuple(sorted(labels.items()))), 0.0)


def run(world: World, meter: Meter, now_ms: int = 0) -> None:
    world.settle()
    look(world, meter, now_ms)


def look(world: World, meter: Meter, now_ms: int) -> None:
    for work in world.feed.take_finished():
        meter.committed(work, now_ms)
    meter.refresh(world.feed, world.feed.lag(), {}, now_ms)


def test_records_count_once_they_are_committed_and_not_before():
    world, meter, since = World(), Meter(), Since()
    for sent in (b"a", b"bad"):
        world.broker.put("orders", "u1", sent, at_ms=1_000)
    work = world.poll()
    fold(work)
    world.broker.fail["commit"] = CommitUnknown("timed out")
    assert world.feed.commit(work) is False
    look(world, meter, 61_000)
    name, labels = "rewards_dead_letters_total", {"topic": "orders", "reason": "not_json"}
    assert since.rise(name, **labels) == 0
    run(world, meter, 61_001)
    assert since.rise(name, **labels) == 1
    assert since.rise("rewards_records_total", topic="orders", outcome="rejected") == 1
    assert since.rise("rewards_transactions_total", outcome="unknown") == 1
    assert since.rise("rewards_transactions_total", outcome="committed") == 1
    assert since.rise("rewards_restores_total") == 2, "the second after the commit that failed"
    assert since.rise("rewards_restore_seconds_count") == 2
    assert since.rise("rewards_record_delay_seconds_bucket", topic="orders", le="60.0") == 0
    assert since.rise("rewards_record_delay_seconds_bucket", topic="orders", le="300.0") == 1
    assert since.rise("rewards_batch_seconds_count", stage="commit") == 1


def test_series_of_partitions_given_away_are_removed_and_others_stay():
    world, meter = World(partitions=2), Meter()
    for p in (0, 1):
        world.broker.put("orders", "u1", p=p)
    run(world, meter)
    of_partitions = (
        "rewards_consumer_lag_records", "rewards_consumer_lag_seconds", "rewards_committed_offset",
        "rewards_restore_remaining_rows",
    )  # fmt: skip
    for name in of_partitions:
        assert {labels[-1] for labels in series(name)} == {"0", "1"}, name
    world.log.revoke(1)
    run(world, meter)
    for name in of_partitions:
        assert {labels[-1] for labels in series(name)} == {"0"}, name
    assert value("rewards_assigned_partitions") == 1
    world.log.revoke(0, lost=True)
    run(world, meter)
    for name in of_partitions:
        assert series(name) == set(), name


def test_what_waits_is_as_old_as_its_record_and_nothing_that_is_committed_waits():
    world, meter = World(), Meter()
    at_zero = {"topic": "orders", "partition": "0"}
    world.broker.put("orders", "u1", at_ms=5_000)
    run(world, meter, 9_000)
    assert value("rewards_consumer_lag_seconds", **at_zero) == 0
    world.broker.put("orders", "u1", at_ms=20_000)
    work = world.poll()
    fold(work)
    world.broker.put("orders", "u1", at_ms=30_000)
    world.feed.commit(work)
    world.feed._aligner.add(world.log.poll(10, 0.0))  # noqa: SLF001 - read, and not handed out yet
    look(world, meter, 50_000)
    assert value("rewards_consumer_lag_seconds", **at_zero) == 20


def test_what_was_never_read_is_as_old_as_the_first_look_at_it_until_it_is_committed():
    world, meter = World(), Meter()
    at_zero = {"topic": "orders", "partition": "0"}
    world.broker.put("orders", "u1")
    run(world, meter, 1_000)
    world.log.pause(0)  # as while a partition is parked, held or restored
    for now_ms in (10_000, 70_000, 100_000):
        world.broker.put("orders", "u1")
        look(world, meter, now_ms)
    assert value("rewards_consumer_lag_seconds", **at_zero) == 90
    assert value("rewards_consumer_lag_records", **at_zero) == 3
    world.log.start(0, world.feed.owned[0].next)
    run(world, meter, 101_000)
    assert value("rewards_consumer_lag_seconds", **at_zero) == 0


def test_ages_are_right_to_a_factor_however_long_nothing_moves(monkeypatch):
    monkeypatch.setattr(measure, "MOST_SEEN", 8)
    world, meter = World(), Meter()
    world.broker.put("orders", "u1")
    run(world, meter, 0)
    world.log.pause(0)
    for second in range(1, 101):
        world.broker.put("orders", "u1")
        look(world, meter, second * 1_000)
    (ends,) = (ends for ends in meter._ages._ends.values() if ends)  # noqa: SLF001
    assert len(ends) <= 8
    assert value("rewards_consumer_lag_seconds", topic="orders", partition="0") == 99


def test_why_nothing_is_folded_is_said_and_what_is_still_to_be_restored():
    world, meter = World(), Meter()
    world.broker.put("orders", "u1")
    run(world, meter)
    assert value("rewards_folding_paused", reason="campaigns") == 0
    world.campaigns.age_s = 31.0
    look(world, meter, 0)
    assert value("rewards_folding_paused", reason="campaigns") == 1
    world.campaigns.age_s = 0.0
    world.feed.owned[0].ready = False
    look(world, meter, 0)
    assert value("rewards_folding_paused", reason="campaigns") == 0
    assert value("rewards_folding_paused", reason="restoring") == 1
    assert value("rewards_restoring_partitions") == 1
    world.feed.owned[0].parked = True
    look(world, meter, 0)
    assert value("rewards_parked_partitions") == 1
    assert value("rewards_restoring_partitions") == 0


def test_refused_definitions_that_were_mended_are_no_longer_shown():
    world, meter = World(), Meter()
    world.settle()
    meter.refresh(world.feed, {}, {Reason.CAMPAIGN_INVALID: 2}, 0)
    assert value("rewards_campaigns_refused", reason="campaign_invalid") == 2
    meter.refresh(world.feed, {}, {}, 0)
    assert series("rewards_campaigns_refused") == set()


def work_of(*batches: Batch):
    return msgspec.defstruct("Work", ["batches", "phases"])(list(batches), {})


def batch_of(campaigns: Campaigns, topic: str, records: list[Record]) -> Batch:
    store = MemoryStore().open(0)
    overlay = Overlay(store, Codec(rows.new, rows.decode, rows.encode), StateCache())
    return Batch(topic, 0, records, overlay, campaigns, outputs.encode)


def record_of(event: dict, offset: int, headers: list | None = None) -> Record:
    value = orjson.dumps({k: v for k, v in event.items() if k != "recorded_at_ms"})
    key = event["user_id"].encode()
    return Record("orders", 0, offset, key, value, headers or [], event["recorded_at_ms"])


def test_tasks_rewards_and_money_are_counted_by_campaign():
    since = Since()
    campaigns = registry(
        b.campaign(
            campaign_id="measured",
            enrolment="auto",
            target={"orders": 2},
            step_rewards=None,
            final_rewards=[{"right_id": "rp", "type": "red_packet", "value_minor": 700}],
        )
    )
    trace = "0af7651916cd43dd8448eb211c80319c"
    traced = [("traceparent", f"00-{trace}-b7ad6b7169203331-01".encode())]
    paid = [record_of(b.order(f"o{n}"), n, traced) for n in (1, 2)]
    batch = batch_of(campaigns, "orders", paid)
    fold_batch(batch, orders.decode)
    back = record_of(b.cancel("o2", day=3), 0)._replace(topic="cancellations")
    undone = Batch("cancellations", 0, [back], batch.overlay, campaigns, outputs.encode)
    fold_batch(undone, cancellations.decode)
    Meter().committed(work_of(batch, undone), paid[-1].recorded_at_ms + 2_000)
    assert since.rise("rewards_tasks_total", campaign="measured", event="task.completed") == 1
    assert since.rise("rewards_tasks_total", campaign="measured", event="task.reopened") == 1
    assert since.rise("rewards_issued_total", campaign="measured", kind="final") == 1
    assert since.rise("rewards_revoked_total", campaign="measured", kind="final") == 1
    money = {"campaign": "measured", "currency": "CNY"}
    assert since.rise("rewards_issued_amount_minor_total", **money) == 700
    posted = {
        labels: since.rise("rewards_posted_minor_total", **money, account=labels[2], side=labels[3])
        for labels in series("rewards_posted_minor_total")
        if labels[0] == "measured"
    }
    assert sum(v if side == "in" else -v for (*_, side), v in posted.items()) == 0, "double entry"
    assert posted["measured", "CNY", "issued", "in"] == 700
    assert posted["measured", "CNY", "issued", "out"] == 700
    page = generate_latest(metrics.REGISTRY).decode()
    assert f'trace_id="{trace}"' in page, "exemplars are served where the reader asks for them"
    assert 'offset="2"' in page


@pytest.mark.parametrize(
    "header",
    [b"", None, b"00-short-b7-01", b"\xff-\xff-\xff-\xff", b"0" * 5_000],
)
def test_a_trace_that_is_none_is_left_out_and_harms_nobody(header):
    record = Record("orders", 0, 7, b"u", b"{", [("traceparent", header)], 1_000)
    assert measure._where(record) == {"partition": "0", "offset": "7"}  # noqa: SLF001


def test_how_late_shops_report_is_seen_and_what_is_no_event_is_left_out():
    since = Since()
    event = b.order("o1", day=1)
    late = record_of(event, 0)
    late = late._replace(recorded_at_ms=b.millis(b.at(1)) + 30_000)
    for record in (late, late._replace(value=b"{"), late._replace(value=None)):
        batch = batch_of(registry(b.campaign()), "orders", [record])
        Meter().committed(work_of(batch), record.recorded_at_ms)
    assert since.rise("rewards_event_delay_seconds_count", topic="orders") == 1
    assert since.rise("rewards_event_delay_seconds_sum", topic="orders") == 30


WHEEL = msgspec.structs.replace(
    lottery(
        prizes=[prize("cup", 2), prize("mug", 5)],
        odds=[odds(("cup", 250_000), ("mug", 750_000))],
    ),
    currency="CNY",
)


def test_draws_are_counted_beside_what_the_odds_promise():
    since = Since()
    records = [
        Record("draw-requests", 0, n, *written(ask(n, user=f"u-{n}")), [], at(1)) for n in range(20)
    ]
    batch = batch_of(Campaigns.of([WHEEL]), "draw-requests", records)
    fold_requests(batch, lambda _pool: SEED)
    Meter().committed(work_of(batch), at(1))
    expected = {
        prize_id: since.rise("rewards_draws_expected_total", pool="veg-wheel", prize=prize_id)
        for prize_id in ("cup", "mug")
    }
    assert expected == {"cup": 5, "mug": 15}
    drawn = {
        labels[1:]: since.rise(
            "rewards_draws_total", pool=labels[0], prize=labels[1], outcome=labels[2]
        )
        for labels in series("rewards_draws_total")
    }
    assert sum(drawn.values()) == 20
    assert drawn["cup", "won"] + drawn["mug", "won"] == 7, "what there was"
    assert drawn["mug", "no_stock"] > 0


def pools_of(world: World, *pools: Pool) -> PoolGauges:
    gauges = PoolGauges(lambda _pool_id: 0)
    gauges.refresh(world.feed, Campaigns.of(pools))
    return gauges


def test_what_is_left_of_a_pool_is_what_its_row_says():
    world = World()
    world.settle()
    fallen = PoolState(
        known=True,
        budget_minor=3_000_000,
        held_minor=1_250_000,
        stock=(Stock("cup", 2, restocked=3, given=4), Stock("mug", 5, returned=1, given=1)),
    )
    key = pool_key("veg-wheel").encode()
    world.store.disks[0]["rows"][key] = rows.encode(fallen)
    gauges = pools_of(world, WHEEL)
    of = {"pool": "veg-wheel", "campaign": "", "currency": "CNY"}
    assert value("rewards_budget_minor", **of) == 3_000_000
    assert value("rewards_budget_remaining_minor", **of) == 1_750_000
    assert value("rewards_pool_stock_supplied", pool="veg-wheel", item="cup") == 5
    assert value("rewards_pool_stock_remaining", pool="veg-wheel", item="cup") == 1
    assert value("rewards_pool_stock_remaining", pool="veg-wheel", item="mug") == 5
    assert ("veg-wheel", "cup", "won") in series("rewards_draws_total"), "at 0, to be seen rising"
    due_s = (at(CLOSES_AFTER_H) + WHEEL.reveal_after_ms) / 1_000
    assert value("rewards_pool_reveal_due_timestamp_seconds", pool="veg-wheel") == due_s
    revealed = msgspec.structs.replace(fallen, revealed=True)
    world.store.disks[0]["rows"][key] = rows.encode(revealed)
    gauges.look(world.feed, Campaigns.of([WHEEL]))
    assert series("rewards_pool_reveal_due_timestamp_seconds") == set()


def test_before_its_first_request_a_pool_has_what_was_defined_and_a_budget_its_campaign():
    world = World()
    world.settle()
    spring = registry(
        b.campaign(campaign_id="spring", budget={"amount_minor": 900_000, "max_tasks": 50})
    )
    gauges = PoolGauges(lambda _pool_id: 0)
    gauges.look(world.feed, spring)
    of = {"pool": "budget:spring", "campaign": "spring", "currency": "CNY"}
    assert value("rewards_budget_remaining_minor", **of) == 900_000
    assert value("rewards_pool_stock_remaining", pool="budget:spring", item="tasks") == 50
    world.log.revoke(0)
    world.feed.poll(0.0)
    gauges.look(world.feed, spring)
    assert series("rewards_budget_remaining_minor") == set(), "another worker's now"


def test_pools_of_other_partitions_and_unrestored_ones_are_not_shown():
    world = World()
    world.settle()
    PoolGauges(lambda _pool_id: 1).look(world.feed, Campaigns.of([WHEEL]))
    assert ("veg-wheel", "cup") not in series("rewards_pool_stock_remaining")
    world.feed.owned[0].ready = False
    pools_of(world, WHEEL)
    assert ("veg-wheel", "cup") not in series("rewards_pool_stock_remaining")


def test_databases_say_their_size_until_they_are_closed(tmp_path):
    store = DiskStore(tmp_path, Identity("a", "c", -1, 1, {}, 1, 1))
    opened = store.open(0)
    opened.write(
        {b"u%d" % n: b"x" * 500 for n in range(300)}, next_offsets={}, changelog=1, batch=1
    )
    world, meter = World(), Meter(store.sizes)
    run(world, meter)
    assert value("rewards_state_rows", partition="0") >= 300
    assert value("rewards_rocksdb_bytes", kind="memtables") > 100_000
    opened.close()
    run(world, meter)
    assert series("rewards_state_rows") == set()
    assert value("rewards_rocksdb_bytes", kind="disk") == 0


def test_the_newest_tick_is_remembered():
    record = Record("ticks", 0, 0, None, b"{}", [], 1_800_000_000_000)
    batch = batch_of(registry(b.campaign()), "ticks", [record])
    Meter().committed(work_of(batch), record.recorded_at_ms)
    assert value("rewards_newest_tick_timestamp_seconds") == 1_800_000_000


def test_counters_that_alerts_look_at_begin_at_zero():
    metrics.begin(["orders-of-a-test"])
    labels = {"topic": "orders-of-a-test"}
    for name in ("rewards_records_total", "rewards_dead_letters_total"):
        assert {"orders-of-a-test"} <= {found[0] for found in series(name)}, name
    assert value("rewards_records_total", **labels, outcome="rejected") == 0
