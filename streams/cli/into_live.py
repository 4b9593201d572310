"""`leidan backfill --into live`: what the live topics have lost, written to them again.

The log is folded as the workers folded it, which the fold journal says, and held against what they
have said: as `leidan verify` does, with rows of its own in a directory. An output that is not on
its topic is what is missing. Whatever else differs, down to a byte, says that the workers' rows are
not these; then nothing is written.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.cli.terminal import emit, say
from streams.cli.verify import Progress, rate_of
from streams.errors import Exit, Refused, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streams.backfill.archive import Archive
    from streams.feed.emitter import Emitter
    from streams.feed.ports import Outgoing
    from streams.feed.preflight import Found as There
    from streams.replay.live import Verifier
    from streams.replay.said import Missing
    from streams.settings import Settings

FILE = "missing.ndjson"
SHOWN = 10
TELL_S = 2.0


class Sum:
    """What is missing: outputs by topic, money by currency, the first few of them."""

    def __init__(self) -> None:
        self.outputs: Counter[str] = Counter()
        self.minor: Counter[str] = Counter()
        self.first: list[str] = []

    def add(self, missing: Missing) -> None:
        import orjson

        self.outputs[missing.topic] += 1
        body = orjson.loads(missing.value or b"null")
        sign = {"reward.issued": 1, "reward.revoked": -1}.get(body["type"], 0)
        if sign:
            self.minor[body["currency"]] += sign * body["amount_minor"]
        if len(self.first) < SHOWN:
            of = body.get("reward_id") or body.get("task_id") or ""
            seq = f" seq {body['seq']}" if "seq" in body else ""
            origin = (missing.headers[-1][1] or b"").decode()
            self.first.append(
                f"{missing.topic}: {body['type']} {body.get('event_id', '')}"
                f"{f' ({of}{seq})' if of else ''} of {(missing.key or b'').decode()}, {origin}"
            )


def refuse(flags: Iterable[str]) -> None:
    """Raise UsageError for flags of a backfill that mean nothing here."""
    for flag in flags:
        raise UsageError(
            f"{flag}: not with --into live, which folds all that the journal names, as the workers "
            "did, and keeps what is missing; leave it out"
        )


def mend(
    settings: Settings,
    directory: Path,
    archived: str | None,
    *,
    resume: bool,
    execute: bool,
    as_json: bool,
) -> Exit:
    """Find what is missing; with `execute`, write it. Raises Refused and what a reader raises."""
    from streams.feed import preflight
    from streams.feed.emitter import Emitter
    from streams.replay.live import Verifier
    from streams.replay.log import SettledLog

    if directory.is_dir() and any(directory.iterdir()) and not resume:
        raise UsageError(f"{directory}: is not empty. Give a new directory, or go on: --resume")
    there = preflight.check(settings)
    archive = None if archived is None else _archive(Path(archived), there)
    emitter = None
    if execute:  # before anything is read: nobody else writes from here on
        emitter = Emitter(
            settings.kafka.bootstrap_servers,
            settings.app_id,
            settings.kafka.topic_prefix,
            settings.kafka.client,
        )
    log = SettledLog(settings, archive)
    try:
        verifier = Verifier(settings, there, log, directory, mending=True)
        began_s = time.monotonic()
        records = _compared(verifier, there.partitions)
        if records is None:
            return Exit.VERIFICATION
        seconds = time.monotonic() - began_s
        sum_ = _listed(verifier, there.partitions, directory / FILE)
        written = _write(emitter, verifier, there.partitions) if emitter is not None else 0
        left_out: Counter[str] = Counter()
        for p in range(there.partitions):
            left_out.update(verifier.left_out(p))
    finally:
        log.close()
    told = {
        "into": "live",
        "executed": execute,
        "records": records,
        "events_per_s": rate_of(records, seconds),
        "missing": dict(sorted(sum_.outputs.items())),
        "minor": dict(sorted(sum_.minor.items())),
        "written": written,
        "left_out": dict(sorted(left_out.items())),
        "file": str(directory / FILE),
    }
    if as_json:
        emit(told)
    else:
        _print(sum_, told)
    _say_next(told)
    return Exit.DIFFERENT if sum_.outputs and not execute else Exit.OK


def _archive(path: Path, there: There) -> Archive:
    """Return an archive of this very log: offsets are compared with those of live outputs."""
    from streams.backfill.archive import Archive
    from streams.topics import JOURNAL

    archive = Archive(path)
    whose = archive.manifest
    again = [t for t, id_ in whose.topic_ids.items() if there.topic_ids.get(t, id_) != id_]
    if whose.cluster != there.cluster or whose.partitions != there.partitions or again:
        made = f"; made again since: {', '.join(sorted(again))}" if again else ""
        raise Refused(
            f"{path}: of cluster {whose.cluster!r}, {whose.partitions} partitions; the live topics "
            f"are of {there.cluster!r}, {there.partitions}{made}. Offsets of one mean nothing in "
            "the other: give the archive of this log"
        )
    if JOURNAL not in whose.topics:
        raise Refused(f"{path}: holds no {JOURNAL}. Export it with all topics: `leidan export DIR`")
    archive.verify()
    return archive


def _compared(verifier: Verifier, partitions: int) -> int | None:
    """Compare all partitions before anything is written; None: something is not merely missing."""
    from streams.replay.net import Net

    records, ok = 0, True
    with Progress("comparing with the live topics", partitions) as progress:
        for p in range(partitions):
            found = verifier.partition(p, progress.of(p))
            assert not isinstance(found, Net), "refused before"
            records += found.records
            progress.done()
            if found.difference is not None:
                ok = False
                say(f"partition {p}: not merely missing: {found.difference}")
            for topic in found.gone:
                say(
                    f"partition {p}: retention has deleted earlier records of {topic}: what is "
                    "missing among those cannot be told, and is not written"
                )
    if ok:
        return records
    say(
        "nothing was written: the workers' rows are not what this log gives, so what is missing "
        "cannot be told from it. Look with `leidan verify`; rewards that a bug in the rules has "
        "cost or given: `leidan makegood --out FILE`"
    )
    return None


def _listed(verifier: Verifier, partitions: int, path: Path) -> Sum:
    """Write what is missing to a file, a line each, for whoever wants to read it first."""
    import orjson

    from streams.backfill.archive import told

    sum_ = Sum()
    with path.open("wb") as out:
        for missing in _all(verifier, partitions):
            sum_.add(missing)
            line = {
                "topic": missing.topic,
                "partition": missing.partition,
                "key": told(missing.key),
                "value": told(missing.value),
                "headers": [[name, told(value)] for name, value in missing.headers],
            }
            out.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    return sum_


def _all(verifier: Verifier, partitions: int) -> Iterator[Missing]:
    for p in range(partitions):
        yield from verifier.missing(p)


def _write(emitter: Emitter, verifier: Verifier, partitions: int) -> int:
    def outgoing() -> Iterator[Outgoing]:
        told_s = time.monotonic()
        for n, one in enumerate(_all(verifier, partitions)):
            if time.monotonic() - told_s > TELL_S:
                told_s = time.monotonic()
                say(f"{n:,} written")
            yield _outgoing(one)

    return emitter.emit(outgoing())


def _outgoing(missing: Missing) -> Outgoing:
    from typing import cast

    from streams.feed.ports import Outgoing

    headers = cast("list[tuple[str, bytes]]", missing.headers)
    return Outgoing(missing.topic, missing.key, missing.value, headers, missing.partition)


def _print(sum_: Sum, told: dict[str, Any]) -> None:
    total = sum(sum_.outputs.values())
    for line in sum_.first:
        click.echo(line)
    if total > len(sum_.first):
        click.echo(f"... {total - len(sum_.first):,} more: {told['file']}")
    for topic, count in told["missing"].items():
        click.echo(f"{topic}: {count:,} missing" + (", written" if told["executed"] else ""))
    for currency, minor in told["minor"].items():
        click.echo(f"rewards among them: {minor:+,} {currency} (minor units)")
    if not total:
        click.echo("nothing is missing")


def _say_next(told: dict[str, Any]) -> None:
    say(f"{told['records']:,} records folded, {told['events_per_s']:,.0f}/s")
    for topic, count in told["left_out"].items():
        say(f"{topic}: {count:,} are missing too; they are never written again")
    if told["missing"] and not told["executed"]:
        say(
            f"nothing was written; read {told['file']}, then the same command with --resume "
            "--execute"
        )
