"""Users by the million: the rows of what they have ordered so far, and what they order next.

An order is one of streams/traffic.py with another user, id and time: a number says which user,
which of their orders, and so everything about it. So five million users take no memory.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from time import thread_time
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from rocksdict import SstFileWriter

from streams import native
from streams.agents.folding import fold_batch, fold_compiled
from streams.domain import ids
from streams.domain.campaign import Campaign
from streams.domain.facts import mark
from streams.domain.registry import Campaigns
from streams.domain.state import unpack_ledger
from streams.feed.batch import Batch
from streams.feed.ports import Record
from streams.store.meta import Hint
from streams.store.overlay import Overlay, StateCache
from streams.store.states import CODEC
from streams.wire import orders, outputs
from streams.wire.campaigns import read_file
from streams.wire.rows import decode_row
from tests.bench import work
from tests.feed.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from streams.domain.state import UserState
    from streams.feed.ports import Rows
    from streams.store.rows import DiskRows

FIRST_DAY = datetime(2026, 1, 6, tzinfo=UTC)
HISTORY_DAYS = 200  # then comes what is measured; all within the campaign's year
UNIT = 8_000  # records of a unit of work as a worker takes them while they fold fast
BODIES = 4_096  # orders of different content
SAMPLE = 10_000  # users of different content
ROWS_A_FILE = 50_000
DAY_S = 86_400
SPAN_DAYS = 20  # in which what is measured comes
TURNS = 7
MOST_ORDERS = 10_000  # of one user in one turn
PHASES = ("read", "fold", "write", "keep")  # fold: from the bytes of orders to those of rows
FAR = 2_654_435_761  # prime: users n and n + 1 of a ranking live far apart


class Orders:
    """Orders as shops send them, by (user, number of the order, time)."""

    def __init__(self, seed: int) -> None:
        sample = work.traffic(work.WORKLOADS["paid"], seed, BODIES, ())
        # {"type":..,"user_id":"U","occurred_at":"T","version":1,"order_id":"O","currency":..}
        self._rest = [value.partition(b'","currency"')[2] for _, _, value, _ in sample]
        self._head = sample[0][2].partition(b'"user_id":"')[0] + b'"user_id":"'
        self._clock = [
            b"T%02d:%02d:%02d.%03d+00:00" % (s // 3600, s // 60 % 60, s % 60, s * 7 % 1000)
            for s in range(DAY_S)
        ]
        days = (FIRST_DAY + timedelta(days=n) for n in range(HISTORY_DAYS + 1 + SPAN_DAYS * TURNS))
        self._days = [day.strftime("%Y-%m-%d").encode() for day in days]
        self._first_ms = int(FIRST_DAY.timestamp() * 1000)

    @staticmethod
    def key(user: int) -> bytes:
        return b"u-%08d" % user

    @staticmethod
    def id(user: int, number: int) -> bytes:
        return b"o-%08d-%d" % (user, number)

    def record(self, user: int, number: int, at_s: int, offset: int, p: int) -> Record:
        """Return an order of this user at so many seconds from the first day on."""
        day, second = divmod(at_s, DAY_S)
        key, sample = self.key(user), user % SAMPLE
        mixed = (sample * 1_000_003 + number) * FAR >> 8
        value = b'%b%b","occurred_at":"%b%b","version":1,"order_id":"%b","currency"%b' % (
            self._head, key, self._days[day], self._clock[second],
            self.id(user, number), self._rest[mixed % BODIES],
        )  # fmt: skip
        at_ms = self._first_ms + at_s * 1000 + second * 7 % 1000 + mixed % 900
        return Record("orders", p, offset, key, value, [], at_ms)


def definitions(count: int) -> Campaigns:
    """Return so many campaigns, each paying every third day with an order."""
    (first,) = read_file(work.EVERY_THIRD_DAY)
    assert isinstance(first, Campaign)
    names = [first.campaign_id, *(f"{first.campaign_id}-{n}" for n in range(2, count + 1))]
    return Campaigns.of(replace(first, campaign_id=name) for name in names)


class Watched:
    """Rows, and the seconds of this thread that reading them took."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self.seconds = rows, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        begun = thread_time()
        found = self._rows.get_many(keys)
        self.seconds += thread_time() - begun
        return found


class Folder:
    """Units of work as a worker makes them of orders, on real rows, with nobody to send to.

    ``seconds``: of this thread, by phase; ``digest``: of every output's bytes, in order.
    """

    def __init__(self, rows: Sequence[Rows], campaigns: Campaigns, caches: Sequence[Any]) -> None:
        """``caches``: one a partition, as `rows`."""
        self._rows, self._caches, self._campaigns = rows, caches, campaigns
        self._plans = native.plans()
        self._batch = 0
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.touched = self.said = 0
        self.digest = hashlib.sha256()

    def fold(self, records: Sequence[Sequence[Record]]) -> None:
        """Fold one unit of work, records by partition, and write its rows."""
        self._batch += 1
        for p, mine in enumerate(records):
            if not mine:
                continue
            rows = Watched(self._rows[p])
            overlay = Overlay(rows, CODEC, self._caches[p])
            batch = Batch("orders", p, list(mine), overlay, self._campaigns, outputs.encode)
            begun_s, rows.seconds = thread_time(), 0.0
            if self._plans is None:
                fold_batch(batch, orders.decode)
            else:
                fold_compiled(batch, orders.decode, self._plans)
            encoded = overlay.encoded()
            at_s = [begun_s, begun_s + rows.seconds, thread_time()]
            rows.write(
                {**encoded, **overlay.spent()},
                next_offsets={"orders": mine[-1].offset + 1},
                changelog=mine[-1].offset + 1,
                batch=self._batch,
            )
            at_s.append(thread_time())
            overlay.kept()
            at_s.append(thread_time())
            for phase, since, until in zip(PHASES, at_s, at_s[1:], strict=False):
                self.seconds[phase] += until - since
            self.touched += len(encoded)
            self.said += len(batch.outgoing)
            for _, _, value, *_ in batch.outgoing:
                self.digest.update(value or b"")


