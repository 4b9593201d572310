"""More partitions: the rows of a deployment at rest are brought to topics of another count.

Nothing is folded again, so nothing is drawn or granted again. At rest means: no worker, and all
that is folded has been folded, requests to pools and their answers too; so no answer is under way,
and the rows at the changelog's end are all there is to know. They are restored as a worker does it
(store/restore.py), and written to the new changelog with the new group's offsets in one
transaction: all partitions have their rows, or none has. Definitions go before, with the time of
their records, which their lead is judged by (D9).

Killed anywhere and run again, it ends what was open and does the rest; afterwards it says that it
has been done.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, admin
from confluent_kafka import TopicPartition as KafkaTopicPartition

from streams import topics
from streams.backfill import frozen, promote, rekey, targets
from streams.backfill.resized import origin_of
from streams.domain.fold import FOLD_VERSION
from streams.errors import BrokerUnreachable, Refused, UsageError
from streams.feed import client, kept, preflight
from streams.feed.emitter import RESIZE, Dated, Emitter, Redated
from streams.feed.history import KafkaHistory
from streams.feed.kill_points import reach
from streams.feed.ports import BrokerLost, Outgoing, TopicPartition, TransactionAbortable
from streams.feed.producer import KafkaProducer
from streams.settings import LONGEST_TRANSACTION_MS
from streams.store import meta, states
from streams.store.restore import Restore
from streams.store.rows import DiskStore, read_rows
from streams.wire.rows import ROW_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from streams.feed.ports import Record
    from streams.feed.preflight import Found
    from streams.settings import Settings

    At = tuple[str, int]  # topic without prefix, partition

INSTANCE = "resize"
"""In the place of a worker's: of the directory for rows, and of the transactional id."""
AT_ONCE = 10_000
SILENCE_S = 60.0
ALTERED_S = 15.0
"""So long the broker may take until it dates records as it was told to."""
DATED = "message.timestamp.type"
AGAIN = "Nothing of it counts. Run it again: it does what is left"


class Sides(NamedTuple):
    """A deployment, and the empty one that takes its rows."""

    old: Settings
    new: Settings


def sides(old: Settings, prefix: str, app_id: str) -> Sides:
    """Return a deployment and its successor: the same but for these two. Raises UsageError."""
    if old.kafka.topic_prefix == prefix:
        raise UsageError("--to-prefix: those are the topics themselves; choose another prefix")
    if old.app_id == app_id:
        raise UsageError("--to-app-id: the new workers are a group of their own; choose another")
    kafka = msgspec.structs.replace(old.kafka, topic_prefix=prefix)
    return Sides(old, msgspec.structs.replace(old, kafka=kafka, app_id=app_id))


class Moved(NamedTuple):
    """What was brought, or would be. rows: of each new partition; None: it was done before."""

    before: int
    after: int
    rows: list[int] | None


def resize(sides: Sides, tell: Callable[[str], None], *, execute: bool) -> Moved:
    """Bring the rows over; without ``execute`` only look whether they could be.

    Raises Refused with the first reason against it, UsageError, BrokerUnreachable, DiskError,
    Fenced by a second run, CommitUnknown.
    """
    try:
        return _resize(sides, tell, execute=execute)
    except (BrokerLost, TransactionAbortable) as error:
        raise BrokerUnreachable(f"{error}. {AGAIN}") from error
    except (KafkaException, TimeoutError) as error:
        raise BrokerUnreachable(f"{str(error) or 'no answer in time'}. {AGAIN}") from error


def _resize(sides: Sides, tell: Callable[[str], None], *, execute: bool) -> Moved:
    before = preflight.check(sides.old)
    if not execute:
        return _Run(sides, before, preflight.check(sides.new), tell).look()
    _date(sides.new, "LogAppendTime")  # a run that was killed may have left it otherwise
    after = preflight.check(sides.new)
    # Whoever ran before is fenced by these, and its transaction over, before anything is looked at.
    kafka = sides.new.kafka
    where = kafka.bootstrap_servers, sides.new.app_id, kafka.topic_prefix
    emitter = Emitter(*where, kafka.client, RESIZE, keeps_time=True)
    slow = {"instance": INSTANCE, "transaction_timeout_ms": LONGEST_TRANSACTION_MS}
    producer = KafkaProducer(msgspec.structs.replace(sides.new, **slow))
    try:
        return _Run(sides, before, after, tell).bring(emitter, producer)
    finally:
        producer.close()


