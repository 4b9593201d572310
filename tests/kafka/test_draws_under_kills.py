"""Draws, budgets and answered rewards on real Kafka under kill -9 (T4).

Users claim lotteries (drawn at once, and when they ask), a campaign with a budget and a supply of
mugs, and one whose rewards the reference rights service must answer. Two workers and the service
are killed. At rest, the checker: each draw judged by the second verifier, one draw a chance, each
request answered once, stock and budgets what users' rows say, one effect of each command, rows and
outputs what the fold makes of the log.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from streams.traffic import Traffic
from tests.gates import LONG_ASKED
from tests.kafka import draws
from tests.kafka.aftermath import gathered, require_clean
from tests.kafka.harness import Follower, Topics, wait_at_rest, wait_settled
from tests.kafka.workers import KillSchedule, Process, Worker
from tests.pooling import SEED
from tests.sim.campaigns import DEFINITIONS
from tests.sim.inputs import ASKING, Sent, claim_others

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests import checker
    from tests.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka

USERS, ORDERS, PER_S = (3_000, 24_000, 350) if LONG_ASKED else (400, 2_500, 150)
POINTS = (("K3:5", "K6:9", "K8:7"), ("K5:6", "K7:4", "K2:8"))
MORE_POINTS = (("K4:3", "R4:1", "K6:4"), ("K6:3", "K8:3", "R2:1"))
TRICKLE_PER_S = 16
RICHER = 40 if LONG_ASKED else 10
"""By how much more there is of everything than one simulated run needs: it still runs out."""

FAULTS = ("--fail=0.1", "--retry=0.2", "--late=0.1", "--twice=0.2", "--spend=0.3")
FINAL = {"issued", "failed", "revoked", "revoke_failed"}
MOST_LIVES = 12


def richer(definition: dict[str, Any]) -> dict[str, Any]:
    """The same definition with more stock and money, as many times as `RICHER` says."""
    more = json.loads(json.dumps(definition))
    if "budget" in more:
        more["budget"]["amount_minor"] *= RICHER
    if "budget_minor" in more:
        more["budget_minor"] *= RICHER
    for prize in more.get("prizes", ()):
        prize["stock"] *= RICHER
    for unit in more.get("stock", ()):
        unit["units"] *= RICHER
    return more


def history() -> list[tuple[str, bytes | None, bytes, int]]:
    rng = random.Random("draws under kills")  # noqa: S311 - seeded on purpose
    sent = [Sent(*one) for one in Traffic(11, USERS, ORDERS, ("dup", "late", "reorder"))]
    claim_others(rng, sent, ASKING)
    return [one[:4] for one in sent]


class RightsService(Process):
    """`leidan rights`, killed again and again, that goes on where its own answers end."""

    def __init__(self, topics: Topics, directory: Path) -> None:
        self.kills = 0
        command = [sys.executable, "-m", "streams", "rights", *FAULTS]
        command += ["--bootstrap-servers", topics.bootstrap, "--topic-prefix", topics.prefix]
        self.idle = [*command, "--exit-when-idle-s", "2"]
        super().__init__("rights", command, directory / "rights.log")

    def die(self) -> None:
        assert self.running, f"the rights service ended with {self.ended()}\n{self.tail()}"
        self.kill()
        self.kills += 1
        self.start()


def test_row01_draws_budgets_and_answers_are_exact_under_kills(
    broker: Cluster, tmp_path: Path, processes: list[Process]
) -> None:
    topics = Topics(broker.bootstrap, "asking-kills.")
    topics.create(broker)
    path, seeds = tmp_path / "asking.json", tmp_path / "seeds"
    path.write_text(json.dumps([richer(definition) for definition in DEFINITIONS]))
    seeds.mkdir()
    (seeds / "spinner").write_text(SEED.hex())
    settings = {"batch_records": 200, "pool_secrets_dir": seeds}
    workers = [
        Worker(
            broker.bootstrap,
            topics.prefix,
            f"leidan-{n}",
            tmp_path,
            campaigns=[path],
            settings=settings,
        )
        for n in range(2)
    ]
    service = RightsService(topics, tmp_path)
    processes += [*workers, service]
    follower = Follower(topics, ("rewards", "task-events", "lottery-draws"))
    begun_s = time.monotonic()
    service.start()
    send_under_kills(topics, workers, service)
    print(f"killed and sent in {time.monotonic() - begun_s:.1f} s")
    come_to_rest(topics, workers[0].group, service)
    print(f"at rest after {time.monotonic() - begun_s:.1f} s")
    for worker in workers:
        worker.require_running()
        assert worker.stop() == 0, worker.tail()
    evidence = gathered(topics, *workers, followed=follower.stop())
    report = require_clean(evidence, least_due=300, files=[path])
    landed = sum((worker.landed for worker in workers), Counter())
    print(f"kills landed: {dict(sorted(landed.items()))}, of the rights service {service.kills}")
    assert landed.total() >= 5, f"void: {landed.total()} kills landed"
    assert service.kills >= 2
    for what, least in (("chances drawn", 200), ("asks", 300), ("budgets", 2), ("stock", 3)):
        assert report.compared[what] >= least, f"void: {report.compared[what]} {what}"
    every_command_had_one_effect(evidence)
    outcomes = said_of(evidence, "lottery-draws", "outcome")
    assert outcomes >= {"won", "nothing"}
    assert outcomes & {"no_stock", "no_budget"}, "void: nothing ran out"
    assert said_of(evidence, "draw-results", "type") == {
        "draw.result",
        "pool.granted",
        "pool.denied",
    }


def send_under_kills(topics: Topics, workers: Sequence[Worker], service: RightsService) -> None:
    """Let workers and the service die while the input arrives; what is left then comes at once."""
    schedules = [
        KillSchedule(worker, (*points, *(more if LONG_ASKED else ())))
        for worker, points, more in zip(workers, POINTS, MORE_POINTS, strict=True)
    ]

    def over() -> bool:
        return all(schedule.over for schedule in schedules)

    log, sent = history(), [0]

    def counted() -> Iterator[tuple[str, bytes | None, bytes, int]]:
        for one in log:
            sent[0] += 1
            yield one

    def rate() -> float | None:
        """On a slow machine the last third waits for the kills, and only trickles."""
        return None if over() else PER_S if sent[0] < len(log) * 2 / 3 else TRICKLE_PER_S

    sending = topics.sending(counted(), per_s=rate)
    killed_s = time.monotonic()
    while not over() or service.kills < 2:
        for schedule in schedules:
            schedule.tend()
        if time.monotonic() - killed_s > 5.0:
            killed_s = time.monotonic()
            service.die()
        assert not sending.over or over(), "void: all input was sent before the kills were over"
        time.sleep(0.05)
    sending.join(60)


def come_to_rest(topics: Topics, group: str, service: RightsService) -> None:
    """Wait until the workers have folded everything and the service has nothing more to say."""
    wait_at_rest(topics, group, 120)
    service.kill()
    service.kills += 1
    service.command = tuple(service.idle)
    answered = -1
    for _ in range(MOST_LIVES):
        before, answered = answered, sum(topics.ends(["reward-results"]).values())
        if before == answered:
            break
        service.start()
        assert service.wait(60, "have nothing more to answer") == 0, service.tail()
        wait_at_rest(topics, group, 120)
    else:
        pytest.fail("the rights service always has something more to say")
    wait_settled(topics)


def every_command_had_one_effect(evidence: checker.Evidence) -> None:
    """seq 1, 2, 3 of each reward; of each command one final answer, always told with one id."""
    commands: dict[str, list[int]] = defaultdict(list)
    for body in bodies(evidence.outputs["rewards"]):
        if body["type"] != "reward.adjusted":
            commands[body["reward_id"]].append(body["seq"])
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in commands.values())
    effects: dict[tuple[str, int], set[str]] = defaultdict(set)
    said: dict[str, dict[str, Any]] = {}
    for body in bodies(evidence.inputs["reward-results"]):
        assert said.setdefault(body["result_id"], body) == body, "told again, it is the same"
        if body["outcome"] in FINAL and not body.get("retryable"):
            effects[body["reward_id"], body["seq"]].add(body["outcome"])
    assert all(len(outcomes) == 1 for outcomes in effects.values())
    newest = {(reward_id, len(seqs)) for reward_id, seqs in commands.items()}
    assert newest <= effects.keys() <= {(r, seq) for r, seqs in commands.items() for seq in seqs}
    print(f"{len(effects)} commands had one effect each, {len(said)} answers")


def bodies(seen: Sequence[checker.Seen]) -> Iterator[dict[str, Any]]:
    return (json.loads(one.value or b"null") for one in seen)


def said_of(evidence: checker.Evidence, topic: str, name: str) -> set[str]:
    records = evidence.outputs.get(topic) or evidence.inputs[topic]
    return {body[name] for body in bodies(records) if name in body}


def test_some_thousand_draws_by_the_whole_way_are_drawn_once_and_fairly(
    broker: Cluster, tmp_path: Path
) -> None:
    """The smoke of `python -m tests.kafka.draws`, and the whole checker on what it left."""
    plan = draws.Plan(3_000, workers=2, kills=3, pools=2, batch_records=500, limit_s=90)
    topics, workers, figures = draws.run(broker, tmp_path, plan, prefix="some-draws.")
    draws.prove(topics, workers, plan, figures)
    print("\n".join(figures.lines()))
    assert figures.wrong == []
    assert figures.draws == 3_000
    assert figures.landed.total() >= 2, "void: too few kills landed"
    assert figures.revoked > 0, "void: no prize was taken back"
    evidence = gathered(topics, *workers)
    report = require_clean(evidence, least_due=500, files=[tmp_path / "wheels.json"])
    assert report.compared["chances drawn"] == 3_000
