"""Every runbook page is tried: the fault is real, and the commands are those on the page."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from streams.domain import sample
from streams.traffic import Traffic
from tests import builders as b
from tests.faults.runs import record
from tests.faults.steady import Steady, dirty
from tests.kafka.harness import PARTITIONS, Topics, wait_at_rest, wait_drained, wait_until
from tests.kafka.runbooks import SECTIONS, Desk, Page, pages
from tests.kafka.test_dlq import BAD
from tests.kafka.workers import REPOSITORY, SAMPLE, Worker
from tests.pooling import SEED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from streams.traffic import Sent
    from tests.kafka.cluster import Cluster

    Made = Callable[..., Desk]

NAMES = pages()


# -- the pages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_is_seen_what_to_do_and_how_to_go_back(name: str) -> None:
    assert tuple(Page(name).sections) == SECTIONS


@pytest.mark.parametrize("name", NAMES)
def test_a_page_names_its_trials_and_each_of_them_names_the_page(name: str) -> None:
    page = Page(name)
    assert page.trials, "a page nobody has tried is a guess"
    for path, test in page.trials:
        body = (REPOSITORY / path).read_text().partition(f"def {test}(")[2].partition("\ndef ")[0]
        assert body, f"{path} has no {test}"
        assert name in body, f"{path}::{test} is not about {name}"


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_in_the_list(name: str) -> None:
    assert f"`{name}.md`" in (REPOSITORY / "deploy" / "runbooks" / "README.md").read_text()


# -- the trials ------------------------------------------------------------------------------------


@pytest.fixture
def desk_of(broker: Cluster, tmp_path: Path) -> Iterator[Made]:
    made: list[Desk] = []

    def make(page: str, workers: int = 1, **settings: object) -> Desk:
        made.append(Desk(broker, page, tmp_path, workers, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


kafka = pytest.mark.kafka
MOST_LOOKS = 6


def owned(*workers: Worker) -> list[int]:
    return sorted(p for one in workers for p in one.own_stats().get("partitions", []))


def wait_owned(*workers: Worker) -> None:
    """Wait until these have all partitions between them."""
    wait_until(
        lambda: owned(*workers) == list(range(PARTITIONS)),
        lambda: f"workers to own all: {[owned(one) for one in workers]}",
        60,
    )


@kafka
def test_a_rebalance_storm_ends_when_its_cause_is_stopped(desk_of: Made) -> None:
    desk = desk_of("rebalance-storm", 3, session_timeout_ms=3_000)
    zero, one, third = desk.workers
    for worker in desk.workers:
        worker.start()
    desk.ready()
    for _ in range(2):  # given: one that dies, and is back when its session is over
        third.kill()
        wait_owned(zero, one)
        third.start()
        desk.ready(third)
    look = desk.well("Look")
    assert "3 workers" in look
    first = re.search(r"^ *(\d+) worker (leidan-\d)", look, re.MULTILINE)
    assert first
    assert first.groups() == ("3", "leidan-2"), "the one with the many starts stands first"
    desk.well("Do")
    assert not third.running
    wait_owned(zero, one)
    checks = [desk.well("Check")]
    while len(checks) < 2 or checks[-1] != checks[-2]:  # a busy machine is late with a move
        assert len(checks) < MOST_LOOKS, checks[-2:]
        time.sleep(4)  # longer than a session
        checks.append(desk.well("Check"))
    assert "2 workers, stable" in checks[-1]
    desk.well("Undo")
    desk.ready(*desk.workers)


@kafka
def test_a_restore_behind_an_open_transaction_goes_on_when_its_owner_is_back(
    desk_of: Made,
) -> None:
    desk = desk_of("slow-restore", 2, session_timeout_ms=2_000, transaction_timeout_ms=120_000)
    zero, one = desk.workers
    zero.start()
    traffic = Steady(desk.topics, dirty(3), 60)
    try:
        one.start_and_die_at("K6:8")  # given: offsets and rows sent, not committed, and nobody home
        one.wait(60, "die inside its transaction")
        one.note_death("K6:8")
        wait_until(
            lambda: len(owned(zero)) == PARTITIONS and zero.own_stats()["paused"] == "restoring",
            lambda: f"leidan-0 to wait behind it: {zero.stats()}",
            40,
        )
        time.sleep(3)
        look = desk.well("Look")
        assert "are being restored" in look, "void: nothing held it up"
        assert "1 workers" in look
        desk.well("Do")
        desk.ready()
        assert '"ok":true' in desk.well("Check")
    finally:
        traffic.stop()


@kafka
def test_a_dead_letter_surge_is_seen_and_put_back(desk_of: Made, tmp_path: Path) -> None:
    desk = desk_of("dead-letter-surge", campaign_files=[str(SAMPLE)])
    (worker,) = desk.workers
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "sitecustomize.py").write_text(BAD)
    worker.start(PYTHONPATH=f"{bad}{os.pathsep}{REPOSITORY}", LEIDAN_NATIVE="0")
    desk.topics.send(Traffic(5, 60, 500))
    wait_drained(desk.topics, worker.group)
    assert worker.stop() == 0, worker.tail()
    refused = len(desk.topics.read("dead-letters"))
    assert refused > 30, "void: no surge"
    assert re.search(rf"unknown_type\D+{refused}\b", desk.well("Look"))
    worker.start()  # the mended version
    desk.ready()
    said = desk.well("Do")
    assert "20" in said
    assert len(desk.topics.read("dead-letters")) == refused, "none died again"
    assert "unknown_type" not in desk.well("Check")


def soon(seconds: float) -> datetime:
    """So much later than now; records may be dated ahead as long as their events are not."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def published(desk: Desk, name: str, definition: dict[str, Any]) -> None:
    (desk.directory / name).write_text(json.dumps(definition))


