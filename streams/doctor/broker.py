"""What a broker says: topics, group, lag, clocks, dead letters. Asked once, nothing is joined."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams import connect, topics
from streams.dlq.log import Log
from streams.doctor.finding import Finding, fail, ok, warn
from streams.errors import Refused, RewardsError
from streams.feed import client, kept, preflight
from streams.wire import dead_letters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.settings import Settings

ANSWER_S = 10.0
AHEAD_MS = 60_000
"""As far as an event may be dated ahead of its record (D9)."""
OLD_S = 120.0
"""Older than this, an unfolded record means that somebody is stuck (the alert's line, too)."""
LOOK_S = 3.0
DAY_MS = 86_400_000
TAIL = 2_000  # letters of each partition that are looked at


def look(settings: Settings, now_ms: int) -> Iterator[Finding]:
    """Yield what there is to say; of a broker that does not answer, one line."""
    servers = settings.kafka.bootstrap_servers
    try:
        found = preflight.check(settings)
    except Refused as refused:
        yield fail("topics", *_split(str(refused)))
        return
    except RewardsError as error:
        yield fail("broker", *_split(str(error)))
        return
    yield ok("broker", f"{servers}: cluster {found.cluster}")
    admin = client.admin(settings)
    yield _topics(settings, admin, found.partitions)
    yield _group(settings, admin, found.partitions)
    asking: Any = connect.made(Consumer, {**client.consumer(settings), "log_level": 0})
    try:
        yield _lag(settings, asking, found.partitions, now_ms)
        yield _clocks(settings, asking, found.partitions, now_ms)
    except KafkaException as error:
        yield fail("lag", error.args[0].str(), "look at the broker, then ask again")
    finally:
        asking.close()
    yield _letters(settings, now_ms)


def _split(text: str) -> tuple[str, str]:
    """Return the first sentence and the rest: our refusals end with what to do."""
    found, _, next_ = text.partition(". ")
    return found, next_ or "put that right, then: leidan doctor"


def _topics(settings: Settings, admin: Any, partitions: int) -> Finding:
    """Judge settings as `topics check` does; counts were compared before."""
    there = f"{len(topics.registry())} topics, {partitions} partitions by user"
    if settings.embedded:
        return ok("topics", f"{there}; the embedded broker has no settings to compare")
    prefix = settings.kafka.topic_prefix
    found = kept.settings_on(settings, admin, topics.registry())
    wrong = [one for name in found for one in topics.unfit(name, found[name], prefix)]
    if wrong:
        said, _, fix = wrong[0].partition(". ")
        more = f"; {len(wrong) - 1} more: leidan topics check" if wrong[1:] else ""
        return warn("topics", f"{there}; {said}{more}", fix)
    untold = [prefix + name for name in topics.registry() if name not in found]
    if untold:
        said = f"{there}; settings unknown of {', '.join(untold[:3])}"
        return warn("topics", said, "allow DescribeConfigs")
    return ok("topics", f"{there}, as the registry says")


def _group(settings: Settings, admin: Any, partitions: int) -> Finding:
    group = settings.group
    try:
        answer = admin.describe_consumer_groups([group], request_timeout=ANSWER_S)[group]
        found = answer.result(ANSWER_S)
    except KafkaException as error:
        if error.args[0].code() == KafkaError._UNSUPPORTED_FEATURE:  # noqa: SLF001 - its name
            return ok("group", f"{group}: the embedded broker cannot say")
        return warn("group", f"{group}: {error.args[0].str()}", "allow Describe on the group")
    members, state = len(found.members), found.state.name.lower()
    if not members:
        return warn("group", f"{group}: no worker", "start one: leidan worker")
    said = f"{group}: {members} workers, {state}"
    if state not in {"stable", "empty"}:
        return warn(
            "group", said, "it rebalances: ask again in a minute; if it stays, see its logs"
        )
    if members > partitions:
        return warn(
            "group", said, f"{members - partitions} are idle: there are {partitions} partitions"
        )
    return ok("group", said)


def _lag(settings: Settings, asking: Any, partitions: int, now_ms: int) -> Finding:
    """Judge by the oldest record that was not folded: a marker keeps the lag at 1 for ever."""
    places = [
        TopicPartition(settings.topic(t), p) for t in topics.FOLDED for p in range(partitions)
    ]
    unread, lost, behind = 0, [], []
    for place in asking.committed(places, timeout=ANSWER_S):
        low, end = asking.get_watermark_offsets(
            TopicPartition(place.topic, place.partition), timeout=ANSWER_S, cached=False
        )
        if 0 <= place.offset < low:
            lost.append(f"{place.topic}[{place.partition}] at {place.offset}, kept from {low}")
        first = place.offset if place.offset >= 0 else low
        if first < end:
            unread += end - first
            behind.append(TopicPartition(place.topic, place.partition, max(first, low)))
    if lost:
        return fail(
            "lag",
            f"retention has overtaken the workers: {'; '.join(lost[:3])}",
            "do not start a worker: rows would be wrong in silence. Raise retention, rebuild from "
            "an archive: leidan backfill",
        )
    age_s = _oldest_s(asking, behind, now_ms) if behind else None
    if age_s is None:
        return ok("lag", "all is folded")
    said = f"{unread} offsets not folded, the oldest record {age_s:.0f} s old"
    if age_s > OLD_S:
        return warn(
            "lag", said, "history is being loaded, or a worker is stuck: see its log and /livez"
        )
    return ok("lag", said)


def _oldest_s(asking: Any, behind: list[Any], now_ms: int) -> float | None:
    """Return the age of the oldest readable record at these places; None: markers alone."""
    asking.assign(behind)
    waiting = {(place.topic, place.partition) for place in behind}
    oldest_ms: int | None = None
    until_s = time.monotonic() + LOOK_S
    while waiting and time.monotonic() < until_s:
        for message in asking.consume(len(waiting), 0.1):
            waiting.discard((message.topic(), message.partition()))
            if message.error() is None:
                at_ms = message.timestamp()[1]
                oldest_ms = at_ms if oldest_ms is None else min(oldest_ms, at_ms)
    asking.unassign()
    return None if oldest_ms is None else max(0.0, (now_ms - oldest_ms) / 1_000)


def _clocks(settings: Settings, asking: Any, partitions: int, now_ms: int) -> Finding:
    """Look for records dated ahead of this machine: its clock, or somebody's, is wrong."""
    if settings.embedded:
        return ok("clock", "the embedded broker knows no times")
    later_ms = now_ms + AHEAD_MS
    names = (*topics.FOLDED, topics.CHANGELOG)
    asked = [
        TopicPartition(settings.topic(t), p, later_ms) for t in names for p in range(partitions)
    ]
    ahead = sorted(
        {
            place.topic
            for place in asking.offsets_for_times(asked, timeout=ANSWER_S)
            if place.offset >= 0
        }
    )
    if ahead:
        return warn(
            "clock",
            f"records on {', '.join(ahead)} are dated over {AHEAD_MS // 1000} s from now",
            "compare this machine's clock with the producers' (chronyc tracking)",
        )
    return ok("clock", f"no record is dated over {AHEAD_MS // 1000} s ahead of this machine")


def _letters(settings: Settings, now_ms: int) -> Finding:
    since_ms = now_ms - DAY_MS
    reasons: Counter[str] = Counter()
    with Log(settings) as log:
        for record in log.letters(TAIL):
            letter = dead_letters.read(record, settings.kafka.topic_prefix)
            reasons[letter.reason] += letter.written_ms >= since_ms
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common() if count)
    if told:
        return warn(
            "dead", f"refused in the last 24 h: {told}", "leidan dlq list --by reason --since 1d"
        )
    return ok("dead", "nothing was refused in the last 24 h")
