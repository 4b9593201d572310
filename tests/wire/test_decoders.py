"""What each type becomes in the domain: one whole event per type, and what is left out."""

import pytest

from streams.domain.events import (
    CancellationWithdrawn,
    ClaimRequested,
    Context,
    Discount,
    DrawRequested,
    Line,
    OrderCancelled,
    OrderReported,
    Returned,
    RewardCollected,
    RewardResult,
    RiskVerdict,
    Status,
    TaskWithdrawn,
)
from tests.wire.bench_decode import measure
from tests.wire.examples import DECODERS, WRITTEN_AT, examples, ms

DECODED = {
    e.path.stem: DECODERS[e.topic](e.record) for e in examples("valid", topics=tuple(DECODERS))
}
WRITTEN_MS = ms(WRITTEN_AT)


def test_an_order_with_every_field():
    assert DECODED["fulfilled--every-field"] == OrderReported(
        user_id="u-1",
        occurred_at_ms=ms("2023-09-03T10:30:00.250+08:00"),
        recorded_at_ms=WRITTEN_MS,
        order_id="o-17",
        version=3,
        status=Status.FULFILLED,
        currency="CNY",
        goods_minor=10_000,
        consumption_minor=7_000,
        lines=(Line("1", 1, 6_000, "dairy"), Line("2", 2, 2_000, "dairy")),
        discounts=(Discount(3_000, 8_000),),
        channel="app",
        store_id="store-7",
        parent_order_id="p-9",
        entry="home",
        context=Context(("price_sensitive",), 2),
    )


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("placed--not-paid-yet", Status.PLACED),
        ("paid--a-full-discount", Status.PAID),
        ("fulfilled--every-field", Status.FULFILLED),
        ("settled--the-last-word", Status.SETTLED),
        ("amended--one-unit-more", Status.AMENDED),
    ],
)
def test_the_type_of_an_order_event_is_its_status(name, status):
    assert DECODED[name].status is status


def test_absent_and_null_are_the_same():
    by_topic = {
        e.topic: DECODERS[e.topic](e.record)
        for e in examples("tolerated")
        if e.path.stem == "null-for-absent"
    }
    assert by_topic["orders"].discounts == ()
    assert by_topic["orders"].channel == by_topic["orders"].parent_order_id == ""
    assert by_topic["orders"].lines[0].category == by_topic["orders"].entry == ""
    assert by_topic["orders"].context is None
    assert by_topic["claims"].entry == by_topic["claims"].trigger_order_id == ""
    assert by_topic["reward-results"].retryable is False


def test_a_claim():
    assert DECODED["requested--after-a-purchase"] == ClaimRequested(
        user_id="u-1",
        occurred_at_ms=ms("2023-09-02T19:05:00+08:00"),
        recorded_at_ms=WRITTEN_MS,
        claim_id="k-1",
        campaign_id="veg-full",
        entry="post_purchase",
        trigger_order_id="o-17",
    )


def test_a_cancelled_order_has_no_lines():
    assert DECODED["cancelled--not-collected"] == OrderCancelled(
        user_id="u-1",
        occurred_at_ms=ms("2023-09-04T09:00:00+08:00"),
        recorded_at_ms=WRITTEN_MS,
        cancellation_id="c-5",
        order_id="o-17",
        lines=(),
    )


def test_a_refund_has_the_lines_that_came_back():
    assert DECODED["refunded--two-lines"].lines == (Returned("1", 2), Returned("2", 1))


def test_a_refunded_line_named_twice_adds_up():
    assert DECODED["refunded--one-line-twice"].lines == (Returned("1", 3),)


def test_a_withdrawal_names_the_cancellation_it_undoes():
    assert DECODED["withdrawn--a-mistake"] == CancellationWithdrawn(
        user_id="u-1",
        occurred_at_ms=ms("2023-09-05T09:00:00+08:00"),
        recorded_at_ms=WRITTEN_MS,
        cancellation_id="c-7",
        withdraws="c-5",
    )


def test_a_collected_reward():
    assert DECODED["collected--a-reward"] == RewardCollected(
        user_id="u-1",
        occurred_at_ms=ms("2023-09-02T19:05:00+08:00"),
        recorded_at_ms=WRITTEN_MS,
        claim_id="k-2",
        reward_id="rwd_00",
    )


def test_a_withdrawn_task():
    assert DECODED["withdrawn--a-task"] == TaskWithdrawn(
        user_id="u-1",
        occurred_at_ms=ms("2023-09-02T19:05:00+08:00"),
        recorded_at_ms=WRITTEN_MS,
        claim_id="k-2",
        task_id="tsk_00",
    )


def test_a_draw():
    assert DECODED["draw--of-a-chance"] == DrawRequested(
        user_id="u-1",
        occurred_at_ms=ms("2023-09-02T19:05:00+08:00"),
        recorded_at_ms=WRITTEN_MS,
        claim_id="k-2",
        task_id="tsk_00",
        step="3",
    )


def test_a_verdict_is_about_an_order_or_the_user():
    assert DECODED["verdict--block-an-order"] == RiskVerdict(
        user_id="u-1",
        occurred_at_ms=ms("2023-09-04T09:00:00+08:00"),
        recorded_at_ms=WRITTEN_MS,
        cancellation_id="c-8",
        verdict="block",
        order_id="o-17",
    )
    user = DECODED["verdict--review-a-user"]
    assert (user.order_id, user.verdict) == ("", "review")


def test_a_result():
    assert DECODED["failed--may-be-tried-again"] == RewardResult(
        user_id="u-1",
        occurred_at_ms=ms("2023-09-02T19:05:02+08:00"),
        recorded_at_ms=WRITTEN_MS,
        result_id="r-1",
        reward_id="rwd_5f0c",
        seq=1,
        outcome="failed",
        retryable=True,
    )


def test_the_benchmark_decodes_what_it_times():
    assert [what.split(",")[0] for what in measure(decodes=50)] == ["orders", "claims", "guests"]
