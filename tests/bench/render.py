"""`python -m tests.bench.render`: GET /tasks/{user_id} beside a fold that takes all it can get.

A store of a million users is written directly, a row each (templates of real histories). Then the
worker's parts run as in a worker: one thread decodes, folds, encodes and writes traffic without a
pause, another is the web server with its page; those who ask are processes of their own, each with
one connection, one question after another, users by chance. Time is from a question sent to its
answer read, by those who ask. No broker: what is measured is the reading beside the folding.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import platform
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams import topics
from streams.domain import state
from streams.domain.fold import step
from streams.domain.registry import Campaigns
from streams.errors import EventRejected
from streams.feed.ports import NotOwned, Record
from streams.partitioner import partition_of
from streams.store import meta
from streams.store.rows import DiskStore
from streams.traffic import Traffic
from streams.web import server
from streams.web.owners import Owners
from streams.web.pages import pages
from streams.web.surface import SWITCH_S
from streams.web.tasks import Tasks
from streams.wire import campaigns as campaign_files
from streams.wire import cancellations, claims, orders, rows
from tests.kafka.workers import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.domain.state import UserState

PARTITIONS = 4
WRITTEN_AT_ONCE = 5_000
DECODE = {
    topics.ORDERS: orders.decode,
    topics.CLAIMS: claims.decode,
    topics.CANCELLATIONS: cancellations.decode,
}


class Worker:
    """The parts of a worker that read and write rows, without a broker."""

    def __init__(self, place: Path) -> None:
        identity = meta.Identity("bench", "none", -1, PARTITIONS, {}, rows.ROW_SCHEMA, 1)
        store = DiskStore(place, identity)
        self.rows = [store.open(p) for p in range(PARTITIONS)]
        self.campaigns = Campaigns.of(campaign_files.read_file(SAMPLE))
        self.traffic = [
            Record(topic, 0, n, key, value, [], at_ms)
            for n, (topic, key, value, at_ms) in enumerate(Traffic(7, 2_000, 20_000))
            if topic in DECODE
        ]
        self.now_ms = self.traffic[len(self.traffic) // 2].recorded_at_ms
        self.folded = 0
        self.stop = threading.Event()

    def committed(self, p: int, key: bytes) -> bytes | None:
        if p >= PARTITIONS:
            raise NotOwned
        return self.rows[p].peek(key)

    def templates(self) -> list[bytes]:
        """The rows of a thousand users of the traffic, halfway through."""
        known: dict[str, UserState] = {}
        for record in self.traffic[: len(self.traffic) // 2]:
            self._fold(record, known)
        return [rows.encode_row(row) for row in known.values()][:1_000]

    def _fold(self, record: Record, known: dict[str, UserState]) -> str | None:
        """Return whose row it touched; None: nobody's."""
        try:
            event = DECODE[record.topic](record)
        except EventRejected:
            return None
        row = known.get(event.user_id) or state.new(event.user_id)
        known[event.user_id] = step(row, event, self.campaigns).state
        return event.user_id

    def fill(self, users: int) -> None:
        made = self.templates()
        for first in range(0, users, WRITTEN_AT_ONCE):
            batches: list[dict[bytes, bytes | None]] = [{} for _ in range(PARTITIONS)]
            for n in range(first, min(first + WRITTEN_AT_ONCE, users)):
                key = user_id(n).encode()
                batches[partition_of(key, PARTITIONS)][key] = made[n % len(made)]
            for p, batch in enumerate(batches):
                self.rows[p].write(batch, next_offsets=None, changelog=0, batch=0)

    def fold_on(self) -> None:
        """Fold the traffic again and again, 500 records a commit, until told to stop.

        A commit writes the rows that it touched, as a worker's: RocksDB's write keeps the
        interpreter's lock from its first row to its last.
        """
        while not self.stop.is_set():
            known: dict[str, UserState] = {}
            touched: set[str] = set()
            for n, record in enumerate(self.traffic):
                user = self._fold(record, known)
                if user is not None:
                    touched.add(user)
                self.folded += 1
                if n % 500 == 499:
                    self._write({name: known[name] for name in touched})
                    touched.clear()
                    if self.stop.is_set():
                        return

    def _write(self, touched: dict[str, UserState]) -> None:
        batch: dict[bytes, bytes | None] = {
            f"folded-{name}".encode(): rows.encode_row(row) for name, row in touched.items()
        }
        self.rows[0].write(batch, next_offsets=None, changelog=0, batch=0)


