"""The same commands against Apache Kafka itself: topics as the registry has them, then the demo."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import leidan, require_one_clear_message

pytestmark = pytest.mark.kafka


def test_topics_apply_shows_a_plan_acts_when_told_to_and_then_has_nothing_to_do(broker):
    place = ("--bootstrap-servers", broker.bootstrap, "--topic-prefix", "apply-", "-p", 3)
    shown = leidan("topics", "apply", *place)
    assert shown.code == 1
    assert "create apply-orders with 3 partitions" in shown.out
    assert "create apply-campaigns with 1 partitions" in shown.out
    assert "--execute" in shown.err
    assert leidan("topics", "plan", *place).out == shown.out, "showing changes nothing"
    assert leidan("topics", "apply", "--execute", *place).code == 0
    after = leidan("topics", "plan", *place)
    assert (after.code, after.out) == (0, "")


def test_topics_plan_names_a_topic_that_cannot_be_resized(broker):
    broker.create_topics({"uneven-orders": (3, {}), "uneven-claims": (2, {})})
    place = ("--bootstrap-servers", broker.bootstrap, "--topic-prefix", "uneven-", "-p", 3)
    ran = leidan("topics", "plan", *place)
    assert ran.code == 1
    assert "differs: uneven-claims has 2 partitions, not 3" in ran.out


def test_the_demo_on_a_real_broker_and_its_topics_are_never_counted_twice(broker):
    place = ("--bootstrap-servers", broker.bootstrap, "--topic-prefix", "shown-")
    ran = leidan("demo", "--json", "--orders", 800, "--users", 80, *place)
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["repeated_event_ids"] == 0
    assert found["rewards_net"] > 50
    again = leidan("demo", "--orders", 10, *place)
    assert again.code == 2
    require_one_clear_message(again)
    assert "is not empty; give another --topic-prefix" in again.err
