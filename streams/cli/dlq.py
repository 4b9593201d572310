"""`leidan dlq`: dead letters looked at, put back on their topics, or dropped."""

from __future__ import annotations

import getpass
import re
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import click

from streams.cli import letters as shown
from streams.cli.given import meant, settings_of, settings_option
from streams.cli.moments import moment
from streams.cli.terminal import emit, say
from streams.errors import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from streams.dlq.chosen import Decided, Filter
    from streams.dlq.deciding import Back, Left, Signed
    from streams.dlq.log import Log
    from streams.settings import Settings
    from streams.wire.dead_letters import Letter

PLACE = re.compile(r"\d{1,9}@\d{1,18}")
MOST_NAME, MOST_WHY = 128, 500


def _with(*options: Callable[..., Any]) -> Callable[..., Any]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


_where = _with(
    click.option("--bootstrap-servers", metavar="HOST:PORT", help="The brokers with the letters."),
    click.option("--topic-prefix", help="Put before every topic's name."),
    settings_option,
    click.option("--json", "as_json", is_flag=True, help="JSON on stdout instead of text."),
)
_which = _with(
    click.option("--reason", "reasons", multiple=True, metavar="REASON", help="Refused for this."),
    click.option("--topic", "topics", multiple=True, metavar="TOPIC", help="Refused on this."),
    click.option("--user", "user_id", metavar="USER", help="By key, or by the value's user_id."),
    click.option("--since", metavar="TIME", help="Refused then or later: 2h, 30d, or RFC 3339."),
    click.option("--until", metavar="TIME", help="Refused before then."),
)
_app_id = click.option("--app-id", metavar="ID", help="That of the workers (default leidan).")
_execute = click.option("--execute", is_flag=True, help="Act; without it this only shows the plan.")
_every = click.option("--all", "every", is_flag=True, help="Without a filter: all that are open.")


@click.group()
def dlq() -> None:
    """Dead letters: what was refused and why; put back once it is mended, or dropped.

    A letter is named PARTITION@OFFSET, its place in the topic `dead-letters`. Letters of Kafka
    Connect, Spring and Kafka Streams are read too.

    Exit status: 0 done, 1 some were left out or none is there, 2 usage, 4 broker unreachable,
    5 replayed but some were refused again, 75 another one took over, 78 topics are missing.
    """


