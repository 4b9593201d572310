"""`leidan verify`: whether what stands in the topics is what the log gives, byte for byte."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.cli.given import settings_of
from streams.cli.terminal import emit, say
from streams.errors import Exit, UsageError

if TYPE_CHECKING:
    from streams.replay.net import Net
    from streams.replay.verify import Found

TELL_S = 2.0


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
    as_json: bool,
) -> None:
    r"""Fold the log again and compare rows, outputs and offsets with the live ones.

    Reads topics only: no group is joined, nothing is committed or written to a broker. In the order
    of the fold journal every byte must be the same. A partition without a whole journal (of an
    older version) is folded by record time, and only what is due is compared.

    \b
    Exit status: 0 all the same; 2 settings or a campaign file; 3 a difference, the first of each
    partition is named; 4 no broker; 77 a lottery's seed is missing; 78 refused
    """
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
    differ = False
    for p in chosen or range(there.partitions):
        found = verifier.partition(p, _Progress(p), from_start=from_start)
        differ |= found.difference is not None
        if as_json:
            emit(_object(p, found))
        else:
            _tell(p, found)
    log.close()
    raise SystemExit(Exit.VERIFICATION if differ else Exit.OK)


class _Progress:
    """Says how far it is, every two seconds."""

    def __init__(self, p: int) -> None:
        self._p, self._told_s, self._first = p, time.monotonic(), -1
        self._begun_s = self._told_s

    def __call__(self, done: int, end: int) -> None:
        now_s = time.monotonic()
        if self._first < 0:
            self._first = done
        if now_s - self._told_s < TELL_S:
            return
        self._told_s = now_s
        rate = (done - self._first) / max(0.001, now_s - self._begun_s)
        left = f", {(end - done) / rate:.0f} s to go" if rate else ""
        say(f"partition {self._p}: {done:,} of {end:,}{left}")


def _tell(p: int, found: Found | Net) -> None:
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
    verdict = "all the same" if found.difference is None else f"DIFFERS at {found.difference}"
    click.echo(f"partition {p}: {compared}: {verdict}")


def _object(p: int, found: Found | Net) -> dict[str, Any]:
    fields = found._asdict()
    if found.difference is not None:
        fields["difference"] = found.difference._asdict()
    return {"partition": p, "journal": "transactions" in fields, **fields}
