"""The live worker beside plain Faust: one real broker, one input, the same fold, the same rewards.

Three engines read the same topics, one after another, in another order each round:

- `leidan`: `leidan worker`, exactly-once, as it ships;
- `faust`: a plain Faust agent a topic with one RocksDB table, at-least-once, its defaults;
- `faust-eos`: the same with Faust's exactly_once, which does not hold (tests/README.md).

All write the same output bytes. Plain Faust folds with `streams.domain`, event by event; so does
leidan where its compiled short path is not built or LEIDAN_NATIVE=0, and the report says which it
was: with it, decoding, folding and encoding of plain orders is C beside their Python. The digest is
SHA-256 over the sorted ids of the rewards that stand in the ledger at the end; every engine's must
equal the set model's, or the figures compare different programs.

Backlog mode: the input lies there before an engine starts. Time runs from the first work done to
the last, start-up and recovery excluded for all: for leidan from the first transaction's rows to
those of the last (their record timestamps; the first transaction's records are not counted), for
Faust from the first event its agents take to the last (its trailing commit, up to 2.8 s, is free).

A broker just started spends half a core on compiling itself, which leidan, being the one that loads
it, would pay for; so a leg of leidan that is not counted goes first.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from streams import native
from streams.traffic import Traffic
from tests import checker
from tests.kafka.harness import CHANGELOG, USER_KEYED, Topics, wait_settled, wait_until
from tests.kafka.workers import REPOSITORY, SAMPLE, Process, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kafka.cluster import Cluster

SEED = 42
FOLDED = ("orders", "claims", "cancellations")
EVENTS_PER_USER = 13  # ten order events, with their claims and cancellations


class Workload(NamedTuple):
    """What is folded: records of these topics, under the campaign of this file."""

    topics: tuple[str, ...]
    campaign: Path
    paid_only: bool = False  # one record an order: no other status, no part of a checkout

    def keeps(self, topic: str, value: bytes) -> bool:
        if not self.paid_only:
            return topic in self.topics
        whole = b'"version":1,' in value and b"parent_order_id" not in value
        return topic in self.topics and whole and b'"order.paid"' in value


EVERY_THIRD_DAY = SAMPLE.with_name("grocery-every-3.json")
WORKLOADS = {
    # One topic and one agent, the case that plain Faust is made for: an order is one record,
    # tasks begin by themselves, every third day pays.
    "paid": Workload(("orders",), EVERY_THIRD_DAY, paid_only=True),
    # The same topic with all that shops send: placed, paid, fulfilled, parts of checkouts.
    "orders": Workload(("orders",), EVERY_THIRD_DAY),
    # All three topics: claims, step rewards, and a tenth of cancellations and returns.
    "mixed": Workload(FOLDED, SAMPLE),
}
ENGINES = ("leidan", "faust", "faust-eos")
PHASES = ("poll", "decode", "read", "fold", "produce", "flush", "offsets", "commit", "write")
"""Where leidan's time goes, as its stats file names it; produce and flush are K4, offsets K5."""


@dataclass
class Leg:
    """One engine over one input, once."""

    engine: str
    round: int
    events: int
    events_per_s: float
    seconds: float  # of work, start-up excluded
    digest: str
    phases_s: dict[str, float] = field(default_factory=dict)


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
    legs: list[Leg] = field(default_factory=list)

    def rates(self, engine: str, events: int) -> list[float]:
        legs = (leg for leg in self.legs if (leg.engine, leg.events) == (engine, events))
        return [leg.events_per_s for leg in legs]

    def median(self, engine: str, events: int) -> float:
        return statistics.median(self.rates(engine, events))

    def ratio(self, engine: str) -> float:
        """How many times faster leidan is than `engine`, by medians over the same input."""
        return self.median("leidan", self.events) / self.median(engine, self.events)