def send(desk: Desk, *events: dict[str, Any]) -> None:
    """Send events at the time they say, and wait until all are folded and answered."""
    desk.topics.send(map(at_its_time, events))
    wait_at_rest(desk.topics, desk.workers[0].group)


def at_its_time(event: dict[str, Any]) -> Sent:
    return record(event, b.millis(datetime.fromisoformat(event["occurred_at"])))


def said_to(desk: Desk, user: str) -> list[str]:
    """Types, and codes, of what was said of a user."""
    bodies = [json.loads(one.value or b"null") for one in desk.topics.read("task-events")]
    return [
        f"{body['type']} {body.get('code', '')}".strip()
        for body in bodies
        if body["user_id"] == user
    ]


def paid(desk: Desk, user: str) -> list[int]:
    bodies = [json.loads(one.value or b"null") for one in desk.topics.read("rewards")]
    return [
        body["amount_minor"]
        for body in bodies
        if body.get("user_id") == user and body["type"] == "reward.issued"
    ]


def one_order(value: int, **fields: Any) -> dict[str, Any]:
    """A campaign of one order that pays so much."""
    return b.campaign(
        target={"orders": 1},
        step_rewards=None,
        final_rewards=[{"right_id": "cash", "type": "red_packet", "value_minor": value}],
        **fields,
    )


