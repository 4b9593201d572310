"""`leidan doctor`: what is wrong here, and what to do next."""

from __future__ import annotations

import time
from itertools import chain
from typing import TYPE_CHECKING

import click

from streams.cli.given import campaigns_option, set_option, settings_of, settings_option
from streams.cli.terminal import emit, lively, say
from streams.errors import Exit

if TYPE_CHECKING:
    from streams.doctor.finding import Finding

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="The workers' brokers.")
@click.option("--topic-prefix", help="Put before every topic's name.")
@click.option("--state-dir", metavar="DIR", help="Where a worker here keeps its rows.")
@click.option("--offline", is_flag=True, help="Ask no broker: this machine alone.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
@campaigns_option
@settings_option
@set_option
def doctor(
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    state_dir: str | None,
    offline: bool,
    as_json: bool,
    campaign_files: tuple[str, ...],
    config: str | None,
    assignments: tuple[str, ...],
) -> None:
    """Check what a worker with these settings needs; each line says what to do next.

    Versions, the compiled part, state directory, disk, campaign files; then the broker, its topics
    against the registry, the group, lag by the age of the oldest record, clocks, dead letters of
    the last day. Asks and reads only: it joins no group and writes nothing.

    Exit status: 0 nothing failed (there may be warnings), 1 something failed, a broker that is
    away too; 2 usage or settings.
    """
    from streams.doctor import broker, machine

    named = {"campaign_files": campaign_files, "state_dir": state_dir}
    chosen = settings_of(config, assignments, bootstrap_servers, topic_prefix, **named)
    now_ms = int(time.time() * 1_000)
    found: list[Finding] = []
    for one in chain(machine.look(chosen), () if offline else broker.look(chosen, now_ms)):
        found.append(one)
        if not as_json:  # as they come: a broker that is away takes its time
            _print(one)
    failed = sum(one.state == "fail" for one in found)
    warned = sum(one.state == "warn" for one in found)
    if as_json:
        checks = [one._asdict() for one in found]
        emit({"checks": checks, "failed": failed, "warned": warned})
    say(f"{failed} failed, {warned} to look at, {len(found) - failed - warned} ok")
    raise SystemExit(Exit.DIFFERENT if failed else Exit.OK)


def _print(one: Finding) -> None:
    state = f"{one.state:<4}"
    click.echo(
        f"{click.style(state, fg=COLOURS[one.state]) if lively() else state}  "
        f"{one.check:<9}  {one.found}"
    )
    if one.next:
        click.echo(f"{'':<17}next: {one.next}")
