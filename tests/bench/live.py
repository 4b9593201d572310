"""The live worker beside its peers: one real broker, one input, the same fold, the same rewards.

Engines (tests/bench/engines, one module each) read the same topics, one after another, in another
order each round. All write the same reward ids: the digest of each ledger must be the set model's,
or the figures compare different programs. Peers written in Python fold with `streams.domain`, event
by event; so does leidan where its compiled short path is not built or LEIDAN_NATIVE=0, and the
report says which it was: with it, decoding, folding and encoding of plain orders is C beside their
Python. Limits do a part of the work alone and earn nothing: how far the broker, the client and the
store would go.

Backlog mode: the input lies there before an engine starts. Time runs from the first sign of work to
the last, start-up and recovery excluded for all (engines/__init__.py).

A broker just started spends half a core on compiling itself, which leidan, being the one that loads
it, would pay for; so a leg of leidan that is not counted goes first. Of an event behind it the
broker takes some 15 us of processor after 200,000 events, 7 after 600,000, 5 after a million.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.bench.engines import Engine, Given, registry
from tests.bench.legs import Leg, commit, machine, now
from tests.bench.work import (
    EVENTS_PER_USER,
    FOLDED,
    SEED,
    WORKLOADS,
    Workload,
    digest,
    endless,
    model_digest,
    standing,
    traffic,
    users_of,
)
from tests.kafka.harness import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.kafka.cluster import Cluster

__all__ = [
    "EVENTS_PER_USER",
    "FOLDED",
    "PHASES",
    "SEED",
    "WORKLOADS",
    "Bench",
    "Leg",
    "Workload",
    "commit",
    "digest",
    "lines",
    "machine",
    "measured",
    "model_digest",
    "run",
    "standing",
    "stopwatch",
    "traffic",
]

NAME = "live"
PHASES = ("poll", "decode", "read", "fold", "produce", "flush", "offsets", "commit", "write")
"""Where leidan's time goes, as its stats file names it; produce and flush are K4, offsets K5."""


@dataclass
class Bench:
    """All legs, and what they ran on."""

    machine: dict[str, Any]
    workload: str
    seed: int
    chaos: tuple[str, ...]
    events: int
    sustained_events: int
    digest: str  # the set model's, over the compared input
    engines: tuple[Engine, ...]
    legs: list[Leg] = field(default_factory=list)

    def of(self, engine: str, events: int) -> list[Leg]:
        return [leg for leg in self.legs if (leg.engine, leg.events) == (engine, events)]

    def median(self, engine: str, events: int) -> float:
        return statistics.median(leg.events_per_s for leg in self.of(engine, events))

    def ratio(self, engine: str, events: int) -> float:
        """How many times faster leidan is than `engine`, by medians over the same input."""
        return self.median("leidan", events) / self.median(engine, events)

    def cpu_us(self, engine: str, events: int) -> float:
        return statistics.median(leg.cpu_us for leg in self.of(engine, events))

    def cpu_ratio(self, engine: str, events: int) -> float:
        """How many times the processor time an event costs leidan it costs `engine`."""
        return self.cpu_us(engine, events) / self.cpu_us("leidan", events)


