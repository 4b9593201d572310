"""Every engine of the benchmark computes the same; its figures here mean nothing."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.bench import legs, live
from tests.bench.engines import Given, registry
from tests.bench.sampling import Sampler
from tests.kafka.harness import Topics

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster

EVENTS = 3_000  # a worker's first transaction takes 2,000 and is not timed
FEW = 500  # for those that take one event after another
WORK = live.WORKLOADS["paid"]
LIMITS = ("consume", "decode", "rows")
PEERS = tuple(name for name in registry() if name not in {"leidan", *LIMITS})


@pytest.fixture(scope="module")
def few(broker: Cluster) -> tuple[Topics, live.Bench]:
    """A small input in topics that all peers read, and the rewards that it earns."""
    log = live.traffic(WORK, live.SEED, FEW, ())
    topics = Topics(broker.bootstrap, "bench-smoke.")
    engines = tuple(registry().values())
    topics.create(broker, extra=[name for engine in engines for name in engine.own_topics])
    topics.send(log)
    digest = live.model_digest(WORK, log)
    return topics, live.Bench(live.machine(), "paid", live.SEED, (), FEW, 0, digest, engines)


@pytest.mark.kafka
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_ends_at_the_rewards_of_the_model(
    name: str, few: tuple[Topics, live.Bench], tmp_path: Path
) -> None:
    engine = registry()[name]
    if lacks := engine.lacks("paid"):
        assert name not in os.environ.get("LEIDAN_REQUIRE", "").split(","), lacks
        pytest.skip(lacks)
    topics, bench = few
    leg = live.measured(engine, Given(topics, WORK, tmp_path / name, FEW), bench, 1)
    print(leg)
    assert leg.engine == name
    live.judge(leg, bench.digest)
    # No figure is asserted but its sign: a leg that did not measure anything would be zero.
    assert min(leg.events_per_s, leg.cpu_us, leg.rss_mb) > 0


@pytest.mark.kafka
def test_leidan_and_the_limits_run_in_turn_and_each_leg_is_told_and_kept(
    broker: Cluster, tmp_path: Path
) -> None:
    file = tmp_path / "legs.json"
    bench = live.run(
        broker,
        tmp_path,
        engines=("rows", "consume", "leidan", "decode"),
        events=EVENTS,
        sustained_events=0,
        rounds=1,
        say=live.stopwatch(),
        kept=lambda leg: legs.append(file, leg),
        tag="bench-smoke-run",
    )
    found = {leg.engine: leg for leg in bench.legs}
    assert list(found) == ["consume", "leidan", "decode", "rows"]
    assert found.pop("leidan").digest == bench.digest
    assert {leg.digest for leg in found.values()} == {""}
    assert all(min(leg.events_per_s, leg.cpu_us, leg.rss_mb) > 0 for leg in bench.legs)
    assert legs.read([file]) == bench.legs
    told = "\n".join(live.lines(bench))
    print(told)
    assert bench.digest[:16] in told
    assert f"{bench.ratio('decode', EVENTS):.2f} x" in told
    other = replace(bench.legs[1], digest=live.digest(["another reward"]))
    with pytest.raises(AssertionError, match="void: leidan does not end at the rewards"):
        live.judge(other, bench.digest)
    assert all(phase in told for phase in ("decode", "read", "fold", "produce", "commit", "write"))


def test_each_round_begins_with_another_engine_and_ends_with_those_that_need_one() -> None:
    engines = tuple(registry()[name] for name in ("leidan", "faust", "quix", "rows"))
    turns = [[engine.name for engine in live.in_turn(engines, n)] for n in (1, 2, 3, 4)]
    assert turns == [
        ["leidan", "faust", "quix", "rows"],
        ["faust", "quix", "leidan", "rows"],
        ["quix", "leidan", "faust", "rows"],
        ["leidan", "faust", "quix", "rows"],
    ]


def test_an_engine_that_cannot_run_is_left_out_of_all_but_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = registry()["leidan"]
    every = {
        "leidan": there,
        "gone": replace(there, name="gone", missing=lambda: "make gone"),
        "orders-only": replace(there, name="orders-only", only="orders"),
    }
    monkeypatch.setattr(live, "registry", lambda: every)
    said: list[str] = []
    assert live.choose((), "paid", said.append) == (there,)
    assert said == [
        "without gone: make gone",
        "without orders-only: it folds the workload orders alone",
    ]
    assert live.choose(("orders-only",), "orders", said.append) == (every["orders-only"],)
    with pytest.raises(AssertionError, match="gone: make gone"):
        live.choose(("leidan", "gone"), "paid", said.append)


def test_processor_time_is_this_process_over_the_span_that_was_asked_for() -> None:
    used = Sampler(os.getpid())
    begun_ms, begun_s = time.time() * 1000, os.times()
    while (now := os.times()).user + now.system - begun_s.user - begun_s.system < 0.2:
        sum(range(10_000))
    ended_ms = time.time() * 1000
    used.stop()
    spent = now.user + now.system - begun_s.user - begun_s.system
    assert used.cpu_s(begun_ms, ended_ms) == pytest.approx(spent, abs=0.1)
    assert used.cpu_s(begun_ms - 1000, begun_ms) < 0.1
    assert used.peak_mb() > 10
