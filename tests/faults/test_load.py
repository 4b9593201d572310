"""Far more than usual at once: it drains, and its memory stays within bounds (row 30).

The matrix asks for a lag of a million; here it is what two cores drain in about a minute. One hot
pool is not among the tests: this version has no pools.
"""

from __future__ import annotations

import time
from datetime import timedelta

from streams.traffic import Traffic
from tests import builders as b
from tests.faults.runs import MOST_KB, Run, record, working

LAG_ORDERS = 24_000
HOT = 2_500


def test_row30_a_long_lag_with_one_hot_user_drains_in_bounded_memory(run: Run) -> None:
    topics = run.create()
    usual = list(Traffic(30, 2_000, LAG_ORDERS, ("dup", "late", "reorder")))
    hot = [
        record(b.order(f"h-{n:05}", when=at) | {"user_id": "u-hot"}, b.millis(at))
        for n, at in enumerate(b.at(1) + timedelta(minutes=n) for n in range(HOT))
    ]
    every = len(usual) // HOT
    log = [one for n in range(HOT) for one in (*usual[n * every : (n + 1) * every], hot[n])]
    sent = topics.send(log)
    worker = run.worker(batch_records=2_000)
    worker.start()
    begun_s = time.monotonic()
    run.drain(worker, 300)
    peak = worker.peak_kb()
    print(f"{sent} records in {time.monotonic() - begun_s:.1f} s, peak {peak >> 10} MiB")
    assert peak < MOST_KB
    assert worker.stats()["lag"] <= sent, worker.stats()
    run.check(worker, least_due=2_000)


def test_row30_ten_times_the_rate_for_a_while_is_caught_up_with(run: Run) -> None:
    run.create()
    worker, usual = run.worker(), run.traffic(31, per_s=150.0)
    worker.start()
    working(worker)
    flood = run.topics.sending(Traffic(32, 1_000, 9_000), per_s=1_500.0)
    sent = flood.join(240)
    peak = worker.peak_kb()
    usual.stop()
    run.drain(worker, 180)
    print(f"{sent} records of flood, peak {peak >> 10} MiB")
    assert peak < MOST_KB
    worker.require_running()
    assert worker.stats()["pid"] == worker.pid
