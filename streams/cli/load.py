"""`leidan load`: a year of a real shop onto the topics."""

from __future__ import annotations

from pathlib import Path

import click

from streams.cli import sent
from streams.cli.connection import config_option


@click.command()
@click.argument("directory")
@click.option(
    "--bootstrap-servers", metavar="HOST:PORT", required=True, help="Send to this broker."
)
@click.option(
    "--rate", default=0.0, metavar="N", help="Records a second; 0, the default: no limit."
)
@click.option("--topic-prefix", default="", help="Put before every topic's name.")
@config_option
@click.option(
    "--create-topics", is_flag=True, help="Create missing topics first; else they must exist."
)
@click.option("-p", "--partitions", default=4, show_default=True, help="Of topics this creates.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout: records by topic.")
def load(
    directory: str,
    bootstrap_servers: str,
    rate: float,
    topic_prefix: str,
    config: str | None,
    create_topics: bool,
    partitions: int,
    as_json: bool,
) -> None:
    """Send orders and returns of a real year from DIRECTORY (UCI Online Retail II, as NDJSON).

    Each record carries the time it happened as its own timestamp. Nothing is created on the broker
    unless --create-topics is given.

    Exit status: 0 all sent, 2 a file is missing or damaged, 4 broker unreachable, 78 topics are
    missing.
    """
    from streams import retail

    count = sent.send(
        retail.load(Path(directory)),
        bootstrap_servers,
        prefix=topic_prefix,
        rate=rate,
        config=config,
        create=create_topics,
        partitions=partitions,
    )
    sent.tell(count, as_json=as_json)