class _Run:
    def __init__(
        self, sides: Sides, before: Found, after: Found, tell: Callable[[str], None]
    ) -> None:
        self.old, self.new = sides.old, sides.new
        self.before, self.after, self.tell = before, after, tell
        self.place = msgspec.structs.replace(sides.old, instance=INSTANCE).database_dir
        prefix = self.old.kafka.topic_prefix
        self.origin = meta.Resized(before.cluster, prefix, self.old.app_id, before.partitions, 0)

    def look(self) -> Moved:
        """Say what would be brought; both sides fit, and rows are restored to count them."""
        if self._done():
            return Moved(self.before.partitions, self.after.partitions, None)
        self._require_fit()
        return Moved(self.before.partitions, self.after.partitions, self._restored())

    def bring(self, emitter: Emitter, producer: KafkaProducer) -> Moved:
        """Bring definitions, then rows and offsets."""
        moved = Moved(self.before.partitions, self.after.partitions, None)
        if not self._done():
            ends = self._require_fit()
            moved = moved._replace(rows=self._restored())
            self._copy_definitions(emitter, ends[topics.CAMPAIGNS, 0])
            self._write(producer, moved.rows or [], ends)
        shutil.rmtree(self.place.parent, ignore_errors=True)
        return moved

    def _done(self) -> bool:
        """Tell whether the rows are there. Raises Refused where they came from elsewhere."""
        found = origin_of(self.new)
        if found is None:
            return False
        if msgspec.structs.replace(found, rows=0) != self.origin:
            raise Refused(
                f"{self._to}{topics.CHANGELOG}: has rows brought from topics with the prefix "
                f"{found.prefix!r} of app {found.app!r}. Make others: `leidan topics apply "
                "--topic-prefix ...`"
            )
        return True

    def _require_fit(self) -> dict[At, int]:
        """Refuse unless the old side is at rest and the new one empty; return the old ends."""
        self._require_empty()
        promote.require_inactive(self.old)
        promote.require_inactive(self.new)
        return _require_rest(self.old, self.before.partitions)

    def _require_empty(self) -> None:
        """What workers write, they write behind these rows. Shops may have begun already."""
        names = topics.registry()
        written = [
            (name, q)
            for name in targets.WRITTEN
            for q in range(names[name].partition_count(self.after.partitions))
        ]
        taken = sorted(first_records(self.new, written))
        if taken:
            raise Refused(
                f"{', '.join(f'{self._to}{t}[{q}]' for t, q in taken[:5])}: hold records. Rows are "
                "brought to topics that no worker has written to; make others: `leidan topics "
                "apply --topic-prefix ... --execute`"
            )

    @property
    def _to(self) -> str:
        return self.new.kafka.topic_prefix

    # -- the rows ----------------------------------------------------------------------------------

    def _restored(self) -> list[int]:
        """Restore each old partition, as a worker does; return how many rows each new one gets."""
        found, settings = self.before, self.old
        identity = states.identity(settings.app_id, *found)
        store = DiskStore(self.place, identity)
        history = KafkaHistory(settings, lambda: False)
        try:
            for p in range(found.partitions):
                rows = store.open(p)
                try:
                    Restore(
                        p, rows, history, topics.FOLDED, topics.CHANGELOG, _Clock(),
                        lambda: False, lambda _left: None,
                        fold_version=FOLD_VERSION, row_schema=ROW_SCHEMA,
                    ).run()  # fmt: skip
                finally:
                    rows.close()
                self.tell(f"partition {p} of {found.partitions}: its rows are read")
        except BrokerLost as error:
            raise BrokerUnreachable(str(error)) from error
        finally:
            history.close()
        keys = ((p, key) for p, key, _ in self._rows())
        return rekey.census(keys, found.partitions, self.after.partitions)

    def _rows(self) -> Iterator[tuple[int, bytes, bytes]]:
        for p in range(self.before.partitions):
            for key, value in read_rows(self.place / str(p)):
                yield p, key, value

    def _write(self, producer: KafkaProducer, counts: list[int], ends: dict[At, int]) -> None:
        """Write all rows and offsets in one transaction, if the old side has stood still."""
        folded = [(topic, q) for topic in topics.FOLDED for q in range(len(counts))]
        lows = kept.ends(self.new, client.admin(self.new), folded, "earliest")
        starts = [{t: lows[t, q] for t in topics.FOLDED} for q in range(len(counts))]
        origins = [msgspec.structs.replace(self.origin, rows=count) for count in counts]
        rows = ((key, value) for _, key, value in self._rows())
        try:
            producer.begin()
            reach("K3")
            left = rekey.records(rows, origins, starts)
            while some := list(islice(left, AT_ONCE)):
                producer.produce(some)
            producer.flush()
            reach("K4")
            offsets = {TopicPartition(*at): offset for at, offset in lows.items()}
            producer.send_offsets(offsets, targets.no_member(self.new))
            reach("K5")
            self._require_still(ends)
        except Exception:
            with contextlib.suppress(Exception):  # else whoever runs it again does, or the broker
                producer.abort()
            raise
        reach("K6")
        producer.commit()
        reach("K7")
        self.tell(f"{sum(counts):,} rows and the offsets are written")

    def _require_still(self, ends: dict[At, int]) -> None:
        promote.require_inactive(self.old)
        if _require_rest(self.old, self.before.partitions) != ends:
            raise Refused(
                "the old side has moved meanwhile: a worker ran, or somebody published a "
                f"definition. {AGAIN}"
            )

    # -- definitions -------------------------------------------------------------------------------

    def _copy_definitions(self, emitter: Emitter, end: int) -> None:
        """Write what is not there yet, each with its own time; then the broker dates again."""
        wanted = list(frozen.records(frozen.KafkaSource(self.old), topics.CAMPAIGNS, 0, 0, end))
        at = (topics.CAMPAIGNS, 0)
        (end,) = kept.ends(self.new, client.admin(self.new), [at], "latest").values()
        there = list(frozen.records(frozen.KafkaSource(self.new), topics.CAMPAIGNS, 0, 0, end))
        if list(map(_said, there)) != list(map(_said, wanted[: len(there)])):
            raise Refused(
                f"{self._to}{topics.CAMPAIGNS}: holds other definitions than the old side's. Make "
                "new topics: `leidan topics apply --topic-prefix ... --execute`"
            )
        if left := wanted[len(there) :]:
            _date(self.new, "CreateTime")
            until_s = time.monotonic() + ALTERED_S
            while True:
                try:
                    emitter.emit(map(_again, left))
                    break
                except Redated:  # the leader has not heard of it yet
                    if time.monotonic() > until_s:
                        raise
                    time.sleep(0.2)
        _date(self.new, "LogAppendTime")
        self.tell(f"{len(wanted)} records of definitions are there, {len(left)} of them now")


