"""`leidan demo`: all of it on this machine, in a minute, with a count at the end."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import orjson

from streams.cli import campaign, explained
from streams.cli.connection import config_option, how_to_connect
from streams.cli.demo_campaigns import (
    campaign_rows,
    lottery_rows,
    print_campaigns,
    print_lotteries,
)
from streams.cli.lottery import proved
from streams.cli.terminal import emit, lively, say
from streams.errors import Exit, UsageError
from streams.rights.faults import Faults
from streams.topics import USER_KEYED

if TYPE_CHECKING:
    from streams.demo.run import Outcome, Place
    from streams.demo.sending import Sent
    from streams.demo.summary import Summary
    from streams.domain.campaign import Campaign
    from streams.domain.definition import Definition

USERS, USERS_OF_FOUR = 2_000, 500
TICK_EVERY_MS = 24 * 3_600_000  # of the records' own clock
AFTER_THE_LAST_MS = 4 * 86_400_000  # every window's end and its grace lie before it
FAULTS = Faults(fail=0.01, retry=0.03, spend=0.15, use_ms=0, retry_ms=0)
"""Of the rights service: some rewards fail, some are spent before their order is cancelled."""


@click.command()
@click.option(
    "--users",
    type=click.IntRange(min=1),
    help="Default: 2000; 500 where four campaigns run side by side.",
)
@click.option(
    "--orders", type=click.IntRange(min=1), help="Order events. Default: ten for each user."
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
    "--lottery", is_flag=True, help="With --data: a sample that draws for every cycle of a user."
)
@click.option(
    "--campaign",
    "campaign_files",
    multiple=True,
    metavar="FILE",
    help="Definitions in force as written; default: samples of all four phases, side by side.",
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
@click.option(
    "--public", metavar="FILE", help="Also write the lotteries' public records: lottery verify."
)
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
    users: int | None,
    orders: int | None,
    seed: int,
    chaos: str,
    data: str | None,
    lottery: bool,
    campaign_files: tuple[str, ...],
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    config: str | None,
    partitions: int,
    as_json: bool,
    net: str | None,
    public: str | None,
    state_dir: str | None,
    shuffle: int | None,
    repeat: bool,
    batch_records: int | None,
) -> None:
    """Run it all here: broker, worker, traffic, and a count of what came out.

    By default four campaigns side by side: a dark box, a light box, a lottery, a full link; with a
    rights service that answers, and ticks as the records' own clock goes. Lotteries are proved
    from their public records at the end, and one reward is explained.

    The worker is the real one, in a process of its own. The summary is counted from the topics,
    not from what the worker says. The embedded broker proves nothing about exactly-once: it shows
    that it runs. Give --bootstrap-servers for the real thing.

    wall_s is everything; events_per_s counts from a ready worker to the last record committed.

    Exit status: 0 all folded; 1 the topics contradict the worker or themselves; 2 usage, data or
    a campaign file; 4 broker unreachable; 78 it refuses us; else the worker's own.
    """
    from streams.demo import progress, run
    from streams.demo.lotteries import with_commitments

    if lottery and (data is None or campaign_files):
        raise UsageError("--lottery goes with --data, and without --campaign")
    chosen = _chosen(campaign_files, data, lottery=lottery)
    with TemporaryDirectory(prefix="leidan-demo-seeds-") as seeds:  # mode 0700
        files = [str(file) for file in with_commitments(chosen, Path(seeds), Path(seeds))]
        definitions = campaign.read_all(tuple(files))
        campaigns = campaign.campaigns_of(definitions)
        four = not campaign_files and data is None
        users = users or (USERS_OF_FOUR if four else USERS)
        orders = orders or users * 10
        records = _records(data, users, orders, seed, chaos, campaigns, four=four)
        records = _made_unkind(records, shuffle, repeat=repeat)
        if not records:
            raise UsageError("there is nothing to send")
        prefix = topic_prefix or (time.strftime("demo-%Y%m%d-%H%M%S-") if bootstrap_servers else "")
        answered = frozenset(c.campaign_id for c in campaigns if c.results == "required")
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
            seeds=Path(seeds) if files != [str(file) for file in chosen] else None,
            tick_every_ms=TICK_EVERY_MS if four and shuffle is None else 0,
            tick_at_the_end_ms=_last_ticks(definitions, four=four),
            faults=FAULTS._replace(seed=seed) if four else None,
            answered=answered if four else frozenset(),
            ask=lambda place, summary: _why_one(place, summary, tuple(files), prefix),
        )
        names = ", ".join(f"campaign {c.campaign_id}" for c in campaigns)
        say(f"{len(records):,} records; {names}")
        with progress.Progress(say, lively=lively()) as shown:
            outcome = run.run(plan, shown)
    if net:
        _write_net(Path(net), outcome)
    if public:
        _write(Path(public), b"".join(line + b"\n" for line in outcome.summary.public), "--public")
    proofs = proved(lambda: iter(outcome.summary.public))
    problems = _problems(outcome)
    problems += [f"{pool}: {wrong}" for pool, wrong in proofs.items() if isinstance(wrong, str)]
    by_campaign = campaign_rows(outcome.summary, definitions)
    lotteries = lottery_rows(outcome.summary, definitions, proofs)
    if as_json:
        more = {"campaigns": by_campaign, "lotteries": lotteries, "explained": outcome.answer}
        emit(_as_object(outcome) | more)
    else:
        _print(outcome)
        print_campaigns(by_campaign)
        print_lotteries(lotteries)
        if outcome.answer is not None:
            click.echo("\nwhy one of them was earned (leidan explain):")
            explained.show(outcome.answer)
        _print_next(outcome, prefix)
    for note in (*outcome.notes, *problems):
        say(note)
    raise SystemExit(Exit.DIFFERENT if problems else Exit.OK)


def _chosen(campaign_files: tuple[str, ...], data: str | None, *, lottery: bool) -> list[Path]:
    from streams.demo import sources

    if campaign_files:
        return [Path(file) for file in campaign_files]
    if data is None:
        return sources.sample_phases()
    return [sources.sample_campaign_for_data(lottery=lottery)]


def _last_ticks(definitions: list[Definition], *, four: bool) -> tuple[int, ...]:
    """Return the times that are told when all is folded: the ends of lotteries, and of all tasks.

    Other runs end where their records do: a task that has not expired yet is still open.
    """
    from streams.domain.pool import Pool

    pools = [one for one in definitions if isinstance(one, Pool) and one.kind == "lottery"]
    closes = {pool.closes_at_ms for pool in pools if pool.closes_at_ms is not None}
    reveals = {p.closes_at_ms + p.reveal_after_ms for p in pools if p.closes_at_ms is not None}
    after = {max(reveals) + AFTER_THE_LAST_MS} if four and reveals else set()
    return tuple(sorted(closes | reveals | after))


def _records(
    data: str | None,
    users: int,
    orders: int,
    seed: int,
    chaos: str,
    campaigns: list[Campaign],
    *,
    four: bool,
) -> list[Sent]:
    from streams import retail
    from streams.demo import sources

    if data is not None:
        return list(retail.load(Path(data)))
    made = sources.side_by_side if four else sources.simulated
    return list(made(seed=seed, users=users, orders=orders, chaos=chaos, campaigns=campaigns))


def _made_unkind(records: list[Sent], shuffle: int | None, *, repeat: bool) -> list[Sent]:
    from streams.demo import sources

    if repeat:
        records = list(sources.repeated(records, shuffle or 0))
    return records if shuffle is None else sources.shuffled(records, shuffle)


def _why_one(
    place: Place, summary: Summary, files: tuple[str, ...], prefix: str
) -> dict[str, Any] | None:
    """Explain a reward as `leidan explain` would: the first of a campaign that state alone tells.

    What pools answered has the machine's time, and these orders their own: where both are needed,
    the order of their records is not the order in which they were folded.
    """
    from streams import settings
    from streams.cli import explain

    kafka = {"bootstrap_servers": place.bootstrap, "topic_prefix": prefix}
    chosen = settings.load(None, {"campaign_files": files, "kafka": kafka})
    asking = explain.Asking(chosen, place.state_dir, None)
    found = None
    for user_id, reward_id in summary.first_rewards.values():
        found = asking.report(explain.Asked(reward_id, "reward", user_id, None))
        if not found["differs_from_events"]:
            break
    return found


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
        "rewards_failed": summary.rewards_failed,
        "rewards_net": summary.rewards_net,
        "net_minor": dict(summary.net_minor),
        "debts": summary.debts,
        "repeated_event_ids": summary.repeated_event_ids,
        "orders_ignored": dict(summary.ignored),
        "claims_rejected": dict(summary.rejected),
        "notices": dict(summary.notices),
        "embedded": outcome.embedded,
        "wall_s": round(outcome.wall_s, 2),
        "events_per_s": outcome.events_per_s,
    }


def _print(outcome: Outcome) -> None:
    """Print the summary table on stdout; a plain one where there is no terminal."""
    summary = outcome.summary
    dead = sum(summary.dead_letters.values())
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in summary.dead_letters.most_common())
    codes = ", ".join(f"{code} {n:,}" for code, n in summary.ignored.most_common(4))
    refused = ", ".join(f"{code} {n:,}" for code, n in summary.rejected.most_common(5))
    money = ", ".join(f"{minor:,} {currency}" for currency, minor in summary.net_minor.items())
    rows = [
        ("records", f"{summary.records:,}", ""),
        ("  applied", f"{summary.applied:,}", ""),
        ("  duplicates", f"{summary.duplicates:,}", "same id again: nothing happened"),
        ("  dead letters", f"{dead:,}", reasons),
        ("tasks", f"{summary.tasks:,}", ""),
        ("rewards issued", f"{summary.rewards_issued:,}", ""),
        ("rewards revoked", f"{summary.rewards_revoked:,}", "their orders were cancelled"),
        ("rewards failed", f"{summary.rewards_failed:,}", "the rights service could not give them"),
        ("rewards net", f"{summary.rewards_net:,}", f"{money} (minor units)" if money else ""),
        ("debts", f"{summary.debts:,}", ""),
        ("claims refused", f"{summary.rejected.total():,}", refused),
        ("reminders sent", f"{summary.notices.total():,}", ""),
        ("orders ignored", f"{sum(summary.ignored.values()):,}", codes),
        ("wall time", f"{outcome.wall_s:.1f} s", "start-up and counting included"),
        ("folded", f"{outcome.events_per_s:,}/s", f"in {outcome.fold_s:.1f} s, committed"),
    ]
    click.echo()
    for name, value, remark in rows:
        click.echo(f"{name:<18}{value:>12}  {remark}".rstrip())


def _print_next(outcome: Outcome, prefix: str) -> None:
    click.echo()
    click.echo("to try next:")
    for command, meaning in next_commands(outcome.bootstrap, prefix, embedded=outcome.embedded):
        click.echo(f"  {command}\n      {meaning}")


def next_commands(bootstrap: str, prefix: str, *, embedded: bool) -> list[tuple[str, str]]:
    """Return three commands that can be copied as they stand, each with what it is for."""
    from streams.demo.sources import sample_phases

    leidan = _command()
    validate = (
        f"{leidan} campaign validate {_shown(sample_phases()[1])}",
        "rules of a light box; copy the file, change them, then: demo --campaign FILE",
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
    folded = outcome.stats.get("records", {})
    if (counted := sum(folded.get(topic, 0) for topic in USER_KEYED)) != summary.records:
        found.append(f"the worker counted {counted} records, the topics hold {summary.records}")
    counts = {
        "duplicates": summary.duplicates,
        "dead_letters": dict(summary.dead_letters),
        "rewards_issued": summary.rewards_issued,
        "rewards_revoked": summary.rewards_revoked,
    }
    found += [
        f"the worker counted {outcome.stats.get(name)} {name}, the topics hold {number}"
        for name, number in counts.items()
        if outcome.stats.get(name) != number
    ]
    return found


def _write_net(path: Path, outcome: Outcome) -> None:
    net = {user: n for user, n in outcome.summary.net_by_user.items() if n}
    _write(path, orjson.dumps(net, option=orjson.OPT_SORT_KEYS), "--net")


def _write(path: Path, content: bytes, flag: str) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}; give {flag} a file that can be written"
        ) from None
