"""`leidan export`: topics into an archive that a backfill can fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from streams.cli.given import set_option, settings_of, settings_option
from streams.cli.terminal import emit, say
from streams.errors import UsageError


@click.command()
@click.argument("directory")
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="The brokers to begin with.")
@click.option("--topic-prefix", help="Put before every topic's name.")
@settings_option
@set_option
@click.option(
    "--format", "format_", type=click.Choice(["ndjson", "gzip", "zstd"]), default="zstd",
    show_default=True, help="Of the files.",
)  # fmt: skip
@click.option(
    "--topic", "names", multiple=True, metavar="TOPIC",
    help="Only this one; may be repeated. Default: all that a backfill reads.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One object on stdout at the end.")
def export(
    directory: str,
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    config: str | None,
    assignments: tuple[str, ...],
    format_: Any,
    names: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write topics to DIRECTORY, as they end now: one file a partition, and a manifest.

    A line of NDJSON a record: offset, timestamp, key, value and headers, every byte as it is. The
    manifest holds the offsets and each file's SHA-256. Only committed records are written.

    Exit status: 0 done; 2 usage, or the directory is not empty; 4 no broker; 78 topics are missing.
    """
    from streams import topics
    from streams.backfill import exporting

    unknown = sorted(set(names) - set(topics.registry()))
    if unknown:
        raise UsageError(f"--topic {unknown[0]}: known are {', '.join(topics.registry())}")
    settings = settings_of(config, assignments, bootstrap_servers, topic_prefix)
    manifest = exporting.export(settings, Path(directory), format_, names, say)
    counts = {
        topic: sum(file.records for file in files) for topic, files in manifest.topics.items()
    }
    if as_json:
        emit({"directory": directory, "format": format_, "records": counts})
    else:
        click.echo(", ".join(f"{topic} {n}" for topic, n in counts.items()))
