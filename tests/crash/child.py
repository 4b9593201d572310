"""`python -m tests.crash.child DIRECTORY OPTIONS`: one worker, until its input ends or it does.

Loop, unit of work, restore, overlay and store are the shipped ones, with their own threads; log
and producer are those of `world`. Each unit of work that is through is reported on the output as
``P BATCH``, between ``begin`` and ``end``. It ends like a worker: with the exit code of the error.
"""

# ruff: noqa: S311

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streams.errors import Exit, RewardsError
from streams.feed.background import Background
from streams.feed.loop import Feed
from streams.feed.unit_of_work import Versions
from streams.store import restore, rows
from tests.crash import planted
from tests.crash.world import (
    CHANGELOG,
    ROW,
    TOPICS,
    JournalProducer,
    Options,
    Place,
    RealClock,
    UnevenLog,
    broker_of,
    folded,
    output,
)
from tests.feed.memory import Definitions, MemoryHistory

if TYPE_CHECKING:
    from streams.domain.outputs import Output
    from streams.feed.ports import Outgoing, Record
    from streams.feed.unit_of_work import UnitOfWork


def say(text: str) -> None:
    """Write it at once, past every buffer that a kill would lose."""
    os.write(1, f"{text}\n".encode())


def fold(work: UnitOfWork, row_bytes: int) -> None:
    for batch in work.batches:
        for record in batch.records:
            assert record.key is not None
            assert record.value is not None
            user = record.key.decode()
            state = folded(batch.overlay[user], record.value.decode(), row_bytes)
            batch.overlay[user] = state
            batch.outgoing.append(output(record, state))


def _nothing_to_encode(_output: Output, _cause: Record) -> Outgoing:
    raise AssertionError("`fold` queues its outputs itself")


def run(place: Place, options: Options) -> None:
    """Fold what is left; return when nothing is."""
    rows.WRITE_BUFFER_BYTES = options.write_buffer
    restore.WRITTEN_ROWS = options.written_rows
    restore.HELD_BYTES = options.held_bytes
    planted.plant(options.plant)
    say("begin")
    place.state.parent.mkdir(parents=True, exist_ok=True)
    broker = broker_of(place, options, mend=True)
    journal = os.open(place.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    log = UnevenLog(broker, random.Random(len(broker.logs.get((CHANGELOG, 0), []))))
    feed = Feed(
        log_=log,
        make_producer=lambda: JournalProducer(broker, journal),
        make_history=lambda _cancelled: MemoryHistory(broker),
        store=place.store(lock_wait_s=options.lock_wait_s),
        codec=ROW,
        encode=_nothing_to_encode,
        campaigns=Definitions(),
        executor=Background("restores"),
        committer=Background("commits"),
        clock=RealClock(),
        topics=TOPICS,
        changelog=CHANGELOG,
        versions=Versions(1, 1),
        batch_records=options.batch_records,
    )
    feed.start()
    finished = 0
    while not feed.idle():
        work = feed.poll(0.01)
        if work is not None:
            fold(work, options.row_bytes)
            feed.commit(work)
        for done in feed.take_finished():
            finished += 1
            for p in done.overlays:
                owned = feed.owned.get(p)
                if owned is not None and owned.rows is not None:
                    say(f"{p} {owned.rows.batch}")
            if finished % options.rebalance_every == 0:
                log.revoke(*range(broker.partitions))
                log.assign(*range(broker.partitions))
    feed.close()
    say("end")


def main() -> None:
    """End as `feed/service.py` ends a worker: one line, the code, no unwinding."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a full disk is an error, not a death
    options = msgspec.json.decode(sys.argv[2], type=Options)
    try:
        run(Place(Path(sys.argv[1])), options)
    except RewardsError as error:
        print(f"{error} (exit {error.exit:d})", file=sys.stderr, flush=True)
        os._exit(int(error.exit))
    os._exit(int(Exit.OK))


if __name__ == "__main__":
    main()