@kafka
def test_an_exhausted_budget_grants_again_once_more_was_published(desk_of: Made) -> None:
    desk = desk_of("budget-exhausted")
    definition = one_order(900, effective_from=soon(75).isoformat(), budget={"amount_minor": 1_000})
    published(desk, "first.json", definition)
    desk.page.sections["given"] = "```sh\nleidan campaign publish first.json --execute\n```"
    desk.well("given")
    desk.workers[0].start()
    desk.ready()
    send(desk, *(b.claim(f"k-{n}", when=soon(80), user_id=f"u-{n}") for n in (1, 2)))
    outcomes = sorted(said_to(desk, user)[0] for user in ("u-1", "u-2"))
    assert outcomes == ["claim.rejected BUDGET_EXHAUSTED", "task.claimed"], (
        "void: it is not exhausted"
    )
    loser = next(user for user in ("u-1", "u-2") if "BUDGET" in said_to(desk, user)[0])
    time.sleep(5.5)  # pools' rows are looked at every five seconds
    look = desk.well("Look", U=loser, CAMPAIGN="three")
    assert re.search(r"rewards_budget_remaining_minor\{.*\} 100\.0", look)
    assert "BUDGET" in look
    assert "budget.added of budget:three" in desk.well("Do", CAMPAIGN="three")
    wait_until(lambda: "budget.added" in desk.workers[0].tail(400), lambda: "it to be read", 30)
    send(desk, b.claim("k-3", when=soon(130), user_id="u-3"))
    assert said_to(desk, "u-3") == ["task.claimed"]
    time.sleep(5.5)
    left = re.search(r"rewards_budget_remaining_minor\{.*\} (\d+)", desk.well("Check"))
    assert left
    assert int(left[1]) == 500_000 + 1_000 - 2 * 900


@kafka
def test_a_bad_campaign_is_followed_by_a_right_version_and_killed(desk_of: Made) -> None:
    desk = desk_of("bad-campaign")
    published(desk, "bad.json", one_order(50_000, effective_from=soon(75).isoformat()))
    desk.page.sections["given"] = "```sh\nleidan campaign publish bad.json --execute\n```"
    desk.well("given")
    desk.workers[0].start()
    desk.ready()

    def earns(user: str, when: datetime) -> None:
        order = b.order(f"o-{user}", when=when + timedelta(seconds=1), user_id=user)
        send(desk, b.claim(f"k-{user}", when=when, user_id=user), order)

    earns("u-1", soon(80))
    assert paid(desk, "u-1") == [50_000]
    assert "50000" in desk.well("Look", CAMPAIGN="three")
    right = soon(85)
    fixed = one_order(500, version=2, effective_from=right.isoformat())
    published(desk, "fixed.json", fixed)
    do = desk.well("Do", CAMPAIGN="three")
    assert "three version 2" in do
    assert "campaign.killed of three" in do
    wait_until(lambda: "campaign.killed" in desk.workers[0].tail(400), lambda: "it to be read", 30)
    earns("u-2", right)  # by the right version, until it ends
    earns("u-3", soon(150))  # behind the end
    assert paid(desk, "u-2") == [500]
    assert paid(desk, "u-3") == []
    check = desk.well("Check", CAMPAIGN="three")
    assert "three version 2" in check
    assert "none refused" in check


@kafka
def test_a_lost_state_is_restored_and_the_log_gives_the_same(desk_of: Made) -> None:
    desk = desk_of("state-lost", campaign_files=[str(SAMPLE)])
    (worker,) = desk.workers
    worker.start()
    desk.topics.send(Traffic(6, 60, 500))
    wait_drained(desk.topics, worker.group)
    assert worker.stop() == 0, worker.tail()
    shutil.rmtree(desk.directory / "state")
    look = desk.well("Look")
    assert "no rows are here" in look
    assert "nobody answers" in look
    desk.well("Do")
    desk.ready()
    assert worker.stats()["restored_rows"] > 0, "void: it had lost nothing"
    assert '"ok":true' in desk.well("Check")


SAID = ("rewards", "task-events", "lottery-draws", "notifications", "draw-requests", "draw-results")


