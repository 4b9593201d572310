"""Peers written in Python that live in an environment of their own (`make peers`, peers.lock).

They are no part of the product, and Quix Streams refuses the client that the product is locked to.
Both fold with `streams.domain`, one event at a time; both note the events that they take
(programs/job.py). Each is given what makes it fast: zstd and large batches for its producer; what
is not named is as it ships, and a commit that comes seldom favours it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.bench.engines import Engine, Given, Took, noted, own, until_its_end
from tests.bench.sampling import Sampler
from tests.kafka.harness import wait_settled
from tests.kafka.workers import REPOSITORY, Process

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = REPOSITORY / ".venv" / "peers" / "bin" / "python"


def missing(package: str) -> str:
    """Say what to do when the environment is not there, or has no such package on this Python."""
    if not PYTHON.is_file():
        return "its environment is not made: make peers"
    packages = PYTHON.parents[1].glob(f"lib/python*/site-packages/{package}")
    if any(packages):
        return ""
    return f"{package} is not in .venv/peers: make peers, unless this Python has none (peers.in)"


def program(name: str, given: Given) -> tuple[Process, str, Path]:
    """Return the process of one program, its application's name, and where it tells its stats."""
    topics, outputs = given.topics, own(name)
    app_id = f"{topics.prefix}{name}".replace(".", "-")
    stats = given.directory / "stats.json"
    command = [str(PYTHON), "-m", f"tests.bench.programs.{name}"]
    command += ["--bootstrap-servers", topics.bootstrap, "--topic-prefix", topics.prefix]
    command += ["--topics", ",".join(given.work.topics), "--app-id", app_id]
    command += ["--state-dir", str(given.directory), "--campaigns", str(given.work.campaign)]
    command += ["--rewards", outputs["ledger"], "--task-events", outputs["task_events"]]
    command += ["--stats-file", str(stats)]
    return Process(name, command, given.directory / f"{name}.log"), app_id, stats


def quix(given: Given) -> Took:
    """Drain the topics; asked to stop, it commits what it has taken since its last commit."""
    process, app_id, stats = program("quix", given)
    try:
        process.start()
        used = Sampler(process.pid)
        found = noted(stats, given.events, given.limit_s, process)
        used.stop()
        assert process.stop() == 0, process.tail()
    finally:
        process.close()
    assert given.topics.lag(app_id, given.work.topics) == 0, f"void: offsets of {app_id}"
    wait_settled(given.topics, (own("quix")["ledger"],))
    return Took.noted(found, used)


def bytewax(given: Given) -> Took:
    """Let it run to the end of the topics; it keeps offsets itself, in its recovery store."""
    process, _, stats = program("bytewax", given)
    return Took.noted(*until_its_end(given, process, stats))


QUIX = Engine(
    "quix",
    quix,
    "exactly-once, RocksDB with its changelog; a commit every 5 s as it ships, zstd, linger 20 ms",
    missing=partial(missing, "quixstreams"),
    sustained=True,
    **own("quix"),
)
BYTEWAX = Engine(
    "bytewax",
    bytewax,
    "at-least-once, all it has; state in memory, saved every 5 s; zstd, 1,000 records a poll",
    missing=partial(missing, "bytewax"),
    sustained=True,
    **own("bytewax"),
)
