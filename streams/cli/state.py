"""`leidan state`: rows on a worker's disk, and those of a whole deployment."""

from __future__ import annotations

from pathlib import Path

import click

from streams.cli import verify
from streams.cli.given import set_option, settings_of, settings_option
from streams.cli.terminal import emit, say


@click.group()
def state() -> None:
    """Rows: whether the log gives them (`verify`, also `leidan verify`), kept, and brought over.

    Exit status: 0 done, 2 usage, 3 verify has found a difference, 4 no broker, 74 the disk or a
    database, 75 a second resize, 77 a lottery's seed is missing, 78 refused: the message says why.
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


@state.command()
@click.option("--to-prefix", required=True, help="Of the new topics, made by `topics apply -p N`.")
@click.option("--to-app-id", required=True, help="That of the new workers: a group of their own.")
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="The brokers to begin with.")
@click.option("--topic-prefix", help="Of the topics there are.")
@click.option("--app-id", help="That of the workers there are.")
@click.option("--state-dir", metavar="DIR", help="Old rows are read into DIR/resize, then removed.")
@settings_option
@set_option
@click.option("--execute", is_flag=True, help="Act; without it this only checks.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout at the end.")
def resize(
    to_prefix: str,
    to_app_id: str,
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    app_id: str | None,
    state_dir: str | None,
    config: str | None,
    assignments: tuple[str, ...],
    execute: bool,
    as_json: bool,
) -> None:
    """Bring the rows of a deployment at rest to topics of another partition count.

    Every user's and every pool's row goes, as it is, to where its key hashes to; definitions go
    too. Nothing is folded again: no draw, grant or reward is made twice, ids stay, tasks go on. At
    rest means that no worker runs and nothing is left to fold. Producers may write to the new
    topics before; the new workers begin with that. All partitions have their rows, or none has: a
    kill is safe, run it again. See deploy/runbooks/resize.md.

    Exit status: 0 done, or it could be; 2 usage; 4 no broker; 74 the disk; 75 a second run has
    taken over, or the commit's outcome is not known: run it again; 78 refused: the message says
    why.
    """
    from streams.backfill.resize import resize as bring
    from streams.backfill.resize import sides

    named = {"app_id": app_id, "state_dir": state_dir}
    old = settings_of(config, assignments, bootstrap_servers, topic_prefix, **named)
    moved = bring(sides(old, to_prefix, to_app_id), say, execute=execute)
    if moved.rows is None:
        say(f"the rows were brought to {to_prefix}* before: start the new workers")
    else:
        for q, count in () if as_json else enumerate(moved.rows):
            click.echo(f"partition {q} of {moved.after}: {count:,} rows")
        if execute:
            say(f"all is in {to_prefix}*; start workers of app {to_app_id}, never the old ones")
        else:
            say("nothing was changed; add --execute to bring them over")
    if as_json:
        emit(
            {
                "from": {"prefix": old.kafka.topic_prefix, "partitions": moved.before},
                "to": {"prefix": to_prefix, "partitions": moved.after},
                "rows": moved.rows,
                "executed": execute,
            }
        )


def _tzdata() -> str:
    """Return the version of the time zones that days were computed with."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tzdata")
    except PackageNotFoundError:
        return "the system's"
