"""The latency benchmark times every reward of its rate; its figures here mean nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench import latency, live

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster


@pytest.mark.kafka
def test_every_counted_reward_is_timed_from_when_its_order_was_due(
    broker: Cluster, tmp_path: Path
) -> None:
    leg, bars = latency.run(
        broker, tmp_path, rate=400, seconds=2, warm_up_s=2, workload="paid", say=print, tag="smoke"
    )
    print("\n".join(latency.lines(live.machine(), "paid", [(leg, bars)])))
    assert leg.events == 1_600
    assert leg.whole["count"] > 50  # a third of the orders of the last two seconds, about
    assert sum(leg.whole["buckets_us"].values()) == leg.whole["count"]
    p50, p99 = leg.whole["ms"]["p50"], leg.whole["ms"]["p99"]
    assert 1 < p50 <= p99 <= leg.whole["max_ms"] < 60_000


def test_percentiles_are_exact_and_buckets_narrow() -> None:
    told = latency.Histogram(range(1, 100_001))
    assert [told.at(percent) for percent in (50, 99, 99.9, 100)] == [50, 99, 99.9, 100]
    assert sum(told.buckets.values()) == 100_000
    for value in (1, 63, 64, 1_000, 99_999, 10**9):
        lower = latency.bucket(value)
        assert lower <= value <= lower * 33 // 32