def run(  # noqa: PLR0913 - the benchmark's knobs, all named
    cluster: Cluster,
    directory: Path,
    *,
    workload: str = "paid",
    engines: Sequence[str] = (),
    events: int,
    sustained_events: int,
    warm_up_events: int = 0,
    rounds: int,
    say: Callable[[str], None],
    kept: Callable[[Leg], None] = lambda _leg: None,
    chaos: tuple[str, ...] = (),
    seed: int = SEED,
    tag: str = "bench",
) -> Bench:
    """Run the engines `rounds` times. Raises AssertionError when any digest differs.

    engines: by name, leidan among them; none is all that this machine can run.
    warm_up_events: folded by leidan before the first round, for the broker's sake, not counted.
    kept: told each leg as it ends.
    chaos: what happens to the input on its way (streams/traffic.py), the same for every engine.
    """
    chosen = choose(engines, workload, say)
    work = WORKLOADS[workload]
    log = traffic(work, seed, events, chaos)
    say(f"input: {len(log)} events of seed {seed}; working out what they earn")
    bench = Bench(
        machine(), workload, seed, chaos, len(log), 0, model_digest(work, log), chosen
    )  # fmt: skip
    long_log = traffic(work, seed, sustained_events, chaos) if sustained_events else []
    bench.sustained_events = len(long_log)
    long_digest = model_digest(work, long_log) if long_log else ""

    def leg(engine: Engine, topics: Topics, place: str, round_: int, events: int) -> Leg:
        given = Given(topics, work, directory / place, events)
        made = measured(engine, given, bench, round_)
        say(
            f"round {round_}/{rounds}: {engine.name}: {made.events_per_s:,.0f} events/s over"
            f" {events} events, {made.cpu_us:.1f} us of processor an event, {made.rss_mb:.0f} MiB"
        )
        return made

    def count(made: Leg, expected: str) -> None:
        judge(made, expected)
        bench.legs.append(made)
        kept(made)

    if warm_up_events:
        warm_up(cluster, directory, workload, warm_up_events, say, chaos=chaos, tag=tag)
    own_topics = [name for engine in chosen for name in engine.own_topics]
    for round_ in range(1, rounds + 1):
        topics = Topics(cluster.bootstrap, f"{tag}-{round_}.")
        topics.create(cluster, extra=own_topics)
        topics.send(log)
        for engine in in_turn(chosen, round_):
            made = leg(engine, topics, f"{round_}-{engine.name}", round_, len(log))
            count(made, bench.digest)
        if long_log:
            topics = Topics(cluster.bootstrap, f"{tag}-{round_}-long.")
            topics.create(cluster, extra=own_topics)
            topics.send(long_log)
            sustained = tuple(engine for engine in chosen if engine.sustained)
            for engine in in_turn(sustained, round_):
                made = leg(engine, topics, f"{round_}-long-{engine.name}", round_, len(long_log))
                count(made, long_digest)
    return bench


def warm_up(  # noqa: PLR0913 - as run()
    cluster: Cluster,
    directory: Path,
    workload: str,
    events: int,
    say: Callable[[str], None],
    *,
    chaos: tuple[str, ...] = (),
    tag: str = "bench",
) -> None:
    """Let leidan fold so many events, so that the broker has compiled itself."""
    work = WORKLOADS[workload]
    topics = Topics(cluster.bootstrap, f"{tag}-warm-up.")
    topics.create(cluster)
    topics.send(endless(work, events, chaos, SEED + 1), remember=False)
    place = directory / "warm-up"
    place.mkdir(parents=True)
    registry()["leidan"].run(Given(topics, work, place, events))
    say("that was the broker's warm-up, which is not counted")


def measured(engine: Engine, given: Given, bench: Bench, round_: int) -> Leg:
    """Run one engine over one input, and read what stands in its ledger."""
    given.directory.mkdir(parents=True)
    took = engine.run(given)
    return Leg(
        bench=NAME,
        engine=engine.name,
        workload=bench.workload,
        events=given.events,
        users=users_of(given.events),
        round=round_,
        events_per_s=took.events_per_s,
        cpu_us=took.cpu_us,
        rss_mb=took.used.peak_mb(),
        # A limit earns nothing; it checks by itself that it did what it is named for.
        digest=digest(standing(given.topics, engine.ledger)) if engine.ledger else "",
        commit=bench.machine["commit"],
        date=now(),
        machine=bench.machine,
        seed=bench.seed,
        more=took.more | {"settings": engine.settings, "chaos": list(bench.chaos)},
    )


