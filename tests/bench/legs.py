"""What a benchmark writes of each run: one object a leg, one line each (`--json FILE`).

All benchmarks write this shape, so that `make bench-report` reads one:

    bench        which benchmark: "live"
    engine       "leidan", "faust", "faust-eos", "quix", ...; a limit: "consume", "decode", "rows"
    workload     what was folded (work.py)
    events       records of the input, all of which this leg took
    users        whose they are
    round        1 and on; legs of a round ran one after another on one broker
    events_per_s between the first sign of work and the last (engines/__init__.py)
    cpu_us       processor time of the engine's process an event, all threads, over the same span
    rss_mb       the most memory it had resident, MiB
    digest       of the rewards that stand in its ledger; "" for a limit, which earns none
    commit       checked out, with a + when files differ from it
    date         UTC, RFC 3339
    machine      cpu, cores, load_1min, python, orders_folded ("compiled" or why not)
    seed         of the traffic
    more         what only this benchmark or this engine has, such as leidan's "phases_s"
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams import native
from tests.kafka.workers import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class Leg:
    """One engine over one input, once. See the module for each field."""

    bench: str
    engine: str
    workload: str
    events: int
    users: int
    round: int
    events_per_s: float
    cpu_us: float
    rss_mb: float
    digest: str
    commit: str
    date: str
    machine: dict[str, Any]
    seed: int
    more: dict[str, Any] = field(default_factory=dict)


def append(path: Path, leg: Leg) -> None:
    """Add one line; legs of a run that was ended are kept."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(leg)) + "\n")


def read(paths: Iterable[Path]) -> list[Leg]:
    return [Leg(**json.loads(line)) for path in paths for line in path.read_text().splitlines()]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def machine() -> dict[str, Any]:
    """Where and on what the figures were taken; without these they are rumours."""
    model = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "cpu": model,
        "orders_folded": native.load()[1],
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
    }


def commit() -> str:
    """The checked-out commit, with a + when files differ from it; `none` before the first."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(REPOSITORY), *words],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    name = git("rev-parse", "--short", "HEAD")
    return f"{name}{'+' if git('status', '--porcelain') else ''}" if name else "none"