def run(  # noqa: PLR0913 - the benchmark's knobs, all named
    cluster: Cluster,
    directory: Path,
    *,
    workload: str = "paid",
    events: int,
    sustained_events: int,
    warm_up_events: int = 0,
    rounds: int,
    say: Callable[[str], None],
    chaos: tuple[str, ...] = (),
    seed: int = SEED,
    tag: str = "bench",
) -> Bench:
    """Run all engines `rounds` times. Raises AssertionError when any digest differs.

    warm_up_events: folded by leidan before the first round, for the broker's sake, not counted.
    chaos: what happens to the input on its way (streams/traffic.py), the same for every engine.
    """
    work = WORKLOADS[workload]
    log = traffic(work, seed, events, chaos)
    say(f"input: {len(log)} events of seed {seed}; working out what they earn")
    bench = Bench(machine(), workload, seed, chaos, len(log), 0, model_digest(work, log))
    long_log = traffic(work, seed, sustained_events, chaos) if sustained_events else []
    bench.sustained_events = len(long_log)
    if warm_up_events:
        topics = Topics(cluster.bootstrap, f"{tag}-warm-up.")
        topics.create(cluster)
        topics.send(traffic(work, seed + 1, warm_up_events, chaos))
        place = directory / "warm-up"
        place.mkdir()
        leg = leidan(topics, work, place, "leidan", 0, warm_up_events)
        say(f"warm-up: leidan: {leg.events_per_s:,.0f} events/s, not counted")
    for round_ in range(1, rounds + 1):
        topics = Topics(cluster.bootstrap, f"{tag}-{round_}.")
        own = [name for engine in ENGINES[1:] for name in output_topics(engine)]
        topics.create(cluster, extra=own)
        topics.send(log)
        turn = (round_ - 1) % len(ENGINES)
        for engine in (*ENGINES[turn:], *ENGINES[:turn]):
            place = directory / f"{round_}-{engine}"
            place.mkdir(parents=True)
            measure = leidan if engine == "leidan" else faust
            leg = measure(topics, work, place, engine, round_, len(log))
            bench.legs.append(leg)
            say(f"round {round_}/{rounds}: {engine}: {leg.events_per_s:,.0f} events/s")
            assert leg.digest == bench.digest, f"{engine} does not end at the rewards of the model"
        if long_log:
            topics = Topics(cluster.bootstrap, f"{tag}-{round_}-long.")
            topics.create(cluster)
            topics.send(long_log)
            place = directory / f"{round_}-long"
            place.mkdir()
            leg = leidan(topics, work, place, "leidan", round_, len(long_log))
            bench.legs.append(leg)
            say(
                f"round {round_}/{rounds}: leidan, sustained over {len(long_log)} events:"
                f" {leg.events_per_s:,.0f} events/s"
            )
    return bench


def traffic(workload: Workload, seed: int, events: int, chaos: tuple[str, ...]) -> list:
    """The first `events` records of traffic in which users live most of their lives."""
    users = max(1, events // EVENTS_PER_USER)
    many = Traffic(seed, users, 2 * events, chaos)
    log = (record for record in many if workload.keeps(record[0], record[2]))
    return list(itertools.islice(log, events))


# -- engines ---------------------------------------------------------------------------------------


def leidan(  # noqa: PLR0913 - as faust()
    topics: Topics, work: Workload, directory: Path, engine: str, round_: int, events: int
) -> Leg:
    """Drain the topics with a worker as it ships; time it by its transactions."""
    worker = Worker(
        topics.bootstrap,
        topics.prefix,
        "leidan-0",
        directory,
        campaigns=(work.campaign,),
        settings={"log_level": "WARNING"},
    )
    try:
        worker.start()
        drain(topics, worker, worker.group)
        # Its stats are written once a second and at the end: asked for after the stop.
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.close()
    wait_settled(topics, ("rewards", CHANGELOG))
    seconds, timed = by_transactions(topics)
    return Leg(
        engine,
        round_,
        events,
        timed / seconds,
        seconds,
        digest(standing(topics, "rewards")),
        worker.stats()["phases"],
    )


def by_transactions(topics: Topics) -> tuple[float, int]:
    """Return the seconds from the first transaction to the last, and the events between them."""
    metas = [seen for seen in topics.read(CHANGELOG) if seen.key == checker.META]
    first_ms = min(seen.timestamp_ms for seen in metas)
    last_ms = max(seen.timestamp_ms for seen in metas)
    reached: dict[int, int] = {}
    before = 0  # what the first transaction took, of however many partitions
    for seen in metas:
        total = sum(json.loads(seen.value or b"null")["next"].values())
        if seen.timestamp_ms == first_ms:
            before += total - reached.get(seen.partition, 0)
        reached[seen.partition] = total
    assert last_ms > first_ms, "void: one transaction took it all, there is nothing to time"
    return (last_ms - first_ms) / 1000, sum(reached.values()) - before


def faust(  # noqa: PLR0913 - a leg is all of these
    topics: Topics, work: Workload, directory: Path, engine: str, round_: int, events: int
) -> Leg:
    """Drain the topics with plain Faust; it notes the first and the last event itself."""
    app_id = f"{topics.prefix}{engine}".replace(".", "-")
    rewards, task_events = output_topics(engine)
    stats = directory / "stats.json"
    guarantee = "exactly_once" if engine == "faust-eos" else "at_least_once"
    command = [sys.executable, "-m", "tests.kafka.plain_faust", "--guarantee", guarantee]
    command += ["--bootstrap-servers", topics.bootstrap, "--topic-prefix", topics.prefix]
    command += [
        "--app-id",
        app_id,
        "--state-dir",
        str(directory),
        "--campaigns",
        str(work.campaign),
    ]
    command += ["--rewards", rewards, "--task-events", task_events, "--stats-file", str(stats)]
    plain = Process(engine, command, directory / "faust.log")
    try:
        plain.start()
        drain(topics, plain, app_id)
        wait_settled(topics, (rewards,))
        found = json.loads(stats.read_text())
    finally:
        plain.close()
    seconds = found["last_s"] - found["first_s"]
    ids = standing(topics, rewards)
    return Leg(engine, round_, events, (found["processed"] - 1) / seconds, seconds, digest(ids))


def output_topics(engine: str) -> tuple[str, str]:
    """An engine's own ledger and task events, beside leidan's, for the same input."""
    return f"{engine}-rewards", f"{engine}-task-events"


def drain(topics: Topics, process: Process, group: str, timeout_s: float = 180) -> None:
    def drained() -> bool:
        assert process.running, f"{process.name} ended with {process.ended()}\n{process.tail()}"
        return topics.lag(group, FOLDED) == 0

    def unread() -> str:
        return f"{process.name} to drain: {topics.lag(group, FOLDED)} records are unread"

    wait_until(drained, unread, timeout_s, 0.25)


# -- what makes it comparable ----------------------------------------------------------------------


def standing(topics: Topics, ledger: str) -> set[str]:
    return set(checker.standing(checker.Entry.of(seen) for seen in topics.read(ledger)))


def model_digest(work: Workload, log: list) -> str:
    """The digest of what the log earns by the set model, which shares nothing with the fold."""
    at: dict[str, int] = {}
    inputs: dict[str, list[checker.Seen]] = {topic: [] for topic in USER_KEYED}
    for topic, key, value, timestamp_ms in log:
        offset = at[topic] = at.get(topic, -1) + 1
        inputs[topic].append(checker.Seen(topic, 0, offset, key, value, (), timestamp_ms))
    evidence = checker.Evidence(
        inputs=inputs,
        outputs={},
        committed={(topic, 0): len(seen) for topic, seen in inputs.items()},
        watermarks={},
        user_keyed=USER_KEYED,
    )
    return digest(checker.expected(evidence, [json.loads(work.campaign.read_text())], {}))


def digest(reward_ids: Any) -> str:
    return hashlib.sha256("\n".join(sorted(reward_ids)).encode()).hexdigest()


def machine() -> dict[str, Any]:
    """Where and on what the figures were taken; without these they are rumours."""
    model = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "cpu": model,
        "orders_folded": native.load()[1],
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
    }


