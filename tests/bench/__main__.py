"""`python -m tests.bench`: leidan beside its peers and its limits on a real broker (make bench).

Exit status: 0 done, 2 no Java or Maven, 3 void: an engine did not end at the same
rewards, or did not end, or there was nothing to time.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.bench import legs, live
from tests.bench.broker import broker
from tests.bench.engines import registry


def main() -> int:
    """Run it, print it, and write its legs as JSON where asked."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=live.__doc__.splitlines()[0])
    parser.add_argument(
        "--workload", choices=live.WORKLOADS, default="paid", help="what is folded, see work.py"
    )
    parser.add_argument(
        "--engines",
        default="",
        help=f"of {','.join(registry())}; all that can run here, without it",
    )
    parser.add_argument("--events", type=int, default=60_000, help="compared, every engine")
    parser.add_argument(
        "--sustained-events", type=int, default=200_000, help="the fast ones again; 0 leaves it out"
    )
    parser.add_argument(
        "--warm-up-events", type=int, default=600_000, help="before the first round, not counted"
    )
    parser.add_argument("--rounds", type=int, default=3, help="interleaved; medians are printed")
    parser.add_argument("--chaos", default="", help="dup,late,reorder: faults of the input")
    parser.add_argument("--seed", type=int, default=live.SEED, help="of the traffic")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="one line a leg is added to it (legs.py)"
    )
    given = parser.parse_args()
    engines = split(given.engines)
    if unknown := set(engines) - registry().keys():
        parser.error(f"no engine is called {', '.join(sorted(unknown))}: {', '.join(registry())}")
    if engines and "leidan" not in engines:
        parser.error("--engines needs leidan: every ratio is to it")
    for name in engines:
        if lacks := registry()[name].lacks(given.workload):
            parser.error(f"{name} cannot run: {lacks}")
    if given.json is not None and not given.json.parent.is_dir():
        parser.error(f"--json: there is no folder {given.json.parent}")
    say = live.stopwatch()
    with broker(say) as (cluster, place):
        bench = live.run(
            cluster,
            place,
            workload=given.workload,
            engines=engines,
            events=given.events,
            sustained_events=given.sustained_events,
            warm_up_events=given.warm_up_events,
            rounds=given.rounds,
            chaos=split(given.chaos),
            seed=given.seed,
            say=say,
            kept=lambda leg: legs.append(given.json, leg) if given.json else None,
        )
    for line in live.lines(bench):
        print(line)
    return 0


def split(words: str) -> tuple[str, ...]:
    return tuple(word for word in words.split(",") if word)


if __name__ == "__main__":
    sys.exit(main())
