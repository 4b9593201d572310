"""`python -m tests.bench.scale`: what an order costs among 10,000 users and among 5 million.

The shipped fold and the shipped store (`streams/store/rows.py`) with nobody to read from and nobody
to send to. What is left out costs the same for every order, so a ratio of two rates here is below
that of two live workers. Each order is of a random user, whose row is read from RocksDB, or from
the cache of rows where the user was there a moment ago. The rows of all users are laid in first, as
the fold leaves them (`population.Moulds`). Each leg is measured in a process of its own.

Legs: `users` (uniform, and skewed as in `population.coming`), `history` (orders of a user so far),
`campaigns` (all of them count each order of the user), `partitions` (databases of one worker).

Rates are wall time of one thread that folds and writes in turn, where a worker writes while it
folds what comes next; `read_us` to `keep_us` are processor time of that thread. `cpu_us` is that
of the whole process, RocksDB's threads included, until nothing is left to compact: on a busy
machine look at that. Files stay in the page cache if the machine has room for them; with --cold
they are dropped from it before each leg.

`--json FILE` keeps every leg, one a line. Five million users take 6 GB of disk while it runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, thread_time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from streams.store.overlay import StateCache
from streams.store.rows import DiskStore
from streams.store.states import identity
from tests.bench.legs import machine as this_machine
from tests.bench.live import stopwatch
from tests.bench.population import PHASES, Folder, Moulds, Orders, coming, definitions, lay_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from streams.store.rows import DiskRows

T = TypeVar("T")

USERS = (10_000, 100_000, 1_000_000, 5_000_000)
HISTORIES = (5, 20, 50, 100, 200)
CAMPAIGNS = (1, 2, 5, 10, 20, 50)
PARTITIONS = (1, 4, 16)
SKEWS = ("uniform", "skewed")
OF = ("users", "history", "campaigns", "partitions")
ORDERS_EACH = 2  # measured of a user on average, at most: rows must stay what they are
LARGE = 1_000_000  # users
LEAST_RATIO, MOST_RSS_MB, MOST_BYTES = 0.6, 700, 400  # the targets; memory and disk of LARGE
SEED = 42
MB = 1 << 20


class Leg(NamedTuple):
    """What one measurement is about; `of`: which of these is varied."""

    of: str
    users: int
    history: int = 5
    campaigns: int = 1
    partitions: int = 4
    skew: str = "uniform"


def legs(of: Sequence[str], users: Sequence[int]) -> list[Leg]:
    """Return the legs asked for, those over the same users side by side."""
    found = []
    if "users" in of:
        found += [Leg("users", n, skew=skew) for n in users for skew in SKEWS]
    if "history" in of:
        found += [Leg("history", 10_000, history=n) for n in HISTORIES]
    if "campaigns" in of:
        found += [Leg("campaigns", 10_000, campaigns=n) for n in CAMPAIGNS]
    if "partitions" in of:
        found += [Leg("partitions", 1_000_000, partitions=n) for n in PARTITIONS]
    return found


def store_at(directory: Path, leg: Leg) -> DiskStore:
    return DiskStore(directory, identity("bench", "none", leg.partitions, {}))


def laid_in(directory: Path, leg: Leg, seed: int) -> None:
    """Make the databases of a worker that has folded the history of every user."""
    store = store_at(directory / "users", leg)
    rows = [store.open(p) for p in range(leg.partitions)]
    moulds = Moulds(Orders(seed), definitions(leg.campaigns), leg.history)
    lay_in(rows, leg.users, moulds, store._options(), directory)  # noqa: SLF001 - as the store's
    for one in rows:
        one.close()
    for file in directory.glob("*.sst"):
        file.unlink()


def measured(directory: Path, leg: Leg, events: int, seed: int, turn: int) -> dict[str, Any]:
    """Fold orders of random users into the databases there; return figures by name and unit."""
    campaigns, made = definitions(leg.campaigns), Orders(seed)
    store = store_at(directory / "users", leg)
    rows = [store.open(p) for p in range(leg.partitions)]
    folder = Folder(rows, campaigns, [StateCache() for _ in rows])
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # as a worker has it
    wall_s = cpu_s = thread_s = 0.0
    for unit in coming(
        made,
        users=leg.users,
        events=events,
        skewed=leg.skew == "skewed",
        seed=seed,
        partitions=leg.partitions,
        turn=turn,
    ):
        begun = perf_counter(), process_time(), thread_time()
        folder.fold(unit)
        wall_s += perf_counter() - begun[0]
        cpu_s += process_time() - begun[1]
        thread_s += thread_time() - begun[2]
    before = process_time()
    settle(rows)
    cpu_s += process_time() - before
    memory = {
        "rss_mb": round(_status_kb("VmRSS") / 1024),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "block_cache_mb": round(_sum(rows[:1], "block-cache-usage") / MB),
        "memtables_mb": round(_sum(rows, "cur-size-all-mem-tables") / MB),
        "table_readers_mb": round(_sum(rows, "estimate-table-readers-mem") / MB, 1),
    }
    disk = {  # all files, the log's too; then those of rows alone, as they are and compacted
        "disk_bytes_per_user": round(_disk_bytes(directory) / leg.users),
        "sst_bytes_per_user": round(_sum(rows, "total-sst-files-size") / leg.users),
    }
    some = rows[0].after(b"", 1_000)
    filters = sum(_of_tables(one, part) for one in rows for part in ("filter", "index"))
    for one in rows:
        one._db.compact_range(None, None)  # noqa: SLF001 - no worker asks for that
    disk["compacted_bytes_per_user"] = round(_sum(rows, "total-sst-files-size") / leg.users)
    for one in rows:
        one.close()
    return {
        **leg._asdict(),
        "events": events,
        "events_per_s": round(events / wall_s),
        "cpu_us": round(cpu_s / events * 1e6, 2),
        "thread_us": round(thread_s / events * 1e6, 2),
        **{f"{phase}_us": round(folder.seconds[phase] / events * 1e6, 2) for phase in PHASES},
        "rows_written": folder.touched,
        "row_bytes": round(sum(len(value) for _, value in some) / len(some)),
        "filter_index_bytes_per_user": round(filters / leg.users, 2),
        **memory,
        **disk,
        "digest": folder.digest.hexdigest()[:16],
    }


def settle(rows: Sequence[DiskRows]) -> None:
    """Wait until RocksDB has compacted what it wants to."""
    busy = ("num-running-compactions", "compaction-pending", "num-running-flushes")
    while any(_sum(rows, name) for name in busy):
        time.sleep(0.05)


def _sum(rows: Sequence[DiskRows], name: str) -> int:
    found = [one._db.property_int_value(f"rocksdb.{name}") for one in rows]  # noqa: SLF001
    return sum(value or 0 for value in found)


def _of_tables(one: DiskRows, part: str) -> int:
    """Return the bytes of all files' filters or indexes, which the block cache should hold."""
    told = one._db.property_value("rocksdb.aggregated-table-properties") or ""  # noqa: SLF001
    found = re.search(rf"{part} block size[^=;]*=(\d+)", told)
    return int(found[1]) if found else 0


