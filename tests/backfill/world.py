"""A log, what the live worker made of it, and backfills of it as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from streams import topics
from streams.backfill.archive import told
from streams.demo.reading import Reader
from streams.domain.state import canonical_state
from streams.store.rows import read_rows
from streams.wire.rows import decode_row

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "schemas" / "samples"
PARTITIONS = 2
SAID = (topics.REWARDS, topics.TASK_EVENTS, topics.DEAD_LETTERS)

Said = dict[tuple[str, Any], list[tuple[Any, ...]]]
"""Outputs by (topic, key), in order: (value, headers). What has no key is by partition."""


def counts(n: int = PARTITIONS, shadow: str = "") -> dict[str, int]:
    """Partitions of every topic, and of a shadow of all of them."""
    live = {name: topic.partition_count(n) for name, topic in topics.registry().items()}
    return live | ({shadow + name: n for name, n in live.items()} if shadow else {})


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        return json.loads(self.out)


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEIDAN_")}
    return subprocess.Popen(
        [sys.executable, "-m", "streams", *map(str, arguments)],
        cwd=ROOT,
        env=kept | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a kill can reach its children too
    )


def leidan(*arguments: object, limit_s: float = 100.0, **environment: str) -> Ran:
    process = start(*arguments, **environment)
    try:
        out, err = process.communicate(timeout=limit_s)
    finally:
        process.kill()
    return Ran(process.returncode, out, err)


def backfill(directory: Path, *arguments: object, **environment: str) -> Ran:
    """Run `leidan backfill --execute --json` into a directory."""
    return leidan("backfill", "--state-dir", directory, "--execute", "--json", *arguments,
                  **environment)  # fmt: skip


def live(bootstrap: str, directory: Path, campaign: Path, **settings: Any) -> None:
    """Let a live worker fold everything there is."""
    given = {"embedded": True, "exit_when_idle_s": 1, **settings}
    flags = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    ran = leidan("worker", "--bootstrap-servers", bootstrap, "--state-dir", directory,
                 "--campaigns", campaign, *flags)  # fmt: skip
    assert ran.code == 0, ran.err


def rows(users: Path, partitions: Sequence[int] = range(PARTITIONS)) -> dict[bytes, bytes]:
    """Every row below a directory `users`, by key."""
    return {key: value for p in partitions for key, value in read_rows(users / str(p))}


def canonical(found: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The rows in the form that must not vary with the order of arrival."""
    return {key: canonical_state(decode_row(key.decode(), row)) for key, row in found.items()}


def said_live(bootstrap: str, names: Sequence[str] = SAID, prefix: str = "") -> Said:
    found: Said = defaultdict(list)
    with Reader(bootstrap, prefix) as reader:
        for one in reader.all_of(names):
            headers = [[name, told(value)] for name, value in one.headers]
            found[one.topic, _of(one.key and told(one.key), one.partition)].append(
                (told(one.value), headers)
            )
    return found


def said_again(directory: Path, partitions: Sequence[int] = range(PARTITIONS)) -> Said:
    """What a backfill with --keep-outputs said."""
    found: Said = defaultdict(list)
    for p in partitions:
        for line in (directory / "outputs" / f"{p}.ndjson").read_text().splitlines():
            one = json.loads(line)
            found[one["topic"], _of(one["key"], p)].append((one["value"], one["headers"]))
    return found


def _of(key: Any, p: int) -> str:
    return f"partition {p}" if key is None else json.dumps(key)


def digests(summary: dict[str, Any]) -> dict[str, Any]:
    """All that must be the same for any schedule of the same plan."""
    return {
        "outputs": summary["outputs"],
        "outcomes": summary["outcomes"],
        "records": summary["records"],
        "partitions": summary["partitions"],
    }
