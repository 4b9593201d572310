"""`leidan explain`: which events earned or cost a user what, by which rule, and what is missing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from streams.cli import campaign as definitions
from streams.cli.given import campaigns_option, settings_of, settings_option
from streams.cli.moments import millis
from streams.cli.terminal import emit, lively, say
from streams.errors import Exit, UsageError

if TYPE_CHECKING:
    from streams.domain.registry import Campaigns
    from streams.domain.state import UserState
    from streams.replay.lookup import Log
    from streams.settings import Settings

LOOK_UP_S = 10.0  # at most, for the positions of a user's records; 2 to 10 ms each (measured)
SAY_EVERY_S = 10.0  # of a long read, where nobody watches a terminal
REWARD = "rwd_"


@click.command()
@click.argument("name", metavar="USER|ORDER|REWARD")
@click.option("--user", "user_id", metavar="USER", help="Whose order or reward it is: no search.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["user", "order", "reward"]),
    help="What the name is. Default: rwd_... a reward; else a user; if unknown, an order.",
)
@click.option("--campaign", "campaign_id", metavar="ID", help="This campaign alone.")
@click.option(
    "--at", metavar="TIME", help="As it stood then (RFC 3339, with offset): by records up to it."
)
@click.option(
    "--json", "as_json", is_flag=True, help="One object: schemas/cli/explain.schema.json."
)
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="The brokers with the log.")
@click.option("--topic-prefix", help="Put before every topic's name.")
@click.option(
    "--state-dir", metavar="DIR", help="A worker's, running or not, or a snapshot: makes it quick."
)
@click.option("--scan", is_flag=True, help="Read the log of the user's partition, not the state.")
@click.option("--offline", is_flag=True, help="Ask no broker: state and files only, no offsets.")
@campaigns_option
@settings_option
def explain(
    name: str,
    user_id: str | None,
    kind: str | None,
    campaign_id: str | None,
    at: str | None,
    as_json: bool,
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    state_dir: str | None,
    scan: bool,
    offline: bool,
    campaign_files: tuple[str, ...],
    config: str | None,
) -> None:
    """Show which events earned or cost USER each reward, by which rule, and what is missing.

    Of an ORDER or a REWARD: what it did, or what it rests on. Reads only. With a state directory
    the user's row is read and each record is looked up by its time; without one the user's
    partition of the log is read whole, which takes long where the log is long.

    Exit status: 0 found, 1 unknown, 2 usage, 4 broker unreachable, 74 the state cannot be read,
    78 the broker or the state is refused: the message says why.
    """
    named = {"campaign_files": campaign_files, "state_dir": state_dir}
    chosen = settings_of(config, (), bootstrap_servers, topic_prefix, **named)
    state = None if scan else _state(chosen, asked_for=state_dir is not None)
    if offline and state is None:
        raise UsageError("--offline needs a state directory: --state-dir")
    at_ms = None if at is None else _millis(at)
    asked = Asked(name, kind or ("reward" if name.startswith(REWARD) else None), user_id, at_ms)
    if offline:
        report = Asking(chosen, state, None).report(asked)
    else:
        from streams.replay.lookup import Log

        with Log(
            chosen.kafka.bootstrap_servers, chosen.kafka.topic_prefix, _security(chosen)
        ) as log:
            report = Asking(chosen, state, log).report(asked)
    if campaign_id is not None:
        from streams.replay import focus

        report = focus.on_campaign(report, campaign_id)
    if as_json:
        emit(report)
    else:
        from streams.cli import explained

        explained.show(report)
    raise SystemExit(Exit.OK if report["known"] else Exit.DIFFERENT)


class Asked(NamedTuple):
    """What is asked about. kind None: a user, or else an order."""

    name: str
    kind: str | None
    user_id: str | None
    at_ms: int | None


class Asking:
    """Where answers come from: a state directory, a log, or both."""

    def __init__(self, settings: Settings, state: Path | None, log: Log | None) -> None:
        assert state is not None or log is not None, "one of the two is needed"
        self._settings, self._state, self._log = settings, state, log
        self._said_s = time.monotonic()

    def report(self, asked: Asked) -> dict[str, Any]:
        """Return the explanation, narrowed to what was asked about."""
        from streams.replay import focus

        campaigns = self._campaigns()
        if asked.user_id is not None and asked.kind != "user":
            whole = self._of_user(asked.user_id, asked.at_ms, campaigns)
        elif asked.kind in (None, "user"):
            whole = self._of_user(asked.name, asked.at_ms, campaigns)
            if whole["known"] or whole["rejected"] or asked.kind == "user":
                return {**whole, "about": {"kind": "user", "id": asked.name}}
            say(f"no user {asked.name!r}: looking for an order of that id")
            whole = self._of_owner(asked, campaigns) or whole
        else:
            whole = self._of_owner(asked, campaigns) or _nobody()
        kind = asked.kind or "order"
        narrowed = focus.on_reward if kind == "reward" else focus.on_order
        known = whole["known"] and focus.knows(whole, asked.name, kind)
        return {
            **narrowed(whole, asked.name), "known": known, "about": {"kind": kind, "id": asked.name}
        }  # fmt: skip

    def _of_owner(self, asked: Asked, campaigns: Campaigns) -> dict[str, Any] | None:
        """Return the explanation of whoever has the order or reward; None: nobody has."""
        kind = asked.kind or "order"
        if self._state is not None:
            from streams.replay.rows import whose

            found = whose(self._state, asked.name, self._looked_at)
        else:
            assert self._log is not None
            found = self._log.whose(asked.name, kind, self._read)
        if found is None:
            say(f"no {kind} {asked.name!r} anywhere; if you know its user, give --user")
            return None
        return self._of_user(found, asked.at_ms, campaigns)

    def _of_user(self, user_id: str, at_ms: int | None, campaigns: Campaigns) -> dict[str, Any]:
        from streams.backfill import resized
        from streams.domain import facts
        from streams.partitioner import partition_of
        from streams.replay import explanation, story
        from streams.topics import ORDERS, TICKS

        row: UserState | None = None
        p = None
        if self._log is not None:
            p = partition_of(user_id.encode(), self._log.partitions(ORDERS))
        rejected: list[Any] = []
        if self._state is not None:
            from streams.replay.rows import row_of

            row = row_of(self._state, user_id)
            told = [] if row is None else story.of_row(row, facts.unpack(row.facts))
            if self._log is not None and p is not None:
                told = self._log.placed(told, p, time.monotonic() + LOOK_UP_S)
                if lost := sum(one.position is None for one in told):
                    say(f"{lost} records are not where their times point to; --scan finds them all")
            ticked_ms = 0 if row is None else story.reached_ms(row)
        else:
            assert self._log is not None
            assert p is not None
            say(f"reading all of partition {p}; a --state-dir is quicker")
            origin = resized.origin_of(self._settings)
            if origin is not None:
                say(f"{resized.told(origin)}; a --state-dir has all")
            told, rejected = self._log.of_user(user_id, p, self._read)
            ticked_ms = self._log.last_tick_ms(TICKS, p)
        question = explanation.Question(
            user_id, row, told, at_ms, ticked_ms, int(time.time() * 1_000)
        )
        found = explanation.explained(question, campaigns)
        return {
            **found,
            "source": "log" if self._state is None else "state",
            "rejected": [
                {
                    **one.position._asdict(),
                    "reason": str(one.reason),
                    "detail": one.detail,
                }
                for one in rejected
            ],
        }

    def _campaigns(self) -> Campaigns:
        from streams.domain.registry import Campaigns
        from streams.topics import CAMPAIGNS

        written = definitions.read_all(self._settings.campaign_files)
        if self._log is None:
            return Campaigns.of(written)
        from streams.feed.campaigns import Registry

        registry = Registry(written)
        for record in self._log.read(CAMPAIGNS, 0):
            registry.read(record)
        return registry.campaigns

    def _looked_at(self, rows: int) -> None:
        self._progress(f"{rows:,} rows looked at")

    def _read(self, topic: str, records: int, left: int) -> None:
        self._progress(f"{topic}: {records:,} records read, {left:,} offsets to come")

    def _progress(self, text: str) -> None:
        every_s = 0.5 if lively() else SAY_EVERY_S
        if time.monotonic() - self._said_s > every_s:
            self._said_s = time.monotonic()
            say(text)


def _nobody() -> dict[str, Any]:
    """Return the explanation of nobody."""
    from streams.domain.registry import Campaigns
    from streams.replay import explanation

    asked = explanation.Question("", None, (), None, 0, int(time.time() * 1_000))
    return {**explanation.explained(asked, Campaigns()), "source": "log", "rejected": []}


def _state(settings: Settings, *, asked_for: bool) -> Path | None:
    """Return the state directory, if there is one; raises UsageError for one that was named."""
    path = Path(settings.state_dir)
    if path.is_dir():
        return path
    if asked_for:
        raise UsageError(f"{path}: no such directory; leave --state-dir out to read the log")
    return None


def _security(settings: Settings) -> Any:
    from streams import connect

    return connect.security(settings.kafka.client)


def _millis(text: str) -> int:
    at_ms = millis(text)
    if at_ms is None:
        raise click.BadParameter(f"{text!r} is no RFC 3339 time with an offset", param_hint="--at")
    return at_ms
