"""`python -m tests.crash --crashes 200 --seed 1`: the crash loop for as long as wanted.

Exit status: 0 all consistent, 3 a violation, 4 void (too few kills landed).
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.crash import damage, loop
from tests.crash.world import Options

if TYPE_CHECKING:
    from collections.abc import Iterator


def _damages(directory: Path, seed: int, each: int) -> Iterator[int]:
    """Spoil one database after another; yield the number of violations of each."""
    for kind in damage.KINDS:
        told: Counter[str] = Counter()
        for number in range(each):
            below = directory / f"{kind}-{number}"
            options = Options.drawn(seed + number, write_buffer=64 << 10)
            outcome = damage.damaged(below, options, kind)
            if outcome is None:
                told["not placed"] += 1
                continue
            told[re.sub(r"batch \d+", "an older batch", outcome.told)] += 1
            for text in outcome.violations:
                print(f"      VIOLATION {kind}, seed {options.seed}: {text}")
            if not outcome.violations:
                shutil.rmtree(below)
            yield len(outcome.violations)
        if each:
            print(f"{kind}: {', '.join(f'{how} {times}' for how, times in told.items())}")


def main() -> int:
    """Run it; print progress and, at the end, what was seen."""
    parser = argparse.ArgumentParser(prog="tests.crash", description=__doc__.splitlines()[0])
    parser.add_argument("--crashes", type=int, default=200, help="kills that must land")
    parser.add_argument("--seed", type=int, default=1, help="of the first episode")
    parser.add_argument("--each", type=int, default=10, help="most kills of one database")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work here; violations stay")
    parser.add_argument(
        "--damages", type=int, default=0, help="then so many of each kind of row 21"
    )
    given = parser.parse_args()
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="leidan-crash-") as place:
        directory = given.keep or Path(place)
        reports = loop.run(directory, given.seed, given.crashes, given.each, print)
        damages = list(_damages(directory, given.seed, given.damages))
    landed: Counter[str] = sum((report.landed for report in reports), Counter())
    violations = sum(len(report.violations) for report in reports) + sum(damages)
    print(
        f"{landed.total()} kills landed in {len(reports)} databases "
        f"({', '.join(f'{name} {times}' for name, times in sorted(landed.items()))}); "
        f"{sum(report.batches for report in reports)} batches; "
        f"{sum(report.lost_tail for report in reports)} lost with torn tails, most "
        f"{max(report.most_lost for report in reports)}; "
        f"{sum(report.behind for report in reports)} databases found behind C; "
        f"{sum(report.missed for report in reports)} kills missed; "
        f"{violations} violations; {time.monotonic() - begun_s:.0f} s"
    )
    if violations:
        return 3
    return 0 if landed.total() >= given.crashes else 4


if __name__ == "__main__":
    sys.exit(main())
