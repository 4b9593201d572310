"""`leidan demo`: all of it on this machine, in a minute, with a count at the end."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from streams.cli import campaign
from streams.cli.connection import config_option, how_to_connect
from streams.cli.terminal import emit, lively, say
from streams.errors import Exit, UsageError

if TYPE_CHECKING:
    from streams.demo.run import Outcome
    from streams.demo.sending import Sent


@click.command()
@click.option("--users", default=2_000, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--orders", default=20_000, show_default=True, type=click.IntRange(min=1), help="Order events."
)
@click.option("--seed", default=1, show_default=True, help="Same seed, same records.")
@click.option(
    "--chaos",
    default="dup,late,reorder,poison",
    show_default=True,
    metavar="LIST",
    help="What goes wrong on the way; empty for nothing.",
)
@click.option("--data", metavar="DIR", help="A real year instead: orders and returns as NDJSON.")
@click.option(
    "--campaign",
    "campaign_files",
    multiple=True,
    metavar="FILE",
    help="Definitions in force as written; default: a sample that fits the records.",
)
@click.option(
    "--bootstrap-servers", metavar="HOST:PORT", help="A real broker instead of the embedded one."
)
@click.option(
    "--topic-prefix", help="Put before every topic's name; on a real broker default demo-<time>-."
)
@config_option
@click.option("-p", "--partitions", default=4, show_default=True, type=click.IntRange(1, 64))
@click.option("--json", "as_json", is_flag=True, help="One object on stdout, nothing else there.")
@click.option("--net", metavar="FILE", help="Also write the net rewards of each user as JSON.")
@click.option("--state-dir", metavar="DIR", help="Keep state and log here; default: removed.")
@click.option(
    "--shuffle", type=int, metavar="SEED", help="Send all records in an order without sense."
)
@click.option("--repeat", is_flag=True, help="Send each record one to three times.")
@click.option(
    "--batch-records",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="The worker's batch, hence its transaction.",
)
def demo(
    users: int,
    orders: int,
    seed: int,
    chaos: str,
    data: str | None,
    campaign_files: tuple[str, ...],
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    config: str | None,
    partitions: int,
    as_json: bool,
    net: str | None,
    state_dir: str | None,
    shuffle: int | None,
    repeat: bool,
    batch_records: int | None,
) -> None:
    """Run it all here: broker, worker, traffic, and a count of what came out.

    The worker is the real one, in a process of its own. The summary is counted from the topics,
    not from what the worker says. The embedded broker proves nothing about exactly-once: it shows
    that it runs. Give --bootstrap-servers for the real thing.

    wall_s is everything; events_per_s counts from a ready worker to the last record committed.

    Exit status: 0 all folded; 1 the topics contradict the worker or themselves; 2 usage, data or
    a campaign file; 4 broker unreachable; else the worker's own.
    """
    from streams.demo import progress, run

    files = campaign_files or _samples(data)
    definitions = campaign.campaigns_of(campaign.read_all(files))
    records = _records(data, users, orders, seed, chaos, definitions)
    records = _made_unkind(records, shuffle, repeat=repeat)
    if not records:
        raise UsageError("there is nothing to send")
    prefix = topic_prefix or (time.strftime("demo-%Y%m%d-%H%M%S-") if bootstrap_servers else "")
    plan = run.Plan(
        records,
        tuple(files),
        bootstrap=bootstrap_servers,
        partitions=partitions,
        prefix=prefix,
        state_dir=Path(state_dir) if state_dir else None,
        settings=(f"batch_records={batch_records}",) if batch_records else (),
        config=config,
        client=how_to_connect(config) if bootstrap_servers else {},
    )
    say(f"{len(records):,} records; " + ", ".join(f"campaign {c.campaign_id}" for c in definitions))
    with progress.Progress(say, lively=lively()) as shown:
        outcome = run.run(plan, shown)
    if net:
        _write_net(Path(net), outcome)
    problems = _problems(outcome)
    if as_json:
        emit(_as_object(outcome))
    else:
        _print(outcome, prefix)
    for note in (*outcome.notes, *problems):
        say(note)
    raise SystemExit(Exit.DIFFERENT if problems else Exit.OK)


def _samples(data: str | None) -> tuple[str, ...]:
    from streams.demo import sources

    return (str(sources.sample_campaign_for_data() if data else sources.sample_campaign()),)


def _records(
    data: str | None,
    users: int,
    orders: int,
    seed: int,
    chaos: str,
    definitions: list[Any],
) -> list[Sent]:
    from streams import retail
    from streams.demo import sources

    if data is not None:
        return list(retail.load(Path(data)))
    return list(
        sources.simulated(seed=seed, users=users, orders=orders, chaos=chaos, campaigns=definitions)
    )


def _made_unkind(records: list[Sent], shuffle: int | None, *, repeat: bool) -> list[Sent]:
    from streams.demo import sources

    if repeat:
        records = list(sources.repeated(records, shuffle or 0))
    return records if shuffle is None else sources.shuffled(records, shuffle)


def _as_object(outcome: Outcome) -> dict[str, Any]:
    summary = outcome.summary
    return {
        "records": summary.records,
        "applied": summary.applied,
        "duplicates": summary.duplicates,
        "dead_letters": dict(summary.dead_letters),
        "dead_letters_by_topic": {t: dict(n) for t, n in summary.dead_by_topic.items()},
        "tasks": summary.tasks,
        "rewards_issued": summary.rewards_issued,
        "rewards_revoked": summary.rewards_revoked,
        "rewards_net": summary.rewards_net,
        "net_minor": dict(summary.net_minor),
        "debts": summary.debts,
        "repeated_event_ids": summary.repeated_event_ids,
        "orders_ignored": dict(summary.ignored),
        "embedded": outcome.embedded,
        "wall_s": round(outcome.wall_s, 2),
        "events_per_s": outcome.events_per_s,
    }


def _print(outcome: Outcome, prefix: str) -> None:
    """Print the summary table on stdout; a plain one where there is no terminal."""
    summary = outcome.summary
    dead = sum(summary.dead_letters.values())
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in summary.dead_letters.most_common())
    codes = ", ".join(f"{code} {n:,}" for code, n in summary.ignored.most_common(4))
    money = ", ".join(f"{minor:,} {currency}" for currency, minor in summary.net_minor.items())
    rows = [
        ("records", f"{summary.records:,}", ""),
        ("  applied", f"{summary.applied:,}", ""),
        ("  duplicates", f"{summary.duplicates:,}", "same id again: nothing happened"),
        ("  dead letters", f"{dead:,}", reasons),
        ("tasks", f"{summary.tasks:,}", ""),
        ("rewards issued", f"{summary.rewards_issued:,}", ""),
        ("rewards revoked", f"{summary.rewards_revoked:,}", "their orders were cancelled"),
        ("rewards net", f"{summary.rewards_net:,}", f"{money} (minor units)" if money else ""),
        ("debts", f"{summary.debts:,}", ""),
        ("orders ignored", f"{sum(summary.ignored.values()):,}", codes),
        ("wall time", f"{outcome.wall_s:.1f} s", "start-up and counting included"),
        ("folded", f"{outcome.events_per_s:,}/s", f"in {outcome.fold_s:.1f} s, committed"),
    ]
    click.echo()
    for name, value, remark in rows:
        click.echo(f"{name:<18}{value:>12}  {remark}".rstrip())
    click.echo()
    click.echo("to try next:")
    for command, meaning in next_commands(outcome.bootstrap, prefix, embedded=outcome.embedded):
        click.echo(f"  {command}\n      {meaning}")


def next_commands(bootstrap: str, prefix: str, *, embedded: bool) -> list[tuple[str, str]]:
    """Return three commands that can be copied as they stand, each with what it is for."""
    from streams.demo.sources import sample_campaign

    leidan = _command()
    validate = (
        f"{leidan} campaign validate {_shown(sample_campaign())}",
        "the rules of this run; copy the file, change them, then: demo --campaign FILE",
    )
    if embedded:
        return [
            (f"{leidan} demo --seed 2 --users 500 --chaos dup", "other users, another log"),
            validate,
            (
                f"{leidan} demo --bootstrap-servers 127.0.0.1:9092",
                "the same on real Kafka; first, in another terminal: make kafka",
            ),
        ]
    place = f"--bootstrap-servers {bootstrap}"
    return [
        (f"{leidan} topics plan {place} --topic-prefix {prefix}", "the topics left there"),
        validate,
        (f"{leidan} demo --seed 2 {place}", "other users, topics of their own"),
    ]


def _command() -> str:
    """Return how to call this very program from here."""
    script = Path(sys.executable).parent / "leidan"
    if shutil.which("leidan") == str(script):
        return "leidan"
    return _shown(script) if script.is_file() else f"{_shown(Path(sys.executable))} -m streams"


def _shown(path: Path) -> str:
    """Return a path as one would type it here."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _problems(outcome: Outcome) -> list[str]:
    """Return what must not be: a ledger entry twice, or a worker that counted otherwise."""
    summary, found = outcome.summary, []
    if summary.repeated_event_ids:
        found.append(f"{summary.repeated_event_ids} ledger entries stand in rewards twice")
    if summary.applied + summary.duplicates + sum(summary.dead_letters.values()) != summary.records:
        found.append("applied, duplicates and dead letters do not add up to the records")
    counted = {
        "records_total": summary.records,
        "duplicates": summary.duplicates,
        "dead_letters": dict(summary.dead_letters),
        "rewards_issued": summary.rewards_issued,
        "rewards_revoked": summary.rewards_revoked,
    }
    found += [
        f"the worker counted {outcome.stats.get(name)} {name}, the topics hold {number}"
        for name, number in counted.items()
        if outcome.stats.get(name) != number
    ]
    return found


def _write_net(path: Path, outcome: Outcome) -> None:
    try:
        path.write_bytes(
            orjson.dumps(
                {user: n for user, n in outcome.summary.net_by_user.items() if n},
                option=orjson.OPT_SORT_KEYS,
            )
        )
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}; give --net a file that can be written"
        ) from None