def half_way(directory: Path) -> tuple[str, str]:
    """A lottery of three prizes, a budget of four tasks: (file of definitions, seeds)."""
    seeds, path = directory / "seeds", directory / "campaigns.json"
    seeds.mkdir()
    (seeds / "wheel").write_text(SEED.hex())
    prizes = [{"prize_id": "five", "right": b.pool()["prizes"][1]["right"], "stock": 3}]
    wheel = b.pool(
        commitment=sample.commitment("wheel", SEED),
        prizes=prizes,
        odds=[b.odds(1, five=1_000_000)],
        budget_minor=None,
    )
    spin = b.campaign(
        features=["light_box", "full_link", "lottery"],
        target={"orders": 2},
        step_rewards=None,
        final_rewards=[{"right_id": "cash", "type": "red_packet", "value_minor": 300}],
        claim=b.CLOSING,
        lottery=b.chances(1, "final", draw="immediate"),
        budget={"amount_minor": 1_200},
    )
    path.write_text(json.dumps([wheel, spin]))
    return str(path), str(seeds)


class Twins:
    """A deployment and one beside it that is never resized; both are told the same."""

    def __init__(self, desk: Desk, broker: Cluster, same: Worker) -> None:
        self.desk, self.same = desk, Topics(broker.bootstrap, "resize-same-")
        self.same.create(broker)
        self.sides = [(desk.topics, desk.workers[0].group), (self.same, same.group)]

    def happen(self, *events: dict[str, Any]) -> None:
        """Send them, and wait for what follows: pools are asked by both sides in one order."""
        for topics, _ in self.sides:
            topics.send(map(at_its_time, events))
        for topics, group in self.sides:
            wait_at_rest(topics, group)

    def tick(self, day: int) -> None:
        """Let time come to a day, and all that follows from it."""
        for topics, _ in self.sides:
            self.run(f"leidan ticks --topic-prefix {topics.prefix} --at {b.at(day).isoformat()}")
        for topics, group in self.sides:
            wait_until(
                lambda at=(topics, group): not at[0].unread(at[1], ["ticks"]),
                lambda: "ticks to be folded",
                60,
            )
            wait_at_rest(topics, group)

    def run(self, command: str) -> str:
        self.desk.page.sections["command"] = f"```sh\n{command} --bootstrap-servers $B\n```"
        return self.desk.well("command")

    def said(self, name: str) -> tuple[list[Any], list[Any]]:
        """What the one said before and behind its resize, and what the other has said."""
        resized = (self.desk.topics, self.sides[0][0])
        here = [(one.key, one.value) for topics in resized for one in topics.read(name)]
        return sorted(here), sorted((one.key, one.value) for one in self.same.read(name))


def bought(name: str, day: int) -> dict[str, Any]:
    return b.order(f"o-{name}", day, user_id=f"u-{name[0]}")


def claimed(n: int, day: int) -> dict[str, Any]:
    return b.claim(f"k-{n}", day, user_id=f"u-{n}")


def words(found: list[Any], field: str) -> Counter[str]:
    return Counter(json.loads(value).get(field, "") for _, value in found)