def commit() -> str:
    """The checked-out commit, with a + when files differ from it; `none` before the first."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(REPOSITORY), *words],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    name = git("rev-parse", "--short", "HEAD")
    return f"{name}{'+' if git('status', '--porcelain') else ''}" if name else "none"


# -- how it is told --------------------------------------------------------------------------------


def lines(bench: Bench) -> Iterator[str]:
    """The report, as a person reads it."""
    told = bench.machine
    yield (
        f"{told['cpu']}, {told['cores']} cores (load {told['load_1min']}), Python {told['python']},"
        f" {told['date']}, commit {told['commit']}"
    )
    yield f"leidan's orders are folded: {told['orders_folded']}; plain Faust's in Python"
    kind = f"chaos {','.join(bench.chaos)}" if bench.chaos else "no chaos"
    yield f"workload {bench.workload}, seed {bench.seed}, {kind}, {bench.events} events"
    yield f"digest {bench.digest[:16]}: every engine's rewards, and the set model's"
    for engine in ENGINES:
        rates = sorted(bench.rates(engine, bench.events))
        spread = f"{rates[0]:,.0f} to {rates[-1]:,.0f}"
        yield f"  {engine:10s} {bench.median(engine, bench.events):10,.0f} events/s  ({spread})"
    yield (
        f"leidan is {bench.ratio('faust'):.1f} x plain Faust,"
        f" {bench.ratio('faust-eos'):.1f} x plain Faust with exactly_once"
    )
    if bench.sustained_events:
        rate = bench.median("leidan", bench.sustained_events)
        yield f"leidan, sustained over {bench.sustained_events} events: {rate:,.0f} events/s"
    leg = [leg for leg in bench.legs if leg.engine == "leidan"][-1]
    whole = sum(leg.phases_s.values())
    yield f"leidan's phases over {leg.events} events, {whole:.2f} s in all:"
    known = [*PHASES, *sorted(leg.phases_s.keys() - set(PHASES))]
    for phase in known:
        if phase in leg.phases_s:
            seconds = leg.phases_s[phase]
            each_us = seconds / leg.events * 1e6
            yield f"  {phase:10s} {seconds:8.3f} s  {seconds / whole:6.1%}  {each_us:6.1f} us/event"


def stopwatch() -> Callable[[str], None]:
    """Progress on stderr, with the seconds since the start."""
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begun:6.1f} s] {text}", file=sys.stderr, flush=True)

    return say