def first_records(
    settings: Settings, ats: Iterable[At], firsts: Mapping[At, int] | None = None
) -> dict[At, Record]:
    """Return the first readable record of each partition that has one, by now.

    firsts: where to look from, if not from the beginning. Raises Refused for an open transaction.
    """
    asking = client.admin(settings)
    ats = list(ats)
    stable = kept.ends(settings, asking, ats, "latest", stable=True)
    ends = kept.ends(settings, asking, ats, "latest")
    open_ = sorted(at for at in ats if stable[at] < ends[at])
    if open_:
        t, p = open_[0]
        raise Refused(
            f"{settings.topic(t)}[{p}]: a transaction is open, or records are coming. Of a worker "
            "that was killed it is over in some 30 s, of a resize when that is run again with "
            "--execute. Try again"
        )
    lows = kept.ends(settings, asking, ats, "earliest")
    begin = {at: max(lows[at], (firsts or {}).get(at, 0)) for at in ats}
    return _read_first(settings, {at: first for at, first in begin.items() if first < ends[at]})


def _read_first(settings: Settings, begin: Mapping[At, int]) -> dict[At, Record]:
    found: dict[At, Record] = {}
    places = {(settings.topic(t), p): (t, p) for t, p in begin}
    waiting, moved_s = set(places), time.monotonic()
    reader: Any = Consumer(client.consumer(settings, error_cb=lambda _error: None))
    try:
        reader.assign([KafkaTopicPartition(n, p, begin[places[n, p]]) for n, p in places])
        while waiting:
            for message in client.come(reader, AT_ONCE, 0.2):
                at, error = (message.topic(), message.partition()), message.error()
                if at not in waiting:
                    continue
                if error is None:
                    found[places[at]] = client.record_of(places[at][0], message)
                elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    raise BrokerUnreachable(f"{at[0]}[{at[1]}]: {error.str()}")
                reader.pause([KafkaTopicPartition(*at)])
                waiting.discard(at)
                moved_s = time.monotonic()
            if time.monotonic() - moved_s > SILENCE_S:
                raise BrokerUnreachable(f"nothing came for {SILENCE_S:.0f} s of {sorted(waiting)}")
    finally:
        reader.close()
    return found