@kafka
def test_a_resize_brings_every_task_pool_and_budget_to_more_partitions(
    desk_of: Made, broker: Cluster, tmp_path: Path, processes: list[Worker]
) -> None:
    files, seeds = half_way(tmp_path)
    rules = {"campaign_files": [files], "pool_secrets_dir": seeds}
    desk = desk_of("resize", 2, session_timeout_ms=3_000, **rules)
    old, new = desk.workers
    given, where = {"pool_secrets_dir": seeds}, (broker.bootstrap, "resize-same-", "same")
    same = Worker(*where, tmp_path, campaigns=[files], settings=given)
    processes.append(same)
    twins = Twins(desk, broker, same)
    old.start()
    same.start()
    desk.ready(old, same)
    later = one_order(900, campaign_id="later", effective_from=soon(75).isoformat())
    published(desk, "later.json", later)
    desk.page.sections["given"] = "```sh\nleidan campaign publish later.json --execute\n```"
    desk.well("given")
    # given: one through, one half way, one who has bought nothing; a prize and some money are left
    twins.happen(claimed(1, 1), claimed(2, 1), claimed(3, 1))
    twins.happen(bought("1a", 1), bought("1b", 2))
    twins.happen(bought("2a", 2))
    twins.tick(3)
    before = [words(twins.said(name)[1], "type") for name in ("rewards", "lottery-draws")]
    desk.well("Look")
    desk.well("Do")
    new.command = tuple(word.replace("worker.toml", "v2.toml") for word in new.command)
    new.start()
    desk.ready(new)
    assert len(owned(new)) == 8
    twins.sides[0] = (Topics(broker.bootstrap, "v2-"), "leidan-v2-fold")
    # when the rest comes to the new topics: what was known, the last money, one prize too many
    twins.happen(claimed(1, 1), bought("1a", 1), bought("2b", 4), claimed(4, 4))
    twins.happen(bought("4a", 4), claimed(5, 4))
    twins.happen(b.cancel("o-1b", 5))
    twins.tick(40)
    # then both have said the same, to the byte, each once
    for name in SAID:
        here, there = twins.said(name)
        assert here == there, name
    rewards, draws, events = (twins.said(n)[1] for n in ("rewards", "lottery-draws", "task-events"))
    assert before[0]["reward.issued"] < words(rewards, "type")["reward.issued"]
    assert words(rewards, "type")["reward.revoked"], "void: nothing of before was taken back"
    assert before[1]["draw.drawn"] == 3
    assert (words(draws, "outcome")["won"], words(draws, "outcome")["no_stock"]) == (3, 2)
    assert words(events, "code")["BUDGET_EXHAUSTED"] == 1
    assert words(events, "type")["task.expired"] >= 2
    assert "later version 1" in desk.well("Check"), "in force, though it is no longer early enough"
    proof = f"leidan lottery verify --seed-file {seeds}/wheel --topic-prefix"
    assert "wheel" in twins.run(f"{proof} {desk.topics.prefix} --topic-prefix v2-")


@kafka
def test_a_second_deployment_with_more_partitions_takes_the_newcomers(desk_of: Made) -> None:
    desk = desk_of("second-deployment", 2)
    old, new = desk.workers
    # as far ahead as the slowest machine is late
    begin, early, at, late = (soon(seconds) for seconds in (100, 200, 300, 400))
    published(desk, "first.json", one_order(900, effective_from=begin.isoformat()))
    desk.page.sections["given"] = "```sh\nleidan campaign publish first.json --execute\n```"
    desk.well("given")
    old.start()
    desk.ready(old)
    assert "1 workers" in desk.well("Look")
    successor = one_order(900, campaign_id="three-v2", effective_from=at.isoformat())
    published(desk, "next.json", successor)
    desk.well("Do", CAMPAIGN="three", T=at.isoformat())
    new.command = tuple(word.replace("worker.toml", "second.toml") for word in new.command)
    new.start()
    desk.ready(new)
    sides = {
        "old": (desk.topics, old.group, "three"),
        "new": (Topics(desk.topics.bootstrap, "second-"), "leidan-second-fold", "three-v2"),
    }
    # one user has begun before T, one comes behind it; every record goes to both sides
    wait_until(lambda: "campaign.stopped" in old.tail(400), lambda: "it to be read", 30)
    for topics, group, campaign in sides.values():
        for user, when in (("u-early", early), ("u-late", late)):
            claim = b.claim(f"k-{user}", when=when, user_id=user, campaign_id=campaign)
            order = b.order(f"o-{user}", when=when + timedelta(seconds=1), user_id=user)
            topics.send([at_its_time(claim), at_its_time(order)])
        wait_at_rest(topics, group)
    given = {
        side: [
            (body["user_id"], body["campaign_id"])
            for one in topics.read("rewards")
            if (body := json.loads(one.value or b"null"))["type"] == "reward.issued"
        ]
        for side, (topics, _, _) in sides.items()
    }
    assert given == {"old": [("u-early", "three")], "new": [("u-late", "three-v2")]}
    check = desk.well("Check")
    assert "three-v2 version 1" in check
    assert "1 workers" in check
    assert len(sides["new"][0].partitions(["orders"])) == 8
