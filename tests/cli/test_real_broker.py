"""The same commands against Apache Kafka itself: topics as the registry has them, then the demo."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.cli.conftest import SAMPLES, Ran, leidan, require_one_clear_message

pytestmark = pytest.mark.kafka


def test_topics_apply_shows_a_plan_acts_when_told_to_and_then_has_nothing_to_do(broker):
    place = ("--bootstrap-servers", broker.bootstrap, "--topic-prefix", "apply-", "-p", 3)
    shown = leidan("topics", "apply", *place)
    assert shown.code == 1
    assert "create apply-orders with 3 partitions" in shown.out
    assert "create apply-campaigns with 1 partitions" in shown.out
    assert "--execute" in shown.err
    assert leidan("topics", "plan", *place).out == shown.out, "showing changes nothing"
    planned = leidan("topics", "plan", "--json", *place)
    assert planned.code == 1
    asked = json.loads(planned.out)
    assert {"topic": "apply-orders", "partitions": 3} in asked["missing"]
    made = leidan("topics", "apply", "--execute", "--json", *place)
    assert made.code == 0
    assert json.loads(made.out) == {**asked, "ok": True, "missing": [], "created": asked["missing"]}
    after = leidan("topics", "plan", *place)
    assert (after.code, after.out) == (0, "")


def test_the_settings_prefix_is_that_of_topics_too(broker, tmp_path):
    config = tmp_path / "worker.toml"
    config.write_text('[kafka]\ntopic_prefix = "told-"\n')
    place = ("--bootstrap-servers", broker.bootstrap, "--config", config)
    assert "create told-orders with 8 partitions" in leidan("topics", "plan", *place).out
    other = leidan("topics", "plan", *place, "--topic-prefix", "other-")
    assert "create other-orders with 8 partitions" in other.out


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


class Checked(NamedTuple):
    admin: AdminClient
    bootstrap: str
    place: tuple[object, ...]

    def check(self, *flags: object) -> Ran:
        return leidan("topics", "check", *self.place, *flags)

    def set(self, topic: str, **configs: str) -> None:
        entries = [
            ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for key, value in configs.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        for done in self.admin.incremental_alter_configs([resource]).values():
            done.result(10)

    def commit(self, group: str, **offsets: int) -> None:
        at = [TopicPartition(f"check-{topic}", 0, offset) for topic, offset in offsets.items()]
        asked = [ConsumerGroupTopicPartitions(group, at)]
        for done in self.admin.alter_consumer_group_offsets(asked).values():
            done.result(30)

    def send(self, topic: str, partitioner: str) -> None:
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "partitioner": partitioner, "log_level": 0}
        )
        for n in range(100):
            producer.produce(topic, b"{}", f"u-{n:05}".encode())
        assert producer.flush(30) == 0


@pytest.fixture(scope="module")
def checked(broker) -> Checked:
    """Topics of an empty engine, found well; each test spoils its own."""
    place = ("--bootstrap-servers", broker.bootstrap, "--topic-prefix", "check-", "-p", 2)
    assert leidan("topics", "apply", "--execute", *place).code == 0
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    return Checked(admin, broker.bootstrap, place)


def test_topics_check_finds_a_new_engine_well(checked):
    ran = checked.check("--app-id", "new", "--json")
    nothing = {"missing": [], "created": [], "wrong": [], "worth": []}
    assert json.loads(ran.out) == {"ok": True, **nothing}
    assert ran.code == 0


def test_topics_check_and_a_worker_refuse_a_retention_below_the_longest_task(checked, tmp_path):
    checked.set("check-cancellations", retention_ms="604800000")
    try:
        plan = leidan("topics", "plan", *checked.place)
        assert plan.code == 1
        assert "check-cancellations: retention.ms is 604800000, must be -1 or more" in plan.out
        campaign = ("--campaigns", SAMPLES / "grocery-3.json")
        ran = checked.check(*campaign)
        assert ran.code == 1
        assert "a task of grocery-3 and what may be cancelled of it takes" in ran.out
        place = checked.place[:4]
        worker = leidan("worker", *place, *campaign, "--state-dir", tmp_path, "--set=app_id=short")
        require_one_clear_message(worker)
        assert worker.code == 78
        assert "a task of grocery-3" in worker.err
        assert "--topic check-cancellations --add-config retention.ms=-1" in worker.err
    finally:
        checked.set("check-cancellations", retention_ms="-1")


def test_topics_check_and_a_worker_refuse_offsets_that_are_not_in_the_topic(checked, tmp_path):
    checked.send("check-claims", "murmur2_random")
    deleted = checked.admin.delete_records([TopicPartition("check-claims", 0, 10)])
    for done in deleted.values():
        done.result(30)
    checked.commit("gone-fold", claims=3, cancellations=7)
    ran = checked.check("--app-id", "gone")
    assert ran.code == 1
    assert "claims[0]: committed at 3, but the topic now begins at 10: 7 records" in ran.out
    assert "topic cancellations was deleted and made again" in ran.out
    worker = leidan("worker", *checked.place[:4], "--state-dir", tmp_path, "--set=app_id=gone")
    require_one_clear_message(worker)
    assert worker.code == 78
    assert "claims[0]: committed at 3" in worker.err
    assert checked.check("--app-id", "other").code == 0, "another group is not concerned"


def test_topics_check_sees_a_producer_that_places_keys_otherwise(checked):
    checked.send("check-orders", "murmur2_random")
    assert checked.check("--app-id", "new").code == 0
    checked.send("check-orders", "consistent")  # CRC32, which librdkafka takes by default
    ran = checked.check("--app-id", "new")
    assert ran.code == 1
    assert "check-orders: " in ran.out
    assert "partitioner=murmur2_random" in ran.out
    assert checked.check("--app-id", "new", "--sample", 0).code == 0
