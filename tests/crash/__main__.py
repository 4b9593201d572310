"""`python -m tests.crash --crashes 200 --seed 1`: the crash loop for as long as wanted.

Exit status: 0 all consistent, 3 a violation, 4 void (too few kills landed).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.crash import loop


def main() -> int:
    """Run it; print progress and, at the end, what was seen."""
    parser = argparse.ArgumentParser(prog="tests.crash", description=__doc__.splitlines()[0])
    parser.add_argument("--crashes", type=int, default=200, help="kills that must land")
    parser.add_argument("--seed", type=int, default=1, help="of the first episode")
    parser.add_argument("--each", type=int, default=10, help="most kills of one database")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work here; violations stay")
    given = parser.parse_args()
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="leidan-crash-") as place:
        directory = given.keep or Path(place)
        reports = loop.run(directory, given.seed, given.crashes, given.each, print)
    landed: Counter[str] = sum((report.landed for report in reports), Counter())
    violations = sum(len(report.violations) for report in reports)
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
