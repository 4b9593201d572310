"""`leidan explain` beside a running worker: from its state, from the log alone, of the past."""

from __future__ import annotations

import json
import signal

import pytest

from streams import cli
from streams.broker.embedded import EmbeddedBroker
from streams.demo.sending import send
from streams.traffic import Traffic
from tests.cli.conftest import Ran, leidan, require_one_clear_message
from tests.contract.test_explain import VALID
from tests.mock.conftest import counts
from tests.mock.test_worker import SAMPLE, Worker

CHAOS = ("dup", "poison", "late")
UNKNOWN_AT = "2020-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A broker with traffic that a running worker has folded; yields the flags to reach both."""
    directory = tmp_path_factory.mktemp("explain")
    with EmbeddedBroker().start(counts()) as broker:
        send(broker.bootstrap, Traffic(5, 30, 300, CHAOS))
        worker = Worker(broker, directory)
        worker.until(lambda stats: stats["idle"] and stats["records_total"] > 300)
        common = ("--bootstrap-servers", broker.bootstrap, "--campaigns", SAMPLE)
        yield common, ("--state-dir", directory / "state")
        worker.process.send_signal(signal.SIGTERM)
        assert worker.wait() == 0


@pytest.fixture
def run(capsys):
    """The verb in this process: a start of Python each time is what would take long here."""

    def run_(*arguments) -> Ran:
        capsys.readouterr()
        try:
            code = cli.run(["explain", *map(str, arguments)])
        except SystemExit as left:
            code = int(left.code or 0)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run_


@pytest.fixture
def explained(run):
    def explained_(*arguments):
        ran = run(*arguments, "--json")
        assert ran.code in (0, 1), ran.err
        found = json.loads(ran.out)
        VALID.validate(found)
        assert found["known"] is (ran.code == 0)
        return found

    return explained_


def test_a_users_row_and_the_log_alone_say_the_same(place, explained):
    common, state = place
    by_row, by_log = explained("u-00004", *common, *state), explained("u-00004", *common, "--scan")
    assert by_row["tasks"] == by_log["tasks"]
    assert by_row["tasks"][0]["rewards"]
    assert by_row["claims"] == by_log["claims"]
    applied = [event for event in by_log["events"] if event["outcome"] != "duplicate"]
    assert by_row["events"] == applied, "each at the same position"
    assert len(by_log["events"]) > len(applied)
    assert by_row["differs_from_events"] == []


def test_an_order_and_a_reward_are_found_with_and_without_their_user(place, explained):
    common, state = place
    (task,) = explained("u-00004", *common, *state)["tasks"]
    reward = task["rewards"][-1]
    found = explained(reward["reward_id"], *common, *state)
    assert found["user_id"] == "u-00004"
    assert [one["reward_id"] for one in found["tasks"][0]["rewards"]] == [reward["reward_id"]]
    assert [one["order_id"] for one in found["tasks"][0]["orders"]] == reward["rests_on"]
    assert explained(reward["reward_id"], *common, "--scan")["tasks"] == found["tasks"]
    spare = next(one["order_id"] for one in task["orders"] if not one["counts"])
    by_user = explained(spare, *common, *state, "--user", "u-00004")
    assert by_user == {**explained(spare, *common, *state), "at": by_user["at"]}
    assert {event["about"] for event in by_user["events"]} == {spare}
    assert by_user["tasks"][0]["orders"][0]["because"]


def test_at_a_past_moment_what_was_recorded_later_is_not_known(place, explained):
    common, state = place
    now = explained("u-00004", *common, *state)
    cut = now["events"][2]["recorded_at"]
    then = explained("u-00004", *common, *state, "--at", cut)
    assert then["events"] == now["events"][:3]
    assert then["tasks"][0]["counted"] < now["tasks"][0]["counted"]
    assert explained("u-00004", *common, *state, "--at", UNKNOWN_AT)["known"] is False


def test_a_record_that_never_became_an_event_is_named_by_the_log(place, run, explained):
    common, _ = place
    traffic = Traffic(5, 30, 300, CHAOS)
    dead_letters = [key.decode() for _, key, value, _ in traffic if key and not value]
    ran = run("u-00004", *common, "--scan")
    assert ran.code == 0
    assert "reading all of partition" in ran.err
    (poisoned,) = explained(dead_letters[0], *common, "--scan")["rejected"]
    assert poisoned["reason"] == "empty"


def test_for_people_it_is_a_text_without_colour_that_says_why_an_order_does_not_count(place):
    common, state = place
    ran = leidan("explain", "u-00004", *common, *state)
    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert "begun by claim:k-" in ran.out
    assert "orders[" in ran.out
    assert "SPARE: 1 of 1 of that day count already" in ran.out


def test_without_a_broker_the_state_still_answers_but_for_positions(place, explained):
    _, state = place
    found = explained("u-00004", "--offline", "--campaigns", SAMPLE, *state)
    assert found["tasks"]
    assert {event["offset"] for event in found["events"]} == {None}


def test_nobody_is_exit_1_and_a_wrong_place_is_one_clear_message(place, tmp_path, run):
    common, state = place
    assert run("nobody", "--campaigns", SAMPLE, "--offline", *state).code == 1
    for wrong, code in (
        ((*common, "--state-dir", tmp_path), 2),
        ((*common, "--state-dir", tmp_path / "none"), 2),
        ((*common, *state, "--at", "yesterday"), 2),
        (("--bootstrap-servers", "127.0.0.1:1", "--scan"), 4),
    ):
        ran = run("u-00004", *wrong)
        assert ran.code == code, ran.err
        require_one_clear_message(ran)
