"""The limits: a part of the work alone, with nothing around it (programs/limits.py).

They earn nothing, so no digest judges them: each fails unless it took every record of the input, or
finds every row that it put. The client, the decoders and the rows are the worker's own.
"""

from __future__ import annotations

import sys
from functools import partial

from tests.bench.engines import Engine, Given, Took, until_its_end
from tests.kafka.workers import Process


def run(name: str, given: Given) -> Took:
    """Let the program measure itself to its end."""
    stats = given.directory / "stats.json"
    command = [sys.executable, "-m", "tests.bench.programs.limits", name]
    command += ["--bootstrap-servers", given.topics.bootstrap]
    command += ["--topic-prefix", given.topics.prefix, "--topics", ",".join(given.work.topics)]
    command += ["--app-id", f"{given.topics.prefix}{name}", "--state-dir", str(given.directory)]
    command += ["--campaigns", str(given.work.campaign), "--stats-file", str(stats)]
    process = Process(name, command, given.directory / f"{name}.log")
    found, used = until_its_end(given, process, stats)
    assert found["processed"] == given.events, f"void: {name} took {found} of {given.events}"
    return Took.noted(found, used)


def limit(name: str, settings: str, after: str = "") -> Engine:
    return Engine(name, partial(run, name), settings, sustained=True, after=after)


CONSUME = limit("consume", "a limit: confluent-kafka's consume with the worker's settings, no more")
DECODE = limit("decode", "a limit: consume, and each order decoded in Python as the worker does")
ROWS = limit("rows", "a limit: the worker's rows put again by rocksdict, batch by batch", "leidan")
