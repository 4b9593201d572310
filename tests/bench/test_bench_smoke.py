"""Every engine of the benchmark computes the same; its figures here mean nothing."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

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


class Lying(NamedTuple):
    """An input that lies in its topics, and who has drained it already."""

    topics: Topics
    bench: live.Bench
    drained: set[str]


@pytest.fixture(scope="module")
def inputs(broker: Cluster) -> dict[int, Lying]:
    return {events: lying(broker, events) for events in (EVENTS, FEW)}


def lying(broker: Cluster, events: int) -> Lying:
    log = live.traffic(WORK, live.SEED, events, ())
    topics = Topics(broker.bootstrap, f"bench-smoke-{events}.")
    engines = tuple(registry().values())
    topics.create(broker, extra=[name for engine in engines for name in engine.own_topics])
    topics.send(log)
    digest = live.model_digest(WORK, log)
    bench = live.Bench(live.machine(), "paid", live.SEED, (), events, 0, digest, engines)
    return Lying(topics, bench, set())


@pytest.mark.kafka
@pytest.mark.parametrize("name", registry())
def test_an_engine_ends_at_the_rewards_of_the_model(
    name: str, inputs: dict[int, Lying], tmp_path: Path
) -> None:
    engine = registry()[name]
    if missing := engine.missing():
        assert name not in os.environ.get("LEIDAN_REQUIRE", "").split(","), missing
        pytest.skip(missing)
    events = EVENTS if name in {"leidan", *LIMITS} else FEW
    lying = inputs[events]
    for one in filter(None, (engine.after, name)):
        if one not in lying.drained:
            given = Given(lying.topics, WORK, tmp_path / one, events)
            leg = live.measured(registry()[one], given, lying.bench, 1)
            lying.drained.add(one)
    print(leg)
    assert leg.engine == name
    assert leg.digest == ("" if name in LIMITS else lying.bench.digest)
    # No figure is asserted but its sign: a leg that did not measure anything would be zero.
    assert min(leg.events_per_s, leg.cpu_us, leg.rss_mb) > 0
    if name == "leidan":
        phases = {"decode", "read", "fold", "produce", "commit", "write"}
        assert phases <= set(leg.more["phases_s"])


@pytest.mark.kafka
def test_a_run_tells_its_legs_and_keeps_each_of_them(broker: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "legs.json"
    bench = live.run(
        broker,
        tmp_path,
        engines=("decode", "leidan"),
        events=EVENTS,
        sustained_events=0,
        rounds=1,
        say=live.stopwatch(),
        kept=lambda leg: legs.append(file, leg),
        tag="bench-smoke-run",
    )
    assert [leg.engine for leg in bench.legs] == ["decode", "leidan"]
    assert legs.read([file]) == bench.legs
    told = "\n".join(live.lines(bench))
    assert bench.digest[:16] in told
    assert f"{bench.ratio('decode', EVENTS):.2f} x  a limit" in told


def test_each_round_begins_with_another_engine_and_ends_with_those_that_need_one() -> None:
    engines = tuple(registry()[name] for name in ("leidan", "faust", "quix", "rows"))
    turns = [[engine.name for engine in live.in_turn(engines, n)] for n in (1, 2, 3, 4)]
    assert turns == [
        ["leidan", "faust", "quix", "rows"],
        ["faust", "quix", "leidan", "rows"],
        ["quix", "leidan", "faust", "rows"],
        ["leidan", "faust", "quix", "rows"],
    ]


def test_an_engine_that_this_machine_lacks_is_left_out_of_all_but_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = registry()["leidan"]
    gone = replace(there, name="gone", missing=lambda: "make gone")
    monkeypatch.setattr(live, "registry", lambda: {"leidan": there, "gone": gone})
    said: list[str] = []
    assert live.choose((), said.append) == (there,)
    assert said == ["without gone: make gone"]
    with pytest.raises(AssertionError, match="gone: make gone"):
        live.choose(("leidan", "gone"), said.append)


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
