"""What the topics must still hold: the group's next records, and the history of a task."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from confluent_kafka import (
    KafkaError,
    KafkaException,
)
from confluent_kafka.admin import OffsetSpec

from streams.domain.campaign import Killed, Stopped
from streams.domain.days import DAY_MS, instant_ms
from streams.domain.definition import campaign_from
from streams.domain.registry import Campaigns
from streams.feed.kept import Range, forgets, longest_ms, out_of_range, ranges, under_way
from streams.settings import Settings
from tests import builders


def defined(**fields):
    found, problems = campaign_from(builders.campaign(**fields))
    assert problems == []
    return found


@pytest.mark.parametrize("committed", [5, 7, 9])
def test_a_group_whose_next_record_is_there_goes_on(committed):
    assert out_of_range({("orders", 0): Range(committed, 5, 9)}) == []


def test_records_deleted_before_they_were_read_are_counted_and_named():
    (said,) = out_of_range({("orders", 3): Range(4, 9, 20), ("claims", 3): Range(1, 0, 1)})
    assert said.startswith("orders[3]: committed at 4, but the topic now begins at 9: 5 records")
    assert "backfill --from-archive" in said


def test_a_group_ahead_of_its_topic_means_that_the_topic_is_another_one():
    (said,) = out_of_range({("orders", 3): Range(21, 0, 20)})
    assert "orders was deleted and made again" in said
    assert "partition 3 is committed at 21 and ends at 20" in said


class Answer(NamedTuple):
    """A future of the admin client that is done."""

    value: Any

    def result(self, _timeout_s: float) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Offset(NamedTuple):
    offset: int


class Admin:
    """Answers about orders[0] in turn, and begins again with the last: a group, and its topic."""

    def __init__(self, committed: list[int], low: list[int | Exception], high: int) -> None:
        self.committed, self.low, self.high = committed, low, high

    def next_committed(self, _settings):
        return {("orders", 0): self._next(self.committed)}

    def list_offsets(self, asked, **_):
        ((at, spec),) = asked.items()
        earliest = spec is OffsetSpec.earliest()
        value = self._next(self.low) if earliest else self.high
        return {at: Answer(value if isinstance(value, Exception) else Offset(value))}

    @staticmethod
    def _next(answers):
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture(autouse=True)
def committed_as_told(monkeypatch):
    """The group is asked by a consumer of its own, not through the admin client."""
    monkeypatch.setattr(
        "streams.feed.kept._committed", lambda settings, admin: admin.next_committed(settings)
    )


def test_a_group_that_goes_on_while_it_is_asked_is_not_behind_what_was_deleted_meanwhile():
    found = ranges(Settings(), Admin(committed=[5, 30], low=[20], high=40))
    assert found == {("orders", 0): Range(30, 20, 40)}
    assert out_of_range(found) == []


def test_a_group_at_rest_behind_its_topic_stays_there_however_often_it_is_asked():
    found = ranges(Settings(), Admin(committed=[5], low=[20], high=40))
    assert len(out_of_range(found)) == 1


def test_a_partition_whose_leader_is_being_elected_is_asked_again():
    electing = KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
    found = ranges(Settings(), Admin(committed=[5], low=[electing, electing, 0], high=40))
    assert found == {("orders", 0): Range(5, 0, 40)}


def test_what_we_may_not_ask_is_not_asked_again():
    refused = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(KafkaException):
        ranges(Settings(), Admin(committed=[5], low=[refused, 0], high=40))


def test_no_campaign_needs_no_history():
    assert longest_ms([]) == (0, "")


def test_the_longest_task_ends_with_its_last_cancellation():
    # 10 days, the day before them by lookback, 30 days of clawback
    assert longest_ms([defined()]) == (41 * DAY_MS, "three")


@pytest.mark.parametrize(
    ("fields", "days"),
    [
        ({"collect": "manual", "collect_days": 5}, 46),
        ({"expiry": {"clawback_days": 60}}, 71),
        ({"expiry": {"clawback_days": 0, "grace_hours": 72}}, 14),
        ({"window": {"days": 100}}, 131),
    ],
)
def test_it_takes_as_long_as_its_definition_lets_something_happen(fields, days):
    assert longest_ms([defined(**fields)])[0] == days * DAY_MS


def test_the_longest_of_several_is_named():
    both = [defined(), defined(campaign_id="slow", window={"days": 90})]
    assert longest_ms(both) == (121 * DAY_MS, "slow")


HISTORY_MS = 41 * DAY_MS
NOON_MS = instant_ms("2026-06-01T12:00:00+08:00")


@pytest.mark.parametrize(
    "end",
    [
        Stopped(campaign_id="three", effective_from_ms=NOON_MS),
        Killed(campaign_id="three", effective_from_ms=NOON_MS),
    ],
)
def test_a_campaign_that_ended_needs_its_history_until_its_last_task_is_over(end):
    known = Campaigns.of([defined(), end])
    assert len(under_way(known, NOON_MS + HISTORY_MS)) == 1
    assert under_way(known, NOON_MS + HISTORY_MS + 1) == []


def test_a_campaign_that_closes_is_over_after_its_last_task():
    known = Campaigns.of([defined(claim={"closes_at": "2026-06-01T12:00:00+08:00"})])
    assert len(under_way(known, NOON_MS + HISTORY_MS)) == 1
    assert under_way(known, NOON_MS + HISTORY_MS + 1) == []


def test_a_fixed_window_that_comes_long_after_its_claims_is_not_over_before_it_was():
    window = {"mode": "fixed", "first_day": "2026-08-01", "days": 10, "lookback": "none"}
    claims = {"closes_at": "2026-06-01T12:00:00+08:00"}
    known = Campaigns.of([defined(window=window, claim=claims)])
    assert len(under_way(known, instant_ms("2026-09-10T00:00:00+08:00"))) == 1
    assert under_way(known, instant_ms("2026-10-01T00:00:00+08:00")) == []


def test_a_version_is_over_when_the_last_task_that_pinned_it_is():
    later = defined(version=2, effective_from="2026-06-01T12:00:00+08:00", window={"days": 4})
    known = Campaigns.of([defined(), later])
    assert [one.version for one in under_way(known, NOON_MS + HISTORY_MS)] == [1, 2]
    assert [one.version for one in under_way(known, NOON_MS + HISTORY_MS + 1)] == [2]


def kept(days: float, **more: str) -> dict:
    others = {key.replace("_", "."): value for key, value in more.items()}
    return {"orders": {"retention.ms": str(int(days * DAY_MS)), **others}}


def test_a_topic_kept_for_ever_is_nothing_to_speak_of():
    assert forgets({"orders": {"retention.ms": "-1"}}, [defined()]) == ([], [])


def test_a_broker_that_tells_no_retention_says_nothing_of_it():
    assert forgets({"orders": {}}, [defined()]) == ([], [])


def test_a_topic_that_forgets_before_a_task_ends_is_refused_with_the_fix():
    (wrong,), worth = forgets(kept(40.9), [defined()])
    assert "orders: retention.ms is" in wrong
    assert "a task of three" in wrong
    assert "takes 41.0 days" in wrong
    assert "--add-config retention.ms=-1 (at least 3542400000)" in wrong
    assert worth == []


def test_one_that_forgets_after_it_is_only_worth_knowing():
    wrong, (worth,) = forgets(kept(41), [defined()])
    assert wrong == []
    assert "leidan export archive" in worth
    assert "a partition at rest" in worth


def test_a_limit_by_size_is_worth_knowing_whatever_the_days():
    wrong, worth = forgets(kept(41, retention_bytes="1073741824"), [defined()])
    assert wrong == []
    assert "retention.bytes is 1073741824" in worth[0]
    assert "--add-config retention.bytes=-1" in worth[0]
