"""`leidan whatif`: the same log under other rules."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.cli import campaign
from streams.cli.connection import config_option, how_to_connect
from streams.cli.moments import millis
from streams.cli.terminal import emit, lively, say
from streams.errors import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from streams.domain.definition import Definition
    from streams.replay.past import Past
    from streams.replay.whatif import Change, Pair, Result, Shown

AGO = re.compile(r"([1-9]\d{0,4})([dh])")
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
MOST_LINES = 12
"""Of a table on the screen; --json and --html have all."""


@click.command()
@click.option(
    "--campaign",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="The other rules: replaces the version of the same id and number, else is added.",
)
@click.option(
    "--since",
    metavar="TIME",
    help="Count rewards from here on: 30d or 12h before the log's end, or an RFC 3339 time; "
    "default: all.",
)
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="The brokers that hold the log.")
@click.option("--topic-prefix", default="", help="Put before every topic's name.")
@config_option
@click.option("--data", metavar="DIR", help="A real year instead: orders and returns as NDJSON.")
@click.option("--archive", metavar="DIR", help="What `leidan export` wrote instead of a broker.")
@click.option(
    "--campaigns",
    "known_files",
    multiple=True,
    metavar="FILE",
    help="Definitions as they were, beside those of the topic; default: the workers' "
    "`campaign_files`; with --data all of them, default: its sample.",
)
@click.option("--html", metavar="FILE", help="Also write a report with plots, in one file.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def whatif(
    files: tuple[str, ...],
    since: str | None,
    bootstrap_servers: str | None,
    topic_prefix: str,
    config: str | None,
    data: str | None,
    archive: str | None,
    known_files: tuple[str, ...],
    html: str | None,
    as_json: bool,
) -> None:
    """Fold the same log under both rules; say what would have been other.

    Behaviour is held fixed: users do on both sides what they did. Read only: it joins no group and
    writes no topic. The whole log is folded, whatever --since says: tasks rest on what came before.

    Exit status: 0 no difference, 1 different, 2 usage or a campaign file, 4 no broker, 78 topics
    are missing.
    """
    from streams import settings
    from streams.replay import report
    from streams.replay.whatif import compare, with_replaced

    if sum(one is not None for one in (data, archive, bootstrap_servers)) != 1:
        raise UsageError("give one of --bootstrap-servers, --archive and --data")
    new = [one for name in files for one in campaign.read(Path(name))]
    ago = _ago_or_time(since)
    if html:
        _writable(Path(html))
    if data is None:  # the workers' own, unless others are named
        known_files = known_files or settings.load(config).campaign_files
    known = campaign.read_all(known_files)
    with _past(data, archive, known, bootstrap_servers, topic_prefix, config) as past:
        change = with_replaced(past.definitions(), new)
        until_ms = past.newest_ms()
        if not until_ms:
            raise UsageError("the log holds no order, claim or cancellation")
        since_ms = until_ms + ago if ago < 0 else ago
        result = _compared(compare, past, change, since_ms, until_ms)
    if html:
        Path(html).write_text(report.as_html(result), encoding="utf-8")
    if as_json:
        emit(report.as_object(result))
    else:
        _print(result)
    if html:
        say(f"report: {html}")
    raise SystemExit(Exit.DIFFERENT if result.different else Exit.OK)


def _past(
    data: str | None,
    archive: str | None,
    known: list[Definition],
    bootstrap: str | None,
    prefix: str,
    config: str | None,
) -> AbstractContextManager[Past]:
    from streams import retail
    from streams.demo import sources
    from streams.replay.archived import ArchivedPast
    from streams.replay.past import KafkaPast, Records

    if archive is not None:
        return ArchivedPast(Path(archive), known)
    if data is not None:
        sample = [] if known else campaign.read(sources.sample_campaign_for_data(lottery=False))
        return nullcontext(Records(retail.load(Path(data)), known or sample))
    assert bootstrap is not None
    past = KafkaPast(bootstrap, prefix, how_to_connect(config), known)
    past.notes += past.resized()
    return past


def _compared(
    compare: Callable[..., Result], past: Past, change: Change, since_ms: int, until_ms: int
) -> Result:
    from streams.demo.progress import Look, Progress

    with Progress(say, lively=lively()) as progress:

        def show(shown: Shown) -> None:
            so_far = (shown.folded, shown.folded, shown.clock_ms, shown.rewards)
            progress.show(Look("folding both", shown.total, *so_far))

        return compare(past, change, since_ms, until_ms, show)


def _ago_or_time(text: str | None) -> int:
    """Return a time in ms, or as a negative number how long before the end of the log; 0: all."""
    if text is None:
        return 0
    if ago := AGO.fullmatch(text):
        return -int(ago[1]) * (DAY_MS if ago[2] == "d" else HOUR_MS)
    at_ms = millis(text)
    if at_ms is None:
        raise click.BadParameter(
            f"{text!r}: write 30d, 12h, or a time with its offset as 2026-03-01T00:00:00+08:00",
            param_hint="--since",
        )
    return max(0, at_ms)


def _writable(path: Path) -> None:
    """Find out before the work, not after it."""
    try:
        path.open("ab").close()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: --html needs a file it can write") from None


def _print(result: Result) -> None:
    """Print tables on stdout; plain ones where there is no terminal."""
    from streams.replay import report

    for name in result.replaced:
        click.echo(f"{name}: replaced")
    for name in result.added:
        click.echo(f"{name}: added")
    _table("in all", "", result.total)
    counts = [
        (name, f"{was:,}", f"{would:,}", f"{would - was:+,}")
        for name, (was, would) in result.counts.items()
    ]
    _rows(("", "was", "would be", "difference"), counts)
    _table("by campaign", "campaign", result.by_campaign)
    _table("by day", "day", result.by_day)
    _table("by step", "step", result.by_step)
    _table("by segment", "segment", result.by_segment)
    if result.budgets:
        click.echo("\nbudgets")
        _rows(
            ("campaign", "side", "limit", "left", "refused", "runs out"),
            [
                (name, side, *report.budget_said(budget))
                for name, sides in report.budget_sides(result)
                for side, budget in sides
            ],
        )
    for title, users in (("winners", result.winners), ("losers", result.losers)):
        _table(f"{title}: {users.count:,} users", "user", users.largest)
    click.echo("\ndifferent" if result.different else "\nno difference")
    for note in result.notes:
        say(note)


def _table(title: str, first: str, sums: Sequence[Pair]) -> None:
    """Print the largest differences of a list of sums, in the order of the list."""
    from streams.replay import report

    click.echo(f"\n{title}")
    largest = sorted(sums, key=lambda pair: (-abs(pair.minor), -abs(pair.rewards)))[:MOST_LINES]
    shown = [pair for pair in sums if any(pair is one for one in largest)]
    rows = [
        (
            report.named(pair, first),
            f"{pair.was.rewards:,}",
            f"{pair.would.rewards:,}",
            f"{pair.rewards:+,}",
            f"{pair.was.minor:,}",
            f"{pair.would.minor:,}",
            f"{pair.minor:+,} {pair.currency}",
        )
        for pair in shown
    ]
    if rows:
        _rows((first, "rewards", "would be", "", "minor units", "would be", ""), rows)
    if len(sums) > len(shown):
        click.echo(f"... {len(sums) - len(shown)} more: --json, --html")


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: rich's on a terminal, else columns with two spaces between them."""
    import sys

    if sys.stdout.isatty() and lively():
        from rich.console import Console
        from rich.table import Table

        table: Any = Table(box=None, pad_edge=False)
        for n, head in enumerate(heads):
            table.add_column(head, justify="right" if n else "left")
        for row in rows:
            table.add_row(*(cell.replace("[", r"\[") for cell in row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        click.echo("  ".join(cells).rstrip())
