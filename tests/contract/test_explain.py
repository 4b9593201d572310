"""What `leidan explain --json` prints satisfies its schema, whatever the history."""

from __future__ import annotations

import json

import jsonschema
import jsonschema_rs
import pytest

from streams.domain import facts
from streams.replay import focus, story
from streams.replay.explanation import Question, explained
from streams.topics import schemas_dir
from tests.builders import at, millis
from tests.contract.test_schemas import objects_in
from tests.replay.test_trace import world

SCHEMA = json.loads((schemas_dir() / "cli" / "explain.schema.json").read_text("utf-8"))
VALID = jsonschema_rs.validator_for(SCHEMA)
FEATURES = ("groups", "amount", "saved", "risk", "withdrawn", "kill", "budget", "lottery")


def report_of(seed: int, at_ms: int | None = None):
    campaigns, row = world(seed, FEATURES)
    told = story.of_row(row, facts.unpack(row.facts))
    question = Question(row.user_id, row, told, at_ms, story.reached_ms(row), millis(at(30)))
    about = {"kind": "user", "id": row.user_id}
    return {**explained(question, campaigns), "about": about, "source": "state", "rejected": []}


@pytest.mark.parametrize("seed", range(40))
def test_any_history_is_explained_by_the_schema_now_and_at_a_past_moment(seed):
    for at_ms in (None, millis(at(4)), millis(at(60))):
        report = report_of(seed, at_ms)
        VALID.validate(report)
        for task in report["tasks"]:
            VALID.validate(focus.on_campaign(report, task["campaign_id"]))
            for reward in task["rewards"]:
                VALID.validate(focus.on_reward(report, reward["reward_id"]))
            for order in task["orders"]:
                VALID.validate(focus.on_order(report, order["order_id"]))


def test_the_schema_is_one_and_closed_and_every_field_is_described():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for each_object in objects_in(SCHEMA):
        if "properties" not in each_object:
            continue
        assert each_object["additionalProperties"] is False
        for name, field in each_object["properties"].items():
            if "$ref" not in field:
                assert field["description"], name
            if name.endswith("_minor"):
                assert "minor units" in field["description"], name
