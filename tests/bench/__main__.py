"""`python -m tests.bench`: leidan beside plain Faust on a real broker (make bench).

Exit status: 0 done, 2 no Java or Maven, 3 an engine did not end at the same rewards.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.bench import live
from tests.kafka.cluster import Cluster, KafkaMissing


def main() -> int:
    """Run it, print it, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=live.__doc__.splitlines()[0])
    parser.add_argument(
        "--workload", choices=live.WORKLOADS, default="paid", help="what is folded, see live.py"
    )
    parser.add_argument("--events", type=int, default=60_000, help="compared, every engine")
    parser.add_argument(
        "--sustained-events", type=int, default=200_000, help="leidan alone; 0 leaves it out"
    )
    parser.add_argument(
        "--warm-up-events", type=int, default=200_000, help="before the first round, not counted"
    )
    parser.add_argument("--rounds", type=int, default=3, help="interleaved; medians are printed")
    parser.add_argument("--chaos", default="", help="dup,late,reorder: faults of the input")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything, as one object")
    given = parser.parse_args()
    say = live.stopwatch()
    try:
        with (
            Cluster(lasting=True).start() as cluster,
            tempfile.TemporaryDirectory(prefix="leidan-") as place,
        ):
            bench = live.run(
                cluster,
                Path(place),
                workload=given.workload,
                events=given.events,
                sustained_events=given.sustained_events,
                warm_up_events=given.warm_up_events,
                rounds=given.rounds,
                chaos=tuple(kind for kind in given.chaos.split(",") if kind),
                say=say,
            )
    except KafkaMissing as missing:
        say(str(missing))
        return 2
    except AssertionError as different:
        say(str(different))
        return 3
    for line in live.lines(bench):
        print(line)
    if given.json is not None:
        ratios = {engine: bench.ratio(engine) for engine in live.ENGINES[1:]}
        told = asdict(bench) | {"leidan_times": ratios}
        given.json.write_text(json.dumps(told, indent=2) + "\n")
        say(f"written: {given.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
