"""What a backfill is going to fold, frozen before it begins; kept beside the rows for `--resume`.

Ends are the ends of what a read_committed reader is shown at that moment (the last stable offset),
asked for after the journal's, so that no transaction of the journal names an input behind them.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from streams import topics
from streams.backfill import frozen, resized
from streams.backfill.archive import Archive
from streams.domain.fold import FOLD_VERSION
from streams.errors import BrokerUnreachable, Refused, UsageError
from streams.feed import client
from streams.wire import journal, rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.feed.preflight import Found
    from streams.settings import Settings

FILE = "backfill.json"
VERSION = 2
ASK_S = 10.0

Into = Literal["shadow", "state"]
Order = Literal["journal", "time"]


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Offsets of one partition: from `first` to before `end`."""

    first: int
    end: int


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that decides what comes out; equal plans give equal rows and digests."""

    v: int
    into: Into
    order: Order
    archive: str | None  # its directory; None: the broker's topics
    cluster: str
    partitions: int
    topic_ids: dict[str, str]
    shadow_prefix: str
    keep_outputs: bool
    fold_version: int
    row_schema: int
    campaign_files: dict[str, str]  # SHA-256 of each
    ranges: dict[str, list[Range]]  # by topic, in order of partition

    def of(self, topic: str, p: int) -> Range:
        """Return the range of one partition; an empty one for a topic that is not there."""
        ranges = self.ranges.get(topic, [])
        return ranges[p] if p < len(ranges) else Range(0, 0)

    def starts(self, p: int) -> dict[str, int]:
        return {topic: self.of(topic, p).first for topic in topics.FOLDED}

    def ends(self, p: int) -> dict[str, int]:
        return {topic: self.of(topic, p).end for topic in topics.FOLDED}

    def offsets(self, p: int) -> int:
        """Return how many offsets of p will be gone through; markers count."""
        return sum(self.of(topic, p).end - self.of(topic, p).first for topic in topics.FOLDED)


class Wanted(msgspec.Struct, frozen=True):
    """What the person asked for."""

    into: Into = "shadow"
    order: Literal["auto", "journal", "time"] = "auto"
    from_offsets: dict[tuple[str, int], int] = {}
    from_ms: int | None = None
    archive: Path | None = None
    shadow_prefix: str = "shadow-"
    keep_outputs: bool = False
    to_committed: bool = False


class Log:
    """Where ranges come from: a broker or an archive."""

    def __init__(self, settings: Settings, archive: Archive | None) -> None:
        self.settings, self.archive = settings, archive
        self._consumer: Any = None

    def bounds(self, topic: str, p: int) -> tuple[int, int]:
        """Return (low, end) as a read_committed reader is told; (0, 0) for no such topic."""
        if self.archive is not None:
            return self.archive.range(topic, p)
        return watermarks(self._asking, self._at(topic, p))

    def exists(self, topic: str) -> bool:
        if self.archive is not None:
            return topic in self.archive.manifest.topics
        try:
            return self.settings.topic(topic) in self._asking.list_topics(timeout=ASK_S).topics
        except KafkaException as error:
            raise BrokerUnreachable(f"{error.args[0].str()}") from error

    def partitions(self, topic: str) -> int:
        """Return how many a topic of the broker has."""
        there = self._asking.list_topics(timeout=ASK_S).topics
        return len(there[self.settings.topic(topic)].partitions)

    def committed(self, topic: str, p: int) -> int | None:
        found = self._asking.committed([self._at(topic, p)], timeout=ASK_S)[0]
        return int(found.offset) if found.offset >= 0 else None

    def at_time(self, topic: str, p: int, at_ms: int, low: int, end: int) -> int:
        """Return the offset of the first record not before a time, by the records' timestamps."""
        if low >= end:
            return low
        if self.archive is None and not self.settings.embedded:
            at = self._at(topic, p)
            at.offset = at_ms
            found = self._asking.offsets_for_times([at], timeout=ASK_S)[0]
            return min(int(found.offset), end) if found.offset >= 0 else end
        # neither an archive nor the embedded broker can look up a time
        for record in frozen.records(self.source(), topic, p, low, end):
            if record.recorded_at_ms >= at_ms:
                return record.offset
        return end

    def source(self) -> frozen.Source:
        return frozen.KafkaSource(self.settings) if self.archive is None else self.archive

    @property
    def _asking(self) -> Any:
        if self._consumer is None:  # of the live group only to ask: it joins and commits nothing
            quiet = {"error_cb": lambda _error: None}
            self._consumer = Consumer(client.consumer(self.settings, **quiet))
        return self._consumer

    def _at(self, topic: str, p: int) -> Any:
        return KafkaTopicPartition(self.settings.topic(topic), p)

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()


