"""One partition of one topic in offset order, on its way through an agent, and its answer.

A batch crosses from the feed to a Faust agent through a channel (D3). The agent folds it into the
overlay of its partition, rejects what can never become an event and emits what follows; nothing
here is durable before the feed commits the whole unit of work.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from streams.errors import Exit, Reason, RewardsError
from streams.feed.ports import Outgoing, Record
from streams.position import Position
from streams.topics import DEAD_LETTERS, REWARDS, TASK_EVENTS
from streams.wire.dead_letters import headers_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from streams.store.overlay import Overlay

log = logging.getLogger(__name__)

DETAIL_CHARS = 500
"""Longest `dl-detail`: enough to say what is wrong, never a copy of the payload."""


class Phases(dict[str, float]):
    """Seconds by phase."""

    def add(self, phase: str, seconds: float) -> None:
        self[phase] = self.get(phase, 0.0) + seconds

    def add_all(self, others: Mapping[str, float]) -> None:
        for phase, seconds in others.items():
            self.add(phase, seconds)


class Batch:
    """Records of one (topic, partition), the overlay they fold into, and what came of them.

    In offset order; another batch of the same unit of work may hold records from between, of other
    users (feed/align.py). So only the unit of work knows which offset comes next.
    """

    __slots__ = (
        "adjusted", "at", "begun_dated", "begun_users", "campaigns", "dead", "dialects", "done",
        "draws", "encode", "ledger", "left", "muted", "note", "outcomes", "outgoing", "outputs",
        "overlay", "packed", "partition", "phases", "posted", "reasons", "records", "tasks",
        "topic",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - one place makes it: UnitOfWork.of
        self,
        topic: str,
        partition: int,
        records: list[Record],
        overlay: Overlay[Any],
        campaigns: Campaigns,
        encode: Callable[[Output, Record], Outgoing],
        note: Callable[[Position], None] | None = None,
        muted: frozenset[str] = frozenset(),
        dialects: Sequence[str] = (),
        *,
        packed: bool = False,
    ) -> None:
        """``note`` is told of the record that raised, if one does (feed/crash_notes.py).

        ``muted``: topics to which nothing is written; replays and backfills send no notices.
        ``dialects``: whose headers dead letters have besides ours (wire/dead_letters.py).
        ``packed``: outputs of the compiled path stay in one piece, for its sender; they are read as
        the Outgoing they stand for (native/packed.c).
        """
        self.muted, self.dialects, self.packed = muted, dialects, packed
        self.topic, self.partition, self.records = topic, partition, records
        self.overlay, self.campaigns, self.encode, self.note = overlay, campaigns, encode, note
        self.outgoing: list[Outgoing] = []
        self.left: list[Record] = []  # taken out of `records`: for the next unit of work (`leave`)
        self.begun_users = 0  # of the first of them, a tick: so many were folded here
        self.begun_dated = ""  # and up to this one rows were dated
        self.dead: list[int] = []  # offsets
        self.outcomes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.outputs: Counter[str] = Counter()  # by type
        self.ledger: Counter[tuple[str, str, str, str]] = Counter()  # entries; see emit
        self.adjusted: Counter[tuple[str, str, str]] = Counter()  # campaign, kind, reason
        self.posted: Counter[tuple[str, str, str, str]] = Counter()  # see post; minor units
        self.tasks: Counter[tuple[str, str]] = Counter()  # campaign, type of a task event
        self.draws: Counter[tuple[str, int, str, str]] = Counter()  # pool, odds, hit, outcome
        self.phases = Phases()  # decode, read, fold
        self.at: Record | None = None  # the record under the fold when it raised
        self.done: Any = None  # asyncio future, set by the service that sends it to an agent

    def reject(self, record: Record, reason: Reason, detail: str = "") -> None:
        """Set a record aside, bytes unchanged, with where it stood and why (ecosystem.md 1)."""
        self.outgoing.append(dead_letter(record, reason, detail, self.dialects))
        self.dead.append(record.offset)
        self.reasons[reason.value] += 1
        self.outcomes["rejected"] += 1

    def leave(self, n: int, users: int, dated: str = "") -> None:
        """Leave the records from the n-th on to the next unit of work.

        What the n-th has changed so far, rows of so many ``users`` or deadlines of those up to
        ``dated``, is committed with this one; its offset is not.
        """
        self.begun_users, self.begun_dated = users, dated
        self.left = self.records[n:]
        self.records = self.records[:n]

    def emit(self, outputs: Iterable[Output], cause: Record) -> None:
        """Queue what the fold of ``cause`` gave out; published by the unit of work's transaction.

        Ledger entries are counted by (type, campaign, kind, currency), and their minor units by
        the same with "amount:" before the type: what the metrics show once it is committed. So
        are task events, postings and draws.
        """
        encode, outgoing, counts = self.encode, self.outgoing, self.outputs
        for output in outputs:
            if output.topic in self.muted:
                continue
            outgoing.append(encode(output, cause))
            counts[output.type] += 1
            body = output.body
            if output.topic == REWARDS:
                self._count_money(output.type, body)
            elif output.topic == TASK_EVENTS:
                if "campaign_id" in body:  # else it is about no task at all
                    self.tasks[(body["campaign_id"], output.type)] += 1
            elif output.type == "draw.drawn":
                hit, outcome = body.get("hit", ""), body["outcome"]
                self.draws[(body["pool_id"], body["odds_version"], hit, outcome)] += 1

    def _count_money(self, type_: str, body: dict[str, Any]) -> None:
        campaign, currency = body["campaign_id"], body["currency"]
        for posting in body["postings"]:
            self.post(campaign, currency, posting["account"], posting["amount_minor"])
        if "reward_id" in body:  # a task's reservation is no reward
            of = (campaign, body["kind"], currency)
            self.ledger[(type_, *of)] += 1
            self.ledger[("amount:" + type_, *of)] += body["amount_minor"]
            if type_ == "reward.adjusted":
                self.adjusted[(campaign, body["kind"], body["reason"])] += 1

    def count_plain(
        self,
        outputs: Mapping[str, int],
        tasks: Mapping[tuple[str, str], int],
        rewards: Iterable[tuple[str, str, str, int, int]],
    ) -> None:
        """Count as `emit` does what the compiled path has said: it puts bytes into `outgoing`.

        rewards: (campaign, kind, currency, how many, minor units), paid from the budget by users
        without debts, or they would not have been plain.
        """
        self.outputs.update(outputs)
        self.tasks.update(tasks)
        for campaign, kind, currency, count, minor in rewards:
            self.ledger[("reward.issued", campaign, kind, currency)] += count
            self.ledger[("amount:reward.issued", campaign, kind, currency)] += minor
            if minor:
                self.post(campaign, currency, "budget", -minor)
                self.post(campaign, currency, "issued", minor)

    def post(self, campaign: str, currency: str, account: str, minor: int) -> None:
        """Count a posting by (campaign, currency, account, side); in: the account has more now."""
        side = "in" if minor > 0 else "out"
        self.posted[(campaign, currency, account, side)] += abs(minor)


def dead_letter(
    record: Record, reason: Reason, detail: str, dialects: Sequence[str] = ()
) -> Outgoing:
    """Return the record as it goes to dead-letters: same key, value, headers, partition number."""
    why = detail[:DETAIL_CHARS].encode(errors="replace")
    headers = [*record.headers, *headers_for(record, reason, why, dialects)]
    return Outgoing(DEAD_LETTERS, record.key, record.value, headers, record.partition)


@contextmanager
def fail_stop(batch: Batch) -> Iterator[None]:
    """End the process when our own code raises; the record is named, nothing is committed (D12).

    Raised, the error would end in Faust's `finally`, which goes on with the next event
    (reliability.md 3). Exit 70. ``batch.note`` counts the record's kills beside its database.
    """
    try:
        yield
    except RewardsError as error:  # a row or the disk, not the record: it has its own exit code
        log.critical(
            "%s; exit %d, nothing of this batch is committed", error, error.exit,
            extra=_under_fold(batch)._asdict(),
        )  # fmt: skip
        stop_process(error.exit)
    except Exception:  # the one broad except: whatever it is, it is our bug
        position = _under_fold(batch)
        if batch.note is not None:
            batch.note(position)
        log.critical(
            "%s: our own error, nothing of this batch is committed; exit 70", position,
            extra=position._asdict(), exc_info=True,
        )  # fmt: skip
        stop_process(Exit.BROKEN)


def _under_fold(batch: Batch) -> Position:
    """Return where the record stands that was under the fold; the batch's first if none was."""
    record = batch.at or (batch.records or batch.left)[0]
    return Position(record.topic, record.partition, record.offset)


def stop_process(code: Exit) -> None:
    """Leave without unwinding: dying is always safe, going on is not."""
    logging.shutdown()
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(int(code))