def user_id(n: int) -> str:
    return f"bench-{n:07}"


def ask(  # noqa: PLR0913 - all that a process of its own is told
    port: int, seed: int, users: int, requests: int, pause_s: float, told: Any
) -> None:
    """Ask one question after another; put the milliseconds of each."""
    dice = random.Random(seed)  # noqa: S311
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    taken = []
    for _ in range(requests):
        path = f"/tasks/{user_id(dice.randrange(users))}?scene=home&entry=home"
        begun = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        taken.append((time.perf_counter() - begun) * 1_000)
        assert answer.status == 200, body
        if pause_s:
            time.sleep(dice.random() * 2 * pause_s)
    told.put(taken)


def measured(port: int, users: int, requests: int, clients: int, pause_s: float) -> dict[str, Any]:
    told: Any = multiprocessing.get_context("spawn").Queue()
    each = requests // clients
    asking = [
        multiprocessing.get_context("spawn").Process(
            target=ask, args=(port, seed, users, each, pause_s, told)
        )
        for seed in range(clients)
    ]
    for one in asking:
        one.start()
    taken = sorted(ms for _ in asking for ms in told.get())
    for one in asking:
        one.join()
    cuts = statistics.quantiles(taken, n=1_000)
    return {
        "clients": clients,
        "requests": len(taken),
        "p50_ms": round(cuts[499], 2),
        "p90_ms": round(cuts[899], 2),
        "p99_ms": round(cuts[989], 2),
        "max_ms": round(taken[-1], 2),
    }


def serve(worker: Worker) -> int:
    async def nobody() -> None:
        """There is no group here."""

    owners = Owners(lambda: None, nobody)  # type: ignore[arg-type, return-value]
    page = Tasks(
        PARTITIONS, worker.committed, lambda: worker.campaigns, owners, lambda: worker.now_ms
    )
    listening = server.bind("127.0.0.1", 0)
    fine = server.Answer(200, b"{}")
    server.serve(listening, pages(lambda: fine, lambda: fine, page), server.Tokens())
    return int(listening.getsockname()[1])


def run(users: int, requests: int, place: Path, say: Callable[[str], None]) -> dict[str, Any]:
    worker = Worker(place)
    begun = time.perf_counter()
    worker.fill(users)
    say(f"{users} rows in {time.perf_counter() - begun:.0f} s")
    sys.setswitchinterval(SWITCH_S)
    port = serve(worker)
    found: dict[str, Any] = {
        "users": users,
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "switch_s": SWITCH_S,
        "alone": measured(port, users, requests, 1, 0.0),
    }
    say(f"alone: {found['alone']}")
    folding = threading.Thread(target=worker.fold_on, name="fold")
    folding.start()
    for name, clients, pause_s in (
        ("folding", 1, 0.0),
        ("folding, 100/s", 8, 0.08),
    ):
        before, begun = worker.folded, time.perf_counter()
        found[name] = measured(port, users, requests, clients, pause_s)
        rate = (worker.folded - before) / (time.perf_counter() - begun)
        found[name]["folded_per_s"] = round(rate)
        say(f"{name}: {found[name]}")
    worker.stop.set()
    folding.join()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.render", description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000, help="rows in the store")
    parser.add_argument("--requests", type=int, default=4_000, help="of each measurement")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leidan-") as place:
        found = run(
            given.users, given.requests, Path(place), lambda text: print(text, file=sys.stderr)
        )
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
