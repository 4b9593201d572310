"""What must be true of the broker before a worker joins: asked once, each answer with its fix."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import TopicCollection
from confluent_kafka import admin as kafka_admin

from streams import connect, topics
from streams.errors import Refused
from streams.feed import client, kept

if TYPE_CHECKING:
    from streams.settings import Settings

log = logging.getLogger(__name__)

ANSWER_S = 15.0


class Found(NamedTuple):
    """What the broker is: part of every database's identity."""

    cluster: str
    partitions: int
    topic_ids: dict[str, str]  # of the folded topics and the changelog


def check(settings: Settings) -> Found:
    """Raises BrokerUnreachable (exit 4) or Refused (exit 78) with the exact fix."""
    met = connect.Met()
    config: dict[str, Any] = {**client.common(settings), "error_cb": met, "log_level": 0}
    admin: Any = connect.made(kafka_admin.AdminClient, config)
    servers = settings.kafka.bootstrap_servers
    there = connect.metadata(admin, met, servers, ANSWER_S)
    counts = {
        name: len(there.topics[settings.topic(name)].partitions)
        for name in topics.registry()
        if settings.topic(name) in there.topics
    }
    missing = [settings.topic(name) for name in topics.registry() if not counts.get(name)]
    if missing:
        raise Refused(
            f"{servers}: topics missing: {', '.join(missing)}. Make them with `leidan topics apply "
            "--execute`"
        )
    partitions = _equal_counts(settings, counts)
    if settings.embedded:
        return Found(str(there.cluster_id), partitions, {})
    _require_configs(settings, admin)
    keyed = (*topics.FOLDED, topics.CHANGELOG)
    return Found(str(there.cluster_id), partitions, _topic_ids(settings, admin, keyed))


def _equal_counts(settings: Settings, counts: dict[str, int]) -> int:
    """One user's records must lie at the same partition number in every topic."""
    keyed = {
        name: counts[name] for name, topic in topics.registry().items() if topic.partitions == "N"
    }
    if len(set(keyed.values())) > 1:
        listed = ", ".join(
            f"{settings.topic(name)} {count}" for name, count in sorted(keyed.items())
        )
        most = max(keyed.values())
        raise Refused(
            f"unequal partition counts: {listed}. All must have the same. A topic that holds "
            f"no data yet can be deleted and made again with {most}; one that does cannot be "
            "resized: make new topics and bring the rows there (`leidan state resize`; "
            "deploy/runbooks/resize.md)"
        )
    return next(iter(keyed.values()))


def _require_configs(settings: Settings, admin: Any) -> None:
    """Two settings that lose money silently when they are wrong."""
    wanted = {
        topics.CHANGELOG: ("cleanup.policy", "compact", "rows would be deleted"),
        topics.CAMPAIGNS: (
            "message.timestamp.type",
            "LogAppendTime",
            "a definition's lead time is judged by the broker's clock",
        ),
    }
    there = kept.settings_on(settings, admin, wanted)
    for name, (key, value, why) in wanted.items():
        found = there.get(name, {}).get(key, value)
        if found != value:
            raise Refused(
                f"{settings.topic(name)}: {key} is {found!r}, must be {value!r} ({why}). "
                f"{topics.fix(settings.topic(name), key, value)}"
            )


def _topic_ids(settings: Settings, admin: Any, names: tuple[str, ...]) -> dict[str, str]:
    asked = {settings.topic(name): name for name in names}
    answers = admin.describe_topics(TopicCollection(list(asked)), request_timeout=ANSWER_S)
    try:
        return {
            asked[full]: str(answer.result(ANSWER_S).topic_id) for full, answer in answers.items()
        }
    except Exception as error:  # noqa: BLE001 - an old broker, or not allowed: counts still guard
        log.warning("topic ids unknown (%s): a topic made again would be noticed later", error)
        return {}
