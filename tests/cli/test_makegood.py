"""`leidan makegood` on the embedded broker: proposed exactly, reviewed or refused, emitted once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from streams import topics
from streams.broker.embedded import EmbeddedBroker
from streams.demo.reading import Reader
from streams.demo.sending import send
from streams.feed.emitter import IN_ONE
from streams.partitioner import partition_of
from streams.replay.standings import GONE, Standings
from tests.cli.conftest import REPOSITORY, leidan, require_one_clear_message
from tests.mock.conftest import counts
from tests.replay.planted import RIGHT_MINOR, definition, rewards_of, sent, shoppers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARTITIONS = 2
STEPS = (100, 200, 300 + 500)
REWARD = jsonschema_rs.Draft202012Validator(json.loads(topics.schema_path("rewards").read_text()))


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker().start(counts(PARTITIONS)) as started:
        yield started


class Place:
    """A broker whose rewards an engine with a wrong threshold has written; the right rules."""

    def __init__(
        self, broker: Any, path: Path, wrong: Any, users: dict[str, Any], prefix: str = ""
    ) -> None:
        log = sent(*shoppers(users))
        written = wrong if isinstance(wrong, dict) else definition(wrong)
        self.wrote = rewards_of(written, log)
        self.right = rewards_of(definition(), log)
        send(broker.bootstrap, log, prefix=prefix)
        send(broker.bootstrap, self.wrote, prefix=prefix)
        self.prefix = prefix
        self.campaigns, self.file = path / "three.json", path / "makegood.ndjson"
        self.campaigns.write_text(json.dumps(definition()))
        self.bootstrap = broker.bootstrap

    def propose(self, file: Path | None = None) -> Any:
        return self._run("--campaigns", self.campaigns, "--out", file or self.file)

    def approve(self) -> Any:
        return leidan("makegood", "--approve", self.file, "--reviewer", "Lin")

    def emit(self, *more: object) -> Any:
        return self._run("--emit", self.file, *more)

    def _run(self, *more: object) -> Any:
        where = ("--bootstrap-servers", self.bootstrap, "--topic-prefix", self.prefix)
        return leidan("makegood", *where, "--json", *more)

    def emit_and_die(self, point: str) -> int:
        command = [sys.executable, "-m", "streams", "makegood", "--emit", str(self.file)]
        command += ["--execute", "--bootstrap-servers", self.bootstrap]
        command += ["--topic-prefix", self.prefix]
        environment = {**os.environ, "LEIDAN_KILL": point}
        ran = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, check=False, timeout=60
        )
        return ran.returncode

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()[1:]]

    def rewards(self) -> list[Any]:
        with Reader(self.bootstrap, self.prefix) as reader:
            return list(reader.all_of(["rewards"]))


def given(records: list[dict[str, Any]]) -> dict[str, int]:
    """What stands with users, by reward, as consumers have it."""
    standings = Standings()
    for body in records:
        standings.take(body)
    found = standings.rewards.items()
    return {id_: one.value_minor for id_, one in found if one.state != GONE}


EXACT = {"exact": (RIGHT_MINOR,) * 3, "more": (2_000,) * 3, "mixed": (2_000, RIGHT_MINOR, 900)}


def test_a_ledger_of_a_campaign_nobody_has_given_is_refused_and_the_workers_settings_give_it(
    broker: Any, tmp_path: Path
) -> None:
    place = Place(broker, tmp_path, RIGHT_MINOR, {"u-1": (RIGHT_MINOR,) * 3})
    propose = ("makegood", "--bootstrap-servers", broker.bootstrap, "--out", place.file)
    ran = leidan(*propose)
    assert ran.code == 2
    require_one_clear_message(ran)
    assert "version 1, which neither the topic campaigns nor a file defines" in ran.err
    config = tmp_path / "worker.toml"
    config.write_text(f"campaign_files = ['{place.campaigns}']")
    assert leidan(*propose, "--config", config).code == 0, "as the workers have it"


def test_what_a_wrong_threshold_withheld_is_proposed_exactly_and_nothing_else(broker, tmp_path):
    place = Place(broker, tmp_path, RIGHT_MINOR + 1, EXACT)
    ran = place.propose()
    assert ran.code == 1, ran.err
    told = json.loads(ran.out)
    assert told["actions"] == {"issue": 4 + 1}
    assert told["minor"] == {"CNY": sum(STEPS) + 200}
    lines = place.lines()
    assert {line["user_id"] for line in lines} == {"exact", "mixed"}
    right = {json.loads(value)["event_id"]: json.loads(value) for _, _, value, _ in place.right}
    for line in lines:
        REWARD.validate(line["record"])
        assert line["reason"].startswith("missing: the rules give it for order o-")
        assert line["cause"].startswith("orders[")
        body = right[line["record"]["event_id"]]
        assert {**line["record"], "valid_until": ""} == {**body, "valid_until": ""}
        assert line["record"]["valid_until"] > body["valid_until"], "it can still be used"


def test_what_a_wrong_threshold_gave_away_is_proposed_to_be_taken_back(broker, tmp_path):
    users = {"cheap": (RIGHT_MINOR - 50,) * 3, "fair": (2_000,) * 3}
    place = Place(broker, tmp_path, RIGHT_MINOR - 100, users)
    assert place.propose().code == 1
    lines = place.lines()
    assert {line["user_id"] for line in lines} == {"cheap"}
    assert {line["action"] for line in lines} == {"revoke"}
    assert sum(line["minor"] for line in lines) == -sum(STEPS)
    for line in lines:
        REWARD.validate(line["record"])
        assert line["record"]["seq"] == 2
        assert "its task counts 0 of 3" in line["reason"]
    assert place.approve().code == 0
    assert json.loads(place.emit("--execute").out)["emitted"] == 4
    now = given([json.loads(read.value) for read in place.rewards()])
    assert now == given([json.loads(value) for _, _, value, _ in place.right])


def test_a_reward_of_the_wrong_value_is_taken_back_and_given_anew(broker, tmp_path):
    """An engine that paid 90 for the first step's 100."""
    steps = definition()["step_rewards"]
    steps[0] = {**steps[0], "right": {**steps[0]["right"], "value_minor": 90}}
    place = Place(broker, tmp_path, definition(step_rewards=steps), {"u": (RIGHT_MINOR,) * 2})
    assert place.propose().code == 1
    assert [(line["action"], line["minor"], line["record"]["seq"]) for line in place.lines()] == [
        ("revoke", -90, 2), ("issue", 100, 3),
    ]  # fmt: skip
    place.approve()
    assert json.loads(place.emit("--execute").out)["emitted"] == 2
    now = given([json.loads(read.value) for read in place.rewards()])
    assert now == given([json.loads(value) for _, _, value, _ in place.right])
    assert place.propose(tmp_path / "again").code == 0


