"""Whether the topics still hold what the workers need: asked at their start, and by `topics check`.

A restore asks again for its own partitions (store/restore.py); here all of the group are looked at
in four questions, before one of them is folded.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka import admin as kafka_admin

from streams import topics
from streams.domain.days import DAY_MS
from streams.errors import Refused
from streams.feed import client

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.domain.campaign import Campaign
    from streams.domain.registry import Campaigns
    from streams.settings import Settings

    At = tuple[str, int]  # topic without prefix, partition

log = logging.getLogger(__name__)

ANSWER_S = 15.0
ELECTED_S = 5.0
"""So long a partition may be without a leader that answers: a broker is being restarted."""
AGAIN_S = 0.2
NO_LEADER = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.OFFSET_NOT_AVAILABLE,
    }
)


class Range(NamedTuple):
    """Where a group stands in one partition, and what the partition holds: [low, high)."""

    committed: int
    low: int
    high: int


def ranges(settings: Settings, admin: Any) -> dict[At, Range]:
    """Return the range of each partition the group has committed.

    Raises KafkaException, TimeoutError.
    """
    committed = _committed(settings, admin)
    lows = ends(settings, admin, committed, "earliest")
    if any(offset < lows[at] for at, offset in committed.items()):
        # or others of the group have gone on since, and retention behind them
        committed |= {at: n for at, n in _committed(settings, admin).items() if at in lows}
    highs = ends(settings, admin, committed, "latest")  # last, for the same reason
    return {at: Range(offset, lows[at], highs[at]) for at, offset in committed.items()}


def _committed(settings: Settings, admin: Any) -> dict[At, int]:
    """Ask as a consumer that never joins.

    The admin client's call for this kills the process (SIGSEGV) while the coordinator is loading.
    """
    names = {settings.topic(name): name for name in topics.FOLDED}
    there = admin.list_topics(timeout=ANSWER_S).topics
    asked = [TopicPartition(t, p) for t in names if t in there for p in there[t].partitions]
    # pending offsets are no reason to wait: the restore does
    reader = Consumer(client.consumer(settings, **{"isolation.level": "read_uncommitted"}))
    try:
        found = reader.committed(asked, timeout=ANSWER_S)
    finally:
        reader.close()
    return {
        (names[at.topic], at.partition): at.offset
        for at in found
        if at.error is None and at.offset >= 0
    }


def ends(
    settings: Settings, admin: Any, ats: Iterable[At], end: str, *, stable: bool = False
) -> dict[At, int]:
    """Return an offset of each partition: ``end`` is "earliest" or "latest".

    stable: the latest before any open transaction. Raises KafkaException, TimeoutError.
    """
    level = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
    spec: Any = getattr(kafka_admin.OffsetSpec, end)()  # type: ignore[attr-defined]
    asked = {TopicPartition(settings.topic(topic), p): (topic, p) for topic, p in ats}
    if not asked:
        return {}
    deadline_s = time.monotonic() + ELECTED_S
    while True:
        answers = admin.list_offsets(
            dict.fromkeys(asked, spec), isolation_level=level, request_timeout=ANSWER_S
        )
        try:
            return {
                asked[at]: int(answer.result(ANSWER_S).offset) for at, answer in answers.items()
            }
        except KafkaException as error:
            if error.args[0].code() not in NO_LEADER or time.monotonic() > deadline_s:
                raise
        time.sleep(AGAIN_S)


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


def under_way(campaigns: Campaigns, now_ms: int) -> list[Campaign]:
    """Return the versions of which a task may still need its history; the others are over.

    Nobody begins a task of a version once it closes, is stopped, or the next one is in force. A
    fixed window counts to its end, whenever its tasks began.
    """
    every = list(campaigns)
    starts = {(one.campaign_id, one.version): one.effective_from_ms for one in every}
    found = []
    for one in every:
        ends = [
            one.closes_at_ms,
            campaigns.stopped_at(one.campaign_id),
            starts.get((one.campaign_id, one.version + 1)),
        ]
        if one.first_day is not None:
            ends = [one.calendar.begins_ms(one.first_day + _days(one))]
        last_ms = min((end for end in ends if end is not None), default=None)
        if last_ms is None or now_ms <= last_ms + _history_ms(one):
            found.append(one)
    return found


def _days(one: Campaign) -> int:
    return max([one.days, *(variant.days for variant in one.variants)])


def _history_ms(one: Campaign) -> int:
    """Return how long the history of one task is, at most.

    From the first order that may count (a day before the window, by `lookback`) to the last
    cancellation that acts, with the days that a reward waits to be collected.
    """
    waits = one.collect_days if one.collect == "manual" else 0
    return (_days(one) + 1 + waits) * DAY_MS + one.horizon_ms


def longest_ms(campaigns: Iterable[Campaign]) -> tuple[int, str]:
    """Return the longest history of a task, and whose: (0, "") without campaigns."""
    return max(((_history_ms(one), one.campaign_id) for one in campaigns), default=(0, ""))


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
        most_bytes = int(configs.get("retention.bytes", -1))
        if most_bytes >= 0:
            worth.append(
                f"{topic}: retention.bytes is {most_bytes}: on a busy day it forgets sooner, "
                f"however long a task takes. {topics.fix(topic, 'retention.bytes', '-1')}"
            )
        kept_ms = int(configs.get("retention.ms", -1))
        if kept_ms < 0:
            continue
        said = f"{topic}: retention.ms is {kept_ms} ({kept_ms / DAY_MS:.1f} days)"
        if kept_ms < needed_ms:
            wrong.append(
                f"{said}, but a task of {whose} and what may be cancelled of it takes "
                f"{needed_ms / DAY_MS:.1f} days. {topics.fix(topic, 'retention.ms', '-1')} "
                f"(at least {needed_ms})"
            )
        else:
            worth.append(
                f"{said}: enough for every task, but what is older can only be folded again from "
                "an archive (`leidan export archive`), and a partition at rest for longer is "
                "refused at the next start if a transaction wrote its last record: nobody commits "
                "its marker"
            )
    return wrong, worth


def settings_on(settings: Settings, admin: Any, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return what the broker says of topics that are there, by name without prefix.

    Those whose settings it does not tell are left out, with one warning.
    """
    resource: Any = kafka_admin.ConfigResource  # type: ignore[attr-defined]
    kind: Any = kafka_admin.ResourceType  # type: ignore[attr-defined]
    asked = {resource(kind.TOPIC, settings.topic(name)): name for name in names}
    if not asked:
        return {}
    found, untold = {}, {}
    for one, answer in admin.describe_configs(list(asked), request_timeout=ANSWER_S).items():
        try:
            entries = answer.result(ANSWER_S)
        except Exception as error:  # noqa: BLE001 - not allowed to ask: say so and go on
            untold[one.name] = error
            continue
        found[asked[one]] = {
            key: str(entry.value) for key, entry in entries.items() if entry.value is not None
        }
    if untold:
        why = next(iter(untold.values()))
        log.warning("cannot read the settings of %s (%s)", ", ".join(sorted(untold)), why)
    return found