@dlq.command("list")
@_which
@click.option(
    "--state",
    type=click.Choice(["open", "replayed", "dropped", "all"]),
    default="open",
    show_default=True,
    help="What was decided so far.",
)
@click.option(
    "--by",
    type=click.Choice(["reason", "topic", "user", "hour", "version", "state"]),
    help="Count them instead.",
)
@click.option(
    "--limit", default=100, show_default=True, metavar="N", help="Show so many; 0: all of them."
)
@_where
def list_(
    reasons: tuple[str, ...],
    topics: tuple[str, ...],
    user_id: str | None,
    since: str | None,
    until: str | None,
    state: str,
    by: str | None,
    limit: int,
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """List dead letters, or count them by something. Reads only.

    With --json one object a letter and line; with --by one object: counts and their sum.

    Exit status: 0 listed (also when there is none), 2 usage, 4 broker unreachable, 78 topics are
    missing.
    """
    from streams.dlq.log import Log

    filter_ = _filter((), reasons, topics, user_id, since, until)
    counts: Counter[str] = Counter()
    listed = 0
    with Log(settings_of(config, (), bootstrap_servers, topic_prefix)) as log:
        decided = _decided(log)
        for letter in _chosen(log, filter_):
            found = decided.state(letter)
            if state not in (found, "all"):
                continue
            counts[shown.group(letter, by, found)] += 1
            if by is None and (not limit or listed < limit):
                listed += 1
                emit(shown.plain(letter, decided)) if as_json else click.echo(
                    shown.line(letter, found)
                )
    total = sum(counts.values())
    if by is None:
        more = f"; {total - listed} more: --limit 0" if total > listed else ""
        say(f"{total} dead letters{more}")
    elif as_json:
        emit({"by": by, "counts": dict(counts), "total": total})
    else:
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            click.echo(f"{count:>8,}  {name}")
        say(f"{total} dead letters")


@dlq.command()
@click.argument("where", metavar="PARTITION@OFFSET")
@_where
def show(
    where: str,
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Show one letter: why, where from, what was decided, its headers, its bytes as text and hex.

    Exit status: 0 shown, 1 there is no such letter, 2 usage, 4 broker unreachable, 78 topics are
    missing.
    """
    from streams.dlq.log import Log
    from streams.wire import dead_letters

    (place,) = _places((where,))
    partition, offset = map(int, place.split("@"))
    chosen = settings_of(config, (), bootstrap_servers, topic_prefix)
    with Log(chosen) as log:
        record = log.letter(partition, offset)
        if record is None:
            say(f"leidan: {where}: no dead letter stands there")
            raise SystemExit(Exit.DIFFERENT)
        letter = dead_letters.read(record, chosen.kafka.topic_prefix)
        told = shown.plain(letter, _decided(log))
    own = dead_letters.own_headers(record.headers)
    told["headers"] = [{"name": name, **shown.both(value)} for name, value in own]
    told["key"] = None if record.key is None else shown.both(record.key)
    told["value"] = None if record.value is None else shown.both(record.value)
    if as_json:
        emit(told)
        return
    click.echo(shown.line(letter, told["state"]))
    if decision := told["decision"]:
        click.echo(f"{decision['type']} by {decision['who']} at {decision['decided_at']}")
        click.echo(f"  because {decision.get('why') or '(nothing was said)'}")
    for name, value in own:
        click.echo(f"header {name}: {shown.printable(value or b'')}")
    for what, part in (("key", record.key), ("value", record.value)):
        click.echo(f"{what}: {'none' if part is None else shown.printable(part)}")
    for line in shown.hex_lines(record.value or b""):
        click.echo(line)


@dlq.command()
@click.argument("where", nargs=-1, metavar="[PARTITION@OFFSET]...")
@_which
@_every
@_execute
@click.option("--limit", default=0, metavar="N", help="At most so many, the first of each topic.")
@click.option("--rate", type=click.FloatRange(min=0.1), metavar="N", help="At most N a second.")
@click.option(
    "--max-attempts",
    default=5,
    show_default=True,
    metavar="N",
    help="Leave out what was tried so often.",
)
@click.option("--also-dropped", is_flag=True, help="What was dropped too: somebody was mistaken.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait until the workers have folded them, and say what was refused again.",
)
@click.option("--who", metavar="NAME", help="Who decides; default: the name you are logged in by.")
@click.option("--why", default="", metavar="TEXT", help="Kept with the decision.")
@_app_id
@_where
def replay(
    where: tuple[str, ...],
    reasons: tuple[str, ...],
    topics: tuple[str, ...],
    user_id: str | None,
    since: str | None,
    until: str | None,
    every: bool,
    execute: bool,
    limit: int,
    rate: float | None,
    max_attempts: int,
    also_dropped: bool,
    wait_s: float | None,
    who: str | None,
    why: str,
    app_id: str | None,
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Put refused records back on their topics, each once, in their order; first shows a plan.

    First mend what refused them: the worker, or a definition. A record goes back as it stands on
    its topic, with its own key, headers and timestamp, so it does what it would have done in time;
    dl-attempt counts up. Run again, or killed and run again, it puts nothing back twice. What is
    refused for `future` dies again, since its timestamp stays: its sender must send it anew.

    Exit status: 0 all chosen are (or would be) put back; 1 some were left out, or --wait was too
    short; 2 usage; 4 broker unreachable; 5 some were refused again (--wait); 75 another replay or
    drop took over; 78 topics are missing.
    """
    from streams.dlq import deciding, outcome
    from streams.dlq.log import Log

    filter_ = _meant(_filter(where, reasons, topics, user_id, since, until), every=every)
    signed = _signed(who or getpass.getuser(), why)
    chosen = _settings(config, bootstrap_servers, topic_prefix, app_id)
    emitter = _emitter(chosen) if execute else None  # fences, so before anything is read
    with Log(chosen) as log:
        letters = _undecided(log, filter_, also_dropped=also_dropped)
        letters = deciding.in_order(letters)[: limit or None]
        backs: list[Letter] = []
        left: list[Left] = []
        each = _noting(deciding.prepared(log, letters, max_attempts), backs, left)
        if emitter is None:
            deque(each, maxlen=0)
        else:
            deciding.replay(emitter, each, signed, rate)
        told = shown.counted(backs, left, key="replayed" if execute else "would_replay")
        again: list[Letter] = []
        if emitter is not None and backs and wait_s is not None:
            came = outcome.wait(log, emitter.ends, {one.place for one in backs}, wait_s)
            again = came.again
            told["refused_again"] = dict(Counter(one.reason for one in again))
            told["not_folded_yet"] = [f"{topic}[{p}]" for topic, p in came.unfolded]
    shown.tell_replay(told, left, again, executed=execute, as_json=as_json)
    if again:
        raise SystemExit(Exit.SOME_DEAD)
    raise SystemExit(Exit.DIFFERENT if left or told.get("not_folded_yet") else Exit.OK)


@dlq.command()
@click.argument("where", nargs=-1, metavar="[PARTITION@OFFSET]...")
@_which
@_every
@_execute
@click.option("--who", metavar="NAME", required=True, help="Who decides; kept.")
@click.option("--why", metavar="TEXT", required=True, help="Why nothing will be done; kept.")
@_app_id
@_where
def drop(
    where: tuple[str, ...],
    reasons: tuple[str, ...],
    topics: tuple[str, ...],
    user_id: str | None,
    since: str | None,
    until: str | None,
    every: bool,
    execute: bool,
    who: str,
    why: str,
    app_id: str | None,
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Decide that nothing will be done about letters; first shows a plan.

    The letters stay until retention takes them; `dlq list --state dropped` has them, who decided
    and why. One that was dropped by mistake goes back with `dlq replay --also-dropped`.

    Exit status: 0 dropped, or what would be; 2 usage; 4 broker unreachable; 75 another replay or
    drop took over; 78 topics are missing.
    """
    from streams.dlq import deciding
    from streams.dlq.log import Log

    filter_ = _meant(_filter(where, reasons, topics, user_id, since, until), every=every)
    signed = _signed(who, why)
    if not signed.why:
        raise UsageError("--why: say why nothing will be done; somebody will ask")
    chosen = _settings(config, bootstrap_servers, topic_prefix, app_id)
    emitter = _emitter(chosen) if execute else None
    with Log(chosen) as log:
        letters = _undecided(log, filter_, also_dropped=False)
        if emitter is not None:
            deciding.drop(emitter, letters, signed)
    told = shown.counted(letters, [], key="dropped" if execute else "would_drop")
    if as_json:
        emit(told)
        return
    shown.print_reasons(told)
    click.echo(f"{len(letters)} {'dropped' if execute else 'would be dropped; --execute does it'}")


# -- what is meant --------------------------------------------------------------------------------


def _filter(
    where: Iterable[str],
    reasons: tuple[str, ...],
    topics: tuple[str, ...],
    user_id: str | None,
    since: str | None,
    until: str | None,
) -> Filter:
    from streams.dlq.chosen import Filter

    now_ms = int(time.time() * 1000)
    return Filter(
        _places(where),
        frozenset(map(_reason, reasons)),
        frozenset(topics),
        user_id,
        moment("--since", since, now_ms),
        moment("--until", until, now_ms),
    )


def _reason(text: str) -> str:
    """Return a reason as given, if it is ours or may be another tool's exception."""
    from streams.errors import Reason
    from streams.wire.dead_letters import UNKNOWN

    known = [*map(str, Reason), UNKNOWN]
    if text in known or "." in text:  # a class name of Java has a package
        return text
    raise UsageError(f"--reason {text}: {meant(text, known)}")


def _places(where: Iterable[str]) -> frozenset[str]:
    found = set()
    for text in where:
        if not PLACE.fullmatch(text):
            raise UsageError(f"{text}: a letter is named PARTITION@OFFSET, e.g. 3@17 (dlq list)")
        found.add("@".join(str(int(number)) for number in text.split("@")))
    return frozenset(found)


def _meant(filter_: Filter, *, every: bool) -> Filter:
    from streams.dlq.chosen import Filter

    if every == (filter_ != Filter()):
        raise UsageError("say which letters: PARTITION@OFFSET, a filter, or --all without either")
    return filter_


def _signed(who: str, why: str) -> Signed:
    from datetime import UTC, datetime

    from streams.dlq.deciding import Signed

    who, why = who.strip(), why.strip()
    if not who or len(who) > MOST_NAME or len(why) > MOST_WHY:
        raise UsageError(f"--who takes 1 to {MOST_NAME} characters, --why at most {MOST_WHY}")
    return Signed(who, why, datetime.now(UTC).isoformat(timespec="seconds"))


def _settings(
    config: str | None, bootstrap: str | None, prefix: str | None, app_id: str | None
) -> Settings:
    return settings_of(config, (), bootstrap, prefix, app_id=app_id)


def _emitter(settings: Settings) -> Any:
    from streams import connect
    from streams.feed import emitter

    kafka = settings.kafka
    return emitter.Emitter(
        kafka.bootstrap_servers,
        settings.app_id,
        kafka.topic_prefix,
        connect.security(kafka.client),
        emitter.DLQ,
    )


# -- what is there --------------------------------------------------------------------------------


def _decided(log: Log) -> Decided:
    from streams.dlq.chosen import Decided

    return Decided(log.decisions())


def _chosen(log: Log, filter_: Filter) -> Iterator[Letter]:
    from streams.wire import dead_letters

    for record in log.letters():
        letter = dead_letters.read(record, log.prefix)
        if filter_.takes(letter, record.value):
            yield letter


def _undecided(log: Log, filter_: Filter, *, also_dropped: bool) -> list[Letter]:
    decided = _decided(log)
    wanted = {"open", "dropped"} if also_dropped else {"open"}
    return [one for one in _chosen(log, filter_) if decided.state(one) in wanted]


def _noting(found: Iterable[Back | Left], backs: list[Letter], left: list[Left]) -> Iterator[Back]:
    """Yield what goes back; note its letters, without their bytes, and those left out."""
    from streams.dlq.deciding import Left

    for one in found:
        if isinstance(one, Left):
            left.append(one)
        else:
            backs.append(one.letter)
            yield one