def test_right_rewards_are_nothing_to_make_good(broker, tmp_path):
    place = Place(broker, tmp_path, RIGHT_MINOR, EXACT)
    ran = place.propose()
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["rewards_compared"] == 4 + 4 + 2
    assert not place.file.exists()


def test_it_is_emitted_once_under_three_runs_and_a_kill_between_two_transactions(broker, tmp_path):
    users = {f"u-{n}": (RIGHT_MINOR,) for n in range(IN_ONE + 50)}
    place = Place(broker, tmp_path, RIGHT_MINOR + 1, users)
    assert place.wrote == []
    assert place.propose().code == 1
    assert place.approve().code == 0
    plan = place.emit()
    assert json.loads(plan.out)["would_emit"] == len(users)
    assert place.rewards() == [], "without --execute nothing is written"
    assert place.emit_and_die("K7:1") == -9
    assert len(place.rewards()) == IN_ONE
    second = json.loads(place.emit("--execute").out)
    assert (second["emitted"], second["there_already"]) == (50, IN_ONE)
    third = json.loads(place.emit("--execute").out)
    assert (third["emitted"], third["there_already"]) == (0, len(users))
    records = place.rewards()
    ids = [json.loads(read.value)["event_id"] for read in records]
    assert len(ids) == len(set(ids)) == len(users)
    assert set(ids) == {json.loads(value)["event_id"] for _, _, value, _ in place.right}
    for read in records:
        assert read.partition == partition_of(read.key, PARTITIONS), "where the worker's own are"
        assert dict(read.headers)["ce_id"].decode() == json.loads(read.value)["event_id"]
        assert "makegood-digest" in dict(read.headers)
    assert place.propose(tmp_path / "again").code == 0


