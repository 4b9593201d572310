"""`leidan worker`: one member of the group, until it is told to stop."""

from __future__ import annotations

import logging
import os
import sys

import click

import streams
from streams.cli import campaign
from streams.cli.given import campaigns_option, settings_of, settings_option
from streams.cli.terminal import say

log = logging.getLogger(__name__)


@click.command()
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="The brokers to begin with.")
@click.option("--instance", help="Static member, transactional id and state directory in one name.")
@click.option("--state-dir", metavar="DIR", help="Where RocksDB lies; one directory per instance.")
@campaigns_option
@click.option("--topic-prefix", help="Put before every topic's name.")
@click.option("--stats-file", metavar="FILE", help="JSON, rewritten once a second and at the end.")
@click.option(
    "--web-port",
    type=click.IntRange(0, 65_535),
    help="Serve /metrics, /livez, /readyz and /tasks/{user_id}.",
)
@settings_option
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting by name, e.g. batch_records=500 or kafka.client.fetch.min.bytes=1.",
)
def worker(
    bootstrap_servers: str | None,
    instance: str | None,
    state_dir: str | None,
    campaign_files: tuple[str, ...],
    topic_prefix: str | None,
    stats_file: str | None,
    web_port: int | None,
    config: str | None,
    assignments: tuple[str, ...],
) -> None:
    r"""Fold orders, claims and cancellations into rewards until SIGTERM.

    Settings: defaults, then --config, then LEIDAN_* variables, then flags. A second SIGTERM ends
    the process at once, which is always safe.

    \b
    Exit status: 0 stopped when told to; 2 settings or a campaign file; 4 no broker; and
    65 most records are dying   do not restart: look at the dead letters
    70 our own error            restart; a record that kills three starts is parked
    71 stuck                    restart
    74 disk or RocksDB          restart once the disk is well
    77 a lottery's secret seed  do not restart: give it the seed that was committed to
    75 fenced, or broker lost   restart
    78 refused: identity, partition counts, offsets, retention    do not restart: read the message
    """
    from streams import app, logs
    from streams.domain.definition import label

    chosen = settings_of(
        config,
        assignments,
        bootstrap_servers,
        topic_prefix,
        instance=instance,
        state_dir=state_dir,
        campaign_files=campaign_files,
        stats_file=stats_file,
        web_port=web_port,
    )
    known = campaign.read_all(chosen.campaign_files)
    python = sys.version.split()[0]
    logs.to_stderr(chosen.log_level, chosen.log_format)
    tell = log.info if chosen.log_format == "json" else say
    tell(f"leidan {streams.__version__} (streams from {streams.__file__}), Python {python}")
    tell(
        f"worker {chosen.instance} (pid {os.getpid()}) of group {chosen.group}"
        f" at {chosen.kafka.bootstrap_servers}; state in {chosen.database_dir}"
    )
    for one in known:
        tell(f"{label(one)}, in force as written")
    if chosen.web_port is not None:
        tell(f"metrics: http://{chosen.web_host}:{chosen.web_port}/metrics")
    code = app.run_worker(chosen)
    raise SystemExit(code or 0)
