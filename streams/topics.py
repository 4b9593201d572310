"""Topic names, keys, partition counts and settings: read from `schemas/topics`, the one source.

Names carry no environment and no tenant; a prefix is put before them where they meet a broker.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ORDERS = "orders"
CLAIMS = "claims"
CANCELLATIONS = "cancellations"
REWARD_RESULTS = "reward-results"
TICKS = "ticks"
CAMPAIGNS = "campaigns"
DRAW_REQUESTS = "draw-requests"
DRAW_RESULTS = "draw-results"
REWARDS = "rewards"
LOTTERY_DRAWS = "lottery-draws"
TASK_EVENTS = "task-events"
NOTIFICATIONS = "notifications"
DEAD_LETTERS = "dead-letters"
DECISIONS = "dead-letter-decisions"
CHANGELOG = "user-tasks-changelog"
JOURNAL = "fold-journal"

USER_KEYED = (ORDERS, CLAIMS, CANCELLATIONS, REWARD_RESULTS)
"""What others say of a user."""

FOLDED = (*USER_KEYED, DRAW_RESULTS, DRAW_REQUESTS, TICKS)
"""What a worker folds: partition p of each must land on the same one. The order is that inside one
poll. Orders first: when catching up, a claim or cancellation that comes after newer orders is
refolded once, an order that comes after a newer claim each time. Pools after users: what they are
asked for in a poll was asked in an earlier one. Ticks last: time comes after what it holds."""


MUTED = frozenset({NOTIFICATIONS})
"""What a replay or a backfill must not write: nobody wants to hear of last year's deadlines."""


class Schemas(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Published versions of a topic's values; none where they are bytes or rows of our own."""

    versions: tuple[int, ...] = ()
    compatibility: Literal["BACKWARD_TRANSITIVE", "NONE"] = "NONE"


class Topic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One topic. `partitions` is a number, or "N": the number all user-keyed topics share."""

    topic: str
    purpose: str
    key: str
    partitions: int | Literal["N"]
    configs: dict[str, str | int | float]  # Kafka's own names
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    schemas: Schemas = Schemas()

    def partition_count(self, n: int) -> int:
        """Return how many partitions it has where the user-keyed topics have `n`."""
        return n if self.partitions == "N" else self.partitions


@cache
def registry() -> dict[str, Topic]:
    """Return every topic by name, in order of name; a bad file raises msgspec.ValidationError."""
    files = sorted((schemas_dir() / "topics").glob("*.yaml"))
    topics = [_topic(yaml.safe_load(file.read_text("utf-8")), file) for file in files]
    return {topic.topic: topic for topic in topics}


def topic_configs(topic: str) -> dict[str, str]:
    """Return the settings a topic is created with, as Kafka's admin calls want them."""
    return {name: str(value) for name, value in registry()[topic].configs.items()}


def strimzi(name: str, topic: str, partitions: int) -> dict[str, Any]:
    """Return a topic as a resource of Strimzi's topic operator, on three brokers.

    name: with the prefix; one that Kubernetes would not take stands beside. One broker may be away;
    what was acknowledged is never lost to an election.
    """
    called = name.lower().replace("_", "-")
    config = {
        **registry()[topic].configs,
        "min.insync.replicas": 2,
        "unclean.leader.election.enable": False,
    }
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": called, "labels": {"strimzi.io/cluster": "kafka"}},
        "spec": {
            **({} if called == name else {"topicName": name}),
            "partitions": partitions,
            "replicas": 3,
            "config": config,
        },
    }


def manifests(resources: Iterable[dict[str, Any]]) -> str:
    """Return resources as one YAML text, for `kubectl apply -f -`."""
    text: str = yaml.safe_dump_all(resources, sort_keys=False)
    return text


EXACTLY = ("cleanup.policy", "message.timestamp.type")
AT_LEAST = ("retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes")


def unfit(topic: str, found: Mapping[str, str], prefix: str = "") -> list[str]:
    """Return in which settings a broker's topic differs from the registry's to our harm.

    found: the broker's, by Kafka's names. One that keeps more or takes larger records is no harm,
    nor is one that only costs time. Each line names the topic and the command that mends it.
    """
    name = prefix + topic
    wanted = topic_configs(topic)
    if wanted.get("retention.ms") == "-1":
        wanted["retention.bytes"] = "-1"  # a limit by size forgets as well
    said = []
    for key, value in wanted.items():
        has = found.get(key)
        if has is None or has == value or key not in (*EXACTLY, *AT_LEAST):
            continue
        if key in EXACTLY or _limit(has) < _limit(value):
            less = "" if key in EXACTLY else " or more"
            said.append(f"{name}: {key} is {has}, must be {value}{less}. {fix(name, key, value)}")
    return said


def fix(topic: str, key: str, value: str) -> str:
    """Return the command that sets it. topic: as the broker names it."""
    return (
        f"Fix: kafka-configs.sh --bootstrap-server ... --alter --topic {topic} "
        f"--add-config {key}={value}"
    )


def _limit(value: str) -> float:
    return float("inf") if value == "-1" else float(value)


def schema_path(topic: str, version: int = 1) -> Path:
    """Return the JSON Schema of a topic's values; LookupError for a version never published."""
    if version not in registry()[topic].schemas.versions:
        msg = f"{topic} has no schema version {version}"
        raise LookupError(msg)
    return schemas_dir() / f"{topic}.v{version}.schema.json"


def schemas_dir() -> Path:
    """Return `schemas/`: inside an installed package, else beside it in the checkout."""
    package = Path(__file__).parent
    installed = package / "_schemas"
    return installed if installed.is_dir() else package.parent / "schemas"


def _topic(raw: Any, file: Path) -> Topic:  # whatever the file holds
    topic = msgspec.convert(raw, Topic)
    assert topic.topic == file.stem, f"{file.name} describes {topic.topic}"
    return topic