def test_what_nobody_has_reviewed_is_refused(broker, tmp_path):
    place = Place(broker, tmp_path, RIGHT_MINOR + 1, EXACT)
    place.propose()
    ran = place.emit("--execute")
    assert ran.code == 2
    assert "nobody has approved it" in ran.err
    require_one_clear_message(ran)
    place.approve()
    approved = place.file.read_bytes()
    head, first, *rest = approved.splitlines(keepends=True)
    for changed in (
        approved.replace(b'"minor":100', b'"minor":101', 1),
        head + b"".join(rest),  # a line taken out
        head + first + first + b"".join(rest),
        approved.replace(b'"reviewed_by":"Lin"', b'"reviewed_by":"Wu"'),
        approved + first,
    ):
        assert changed != approved
        place.file.write_bytes(changed)
        ran = place.emit("--execute")
        assert ran.code == 2, ran.err
        assert "approve" in ran.err
    assert len(place.rewards()) == len(place.wrote)
    place.file.write_bytes(head + first)
    assert place.approve().code == 0, "a reviewer takes lines out and signs what is left"
    assert json.loads(place.emit("--execute").out)["emitted"] == 1


def test_an_amount_nobody_can_have_meant_is_refused_at_the_review(broker, tmp_path):
    place = Place(broker, tmp_path, RIGHT_MINOR + 1, EXACT)
    place.propose()
    text = place.file.read_text()
    posting = '"account":"budget","amount_minor":-'
    place.file.write_text(text.replace(posting, f"{posting}9", 1))
    ran = place.approve()
    assert ran.code == 2
    assert "makegood.ndjson:2" in ran.err
    assert "postings do not sum to zero" in ran.err


def test_a_proposal_that_time_has_overtaken_is_left_out(broker, tmp_path):
    place = Place(broker, tmp_path, RIGHT_MINOR + 1, {"exact": (RIGHT_MINOR,)})
    place.propose()
    place.approve()
    (_, key, value, at_ms) = place.right[0]
    taken = {**json.loads(value), "type": "reward.revoked", "seq": 2, "event_id": "evt_other"}
    send(broker.bootstrap, [("rewards", key, json.dumps(taken).encode(), at_ms)])
    ran = place.emit("--execute")
    assert ran.code == 1
    assert json.loads(ran.out) | {"emitted": 0, "outdated": 1} == json.loads(ran.out)


def test_a_file_about_other_topics_is_refused(broker, tmp_path):
    place = Place(broker, tmp_path, RIGHT_MINOR + 1, EXACT)
    place.propose()
    text = place.file.read_text().replace('"topic_prefix":""', '"topic_prefix":"test-"')
    place.file.write_text(text)
    assert place.approve().code == 0
    ran = place.emit("--execute")
    assert ran.code == 78
    assert "the file is about cluster" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [(), ("--out", "x", "--emit", "y"), ("--out", "x", "--execute"), ("--approve", "x"),
     ("--approve", "/nowhere", "--reviewer", "Lin"), ("--out", "x"), ("--emit", "x")],
)  # fmt: skip
def test_what_a_person_can_get_wrong_is_one_clear_message(arguments):
    ran = leidan("makegood", *arguments)
    assert ran.code == 2, ran.err
    require_one_clear_message(ran)
