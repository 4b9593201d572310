"""A comparison told: as one JSON object (schemas/cli/whatif.schema.json), and as one HTML file.

The file is all there is to it: its plots are SVG inside it, it has no script, and it names nothing
that a browser would have to fetch, which its content policy forbids besides. Every number of the
object is in its tables.
"""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from streams.domain.days import Calendar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.replay.reckoning import Budget
    from streams.replay.whatif import Pair, Result, Users

_UTC = Calendar("UTC")
NO_SEGMENT = "(none known)"


def as_object(result: Result) -> dict[str, Any]:
    """Return the result as plain values: money in minor units, times as RFC 3339."""
    return {
        "v": 1,
        "different": result.different,
        "replaced": result.replaced,
        "added": result.added,
        "since": None if result.since_ms <= 0 else _UTC.text(result.since_ms),
        "until": _UTC.text(result.until_ms),
        "records": result.records,
        "rejected": result.rejected,
        "total": [_pair(pair, "") for pair in result.total],
        "by_campaign": [_pair(pair, "campaign_id") for pair in result.by_campaign],
        "by_day": [_pair(pair, "day") for pair in result.by_day],
        "by_step": [_pair(pair, "step") for pair in result.by_step],
        "by_segment": [_pair(pair, "segment") for pair in result.by_segment],
        "counts": {
            name: {"was": was, "would": would} for name, (was, would) in result.counts.items()
        },
        "budgets": [
            {
                "campaign_id": (was or would).pool_id,  # type: ignore[union-attr]
                "was": _budget(was),
                "would": _budget(would),
            }
            for was, would in result.budgets
        ],
        "winners": _users(result.winners),
        "losers": _users(result.losers),
        "notes": result.notes,
    }


def _pair(pair: Pair, name: str) -> dict[str, Any]:
    of = {name: pair.name} if name else {}
    return {
        **of,
        "currency": pair.currency,
        "was": {"rewards": pair.was.rewards, "minor": pair.was.minor},
        "would": {"rewards": pair.would.rewards, "minor": pair.would.minor},
        "difference": {"rewards": pair.rewards, "minor": pair.minor},
    }


def _users(users: Users) -> dict[str, Any]:
    return {"users": users.count, "largest": [_pair(pair, "user_id") for pair in users.largest]}


def _budget(budget: Budget | None) -> dict[str, Any] | None:
    if budget is None:
        return None
    runs_out = budget.first_refused_ms
    return {
        "currency": budget.currency,
        "limit_minor": budget.limit_minor,
        "left_minor": budget.left_minor,
        "left_tasks": budget.left_tasks,
        "refused": budget.refused,
        "runs_out_at": None if runs_out is None else _UTC.text(runs_out),
    }


