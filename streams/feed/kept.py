"""Whether the topics still hold what the workers need: asked at their start, and by `topics check`.

A restore asks again for its own partitions (store/restore.py); here all of the group are looked at
in three questions, before one of them is folded.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka import admin as kafka_admin

from streams import topics
from streams.domain.days import DAY_MS
from streams.errors import Refused
from streams.feed import client

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.domain.campaign import Campaign
    from streams.settings import Settings

    At = tuple[str, int]  # topic without prefix, partition

log = logging.getLogger(__name__)

ANSWER_S = 15.0


class Range(NamedTuple):
    """Where a group stands in one partition, and what the partition holds: [low, high)."""

    committed: int
    low: int
    high: int


def admin_of(settings: Settings) -> Any:
    """Return a client that asks; it says what it meets by raising, and to no log."""
    config = {**client.common(settings), "error_cb": lambda _error: None, "log_level": 0}
    return kafka_admin.AdminClient(config)


def ranges(settings: Settings, admin: Any) -> dict[At, Range]:
    """Return the range of each partition the group has committed; raises KafkaException."""
    asked = ConsumerGroupTopicPartitions(settings.group)
    answer = admin.list_consumer_group_offsets([asked], request_timeout=ANSWER_S)
    names = {settings.topic(name): name for name in topics.FOLDED}
    committed = {
        (names[at.topic], at.partition): at.offset
        for at in answer[settings.group].result(ANSWER_S).topic_partitions
        if at.topic in names and at.offset >= 0
    }
    lows, highs = (_ends(settings, admin, committed, end) for end in ("earliest", "latest"))
    return {at: Range(offset, lows[at], highs[at]) for at, offset in committed.items()}


def _ends(settings: Settings, admin: Any, ats: Iterable[At], end: str) -> dict[At, int]:
    spec: Any = getattr(kafka_admin.OffsetSpec, end)()  # type: ignore[attr-defined]
    asked = {TopicPartition(settings.topic(topic), p): (topic, p) for topic, p in ats}
    if not asked:
        return {}
    answers = admin.list_offsets(dict.fromkeys(asked, spec), request_timeout=ANSWER_S)
    return {asked[at]: int(answer.result(ANSWER_S).offset) for at, answer in answers.items()}


def out_of_range(found: Mapping[At, Range]) -> list[str]:
    """Return each partition whose next record is not there, with what that means."""
    said = []
    for (topic, p), (committed, low, high) in sorted(found.items()):
        if committed < low:
            said.append(
                f"{topic}[{p}]: committed at {committed}, but the topic now begins at {low}: "
                f"{low - committed} records were deleted before they were read. Put them back from "
                "a backup, or fold again from an archive (`leidan backfill --from-archive`), and "
                "raise the topic's retention"
            )
        elif committed > high:
            said.append(
                f"topic {topic} was deleted and made again, or the broker lost records: partition "
                f"{p} is committed at {committed} and ends at {high}. Put the records back, or "
                "fold again from an archive (`leidan backfill --from-archive`)"
            )
    return said


def longest_ms(campaigns: Iterable[Campaign]) -> tuple[int, str]:
    """Return how long the history of one task is, at most, and whose: (0, "") without campaigns.

    From the first order that may count (a day before the window, by `lookback`) to the last
    cancellation that acts, with the days that a reward waits to be collected.
    """
    longest = (0, "")
    for one in campaigns:
        days = max([one.days, *(variant.days for variant in one.variants)]) + 1
        waits = one.collect_days if one.collect == "manual" else 0
        of_this = (days + waits) * DAY_MS + one.horizon_ms
        longest = max(longest, (of_this, one.campaign_id))
    return longest


def forgets(
    found: Mapping[str, Mapping[str, str]], campaigns: Iterable[Campaign]
) -> tuple[list[str], list[str]]:
    """Return (what must not be, what is worth knowing) of the topics' retention.

    found: settings of input topics by the broker's name. Too short: a task's orders would go before
    the task does. Finite, but long enough: rows can be restored, but never folded again from here.
    """
    needed_ms, whose = longest_ms(campaigns)
    wrong, worth = [], []
    for topic, configs in sorted(found.items()):
        kept_ms = int(configs["retention.ms"])
        if kept_ms < 0:
            continue
        said = f"{topic}: retention.ms is {kept_ms} ({kept_ms / DAY_MS:.1f} days)"
        if kept_ms < needed_ms:
            wrong.append(
                f"{said}, but a task of {whose} and what may be cancelled of it takes "
                f"{needed_ms / DAY_MS:.1f} days. {topics.fix(topic, 'retention.ms', '-1')}"
            )
        else:
            worth.append(
                f"{said}: enough for every task, but what is older can only be folded again from "
                "an archive (`leidan export archive`)"
            )
    return wrong, worth


def settings_on(settings: Settings, admin: Any, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return what the broker says of topics that are there, by name without prefix.

    A topic whose settings it does not tell is left out, with a warning.
    """
    resource: Any = kafka_admin.ConfigResource  # type: ignore[attr-defined]
    kind: Any = kafka_admin.ResourceType  # type: ignore[attr-defined]
    asked = {resource(kind.TOPIC, settings.topic(name)): name for name in names}
    if not asked:
        return {}
    found = {}
    for one, answer in admin.describe_configs(list(asked), request_timeout=ANSWER_S).items():
        try:
            entries = answer.result(ANSWER_S)
        except Exception as error:  # noqa: BLE001 - not allowed to ask: say so and go on
            log.warning("%s: cannot read its settings (%s)", one.name, error)
            continue
        found[asked[one]] = {key: str(entry.value) for key, entry in entries.items()}
    return found


def require(settings: Settings, campaigns: Iterable[Campaign]) -> None:
    """Refuse to start where records are gone, or will be before their tasks are (exit 78)."""
    admin = admin_of(settings)
    try:
        gone = out_of_range(ranges(settings, admin))
    except Exception as error:  # noqa: BLE001 - not allowed to ask: a restore will see it
        log.warning("offsets of %s unknown (%s)", settings.group, error)
        gone = []
    found = settings_on(settings, admin, topics.FOLDED)
    wrong, worth = forgets({settings.topic(name): one for name, one in found.items()}, campaigns)
    for one in worth:
        log.warning("%s", one)
    if gone or wrong:
        raise Refused("\n".join(gone + wrong))
