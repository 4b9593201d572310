"""What the fold says, as bytes, against the published schemas of `rewards` and `task-events`."""

import json
from collections import Counter

import jsonschema_rs
import orjson
import pytest

from streams.domain.fold import step
from streams.domain.state import new
from streams.errors import EventRejected
from streams.feed.ports import Record
from streams.topics import schema_path, schemas_dir
from streams.traffic import START_MS, Traffic
from streams.wire.outputs import encode
from tests.given import registry
from tests.wire.examples import DECODERS

SAMPLE = json.loads((schemas_dir() / "samples" / "grocery-3.json").read_text("utf-8"))
FINAL = {"right_id": "rp-9", "type": "red_packet", "value_minor": 900}
LIGHT = {
    "type": "campaign.defined",
    "v": 1,
    "version": 1,
    "effective_from": "2026-01-01T00:00:00+08:00",
    "scenes": ["home"],
    "currency": "CNY",
    "final_rewards": [FINAL],
}
CAMPAIGNS = (
    SAMPLE,
    {
        **LIGHT,
        "campaign_id": "dark",
        "features": ["dark_box"],
        "window": {"days": 5},
        "target": {"orders": 2},
        "qualify": {"on": "fulfilled", "channels": {"include": ["app"]}, "daily_cap": 2},
        "rounds": {"max": 3, "cool_down_days": 1},
    },
    {
        **LIGHT,
        "campaign_id": "auto",
        "features": ["light_box"],
        "enrolment": "auto",
        "window": {"mode": "every_n", "days": 30, "max_cycles": 5},
        "target": {"orders": 2},
        "qualify": {"min_amount_minor": 2000, "categories": {"exclude": ["gift_card"]}},
        "expiry": {"grace_hours": 1, "clawback_days": 1},
    },
)


@pytest.fixture(scope="module")
def said():
    """Every output of a seeded month with every kind of chaos; half of what is issued is spent."""
    campaigns, states, outputs = registry(*CAMPAIGNS), {}, []
    chaos = ("dup", "late", "reorder", "poison")
    ids = [campaign["campaign_id"] for campaign in CAMPAIGNS[:2]]
    for topic, key, value, at_ms in Traffic(11, 60, 1500, chaos, campaigns=ids):
        found = fold(Record(topic, 0, 0, key, value, [], at_ms), campaigns, states)
        outputs += found
        for body in (json.loads(output.value) for output in found):
            if body["type"] == "reward.issued" and int(body["reward_id"][-1], 16) < 8:
                outputs += fold(result(body), campaigns, states)
    return outputs


def fold(record, campaigns, states):
    try:
        event = DECODERS[record.topic](record)
    except EventRejected:
        return []
    folded = step(states.get(event.user_id) or new(event.user_id), event, campaigns)
    states[event.user_id] = folded.state
    return [encode(output, record) for output in folded.outputs]


def result(issued):
    """The rights service says that a reward was spent, or now and then that it lapsed."""
    lapsed = int(issued["reward_id"][-1], 16) < 3
    body = {
        "type": "reward.result",
        "v": 1,
        "user_id": issued["user_id"],
        "occurred_at": issued["occurred_at"],
        "result_id": f"r-{issued['event_id']}",
        "reward_id": issued["reward_id"],
        "seq": issued["seq"],
        "outcome": "expired" if lapsed else "spent",
    }
    at_ms = START_MS + 400 * 86_400_000
    key = issued["user_id"].encode()
    return Record("reward-results", 0, 0, key, orjson.dumps(body), [], at_ms)


@pytest.mark.parametrize("topic", ["rewards", "task-events"])
def test_everything_said_satisfies_its_schema(said, topic):
    validator = jsonschema_rs.Draft202012Validator(
        json.loads(schema_path(topic).read_text("utf-8")), validate_formats=True
    )
    values = [json.loads(output.value) for output in said if output.topic == topic]
    assert values
    for value in values:
        validator.validate(value)


def test_the_month_says_most_of_what_can_be_said(said):
    types = Counter(json.loads(output.value)["type"] for output in said)
    assert set(types) >= {
        *("reward.issued", "reward.revoked", "reward.adjusted"),
        *("task.claimed", "task.advanced", "task.completed", "task.regressed"),
        *("claim.rejected", "order.ignored", "order.spare"),
    }


def test_postings_sum_to_zero_and_the_key_is_the_user(said):
    for output in said:
        value = json.loads(output.value)
        assert output.key == value["user_id"].encode()
        assert sum(posting["amount_minor"] for posting in value.get("postings", ())) == 0
