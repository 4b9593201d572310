"""`python -m tests.bench.sizing`: deploy/sizing.md from deploy/figures.json (make sizing).

Every number of the page is a measured figure, an assumption stated on it, or worked out here from
those. `--measured FILE...` first takes figures from what benchmarks wrote with --json: each is the
median of the legs that `FIGURES` names, and keeps the commit, date and machine of the newest. What
no file has stays as it was. A figure that nobody has measured says so ("assumed"), on the page too.

Exit status: 0 written, 2 a file cannot be read or a figure is missing.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.bench.report import Unreadable, read
from tests.kafka.workers import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

FIGURES_FILE = REPOSITORY / "deploy" / "figures.json"
PAGE = REPOSITORY / "deploy" / "sizing.md"

Figures = dict[str, dict[str, Any]]


class Figure(NamedTuple):
    """Which legs a figure is the median of: with these fields, and, if `most`, the most users."""

    what: str
    unit: str
    bench: str
    field: str
    most: bool = False
    where: tuple[tuple[str, Any], ...] = ()


UNIFORM = (("of", "users"), ("skew", "uniform"))
FIGURES = {
    "order_events_per_s": Figure(
        "live worker, exactly-once, random users past the caches", "events/s, one process",
        "crowd", "events_per_s", most=True, where=(("workers", 1),)),
    "order_cpu_us": Figure(
        "processor time of an order in it, start and stop included", "us", "crowd", "cpu_us",
        most=True, where=(("workers", 1),)),
    "worker_mb": Figure(
        "most memory of a live worker", "MiB", "crowd", "rss_mb", most=True,
        where=(("workers", 1),)),
    "disk_bytes_per_user": Figure(
        "state on disk as it stands, five to six orders a user", "bytes", "scale",
        "disk_bytes_per_user", most=True, where=UNIFORM),
    "row_bytes": Figure(
        "a row as the changelog takes it", "bytes", "scale", "row_bytes", most=True,
        where=UNIFORM),
    "filter_index_bytes_per_user": Figure(
        "filters and indexes that the block cache should hold", "bytes a user", "scale",
        "filter_index_bytes_per_user", most=True, where=UNIFORM),
    "users_measured": Figure(
        "most users of one process that the rate was measured with", "users", "crowd", "users",
        most=True, where=(("workers", 1),)),
    "restore_rows_per_s": Figure(
        "restore from the changelog", "rows/s, one process", "restore", "records_per_s"),
    "backfill_events_per_s": Figure(
        "backfill", "events/s, one process", "backfill", "a_process", where=(("processes", 1),)),
}  # fmt: skip


class Case(NamedTuple):
    """What is sized."""

    title: str
    orders_a_day: int
    users: int


CASES = (
    Case("100 million orders a day", 100_000_000, 100_000_000),
    Case("a billion users", 100_000_000, 1_000_000_000),
)

# Assumptions. Each stands on the page with its reason, and none is measured.
RECORDS_PER_ORDER = 3
IN_PYTHON, PYTHON_TIMES = 0.2, 4
PEAK = 5
BUSY = 0.6
LOST_DISK_MIN = 10
FILTER_MB = 64
ROOM = 1.5
RETENTION_DAYS = 7
HISTORY_DAYS = 30
RECORD_BYTES = 400
COPIES = 3
DOWN_S = 60
SPARE = 4
DAY_S = 86_400
QUIET_LOAD = 1.0  # before a measurement; above it the figures are others' too

ASSUMED = {
    f"{RECORDS_PER_ORDER} input records an order": "paid, fulfilled, and claims, cancellations and"
    " parts of checkouts of some; count your own topics",
    f"{IN_PYTHON:.0%} of records cost {PYTHON_TIMES:g} times an order": "claims, cancellations and"
    " late orders are folded in Python (`python -m tests.bench.cpu` shows both ways)",
    f"peak {PEAK} times the mean of a day": "the busiest minutes of a promotion day",
    f"workers {BUSY:.0%} busy at that peak": "what is left catches up after a restart",
    f"a lost disk is back in {LOST_DISK_MIN} minutes": "so a worker has no more rows than that",
    f"{FILTER_MB} MiB of filters and indexes a worker": "half of the block cache; a filter outside"
    " of it costs a read more for every order",
    f"{ROOM:g} times the state's size on disk": "compaction, a checkpoint, log files",
    f"topics keep {RETENTION_DAYS} days, {COPIES} copies": f"records of {RECORD_BYTES} bytes, as"
    f" clients compress them; the changelog {ROOM:g} times its rows, counted uncompressed",
    f"{SPARE} partitions a worker or more, a power of two": "partition counts are for ever",
    "five orders in a user's history": "100 million orders a day of a billion users are three a"
    " month; history stays for a task's window and a week or two. Rows grow with every order",
    "brokers are sized by disk alone": "worker and broker shared the cores on which the rate was"
    " measured",
}


class Sized(NamedTuple):
    """One case, worked out."""

    peak_per_s: float
    by_rate: int  # workers
    by_recovery: int
    by_filters: int
    workers: int
    partitions: int
    users_a_worker: int
    disk_gb: float  # of one worker
    cores: float  # of one worker, at the peak
    memory_mb: float
    catch_up_s: float
    lost_disk_s: float
    refold_h: float
    topics_tb: float


def sized(case: Case, figure: Mapping[str, float]) -> Sized:
    """Work out one case from the figures by name."""
    peak = case.orders_a_day * RECORDS_PER_ORDER * PEAK / DAY_S
    rate = figure["order_events_per_s"] / (1 + IN_PYTHON * (PYTHON_TIMES - 1))
    restore = figure["restore_rows_per_s"]
    by_rate = math.ceil(peak / (rate * BUSY))
    by_recovery = math.ceil(case.users / (restore * LOST_DISK_MIN * 60))
    by_filters = math.ceil(
        case.users * figure["filter_index_bytes_per_user"] / (FILTER_MB * (1 << 20))
    )
    workers = max(by_rate, by_recovery, by_filters)
    each = math.ceil(case.users / workers)
    records = case.orders_a_day * RECORDS_PER_ORDER
    kept = records * RETENTION_DAYS * RECORD_BYTES + case.users * figure["row_bytes"] * ROOM
    return Sized(
        peak_per_s=peak,
        by_rate=by_rate,
        by_recovery=by_recovery,
        by_filters=by_filters,
        workers=workers,
        partitions=2 ** math.ceil(math.log2(SPARE * workers)),
        users_a_worker=each,
        disk_gb=each * figure["disk_bytes_per_user"] * ROOM / 1e9,
        cores=peak / workers * figure["order_cpu_us"] / 1e6 * figure["order_events_per_s"] / rate,
        memory_mb=figure["worker_mb"],
        catch_up_s=DOWN_S * peak / max(rate * workers - peak, 1),
        lost_disk_s=each / restore,
        refold_h=records * HISTORY_DAYS / (figure["backfill_events_per_s"] * workers) / 3600,
        topics_tb=kept * COPIES / 1e12,
    )


def page(figures: Figures) -> str:
    """Return deploy/sizing.md. Raises KeyError naming a figure that is missing."""
    value = {name: float(figures[name]["value"]) for name in FIGURES}
    return "\n".join(_lines(figures, [(case, sized(case, value)) for case in CASES])) + "\n"


ROWS: tuple[tuple[str, Callable[[Case, Sized], str]], ...] = (
    ("orders a day", lambda case, _: f"{case.orders_a_day:,}"),
    ("users with a row", lambda case, _: f"{case.users:,}"),
    ("input at the peak", lambda _, it: f"{it.peak_per_s:,.0f} records/s"),
    ("workers for the rate", lambda _, it: f"{it.by_rate:,}"),
    ("workers for a lost disk", lambda _, it: f"{it.by_recovery:,}"),
    ("workers for filters in memory", lambda _, it: f"{it.by_filters:,}"),
    ("**workers**", lambda _, it: f"**{it.workers:,}**"),
    ("cores that a worker uses at the peak", lambda _, it: f"{it.cores:.2f}"),
    ("**partitions**", lambda _, it: f"**{it.partitions:,}**"),
    ("users of a worker", lambda _, it: f"{it.users_a_worker:,}"),
    ("**disk of a worker**", lambda _, it: f"**{it.disk_gb:,.1f} GB**"),
    ("**memory of a worker**", lambda _, it: f"**{it.memory_mb:,.0f} MiB**"),
    ("disk of all brokers", lambda _, it: f"{it.topics_tb:,.2f} TB"),
    (f"after {DOWN_S} s down at the peak, caught up in", lambda _, it: f"{it.catch_up_s:,.0f} s"),
    ("**a disk lost: its rows restored in**", lambda _, it: f"**{it.lost_disk_s:,.0f} s**"),
    (f"{HISTORY_DAYS} days folded again by all in", lambda _, it: f"{it.refold_h:,.1f} h"),
)


def _lines(figures: Figures, cases: Sequence[tuple[Case, Sized]]) -> Iterator[str]:
    yield "# Sizing"
    yield ""
    yield (
        "Written by `make sizing` from `deploy/figures.json`; change those, never this page. It is"
        " arithmetic over one machine's figures: measure on yours (`make bench`), then size."
    )
    yield ""
    yield "| | " + " | ".join(case.title for case, _ in cases) + " |"
    yield "|---|" + "---|" * len(cases)
    for name, told in ROWS:
        yield f"| {name} | " + " | ".join(told(case, it) for case, it in cases) + " |"
    yield ""
    yield "Workers are as many as the largest of the three needs."
    users = float(figures["users_measured"]["value"])
    beyond = [case.title for case, it in cases if it.users_a_worker > users]
    if beyond:
        yield ""
        yield (
            f"**Beyond what was measured:** the rate was taken with {users:,.0f} users in one"
            f" process; {' and '.join(beyond)} put more in one. Their rows lie on disk, so give"
            " workers local NVMe, and measure before you promise."
        )
    busy = [f"`{name}`" for name in FIGURES if figures[name].get("busy")]
    if busy:
        yield ""
        yield (
            f"**Measured beside other work:** {', '.join(busy)}. Rates are then far too low, so"
            " workers too many; measure again on a quiet machine."
        )
    yield ""
    yield "## What is assumed"
    yield ""
    yield "| assumption | why |"
    yield "|---|---|"
    for what, why in ASSUMED.items():
        yield f"| {what} | {why} |"
    yield ""
    yield "## What was measured"
    yield ""
    yield "| figure | value | of | commit | date | on |"
    yield "|---|---|---|---|---|---|"
    for name in FIGURES:
        it = figures[name]
        where = (it.get("commit", ""), it.get("date", ""), it.get("machine", ""))
        source = where if "assumed" not in it else ("", "", f"**not measured**: {it['assumed']}")
        cells = (f"`{name}`", f"{_said(it['value'])} {it['unit']}", it["what"], *source)
        yield "| " + " | ".join(cells) + " |"


def _said(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,.4g}"


def taken(figures: Figures, legs: Sequence[dict[str, Any]]) -> Figures:
    """Return the figures with those that these legs have in place of the old ones."""
    found = dict(figures)
    for name, of in FIGURES.items():
        mine = [
            leg
            for leg in legs
            if leg["bench"] == of.bench
            and of.field in leg
            and all(leg.get(key) == value for key, value in of.where)
        ]
        if not mine:
            continue
        if of.most:
            most = max(leg["users"] for leg in mine)
            mine = [leg for leg in mine if leg["users"] == most]
        newest = max(mine, key=lambda leg: str(leg.get("date", "")))
        machine = newest["machine"]
        found[name] = {
            "value": statistics.median(leg[of.field] for leg in mine),
            "unit": of.unit,
            "what": of.what,
            "legs": len(mine),
            "commit": str(newest.get("commit", "")),
            "date": str(newest.get("date", "")),
            "machine": f"{machine.get('cpu', '?')}, {machine.get('cores', '?')} cores, load"
            f" {machine.get('load_1min', '?')} before",
            "busy": machine.get("load_1min", 0) > QUIET_LOAD,
        }
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sizing")
    parser.add_argument("--measured", nargs="+", type=Path, default=[], metavar="FILE")
    given = parser.parse_args(argv)
    try:
        figures: Figures = json.loads(FIGURES_FILE.read_text())
        if given.measured:
            figures = taken(figures, read(given.measured))
        text = page(figures)
    except (Unreadable, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyError as missing:
        print(f"{FIGURES_FILE.name}: no figure {missing}; run its benchmark", file=sys.stderr)
        return 2
    if given.measured:
        FIGURES_FILE.write_text(json.dumps(figures, indent=2) + "\n")
    PAGE.write_text(text)
    print(PAGE.relative_to(REPOSITORY))
    return 0


if __name__ == "__main__":
    sys.exit(main())
