"""`python -m tests.bench.explain`: one user explained, in a store of a million.

The store is written directly, a row each, as in tests/bench/render.py: four databases. Then users
by chance are explained as the verb does it: the database opened read-only, the row read, every
fact walked with every clause and folded again. No broker:
positions are left out. Last the verb itself is run once, Python's own start included, and an order
that nobody has is looked for in all rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.domain import facts
from streams.replay import explanation, rows, story
from tests.bench.render import Worker, user_id
from tests.kafka.workers import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.domain.registry import Campaigns


def run(users: int, questions: int, place: Path, say: Callable[[str], None]) -> dict[str, Any]:
    worker = Worker(place)
    begun = time.perf_counter()
    worker.fill(users)
    for one in worker.rows:
        one.close()
    say(f"{users} rows in {time.perf_counter() - begun:.0f} s")
    dice = random.Random(7)  # noqa: S311
    taken, events = [], 0
    for _ in range(questions):
        name = user_id(dice.randrange(users))
        begun = time.perf_counter()
        events += len(explained(place, name, worker.campaigns, worker.now_ms)["events"])
        taken.append((time.perf_counter() - begun) * 1_000)
    begun = time.perf_counter()
    owner = rows.whose(place, "no-such-order")
    searched_s = time.perf_counter() - begun
    begun = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "streams",
        "explain",
        user_id(users // 2),
        "--offline",
        "--json",
    ]
    command += ["--state-dir", str(place), "--campaigns", str(SAMPLE)]
    verb = subprocess.run(command, capture_output=True, text=True, check=True)
    return {
        "users": users,
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "events_of_a_user": round(events / questions, 1),
        "first_ms": round(taken[0], 1),
        "p50_ms": round(statistics.median(taken), 1),
        "max_ms": round(max(taken), 1),
        "verb_s": round(time.perf_counter() - begun, 2),
        "verb_events": len(json.loads(verb.stdout)["events"]),
        "order_searched_s": round(searched_s, 2),
        "order_found": owner,
    }


def explained(place: Path, name: str, campaigns: Campaigns, now_ms: int) -> dict[str, Any]:
    row = rows.row_of(place, name)
    assert row is not None, name
    told = story.of_row(row, facts.unpack(row.facts))
    asked = explanation.Question(name, row, told, None, story.reached_ms(row), now_ms)
    return explanation.explained(asked, campaigns)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tests.bench.explain", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--users", type=int, default=1_000_000, help="rows in the store")
    parser.add_argument("--questions", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leidan-") as place:
        found = run(
            given.users, given.questions, Path(place), lambda text: print(text, file=sys.stderr)
        )
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
