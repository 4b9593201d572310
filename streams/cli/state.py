"""`leidan state`: what lies on a worker's disk."""

from __future__ import annotations

from pathlib import Path

import click

from streams.cli import verify
from streams.cli.terminal import emit, say


@click.group()
def state() -> None:
    """The rows on a worker's disk, and whether the log gives them: `verify`, also `leidan verify`.

    Exit status: 0 done, 2 usage, 3 verify has found a difference, 4 no broker, 74 the disk or a
    database, 77 a lottery's seed is missing, 78 refused: the message says why.
    """


state.add_command(verify.verify)


@state.command()
@click.option("--state-dir", metavar="DIR", required=True, help="A worker's, running or not.")
@click.option(
    "--out", metavar="DIR", required=True, help="The snapshot goes here; a new directory."
)
@click.option("--json", "as_json", is_flag=True, help="One object on stdout: snapshot.json.")
def snapshot(state_dir: str, out: str, as_json: bool) -> None:
    """Keep the rows of this moment with their offsets, so that a rebuild need not start at zero.

    Quickest while the worker is stopped (hard links); beside a running one the rows are copied. To
    go back to it, put its directories in the place of state/INSTANCE/users: the worker reads the
    changelog from there on.

    Exit status: 0 taken, 2 no state there, or --out is not new; 74 a database cannot be read.
    """
    from streams.store import snapshot as snapshots

    about = snapshots.take(Path(state_dir), Path(out), _tzdata())
    if as_json:
        emit(snapshots.plain(about))
        return
    for one in about.databases:
        how = "linked" if one.linked else "copied beside its running owner"
        offsets = ", ".join(
            f"{topic}@{offset}" for topic, offset in sorted((one.next or {}).items())
        )
        click.echo(f"partition {one.partition}: {how}; goes on at {offsets or 'the beginning'}")
    say(f"{out}: {len(about.databases)} of {about.partitions} partitions")


def _tzdata() -> str:
    """Return the version of the time zones that days were computed with."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tzdata")
    except PackageNotFoundError:
        return "the system's"
