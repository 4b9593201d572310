"""`leidan rights`: the reference rights service, to try results with."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from streams.cli.connection import config_option, how_to_connect
from streams.cli.terminal import emit, say

if TYPE_CHECKING:
    from types import FrameType

RATE = click.FloatRange(0, 1)


@click.command()
@click.option(
    "--bootstrap-servers", metavar="HOST:PORT", required=True, help="The brokers to begin with."
)
@click.option("--seed", default=1, show_default=True, help="Same seed, same fate of each command.")
@click.option("--fail", default=0.0, type=RATE, help="Issues that fail for good, 0 to 1.")
@click.option("--retry", default=0.0, type=RATE, help="Issues that fail once and then work.")
@click.option("--late", default=0.0, type=RATE, help="Commands that are answered late.")
@click.option("--twice", default=0.0, type=RATE, help="Answers that are given twice.")
@click.option("--spend", default=0.0, type=RATE, help="Rewards that are spent once issued.")
@click.option("--expire", default=0.0, type=RATE, help="Rewards that lapse once issued.")
@click.option("--down", default=0.0, type=RATE, help="Commands that find the service down.")
@click.option("--topic-prefix", default="", help="Put before every topic's name.")
@click.option(
    "--exit-when-idle-s", default=0.0, metavar="S", help="Leave after so long without work; 0: no."
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One object on stdout at the end.")
def rights(
    bootstrap_servers: str,
    seed: int,
    fail: float,
    retry: float,
    late: float,
    twice: float,
    spend: float,
    expire: float,
    down: float,
    topic_prefix: str,
    exit_when_idle_s: float,
    config: str | None,
    as_json: bool,
) -> None:
    """Carry out what the ledger commands and answer on reward-results, with faults at will.

    A reference, and a stand-in for the real one in tests and demos: it pays nobody. Each rate is
    drawn by command, so the same seed gives the same faults. At the end it prints how many answers
    it gave, by outcome.

    Exit status: 0 stopped when told to, 2 usage, 4 broker unreachable, 78 topics are missing.
    """
    from streams.rights.faults import Faults
    from streams.rights.serving import Service

    faults = Faults(seed, fail, retry, late, twice, spend, expire, down)
    service = Service(bootstrap_servers, faults, topic_prefix, how_to_connect(config))
    told: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        told.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    say(f"rights service on {bootstrap_servers}; Ctrl-C ends it")
    service.serve(lambda: bool(told), exit_when_idle_s)
    if as_json:
        emit(service.given)
    else:
        click.echo(", ".join(f"{outcome} {n}" for outcome, n in sorted(service.given.items())))