def _disk_bytes(directory: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in directory.rglob("*") if file.is_file())


def _status_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def forget(directory: Path) -> None:
    """Have the page cache drop the files there, so that reads are the disk's."""
    for path in directory.rglob("*.sst"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(  # noqa: PLR0913 - the benchmark's knobs, all named
    wanted: Sequence[Leg],
    place: Path,
    *,
    events: int,
    rounds: int,
    say: Callable[[str], None],
    seed: int = SEED,
    cold: bool = False,
) -> list[dict[str, Any]]:
    """Measure every leg `rounds` times, and return the figures of each time."""
    machine = this_machine()
    about = {name: machine.pop(name) for name in ("commit", "date")}
    found = []
    for leg in wanted:
        directory = place / "state"
        turns = rounds if leg.users >= LARGE else 1  # a few orders more change no row's size
        for turn in range(rounds):
            if turn % turns == 0:
                begun = time.monotonic()
                apart(laid_in, directory, leg, seed)
                say(f"{leg.users:,} users laid in: {time.monotonic() - begun:.0f} s")
            if cold:
                forget(directory)
            few = min(events, ORDERS_EACH * leg.users)
            figures = apart(measured, directory, leg, few, seed, turn % turns)
            found.append({
                "bench": "scale", "engine": "leidan", "workload": "paid", **figures,
                "cold": cold, "round": turn + 1, "seed": seed, **about, "machine": machine,
            })  # fmt: skip
            say(told(found[-1]))
            if (turn + 1) % turns == 0:
                shutil.rmtree(directory)
    return found


def apart(task: Callable[..., T], *given: Any) -> T:
    """Do it in a process of its own, whose memory is its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as pool:
        return pool.submit(task, *given).result()


def told(leg: dict[str, Any]) -> str:
    """One leg in a line, for people."""
    of = " ".join(f"{name} {leg[name]}" for name in ("history", "campaigns", "partitions"))
    phases = " ".join(f"{phase} {leg[f'{phase}_us']}" for phase in PHASES)
    return (
        f"{leg['of']}: {leg['users']:,} users {leg['skew']}, {of}: {leg['events_per_s']:,} events/s"
        f", cpu {leg['cpu_us']} us, this thread {leg['thread_us']} ({phases});"
        f" rss {leg['rss_mb']} MB; row {leg['row_bytes']} B, on disk {leg['disk_bytes_per_user']}"
        f" B/user, compacted {leg['compacted_bytes_per_user']}"
    )


def compared(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the medians of uniform users that there are targets for, beside those."""
    legs = [leg for leg in found if leg["of"] == "users" and leg["skew"] == "uniform"]

    def of(users: int, name: str) -> float:
        return median(leg[name] for leg in legs if leg["users"] == users)

    there = sorted({leg["users"] for leg in legs})
    if len(there) > 1:
        few, many = there[0], there[-1]
        ratio = of(many, "events_per_s") / of(few, "events_per_s")
        yield (
            f"{many:,} users against {few:,}: {ratio:.2f} of the events/s,"
            f" {of(few, 'cpu_us') / of(many, 'cpu_us'):.2f} by processor time"
        )
        yield f"  target ({LEAST_RATIO}): {'met' if ratio >= LEAST_RATIO else 'MISSED'}"
    if LARGE in there:
        rss_mb = of(LARGE, "rss_mb")
        at_rest, now = of(LARGE, "compacted_bytes_per_user"), of(LARGE, "disk_bytes_per_user")
        yield (
            f"{LARGE:,} users: {rss_mb:.0f} MB of memory; {at_rest:.0f} bytes of disk each at rest,"
            f" {now:.0f} as it stands: logs and files not yet merged are"
            f" {(now - at_rest) * LARGE / MB:.0f} MB, bounded by the number of databases"
        )
        yield f"  target (under {MOST_RSS_MB} MiB): {'met' if rss_mb < MOST_RSS_MB else 'MISSED'}"
        yield (
            f"  target (under {MOST_BYTES} bytes): at rest"
            f" {'met' if at_rest < MOST_BYTES else 'MISSED'}, as it stands"
            f" {'met' if now < MOST_BYTES else 'MISSED'}"
        )


COMMON = frozenset({
    "bench", "engine", "workload", "events", "users", "round", "events_per_s", "cpu_us", "rss_mb",
    "digest", "commit", "date", "machine", "seed",
})  # fmt: skip
"""Fields of every benchmark's legs; what a leg has besides goes under `more`."""


def write(path: Path, found: Sequence[dict[str, Any]]) -> None:
    """Write one leg a line."""
    lines = []
    for leg in found:
        common = {name: value for name, value in leg.items() if name in COMMON}
        more = {name: value for name, value in leg.items() if name not in COMMON}
        lines.append(json.dumps({**common, "more": more}) + "\n")
    path.write_text("".join(lines))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale")
    parser.add_argument("--of", nargs="+", choices=OF, default=OF, help="what is varied")
    parser.add_argument("--users", nargs="+", type=int, default=USERS, help="of the legs `users`")
    parser.add_argument("--events", type=int, default=400_000, help="measured, at most 2 a user")
    parser.add_argument("--rounds", type=int, default=3, help="of each leg")
    parser.add_argument("--cold", action="store_true", help="rows are not in the page cache")
    parser.add_argument("--place", type=Path, help="where the databases are made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every leg, one a line")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="leidan-", dir=given.place) as place:
        found = run(
            legs(given.of, given.users),
            Path(place),
            events=given.events,
            rounds=given.rounds,
            cold=given.cold,
            say=stopwatch(),
        )
    print("\n".join(compared(found)))
    if given.json is not None:
        write(given.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
