"""What overlays/strimzi lets the workers do, before a real authorizer: enough, and no more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from deploy.kubernetes import generate
from streams.settings import Kafka, Settings, load
from tests.cli.conftest import leidan
from tests.kafka.harness import Topics, wait_until
from tests.kafka.workers import SAMPLE, Process
from tests.security.secured import SCRAM_PASSWORD, USER, Secured
from tests.security.test_sasl_ssl import group_state, rewards

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.kafka

PREFIX = "allowed-"
SETTINGS = Settings(kafka=Kafka(topic_prefix=PREFIX), app_id=f"{PREFIX}leidan")
KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}
PATTERNS = {"literal": ResourcePatternType.LITERAL, "prefix": ResourcePatternType.PREFIXED}
OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}


def bindings() -> list[AclBinding]:
    found = []
    for one in generate.acls(SETTINGS):
        what: dict[str, Any] = one["resource"]
        found += [
            AclBinding(
                KINDS[what["type"]], what["name"], PATTERNS[what["patternType"]], f"User:{USER}",
                "*", OPERATIONS[operation], AclPermissionType.ALLOW,
            )
            for operation in one["operations"]
        ]  # fmt: skip
    return found


@pytest.fixture(scope="module")
def guarded(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:  # noqa: ARG001
    """A broker that asks for every right; the listener beside it is the operator's."""
    broker = Secured.start(
        tmp_path_factory.mktemp("guarded"),
        authorizer_class_name="org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        super_users="User:ANONYMOUS",
    )
    with broker.cluster:
        place = ("--bootstrap-servers", broker.plain, "--topic-prefix", PREFIX)
        assert leidan("topics", "apply", "--execute", "-p", 2, *place).code == 0
        assert (
            leidan("simulate", "--orders", 300, "--users", 30, "--chaos", "poison", *place).code
            == 0
        )
        yield broker


def as_leidan(broker: Secured) -> Path:
    secret = str(broker.secret(SCRAM_PASSWORD))
    return broker.config("scram", sasl_mechanism="SCRAM-SHA-512", sasl_password_file=secret)


def test_the_workers_user_may_do_all_that_workers_and_their_clock_do(guarded, tmp_path):
    topics = Topics(guarded.plain, PREFIX)
    for made in topics.admin.create_acls(bindings()).values():
        made.result(10)
    config = as_leidan(guarded)
    place = ("--bootstrap-servers", guarded.bootstrap, "--config", config, "--topic-prefix", PREFIX)
    words = ("worker", *place, "--state-dir", tmp_path / "state", "--campaigns", SAMPLE)
    words += (f"--set=app_id={SETTINGS.app_id}", "--set=web_port=0")
    command = [sys.executable, "-m", "streams", *map(str, words)]
    worker = Process("guarded worker", command, tmp_path / "worker.log")
    worker.start()
    try:
        wait_until(lambda: rewards(topics), lambda: "a reward", 60)
        wait_until(lambda: group_state(topics, SETTINGS.app_id) == "Stable", lambda: "Faust", 60)
        ticked = leidan(
            "ticks", *place, "--app-id", SETTINGS.app_id, "--at", "2026-06-01T00:00:00Z"
        )
        assert ticked.code == 0, ticked.err
        checked = leidan("topics", "check", *place, "-p", 2, "--app-id", SETTINGS.app_id)
        assert checked.code == 0, checked.out + checked.err
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.close()
    said = worker.log.read_text() + ticked.err + checked.err
    assert "uthorization" not in said, "nothing was refused on the way either"
    assert "cannot read the settings" not in said


def test_it_may_not_say_what_shops_say(guarded):
    client = load(as_leidan(guarded)).kafka.client
    producer = Producer({**client, "bootstrap.servers": guarded.bootstrap, "log_level": 0})
    met: list[KafkaError | None] = []
    try:
        producer.produce(f"{PREFIX}orders", b"{}", b"u", on_delivery=lambda e, _: met.append(e))
        producer.flush(30)
    except KafkaException as error:
        met.append(error.args[0])
    assert [one.code() for one in met if one] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
