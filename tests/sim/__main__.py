"""Run seeds, one seed again, or the planted bugs.

--seeds 500 --first 0 [--jobs 2] [--json FILE], or --seed N [--verbose], or --planted
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from tests.sim.run import Total, explain, run_many, run_seed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--verbose", action="store_true", help="its whole schedule")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--planted", action="store_true", help="how many seeds catch each bug")
    given = parser.parse_args()
    if given.planted:
        from tests.sim.planted import table  # noqa: PLC0415 - only here

        return table()
    if given.seed is not None:
        ended = run_seed(given.seed)
        print(explain(ended, len(ended.journal) if given.verbose else 40))
        return int(bool(ended.violations))
    started_s, told = time.monotonic(), [0]

    def tell(total: Total) -> None:
        print(
            f"\r{total.seeds} of {given.seeds} seeds, {len(total.failed)} failed, "
            f"{time.monotonic() - started_s:.0f} s",
            end="",
            file=sys.stderr,
        )
        for ended in total.failed[told[0] :]:
            print(f"\n{explain(ended)}", file=sys.stderr)
        told[0] = len(total.failed)

    total = run_many(given.first, given.seeds, given.jobs, tell)
    print(file=sys.stderr)
    found = {**total.as_json(), "seconds": round(time.monotonic() - started_s, 1)}
    for name, value in found.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, count in value.items():
                print(f"  {key}: {count}")
        else:
            print(f"{name}: {value}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    return int(bool(total.failed))


if __name__ == "__main__":
    sys.exit(main())
