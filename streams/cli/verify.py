"""`leidan verify`: whether what stands in the topics is what the log gives, byte for byte."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.cli.given import settings_of
from streams.cli.terminal import emit, lively, say
from streams.errors import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from streams.replay.net import Net
    from streams.replay.verify import Found

NEXT = (
    "next: `leidan explain USER` says what the user's events give. Outputs that are missing, and "
    "nothing else: `leidan backfill --into live`; a bug in the rules: `leidan makegood`; a row, an "
    "offset or an output that was altered: stop payouts and the workers first"
)
TELL_S = 10.0
LIVE_S = 0.25


@click.command()
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="The brokers to begin with.")
@click.option("--topic-prefix", help="Put before every topic's name.")
@click.option(
    "--campaigns",
    "campaign_files",
    multiple=True,
    metavar="FILE",
    help="As the workers had them, in the same order.",
)
@click.option(
    "--state-dir",
    default="verify",
    show_default=True,
    metavar="DIR",
    help="Where the rebuilt rows and digests are kept, for a quick next time.",
)
@click.option(
    "--partition", "chosen", type=int, multiple=True, help="This one only; may be repeated."
)
@click.option("--from-start", is_flag=True, help="Forget what was verified before.")
@click.option("--config", metavar="FILE", help="The workers' settings as TOML.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting.")
@click.option(
    "--metrics", "metrics_file", metavar="FILE", help="Leave what was found there, for Prometheus."
)
@click.option("--json", "as_json", is_flag=True, help="One object a partition on stdout.")
def verify(
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    campaign_files: tuple[str, ...],
    state_dir: str,
    chosen: tuple[int, ...],
    from_start: bool,
    config: str | None,
    assignments: tuple[str, ...],
    metrics_file: str | None,
    as_json: bool,
) -> None:
    r"""Fold the log again and compare rows, outputs and offsets with the live ones.

    Reads topics only: no group is joined, nothing is committed or written to a broker. In the order
    of the fold journal every byte must be the same. A partition without a whole journal (of an
    older version) is folded by record time, and only what is due is compared.

    \b
    Exit status: 0 all the same; 2 settings or a campaign file; 3 a difference, the first of each
    partition is named; 4 no broker; 74 disk or RocksDB; 77 a lottery's seed is missing; 78 refused
    """
    from streams import metrics
    from streams.feed import preflight
    from streams.replay.live import Verifier
    from streams.replay.log import KafkaLog

    named = {"campaign_files": campaign_files}
    given = settings_of(config, assignments, bootstrap_servers, topic_prefix, **named)
    there = preflight.check(given)
    wrong = [p for p in chosen if not 0 <= p < there.partitions]
    if wrong:
        raise UsageError(f"--partition {wrong[0]}: there are {there.partitions}, from 0 on")
    log = KafkaLog(given)
    verifier = Verifier(given, there, log, Path(state_dir))
    partitions = chosen or tuple(range(there.partitions))
    differ, records, began_s = 0, 0, time.monotonic()
    with Progress("verifying", len(partitions)) as progress:
        for p in partitions:
            p_began_s = time.monotonic()
            found = verifier.partition(p, progress.of(p), from_start=from_start)
            seconds = time.monotonic() - p_began_s
            progress.done()
            differ += found.difference is not None
            records += found.records
            if as_json:
                emit(_object(p, found, seconds))
            else:
                _tell(p, found, seconds)
    log.close()
    seconds = time.monotonic() - began_s
    said = f"{records:,} records folded in {seconds:.1f} s, {rate_of(records, seconds):,.0f}/s"
    say(
        said
        if records
        else f"nothing new to fold; what was compared reads as it did: {seconds:.1f} s"
    )
    if metrics_file:
        metrics.AUDIT_DIFFERENCES.set(differ)
        metrics.AUDITED.set(0 if differ else time.time())
        metrics.leave(metrics_file, "verify")
    if differ:
        say(NEXT)
    raise SystemExit(Exit.VERIFICATION if differ else Exit.OK)


class Progress:
    """Says how far each partition is: a line on a terminal, else one every ten seconds."""

    def __init__(self, what: str, partitions: int) -> None:
        self._what, self._partitions, self._done = what, partitions, 0
        self._told_s = time.monotonic()
        self._live: Any = None

    def __enter__(self) -> Self:
        if lively():
            from rich.console import Console

            self._live = Console(stderr=True).status(self._what)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def of(self, p: int) -> Callable[[int, int, int], None]:
        """Return what is told of p: offsets of its journal, and records folded so far."""
        began_s, first = time.monotonic(), -1

        def show(at: int, end: int, records: int) -> None:
            nonlocal first
            first = at if first < 0 else first
            now_s = time.monotonic()
            if now_s - self._told_s < (LIVE_S if self._live is not None else TELL_S):
                return
            self._told_s = now_s
            spent_s = now_s - began_s
            left_s = (end - at) * spent_s / max(1, at - first)
            line = (
                f"{self._what}: partition {p} ({self._done} of {self._partitions} done), "
                f"{100 * at // max(1, end)} %, {records:,} records, "
                f"{rate_of(records, spent_s):,.0f}/s, {left_s:,.0f} s left"
            )
            if self._live is not None:
                self._live.update(line)
            else:
                say(line)

        return show

    def done(self) -> None:
        """Count one partition as through."""
        self._done += 1


def rate_of(records: int, seconds: float) -> float:
    """Return records a second."""
    return round(records / seconds, 1) if seconds > 0 else 0.0


def _tell(p: int, found: Found | Net, seconds: float) -> None:
    from streams.replay.net import Net

    if isinstance(found, Net):
        say(f"partition {p}: no whole journal: folded by record time, only net results compared")
        compared = f"{found.users:,} users compared, {found.left_out:,} rows left out"
    else:
        compared = (
            f"{found.transactions:,} transactions, {found.outputs:,} outputs, {found.rows:,} rows "
            f"compared ({found.before:,} transactions verified before)"
        )
        for topic in found.gone:
            say(f"partition {p}: earlier records of {topic} are no longer kept: not compared")
        if found.later:
            say(f"partition {p}: {found.later:,} outputs are there by `backfill --into live`")
        if found.made_good:
            say(f"partition {p}: {found.made_good:,} records of a make-good: nothing to compare")
    verdict = "all the same" if found.difference is None else f"DIFFERS at {found.difference}"
    click.echo(f"partition {p}: {compared}: {verdict}")
    if found.records:
        say(f"partition {p}: {found.records:,} records, {rate_of(found.records, seconds):,.0f}/s")


def _object(p: int, found: Found | Net, seconds: float) -> dict[str, Any]:
    fields = found._asdict()
    if found.difference is not None:
        fields["difference"] = found.difference._asdict()
    fields["events_per_s"] = rate_of(found.records, seconds)
    return {"partition": p, "journal": "transactions" in fields, **fields}