def watermarks(consumer: Any, at: Any) -> tuple[int, int]:
    """Return (low, end) as this consumer is told; a topic made a moment ago may need a while."""
    deadline = time.monotonic() + ASK_S
    while True:
        try:
            low, high = consumer.get_watermark_offsets(at, timeout=ASK_S)
            return int(low), int(high)
        except KafkaException as error:
            if time.monotonic() > deadline:
                where = f"{at.topic}[{at.partition}]"
                raise BrokerUnreachable(f"{where}: {error.args[0].str()}") from error
        time.sleep(0.1)


def make(settings: Settings, wanted: Wanted, found: Found | None) -> Plan:
    """Freeze the ends and check the beginnings. ``found``: the broker's answers; None: an archive.

    Raises Refused for offsets that have fallen out of retention, UsageError, BrokerUnreachable.
    """
    archive = Archive(wanted.archive) if wanted.archive is not None else None
    log = Log(settings, archive)
    try:
        return _made(log, wanted, found)
    finally:
        log.close()


def _made(log: Log, wanted: Wanted, found: Found | None) -> Plan:
    archive = log.archive
    if archive is not None:
        archive.verify()
        whose = archive.manifest
        cluster, count, ids = whose.cluster, whose.partitions, whose.topic_ids
    else:
        assert found is not None
        cluster, count, ids = found.cluster, found.partitions, found.topic_ids
        if wanted.from_ms is None and not wanted.from_offsets:
            resized.require_whole(log.settings)
    order, ranges = _journal(log, wanted, count)
    for topic in topics.FOLDED:
        ranges[topic] = [_range(log, wanted, topic, p) for p in range(count)]
    low, end = log.bounds(topics.CAMPAIGNS, 0)
    if low:
        raise Refused(
            f"{topics.CAMPAIGNS} begins at offset {low}, not 0: definitions were deleted, and "
            "tasks may have pinned them. It must keep everything (`retention.ms=-1`)"
        )
    ranges[topics.CAMPAIGNS] = [Range(0, end)]
    _require_known(wanted, count)
    return Plan(
        VERSION,
        wanted.into,
        order,
        None if archive is None else str(archive.directory.resolve()),
        cluster,
        count,
        ids,
        wanted.shadow_prefix if wanted.into == "shadow" else "",
        wanted.keep_outputs,
        FOLD_VERSION,
        rows.ROW_SCHEMA,
        digests(log.settings.campaign_files),
        ranges,
    )


def _journal(log: Log, wanted: Wanted, count: int) -> tuple[Order, dict[str, list[Range]]]:
    """Return the order, and the journal's ranges: asked for before those of the inputs."""
    if wanted.order == "time" or not log.exists(topics.JOURNAL):
        if wanted.order == "journal":
            raise Refused(f"there is no topic {topics.JOURNAL}: an older log; use --order time")
        return "time", {}
    ranges = [Range(*log.bounds(topics.JOURNAL, p)) for p in range(count)]
    if wanted.order == "auto" and not any(one.end > one.first for one in ranges):
        return "time", {}
    gone = [p for p, one in enumerate(ranges) if one.first]
    if gone and wanted.from_ms is None and not wanted.from_offsets:
        raise Refused(
            f"{topics.JOURNAL}: partitions {gone} have lost their beginning. Use --order time (the "
            "same net result), and raise the topic's retention: `leidan topics plan` names it"
        )
    if wanted.from_ms is not None or wanted.from_offsets:
        return "time", {}  # a transaction cannot be cut in two
    if log.archive is not None:  # of a broker's topics the changelog says it
        _require_first(log.archive, ranges)
    return "journal", {topics.JOURNAL: ranges}


