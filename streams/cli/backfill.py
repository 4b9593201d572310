"""`leidan backfill`: the log folded once more, beside the live workers and never in their way."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.cli import into_live
from streams.cli.given import campaigns_option, set_option, settings_of, settings_option
from streams.cli.moments import millis
from streams.cli.terminal import emit, lively, say
from streams.errors import UsageError

if TYPE_CHECKING:
    from streams.backfill.plan import Plan, Wanted
    from streams.backfill.processes import Crew
    from streams.backfill.runner import Done, Job, Look
    from streams.settings import Settings


@click.group(invoke_without_command=True)
@click.pass_context
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="The brokers to begin with.")
@click.option("--topic-prefix", help="Put before the name of every topic that is read.")
@click.option("--app-id", help="That of the live workers.")
@campaigns_option
@settings_option
@set_option
@click.option(
    "--state-dir", metavar="DIR", help="A new directory for the rows; with --resume, that of a run."
)
@click.option(
    "--into", type=click.Choice(["shadow", "state", "live"]), default="shadow", show_default=True,
    help="shadow: rows, and outputs to topics with a prefix of their own. state: rows alone. live: "
    "what the live topics have lost.",
)  # fmt: skip
@click.option("--shadow-prefix", default="shadow-", show_default=True, help="Of the shadow topics.")
@click.option(
    "--from-offset", "from_offsets", multiple=True, metavar="TOPIC:P:N",
    help="Begin a partition there, and not at 0; may be repeated.",
)  # fmt: skip
@click.option("--from-time", metavar="TIME", help="Begin at the records of that time (RFC 3339).")
@click.option("--from-archive", metavar="DIR", help="Fold what `leidan export` wrote there.")
@click.option(
    "--order", type=click.Choice(["auto", "journal", "time"]), default="auto", show_default=True,
    help="Of a partition's topics: as the live workers folded them, or by time.",
)  # fmt: skip
@click.option("--to-committed", is_flag=True, help="End where the live group has committed.")
@click.option("--keep-outputs", is_flag=True, help="Also write all outputs to DIR/outputs.")
@click.option("--processes", type=click.IntRange(1), help="At most; default: one a core.")
@click.option(
    "--checkpoint-records", type=click.IntRange(1), default=2_000_000, show_default=True,
    help="Of a partition, between two checkpoints; a kill loses the work of so many at most.",
)  # fmt: skip
@click.option(
    "--held-mb", type=click.IntRange(1), default=256, show_default=True,
    help="MiB of rows a process holds in memory, beside 250 of its own. Users whose rows fit are "
    "read once: 180,000 of 1 kB in a partition.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the run of --state-dir.")
@click.option("--execute", is_flag=True, help="Act; without it this only shows the plan.")
@click.option(
    "--metrics", "metrics_file", metavar="FILE", help="Keep its progress there, for Prometheus."
)
@click.option("--json", "as_json", is_flag=True, help="One object on stdout: plan or summary.")
def backfill(
    context: click.Context,
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    app_id: str | None,
    campaign_files: tuple[str, ...],
    config: str | None,
    assignments: tuple[str, ...],
    state_dir: str | None,
    into: str,
    shadow_prefix: str,
    from_offsets: tuple[str, ...],
    from_time: str | None,
    from_archive: str | None,
    order: str,
    to_committed: bool,
    keep_outputs: bool,
    processes: int | None,
    checkpoint_records: int,
    held_mb: int,
    resume: bool,
    execute: bool,
    metrics_file: str | None,
    as_json: bool,
) -> None:
    r"""Fold the log again, up to where it ends now, into rows and outputs of its own.

    It reads outside every group, commits nothing for the live one and writes to no live topic. Any
    kill is safe: --resume goes on and ends at the same digests. Notices are never sent.

    --into live is for outputs that live topics have lost (a topic restored from an older copy):
    those the workers have given, as their journal and rows prove, and that are not there, by id. It
    folds into --state-dir and lists them in DIR/missing.ndjson; with --execute it also writes them,
    each once however often it is run or killed. It never gives what the workers have not: what a
    bug in the rules has cost or given away is `leidan makegood`, which needs a review.

    \b
    Exit status: 0 done, or the plan was shown; 1 --into live: outputs are missing, none written
    2 usage, a damaged archive; 3 --into live: more than missing, none written; 4 no broker
    70 our own error; 74 disk or RocksDB; 75 broker lost, or a second run of the same shadow
    77 a lottery's secret seed; 78 refused: retention, identity, topics. Read the message
    """
    if context.invoked_subcommand is not None:
        return
    from streams.backfill import plan as plans
    from streams.backfill import targets
    from streams.backfill.processes import Crew
    from streams.backfill.runner import Job
    from streams.feed import preflight

    if not state_dir:
        raise UsageError("--state-dir DIR is needed: rows and the place of the run lie there")
    named = {"app_id": app_id, "campaign_files": campaign_files}
    settings = settings_of(config, assignments, bootstrap_servers, topic_prefix, **named)
    directory = Path(state_dir)
    if into == "live":
        flags = {
            "--from-offset": from_offsets, "--from-time": from_time, "--to-committed": to_committed,
            "--order time": order == "time", "--keep-outputs": keep_outputs,
        }  # fmt: skip
        into_live.refuse(flag for flag, value in flags.items() if value)
        code = into_live.mend(
            settings, directory, from_archive, resume=resume, execute=execute, as_json=as_json
        )
        raise SystemExit(code)
    count = processes or os.cpu_count() or 1
    with Crew(count if execute else 1) as crew:
        if resume:
            for flag, given in (
                ("--from-offset", from_offsets), ("--from-time", from_time),
                ("--from-archive", from_archive),
            ):  # fmt: skip
                if given:
                    raise UsageError(f"{flag}: the run that is resumed has its own; leave it out")
            plan = plans.load(directory)
            plans.require_same_definitions(plan, settings)
            _require_same_broker(plan, settings)
            plans.require_still_there(settings, plan, _next_of(plan, directory))
        else:
            wanted = _wanted(
                into, shadow_prefix, from_offsets, from_time, from_archive, order,
                keep_outputs=keep_outputs, to_committed=to_committed,
            )  # fmt: skip
            found = None if wanted.archive and into == "state" else preflight.check(settings)
            plan = plans.make(settings, wanted, found)
            _require_new(directory)
        if plan.into == "shadow":
            targets.require_shadow(settings, plan, fresh=not resume)
        _tell(plan, directory, min(count, plan.partitions))
        if not execute:
            _say_planned(plan, as_json=as_json)
            return
        if not resume:
            plans.save(plan, directory)
        job = Job(plan, settings, str(directory), checkpoint_records, held_mb << 20)
        _run(job, crew, metrics_file, as_json=as_json)


@backfill.command()
@click.argument("directory")
@click.option(
    "--to", "target", required=True, metavar="DIR",
    help="STATE_DIR/INSTANCE of the worker that is to have the rows.",
)  # fmt: skip
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="The brokers to begin with.")
@click.option("--topic-prefix", help="Put before every topic's name.")
@click.option("--app-id", help="That of the live workers.")
@settings_option
@set_option
@click.option("--execute", is_flag=True, help="Act; without it this only checks.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout at the end.")
def promote(
    directory: str,
    target: str,
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    app_id: str | None,
    config: str | None,
    assignments: tuple[str, ...],
    execute: bool,
    as_json: bool,
) -> None:
    """Make the rows of a finished `backfill --into state` a worker's own.

    Only where they are exactly what the live group has committed: no member runs, the offsets in
    the rows are the committed ones and those of the changelog, and every row is equal to the
    changelog's. Else it is refused, and nothing was changed.

    Exit status: 0 promoted, or it could be; 2 usage; 4 no broker; 74 disk; 78 refused.
    """
    from streams.backfill import promote as promotion

    settings = settings_of(config, assignments, bootstrap_servers, topic_prefix, app_id=app_id)
    found = promotion.check(settings, Path(directory), Path(target))
    for one in found:
        say(f"partition {one.partition}: {one.rows:,} rows, equal to the changelog's")
    if execute:
        promotion.move(settings, Path(directory), Path(target), found)
        say(f"{len(found)} partitions are in {target}; start the worker")
    else:
        say(f"nothing was changed; add --execute to move them to {target}")
    if as_json:
        rows = [{"partition": one.partition, "rows": one.rows} for one in found]
        emit({"to": target, "promoted": execute, "partitions": rows})


def _wanted(
    into: Any,
    shadow_prefix: str,
    from_offsets: tuple[str, ...],
    from_time: str | None,
    from_archive: str | None,
    order: Any,
    *,
    keep_outputs: bool,
    to_committed: bool,
) -> Wanted:
    from streams.backfill.plan import Wanted

    if sum(map(bool, (from_offsets, from_time, from_archive))) > 1:
        raise UsageError("--from-offset, --from-time, --from-archive: one of them")
    if to_committed and from_archive:
        raise UsageError("--to-committed: an archive ends where it was made")
    offsets = {}
    for text in from_offsets:
        topic, _, rest = text.partition(":")
        p, _, offset = rest.partition(":")
        if not (topic and p.isdecimal() and offset.isdecimal()):
            raise UsageError(f"--from-offset {text}: write TOPIC:PARTITION:OFFSET, orders:0:120")
        offsets[topic, int(p)] = int(offset)
    return Wanted(
        into,
        order,
        offsets,
        None if from_time is None else _millis(from_time),
        None if from_archive is None else Path(from_archive),
        shadow_prefix,
        keep_outputs,
        to_committed,
    )


def _millis(text: str) -> int:
    at_ms = millis(text)
    if at_ms is None:
        raise UsageError(f"--from-time {text!r}: no RFC 3339 time with an offset")
    return at_ms


def _require_new(directory: Path) -> None:
    if directory.is_dir() and any(directory.iterdir()):
        raise UsageError(
            f"{directory}: is not empty. Give a new directory, or go on with the run in it: "
            "--resume"
        )


def _require_same_broker(plan: Plan, settings: Settings) -> None:
    """A resumed run reads the log it was begun with, or offsets mean something else."""
    from streams.errors import Refused
    from streams.feed import preflight

    if plan.archive is not None and plan.into == "state":
        return
    found = preflight.check(settings)
    if plan.archive is None and (found.cluster, found.topic_ids) != (plan.cluster, plan.topic_ids):
        raise Refused(
            f"begun on Kafka cluster {plan.cluster!r}, connected to {found.cluster!r}, or a topic "
            "was made again. Connect to the right one, or begin anew"
        )


def _next_of(plan: Plan, directory: Path) -> dict[int, dict[str, int]]:
    from streams.store.rows import read_offsets

    found = {}
    for p in range(plan.partitions):
        path = directory / "users" / str(p)
        if not (path / "CURRENT").is_file():
            continue  # killed before it was made
        with contextlib.suppress(Exception):  # rocksdict's own; who opens it will say what is wrong
            found[p] = read_offsets(path) or {}
    return found


def _tell(plan: Plan, directory: Path, count: int) -> None:
    """Say what is going to happen."""
    source = f"the archive {plan.archive}" if plan.archive else f"cluster {plan.cluster}"
    into = f"shadow topics {plan.shadow_prefix}*" if plan.into == "shadow" else "rows alone"
    ordered = "as live folded them (journal)" if plan.order == "journal" else "by record time"
    say(f"backfill of {source} into {into}, rows in {directory}; {count} processes, {ordered}")
    for p in range(plan.partitions):
        ranges = ", ".join(
            f"{topic} {one.first}..{one.end}"
            for topic in plan.ranges
            if (one := plan.of(topic, p)).end > one.first
        )
        say(f"  partition {p}: {ranges or 'nothing'}")


def _say_planned(plan: Plan, *, as_json: bool) -> None:
    """Say that nothing was done; as JSON what would be, by partition and topic, in offsets."""
    if as_json:
        partitions = []
        for p in range(plan.partitions):
            ranges = {topic: plan.of(topic, p) for topic in plan.ranges}
            offsets = {t: {"first": one.first, "end": one.end} for t, one in ranges.items()}
            partitions.append({"partition": p, "ranges": offsets})
        planned = {"into": plan.into, "order": plan.order, "executed": False}
        emit(planned | {"partitions": partitions})
    say("nothing was done; add --execute to begin")


METRICS_S = 5.0


def _run(job: Job, crew: Crew, metrics_file: str | None, *, as_json: bool) -> None:
    from streams import metrics
    from streams.backfill import processes
    from streams.backfill.progress import Progress

    plan = job.plan
    began_s = time.monotonic()
    offsets = {p: plan.offsets(p) for p in range(plan.partitions)}
    left_s = began_s - METRICS_S

    def show(look: Look) -> None:
        nonlocal left_s
        progress.show(look)
        metrics.BACKFILL.labels(str(look.partition)).set(look.at / max(1, look.of))
        if metrics_file and time.monotonic() - left_s >= METRICS_S:
            left_s = time.monotonic()
            metrics.leave(metrics_file, "backfill")

    with Progress(offsets, say, lively=lively()) as progress:
        done = crew.run(job, show)
    if metrics_file:
        for p in offsets:
            metrics.BACKFILL.labels(str(p)).set(1)
        metrics.leave(metrics_file, "backfill")
    summary = _summary(plan, done, time.monotonic() - began_s, processes.peak_bytes())
    if as_json:
        emit(summary)
    else:
        _say_summary(summary)


def _summary(plan: Plan, done: list[Done], wall_s: float, peak: int) -> dict[str, Any]:
    from streams.backfill.account import total

    whole = total(one.account for one in done)
    folded, busy_s = sum(one.folded for one in done), sum(one.seconds for one in done)
    return {
        "into": plan.into,
        "order": plan.order,
        "records": whole.records,
        "folded_now": folded,
        "wall_s": round(wall_s, 3),
        "cpu_s": round(sum(one.cpu_s for one in done), 3),
        "events_per_s": round(folded / wall_s, 1),
        "events_per_s_a_process": round(folded / busy_s, 1) if busy_s else 0.0,
        "peak_bytes": peak,
        "outcomes": whole.outcomes,
        "outputs": {t: {"count": s.count, "digest": s.digest} for t, s in whole.said.items()},
        "rows": sum(one.rows for one in done),
        "partitions": [
            {
                "partition": one.partition,
                "records": one.account.records,
                "rows": one.rows,
                "rows_digest": one.rows_digest,
                "outputs": {
                    topic: {"count": said.count, "digest": said.digest}
                    for topic, said in one.account.said.items()
                },
            }
            for one in done
        ],
    }


def _say_summary(summary: dict[str, Any]) -> None:
    click.echo(
        f"{summary['records']:,} records, {summary['folded_now']:,} of them now in "
        f"{summary['wall_s']:.1f} s: {summary['events_per_s']:,.0f}/s; {summary['rows']:,} rows"
    )
    for topic, said in summary["outputs"].items():
        click.echo(f"{topic}: {said['count']:,} outputs, digest {said['digest']}")
    for one in summary["partitions"]:
        click.echo(f"partition {one['partition']}: {one['rows']:,} rows, {one['rows_digest']}")