def keeps_no_settings(admin: Any) -> bool:
    """Tell whether this is the embedded broker: it has none, and would let us wait for them."""
    return str(admin.list_topics(timeout=ANSWER_S).cluster_id).startswith("mockCluster")


class Look(NamedTuple):
    """What a worker refuses, what it says in its log, and why it could not ask for offsets."""

    wrong: list[str]
    worth: list[str]
    unknown: str


def look(settings: Settings, campaigns: Campaigns, now_ms: int) -> Look:
    """Ask the broker. now_ms: which campaigns are over."""
    admin = client.admin(settings)
    gone, unknown = [], ""
    try:
        gone = out_of_range(ranges(settings, admin))
    except (KafkaException, TimeoutError) as error:
        unknown = f"offsets of {settings.group} unknown ({str(error) or 'no answer in time'})"
    found = settings_on(settings, admin, topics.FOLDED)
    named = {settings.topic(name): one for name, one in found.items()}
    wrong, worth = forgets(named, under_way(campaigns, now_ms))
    return Look(gone + wrong, worth, unknown)


def require(settings: Settings, campaigns: Campaigns, now_ms: int) -> None:
    """Refuse to start where records are gone, or will be before their tasks are (exit 78).

    The embedded broker is not asked. Offsets that we may not ask are looked at by a restore.
    """
    if settings.embedded:
        log.info("embedded broker: it has no retention to look at, and forgets with its process")
        return
    found = look(settings, campaigns, now_ms)
    for one in found.worth:
        log.warning("%s", one)
    if found.unknown:
        log.warning("%s", found.unknown)
    if found.wrong:
        raise Refused("\n".join(found.wrong))