def _require_rest(settings: Settings, partitions: int) -> dict[At, int]:
    """Refuse unless all is folded and no transaction open; return where the topics end."""
    history = KafkaHistory(settings, lambda: False)
    try:
        committed = {
            (topic, p): offset
            for p in range(partitions)
            for topic, offset in history.committed(p, topics.FOLDED).items()
        }
    except BrokerLost as error:
        raise BrokerUnreachable(str(error)) from error
    finally:
        history.close()
    folded = [(topic, p) for topic in topics.FOLDED for p in range(partitions)]
    unread = first_records(settings, folded, committed)
    if unread:
        first = min(unread.values(), key=lambda record: (record.topic, record.partition))
        where = f"{settings.topic(first.topic)}[{first.partition}]@{first.offset}"
        raise Refused(
            f"{where}: not folded yet, the first of {len(unread)} partitions with records left. "
            "Stop whoever writes to the old topics, `leidan ticks` too, and let workers fold what "
            "is there; then stop the workers"
        )
    ats = [*folded, *((topics.CHANGELOG, p) for p in range(partitions)), (topics.CAMPAIGNS, 0)]
    return kept.ends(settings, client.admin(settings), ats, "latest")


def _date(settings: Settings, kind: str) -> None:
    """Have the broker date definitions so; returns when it says that it does."""
    asking, name = client.admin(settings), settings.topic(topics.CAMPAIGNS)
    resource: Any = admin.ConfigResource(admin.ResourceType.TOPIC, name)  # type: ignore[attr-defined]
    set_: Any = admin.AlterConfigOpType.SET  # type: ignore[attr-defined]
    entry: Any = admin.ConfigEntry(DATED, kind, incremental_operation=set_)  # type: ignore[attr-defined]
    until_s = time.monotonic() + ALTERED_S
    while True:
        found = kept.settings_on(settings, asking, [topics.CAMPAIGNS]).get(topics.CAMPAIGNS)
        if found is None or found.get(DATED) == kind:
            return  # not told, or not there: the emitter or the preflight says so
        resource.incremental_configs = [entry]
        try:
            asking.incremental_alter_configs([resource])[resource].result(ALTERED_S)
        except KafkaException as error:
            raise Refused(
                f"{name}: {DATED} cannot be set to {kind} ({error.args[0].str()}). Allow "
                "AlterConfigs, then run it again"
            ) from error
        if time.monotonic() > until_s:
            raise BrokerUnreachable(f"{name}: {DATED} is not {kind} yet. Run it again")
        time.sleep(0.2)


def _said(record: Record) -> tuple[bytes | None, bytes | None, int]:
    return record.key, record.value, record.recorded_at_ms


def _again(record: Record) -> Dated:
    copy = Outgoing(record.topic, record.key, record.value, record.headers, 0)
    return Dated(copy, record.recorded_at_ms)


class _Clock:
    def monotonic_s(self) -> float:
        return time.monotonic()
