"""`python -m tests.bench.report`: one HTML page from what the benchmarks wrote (make bench-report).

Reads any number of files: lines of one leg each, a list of legs, or one object with `legs` and what
they share. A leg is flat but for `more`, `machine` and groups of figures: `ms: {p50, p99}` becomes
`ms.p50`. Legs that differ in nothing but round, date and figures are one row, of medians. The page
is all there is: no script, nothing to fetch, in the style of that of `leidan whatif --html`;
and every number that is drawn stands in a table.

Exit status: 0 written, 2 a file cannot be read or holds no legs.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.replay.report import HEIGHT, LEFT, POLICY, STYLE, WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Leg = dict[str, Any]

KEYS = (
    "bench", "engine", "workload", "of", "users", "history", "campaigns", "workers", "processes",
    "partitions", "skew", "cold", "rate", "events", "digest", "seed", "commit",
)  # fmt: skip
"""What a leg is about, in the order of the table's columns; the rest of it is figures."""

APART = ("machine", "date", "round")  # told once for all legs of a row
COLOURS = ("#d9622b", "#2b6cb0", "#2f855a", "#805ad5", "#8496a9", "#b7791f", "#c53030", "#0f766e")
BOTTOM, TOP, ROW = 46, 26, 26
HISTOGRAM = "buckets_us"


class Plot(NamedTuple):
    """Lines of figures over what is varied; or bars of one figure, where `x` is the engine."""

    bench: str
    title: str
    x: str
    figures: tuple[str, ...]
    by: str = ""  # one line for each value of it
    of: str = ""  # legs that vary this alone
    log: bool = False


PLOTS = (
    Plot("live", "events a second by engine", "engine", ("events_per_s",)),
    Plot("live", "processor time of an event, us", "engine", ("cpu_us",)),
    Plot("latency", "order to visible reward, ms, by orders a second", "rate",
         ("whole.ms.p50", "whole.ms.p99")),
    Plot("crowd", "events a second by users, live worker", "users", ("events_per_s",), "workers",
         log=True),
    Plot("crowd", "most memory of a worker by users, MiB", "users", ("rss_mb",), "workers",
         log=True),
    Plot("scale", "processor time of an order by users, us", "users", ("cpu_us",), "skew", "users",
         log=True),
    Plot("scale", "of the folding thread by users, us", "users",
         ("read_us", "fold_us", "write_us"), "skew", "users", log=True),
    Plot("scale", "state on disk by users, bytes a user", "users",
         ("disk_bytes_per_user", "compacted_bytes_per_user"), "skew", "users", log=True),
    Plot("scale", "processor time of an order by orders in the history, us", "history",
         ("cpu_us", "thread_us"), of="history"),
    Plot("scale", "row by orders in the history, bytes", "history",
         ("row_bytes", "compacted_bytes_per_user"), of="history"),
    Plot("scale", "processor time of an order by campaigns of a user, us", "campaigns",
         ("cpu_us", "thread_us"), of="campaigns"),
    Plot("scale", "processor time of an order by partitions of a worker, us", "partitions",
         ("cpu_us", "thread_us"), of="partitions"),
    Plot("scale", "memory by partitions of a worker, MiB", "partitions", ("rss_mb",),
         of="partitions"),
    Plot("backfill", "events a second by processes", "processes", ("a_process", "all_of_them")),
)  # fmt: skip


class Unreadable(Exception):
    """A file holds nothing that this can show; says which, and what to do."""