def _require_first(archive: Archive, ranges: Sequence[Range]) -> None:
    """Refuse a journal that begins behind rows: of any partition, since a resize brings to all."""
    p = next((p for p, one in enumerate(ranges) if one.end > one.first), None)
    if p is None:
        return
    where = (topics.JOURNAL, p, ranges[p].first, ranges[p].end)
    first = next(frozen.records(archive, *where), None)
    if first is not None and journal.decode(first.value or b"").batch != 1:
        raise Refused(
            f"{archive.directory}: {topics.JOURNAL}[{p}] does not begin with the first transaction:"
            " rows were there before. If they were brought by `leidan state resize`, what gave them"
            " lies on the topics of before, and nothing can be folded from here; of a version "
            "without a journal: --order time"
        )


def _range(log: Log, wanted: Wanted, topic: str, p: int) -> Range:
    low, end = log.bounds(topic, p)
    if wanted.to_committed:
        committed = log.committed(topic, p)
        end = end if committed is None else min(end, committed)
    named = wanted.from_offsets.get((topic, p))
    if named is not None:
        if not 0 <= named <= end:
            raise UsageError(f"--from-offset {topic}:{p}:{named}: the topic ends at {end}")
        first = named
    elif wanted.from_ms is not None:
        first = log.at_time(topic, p, wanted.from_ms, low, end)
        if first == low > 0:  # records of that time may be among those that are gone
            raise Refused(frozen.fallen_out(topic, p, first, low))
    else:
        first = 0
    if first < low:
        raise Refused(frozen.fallen_out(topic, p, first, low))
    return Range(first, max(first, end))


def _require_known(wanted: Wanted, count: int) -> None:
    for topic, p in wanted.from_offsets:
        if topic not in topics.FOLDED or not 0 <= p < count:
            raise UsageError(
                f"--from-offset {topic}:{p}: known are {', '.join(topics.FOLDED)}, partitions 0 to "
                f"{count - 1}"
            )


def require_still_there(
    settings: Settings, plan: Plan, next_: Mapping[int, Mapping[str, int]]
) -> None:
    """Refuse to resume where what is still wanted has gone. ``next_``: L of each partition."""
    log = Log(settings, None if plan.archive is None else Archive(Path(plan.archive)))
    try:
        for p in range(plan.partitions):
            for topic in topics.FOLDED:
                wanted = next_.get(p, {}).get(topic, plan.of(topic, p).first)
                low, _ = log.bounds(topic, p)
                if wanted < low and wanted < plan.of(topic, p).end:
                    raise Refused(frozen.fallen_out(topic, p, wanted, low))
    finally:
        log.close()


def digests(files: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each campaign file: a resumed backfill needs the same ones."""
    found = {}
    for name in files:
        try:
            found[name] = hashlib.sha256(Path(name).read_bytes()).hexdigest()
        except OSError as error:
            raise UsageError(f"{name}: {error.strerror}") from None
    return found


def save(plan: Plan, directory: Path) -> None:
    """Write the plan beside the rows to be. Raises UsageError when a run is there already."""
    path = directory / FILE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageError(
                f"{directory}: is not empty"
                + ("; go on with that backfill: --resume" if path.exists() else "")
                + ". Or give a new directory"
            )
        new = path.with_suffix(".tmp")
        with new.open("wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(plan)) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        new.replace(path)
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror}") from error


def load(directory: Path) -> Plan:
    """Return the plan of a run that was begun. Raises UsageError, Refused for another version."""
    path = directory / FILE
    try:
        plan = msgspec.json.decode(path.read_bytes(), type=Plan)
    except FileNotFoundError:
        raise UsageError(f"{directory}: no backfill was begun here; leave --resume out") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path}: {error}") from None
    if (plan.v, plan.fold_version, plan.row_schema) != (VERSION, FOLD_VERSION, rows.ROW_SCHEMA):
        raise Refused(
            f"{path}: begun by another version (fold {plan.fold_version}, row schema "
            f"{plan.row_schema}); this one has fold {FOLD_VERSION}, row schema {rows.ROW_SCHEMA}. "
            "Finish it with that version, or begin anew in another directory"
        )
    return plan


def require_same_definitions(plan: Plan, settings: Settings) -> None:
    """Refuse to go on with campaign files that are not those the run was begun with."""
    now = digests(settings.campaign_files)
    if now != plan.campaign_files:
        raise Refused(
            f"the backfill was begun with the campaign files {sorted(plan.campaign_files)}; now "
            "they are others, or hold something else. Give the same ones, or begin anew"
        )