class Moulds:
    """Rows of any user with a history: folded for the first SAMPLE users, moulded for the others.

    User n orders what user n mod SAMPLE does and when, under ids of their own; so the row is the
    folded one with other ids, to the byte, and a tenth of the work.
    """

    def __init__(self, made: Orders, campaigns: Campaigns, history: int) -> None:
        self._made, self._campaigns, self._history = made, campaigns, history
        self._folded: dict[int, tuple[bytes, UserState]] = {}

    def row(self, user: int) -> bytes:
        """Return the row of a user who has ordered `history` times."""
        sample = user % SAMPLE
        row, state = self._sample(sample)
        if user == sample:
            return row
        row = row.replace(b"o-%08d-" % sample, b"o-%08d-" % user)
        marks = b"".join(mark(Orders.id(user, n).decode()) for n in range(self._history))
        row = row.replace(state.seen, marks)
        tasks = {}
        for task in state.tasks:
            mine = ids.task_id(Orders.key(user).decode(), task.campaign_id, task.round)
            tasks[task.task_id] = mine
            row = row.replace(task.task_id.encode(), mine.encode())
        for entry in unpack_ledger(state.ledger).values():
            of = tasks[entry.task_id], entry.step, entry.kind, entry.right_id
            row = row.replace(entry.reward_id.encode(), ids.reward_id(*of).encode())
        return row

    def due_ms(self, user: int) -> int:
        """Return the deadline in that row."""
        return self._sample(user % SAMPLE)[1].due_ms

    def _sample(self, user: int) -> tuple[bytes, UserState]:
        if user not in self._folded:
            row = self.folded(user)
            self._folded[user] = row, decode_row(Orders.key(user).decode(), row)
        return self._folded[user]

    def folded(self, user: int) -> bytes:
        """Return the same by folding every order of this user."""
        rows = MemoryStore().open(0)
        folder = Folder([rows], self._campaigns, [StateCache()])
        folder.fold([[self._made.record(user, n, ordered_at_s(user, n, self._history), n, 0)
                      for n in range(self._history)]])  # fmt: skip
        row = rows.get_many([Orders.key(user)])[0]
        assert row is not None
        return row


def lay_in(rows: Sequence[DiskRows], users: int, moulds: Moulds, options: Any, place: Path) -> None:
    """Put the row and the hint of every user into databases of a partition each, as whole files.

    User n lives in partition n mod their number. What they hold lies at the bottom, compacted.
    """
    for p, one in enumerate(rows):
        hints = (
            (Hint(moulds.due_ms(user), Orders.key(user)).encoded(), b"")
            for user in range(p, users, len(rows))
        )
        mine = ((Orders.key(user), moulds.row(user)) for user in range(p, users, len(rows)))
        files = [
            *_files(hints, options, place / f"{p}-hints"),
            *_files(mine, options, place / f"{p}-rows"),
        ]
        one._db.ingest_external_file(files)  # noqa: SLF001 - no worker asks for that


def _files(pairs: Iterator[tuple[bytes, bytes]], options: Any, name: Path) -> list[str]:
    """Write sorted pairs into files of RocksDB's; return where they are."""
    found: list[str] = []
    while some := list(islice(pairs, ROWS_A_FILE)):
        found.append(f"{name}-{len(found)}.sst")
        file = SstFileWriter(options)
        file.open(found[-1])
        for key, value in some:
            file[key] = value
        file.finish()
    return found


def ordered_at_s(user: int, number: int, history: int) -> int:
    """Return when an order of the history was: on another day each, as far as days go."""
    return HISTORY_DAYS * DAY_S * number // history + user % SAMPLE * 7919 % DAY_S


def coming(  # noqa: PLR0913 - what is measured, all named
    made: Orders,
    *,
    users: int,
    events: int,
    skewed: bool,
    seed: int,
    partitions: int,
    turn: int = 0,
) -> Iterator[list[list[Record]]]:
    """Yield units of work of the next orders, by random users, each later than all before it.

    skewed: the n-th busiest user orders 1/(n + a thousandth of all) as often: a fifth of the users
    bring 77 of 100 orders, the busiest 145 times the average.
    turn: which of the streams of orders behind one history this is; ids and times go on.
    """
    assert turn < TURNS, "the campaign's year has no room for more"
    draw = random.Random(seed + turn)  # noqa: S311 - whose turn it is, nobody's luck
    ordered: Counter[int] = Counter()
    begin_s = (HISTORY_DAYS + 1 + SPAN_DAYS * turn) * DAY_S
    offset = users * MOST_ORDERS * (turn + 1)  # behind all before
    flat = users / 1_000
    for first in range(0, events, UNIT):
        unit: list[list[Record]] = [[] for _ in range(partitions)]
        for n in range(first, min(events, first + UNIT)):
            if skewed:
                user = int(flat * (1_001 ** draw.random() - 1)) * FAR % users
            else:
                user = draw.randrange(users)
            number = MOST_ORDERS * (turn + 1) + ordered[user]
            ordered[user] += 1
            at_s = begin_s + SPAN_DAYS * DAY_S * n // events
            p = user % partitions
            unit[p].append(made.record(user, number, at_s, offset + n, p))
        yield unit