def read(paths: Iterable[Path]) -> list[Leg]:
    """Return the legs of all files, flat. Raises Unreadable."""
    found: list[Leg] = []
    for path in paths:
        try:
            values = _values(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise Unreadable(
                f"{path}: {error}; give files that a benchmark's --json wrote"
            ) from None
        for value in values:
            found += _legs(value, path.stem)
    if not found:
        raise Unreadable("no legs in any file; give files that a benchmark's --json wrote")
    return found


def _values(text: str) -> list[Any]:
    """One JSON value, or one a line."""
    try:
        whole = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return whole if isinstance(whole, list) else [whole]


def _legs(value: Any, bench: str) -> list[Leg]:
    if not isinstance(value, dict):
        raise Unreadable(f"{bench}: a leg is a JSON object, not {type(value).__name__}")
    shared = {name: one for name, one in value.items() if name != "legs"}
    return [_flat({"bench": bench, **shared, **leg}) for leg in value.get("legs", [{}])]


def _flat(leg: Leg) -> Leg:
    machine = dict(leg.get("machine") or {})
    flat: Leg = {"machine": machine}
    for name in ("commit", "date"):
        if name in machine:
            flat[name] = machine.pop(name)

    def put(prefix: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if name == "machine" and not prefix:
                continue
            if isinstance(value, dict) and name != HISTOGRAM:
                put("" if name == "more" else f"{prefix}{name}.", value)
            else:
                flat[prefix + name] = value

    put("", leg)
    flat.setdefault("engine", "leidan")
    return flat


def rows(legs: Iterable[Leg]) -> list[Leg]:
    """Return one row for all rounds of a leg: medians of figures, and `rounds`, how many."""
    same: dict[tuple[str, ...], list[Leg]] = defaultdict(list)
    for leg in legs:
        same[tuple(json.dumps(leg.get(key)) for key in KEYS)].append(leg)
    found = []
    for mine in same.values():
        row: Leg = {key: mine[0][key] for key in KEYS if mine[0].get(key) is not None}
        for name in dict.fromkeys(name for leg in mine for name in leg):
            values = [leg[name] for leg in mine if name in leg]
            if name not in (*KEYS, *APART) and all(_is_number(value) for value in values):
                row[name] = statistics.median(values)
            elif name.endswith(HISTOGRAM):
                row[name] = values[-1]
        row["rounds"] = len(mine)
        row["date"] = max(str(leg.get("date", "")) for leg in mine)
        row["machine"] = mine[-1]["machine"]
        found.append(row)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# -- the page --------------------------------------------------------------------------------------


def page(legs: Sequence[Leg]) -> str:
    """Return the whole page."""
    told = rows(legs)
    parts = ["<h1>leidan: what the benchmarks measured</h1>", _machines(told)]
    for bench in dict.fromkeys(row["bench"] for row in told):
        mine = [row for row in told if row["bench"] == bench]
        parts.append(f"<h2>{escape(bench)}</h2>")
        parts += [drawn for plot in PLOTS if plot.bench == bench for drawn in _plot(plot, mine)]
        parts += [_histogram(row, name) for row in mine for name in row if name.endswith(HISTOGRAM)]
        parts.append(_table(mine))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'
        f"<title>leidan: benchmarks</title><style>{STYLE}table{{font-size:12px;display:block;"
        "overflow-x:auto}</style></head>\n<body>" + "\n".join(parts) + "</body></html>\n"
    )


def _machines(told: Sequence[Leg]) -> str:
    lines = dict.fromkeys(
        ", ".join(
            f"{name} {value}" for name, value in row["machine"].items() if name != "load_1min"
        )
        for row in told
    )
    notes = "".join(f"<p>{escape(line) or 'machine not told'}</p>" for line in lines)
    return notes + "<p>Figures are medians of the rounds; each row says its commit and date.</p>"


def _table(mine: Sequence[Leg]) -> str:
    named = [key for key in (*KEYS[1:], "date", "rounds") if any(key in row for row in mine)]
    others = dict.fromkeys(name for row in mine for name in row)
    figures = [
        name
        for name in others
        if name not in (*KEYS, *APART, "rounds") and not name.endswith(HISTOGRAM)
    ]
    head = "".join(f"<th>{escape(name)}</th>" for name in (*named, *figures))
    body = "".join(
        "<tr>"
        + "".join(f"<td>{_said(row.get(name))}</td>" for name in (*named, *figures))
        + "</tr>"
        for row in mine
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _said(value: Any) -> str:
    if value is None:
        return ""
    if _is_number(value):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.6g}"
    return escape(str(value)[:16])


def _plot(plot: Plot, mine: Sequence[Leg]) -> list[str]:
    wanted = [row for row in mine if plot.x in row and (not plot.of or row.get("of") == plot.of)]
    if plot.x == "engine":
        return [_bars(plot, wanted)] if wanted else []
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in wanted:
        for figure in plot.figures:
            if figure in row:
                name = f"{figure}, {plot.by} {row[plot.by]}" if plot.by in row else figure
                lines[name].append((row[plot.x], row[figure]))
    drawn = {name: sorted(points) for name, points in lines.items()}
    return [_lines(plot, drawn)] if drawn else []


def _lines(plot: Plot, lines: dict[str, list[tuple[float, float]]]) -> str:
    """Draw a line for each series, from zero up."""
    marks = sorted({at for points in lines.values() for at, _ in points})
    high = max(1e-9, *(value for points in lines.values() for _, value in points))
    scale = (lambda at: math.log10(max(at, 1))) if plot.log else float
    low_x, span = scale(marks[0]), max(scale(marks[-1]) - scale(marks[0]), 1e-9)
    top = TOP + 15 * ((len(lines) - 1) // 3)

    def x(at: float) -> float:
        return LEFT + 10 + (WIDTH - LEFT - 60) * (scale(at) - low_x) / span

    def y(value: float) -> float:
        return top + (HEIGHT - BOTTOM) * (1 - value / high)

    drawn = []
    for part in (0, 0.25, 0.5, 0.75, 1):
        at = y(high * part)
        drawn.append(
            f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{at:.1f}" y2="{at:.1f}" stroke="#d8dde3"/>'
            f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_said(high * part)}</text>'
        )
    drawn += [
        f'<text x="{x(at):.1f}" y="{y(0) + 16:.1f}" text-anchor="middle">{_said(at)}</text>'
        for at in marks
    ]
    for n, (name, points) in enumerate(lines.items()):
        colour = COLOURS[n % len(COLOURS)]
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [
            f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>'
            for at, value in points
        ]
        key_x, key_y = LEFT + 10 + 255 * (n % 3), 4 + 15 * (n // 3)
        drawn.append(
            f'<rect x="{key_x}" y="{key_y}" width="10" height="10" fill="{colour}"/>'
            f'<text x="{key_x + 14}" y="{key_y + 9}">{escape(name)}</text>'
        )
    return _figure(plot.title, HEIGHT + top - TOP, drawn)


def _bars(plot: Plot, mine: Sequence[Leg]) -> str:
    (figure,) = plot.figures
    named = [
        (f"{row[plot.x]} {row.get('workload', '')}", row[figure]) for row in mine if figure in row
    ]
    return _barred(plot.title, named)


def _histogram(row: Leg, name: str) -> str:
    """Draw a latency histogram by octaves of its buckets' lower bounds."""
    octaves: dict[int, int] = defaultdict(int)
    for lower, count in row[name].items():
        octaves[int(lower).bit_length()] += count
    named = [
        (f"from {2 ** (bits - 1) / 1000 if bits else 0:g} ms", octaves[bits])
        for bits in range(min(octaves), max(octaves) + 1)
    ]
    of = name.removesuffix(HISTOGRAM).rstrip(".")
    return _barred(f"{of}, {row.get('rate', '')} orders a second: how many took", named)


def _barred(title: str, named: Sequence[tuple[str, float]]) -> str:
    high = max((value for _, value in named), default=0) or 1
    left, room = 190, WIDTH - 190 - 90
    drawn = []
    for n, (name, value) in enumerate(named):
        at, width = 6 + n * ROW, room * value / high
        drawn.append(
            f'<text x="{left - 6}" y="{at + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{left}" y="{at}" width="{width:.1f}" height="17" fill="{COLOURS[0]}"/>'
            f'<text x="{left + width + 5:.1f}" y="{at + 13}">{_said(value)}</text>'
        )
    return _figure(title, 12 + len(named) * ROW, drawn)


def _figure(title: str, height: int, drawn: Iterable[str]) -> str:
    return (
        f'<h3>{escape(title)}</h3><svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">' + "".join(drawn) + "</svg>"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.report")
    parser.add_argument("files", nargs="+", type=Path, help="what benchmarks wrote with --json")
    parser.add_argument("--out", type=Path, default=Path("bench-report.html"))
    given = parser.parse_args(argv)
    try:
        legs = read(given.files)
    except Unreadable as error:
        print(error, file=sys.stderr)
        return 2
    given.out.write_text(page(legs), encoding="utf-8")
    print(f"{given.out}: {len(legs)} legs of {len(given.files)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