def judge(leg: Leg, expected: str) -> None:
    """Raise AssertionError unless it ended at these rewards; a limit earns none."""
    earns = registry()[leg.engine].ledger
    assert leg.digest == (expected if earns else ""), (
        f"void: {leg.engine} does not end at the rewards of the model"
    )


def choose(names: Sequence[str], workload: str, say: Callable[[str], None]) -> tuple[Engine, ...]:
    """Return the engines asked for; of all, those that can run here, and say why others cannot."""
    every = registry()
    chosen = []
    for engine in [every[name] for name in names or every]:
        lacks = engine.lacks(workload)
        assert not (lacks and names), f"{engine.name}: {lacks}"
        if lacks:
            say(f"without {engine.name}: {lacks}")
        else:
            chosen.append(engine)
    return tuple(chosen)


def in_turn(engines: tuple[Engine, ...], round_: int) -> tuple[Engine, ...]:
    """Another engine begins each round, so that none always runs on the coldest broker."""
    turn = (round_ - 1) % len(engines)
    turned = (*engines[turn:], *engines[:turn])
    # Those that need what another leaves in the topics come behind all others.
    return tuple(sorted(turned, key=lambda engine: bool(engine.after)))


# -- how it is told --------------------------------------------------------------------------------


def lines(bench: Bench) -> Iterator[str]:
    """The report, as a person reads it."""
    told = bench.machine
    yield (
        f"{told['cpu']}, {told['cores']} cores (load {told['load_1min']}), Python {told['python']},"
        f" {told['date']}, commit {told['commit']}"
    )
    yield f"leidan's orders are folded: {told['orders_folded']}; its Python peers' in Python"
    kind = f"chaos {','.join(bench.chaos)}" if bench.chaos else "no chaos"
    yield f"workload {bench.workload}, seed {bench.seed}, {kind}"
    yield from table(bench, bench.events)
    if bench.sustained_events:
        yield from table(bench, bench.sustained_events)
    yield "settings:"
    for engine in bench.engines:
        yield f"  {engine.name:16s} {engine.settings}"
    leg = [leg for leg in bench.legs if leg.engine == "leidan"][-1]
    phases = leg.more["phases_s"]
    whole = sum(phases.values())
    yield f"leidan's phases over {leg.events} events, {whole:.2f} s in all:"
    for phase in [*PHASES, *sorted(phases.keys() - set(PHASES))]:
        if phase in phases:
            seconds = phases[phase]
            each_us = seconds / leg.events * 1e6
            yield f"  {phase:10s} {seconds:8.3f} s  {seconds / whole:6.1%}  {each_us:6.1f} us/event"


def table(bench: Bench, events: int) -> Iterator[str]:
    """Medians, spread and ratios over one size of input."""
    ran = [engine for engine in bench.engines if bench.of(engine.name, events)]
    digests = {leg.digest for leg in bench.legs if leg.events == events and leg.digest}
    yield f"{events} events, digest {digests.pop()[:16]}: every ledger's, and the set model's"
    yield "  medians          events/s   (lowest to highest)     us of CPU   MiB  leidan is  by CPU"
    for engine in ran:
        legs = bench.of(engine.name, events)
        rates = sorted(leg.events_per_s for leg in legs)
        spread = f"({rates[0]:,.0f} to {rates[-1]:,.0f})"
        cpu = bench.cpu_us(engine.name, events)
        rss = statistics.median(leg.rss_mb for leg in legs)
        kind = "" if engine.ledger else "  a limit, earns nothing"
        yield (
            f"  {engine.name:14s} {bench.median(engine.name, events):10,.0f}   {spread:24s}"
            f" {cpu:8.1f} {rss:6.0f}  {bench.ratio(engine.name, events):6.2f} x"
            f" {bench.cpu_ratio(engine.name, events):6.2f} x{kind}"
        )


def stopwatch() -> Callable[[str], None]:
    """Progress on stderr, with the seconds since the start."""
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begun:6.1f} s] {text}", file=sys.stderr, flush=True)

    return say