# --- the page -----------------------------------------------------------------------------------

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;margin:.5rem 0}
td,th{padding:.15rem .7rem;border-bottom:1px solid #d8dde3;text-align:right}
td:first-child,th:first-child{text-align:left}
details{margin:.5rem 0}summary{cursor:pointer}
.note{border-left:4px solid #d9822b;padding:.2rem .8rem;background:#fdf6ec;margin:.4rem 0}
svg{width:100%;height:auto}svg text{font-size:11px;fill:#445}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
WAS, WOULD = "#8496a9", "#d9622b"
WIDTH, HEIGHT, LEFT, BOTTOM = 860, 240, 80, 28
MOST_BARS = 24
MANY_ROWS = 40  # a longer table is folded away


def as_html(result: Result) -> str:
    """Return the whole page."""
    said = ", ".join([*(f"{name} replaced" for name in result.replaced),
                      *(f"{name} added" for name in result.added)])  # fmt: skip
    begun = "the log's beginning" if result.since_ms <= 0 else _UTC.text(result.since_ms)
    when = f"{result.records:,} records; rewards from {begun} to {_UTC.text(result.until_ms)}"
    verdict = "different" if result.different else "no difference"
    parts = [
        f"<h1>What if: {escape(said)}</h1>",
        f"<p>{when}: <strong>{verdict}</strong>. Money is minor units.</p>",
        *(f'<p class="note">{escape(note)}</p>' for note in result.notes),
        "<h2>In all</h2>",
        _table("", result.total),
        _counts(result),
    ]
    currencies = sorted({pair.currency for pair in result.total})
    for currency in currencies:
        days = [pair for pair in result.by_day if pair.currency == currency]
        parts += [f"<h2>Cost by day, summed up ({escape(currency)})</h2>", _lines(days, currency)]
        for title, sums in (("step", result.by_step), ("segment", result.by_segment)):
            mine = [pair for pair in sums if pair.currency == currency]
            parts += [f"<h2>Cost by {title} ({escape(currency)})</h2>", _bars(mine, title)]
    parts += ["<h2>Budgets</h2>", _budgets(result)]
    for name, users in (("Winners", result.winners), ("Losers", result.losers)):
        parts += [f"<h2>{name}: {users.count:,} users</h2>", _table("user", users.largest)]
    parts.append("<h2>All numbers</h2>")
    for title, sums in (
        ("campaign", result.by_campaign),
        ("day", result.by_day),
        ("step", result.by_step),
        ("segment", result.by_segment),
    ):
        parts.append(_folded(f"by {title}", sums, _table(title, sums)))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'
        f"<title>What if: {escape(said)}</title><style>{STYLE}</style></head>\n<body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _folded(title: str, sums: Sequence[Pair], table: str) -> str:
    opened = "" if len(sums) > MANY_ROWS else ' open="open"'
    return f"<details{opened}><summary>{title} ({len(sums)})</summary>{table}</details>"


def _table(first: str, sums: Iterable[Pair]) -> str:
    heads = (first, "currency", "rewards was", "would be", "difference",
             "money was", "would be", "difference")  # fmt: skip
    rows = [
        (
            named(pair, first),
            pair.currency,
            f"{pair.was.rewards:,}",
            f"{pair.would.rewards:,}",
            f"{pair.rewards:+,}",
            f"{pair.was.minor:,}",
            f"{pair.would.minor:,}",
            f"{pair.minor:+,}",
        )
        for pair in sums
    ]
    return _rows(heads, rows)


def named(pair: Pair, of: str) -> str:
    """Return what a sum is of, for people."""
    return pair.name or (NO_SEGMENT if of == "segment" else "all")


def _counts(result: Result) -> str:
    rows = [
        (name, f"{was:,}", f"{would:,}", f"{would - was:+,}")
        for name, (was, would) in result.counts.items()
    ]
    return _rows(("", "was", "would be", "difference"), rows)


def _budgets(result: Result) -> str:
    rows = [
        (name, side, *budget_said(budget))
        for name, sides in budget_sides(result)
        for side, budget in sides
    ]
    heads = ("campaign", "side", "limit", "left", "refused", "runs out")
    return _rows(heads, rows) if rows else "<p>No campaign has one.</p>"


def budget_sides(result: Result) -> list[tuple[str, list[tuple[str, Budget | None]]]]:
    """Return both sides of each budget, by campaign."""
    found = []
    for was, would in result.budgets:
        some = was or would
        assert some is not None
        found.append((some.pool_id, [("was", was), ("would be", would)]))
    return found


def budget_said(budget: Budget | None) -> tuple[str, str, str, str]:
    """Return limit, what is left, requests refused, and when it first ran out, for people."""
    if budget is None:
        return "none", "", "", ""
    limits = [] if budget.limit_minor is None else [f"{budget.limit_minor:,} {budget.currency}"]
    left = [] if budget.left_minor is None else [f"{budget.left_minor:,} {budget.currency}"]
    left += [] if budget.left_tasks is None else [f"{budget.left_tasks:,} tasks"]
    runs_out = budget.first_refused_ms
    return (
        ", ".join(limits),
        ", ".join(left),
        f"{budget.refused:,}",
        "never" if runs_out is None else _UTC.text(runs_out),
    )


def _rows(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _lines(days: Sequence[Pair], currency: str) -> str:
    """Draw both running sums over the days."""
    if not days:
        return "<p>Nothing was given.</p>"
    first = datetime.fromisoformat(days[0].name).toordinal()
    span = max(datetime.fromisoformat(days[-1].name).toordinal() - first, 1)
    was = would = 0
    points: list[tuple[int, int, int]] = [(0, 0, 0)]
    for pair in days:
        at = datetime.fromisoformat(pair.name).toordinal() - first
        was, would = was + pair.was.minor, would + pair.would.minor
        points.append((at, was, would))
    high = max(1, *(max(one[1:]) for one in points))
    low = min(0, *(min(one[1:]) for one in points))

    def x(at: int) -> float:
        return LEFT + (WIDTH - LEFT - 10) * at / span

    def y(minor: int) -> float:
        return 10 + (HEIGHT - BOTTOM - 10) * (high - minor) / (high - low)

    drawn = [_axis(y, high, low)]
    for side, colour in ((1, WAS), (2, WOULD)):
        path = " ".join(f"{x(one[0]):.1f},{y(one[side]):.1f}" for one in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    drawn.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">{days[0].name}</text>')
    drawn.append(
        f'<text x="{WIDTH - 10}" y="{HEIGHT - 8}" text-anchor="end">{days[-1].name}</text>'
    )
    drawn.append(_key(f"was {was:,} {currency}", f"would be {would:,} {currency}"))
    return _svg(HEIGHT, drawn, "cost by day, summed up")


def _axis(y: Any, high: int, low: int) -> str:
    lines = ""
    for minor in sorted({low, 0, (high + low) // 2, high}):
        at = y(minor)
        lines += (
            f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{at:.1f}" y2="{at:.1f}" stroke="#d8dde3"/>'
            f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{minor:,}</text>'
        )
    return lines


def _bars(sums: Sequence[Pair], of: str) -> str:
    """Draw two bars for each of the largest sums."""
    if not sums:
        return "<p>Nothing was given.</p>"
    most = sorted(sums, key=lambda pair: -max(abs(pair.was.minor), abs(pair.would.minor)))
    chosen = set(map(id, most[:MOST_BARS]))
    shown = [pair for pair in sums if id(pair) in chosen]
    high = max(1, *(max(abs(p.was.minor), abs(p.would.minor)) for p in shown))
    left, row, room = 160, 30, WIDTH - 160 - 120
    drawn = []
    for n, pair in enumerate(shown):
        top = 24 + n * row
        name = escape(named(pair, of))
        drawn.append(f'<text x="{left - 6}" y="{top + 16}" text-anchor="end">{name}</text>')
        for offset, minor, colour in ((2, pair.was.minor, WAS), (14, pair.would.minor, WOULD)):
            width = room * abs(minor) / high
            drawn.append(
                f'<rect x="{left}" y="{top + offset}" width="{width:.1f}" height="10" '
                f'fill="{colour}"/><text x="{left + width + 5:.1f}" y="{top + offset + 9}">'
                f"{minor:,}</text>"
            )
    drawn.append(_key("was", "would be"))
    rest = len(sums) - len(shown)
    more = f"<p>The {len(shown)} largest; {rest} more stand in the tables.</p>" if rest else ""
    return _svg(24 + len(shown) * row + 6, drawn, f"cost by {of}") + more


def _key(was: str, would: str) -> str:
    return (
        f'<rect x="{LEFT + 10}" y="4" width="10" height="10" fill="{WAS}"/>'
        f'<text x="{LEFT + 24}" y="13">{escape(was)}</text>'
        f'<rect x="{LEFT + 250}" y="4" width="10" height="10" fill="{WOULD}"/>'
        f'<text x="{LEFT + 264}" y="13">{escape(would)}</text>'
    )


def _svg(height: int, drawn: Iterable[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        + "".join(drawn)
        + "</svg>"
    )
