"""`python -m tests.fuzz --inputs 1000000 --seed 1 [--decoder orders] [--json FILE]`.

Ctrl-C ends it with the figures so far.

Exit status: 0 no crash and no hang, 1 some, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz.run import fuzz
from tests.fuzz.targets import names, targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fuzz.run import Figures


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Spoilt input for every decoder."
    )
    parser.add_argument("--inputs", type=int, default=20_000, help="for each decoder (20,000)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same inputs (1)")
    parser.add_argument("--decoder", action="append", choices=names(), help="only this one; again")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure there")
    given = parser.parse_args(argv)
    found: list[Figures] = []
    with tempfile.TemporaryDirectory() as directory:
        for name, target in targets(Path(directory)).items():
            if given.decoder and name not in given.decoder:
                continue
            found.append(fuzz(target, given.inputs, given.seed, _tell))
            _tell(line_of(found[-1]))
            if given.json:
                whole = {"seed": given.seed, "decoders": [f.as_object() for f in found]}
                given.json.write_text(json.dumps(whole, indent=1))
            if found[-1].interrupted:
                break
    print(table(found))
    for figures in found:
        for crash in figures.crashes:
            print(f"{figures.decoder}: {crash['at']}: {crash['said']}\n  input {crash['input']}")
    return int(any(f.crashed for f in found))


HEAD = (
    f"{'decoder':<20}{'inputs':>11}{'accepted':>10}{'crashes':>9}"
    f"{'hangs':>7}{'slowest':>11}{'time':>9}"
)


def line_of(figures: Figures) -> str:
    return (
        f"{figures.decoder:<20}{figures.inputs:>11,}{figures.accepted:>10,}{figures.crashed:>9,}"
        f"{figures.hangs:>7}{figures.slowest_ms:>8.1f} ms{figures.seconds:>7.0f} s"
    )


def table(found: Sequence[Figures]) -> str:
    """Return the figures, and below each decoder how its inputs ended."""
    lines = [HEAD]
    for figures in found:
        lines.append(line_of(figures))
        most = figures.outcomes.most_common(14)
        lines.append("    " + ", ".join(f"{name} {count:,}" for name, count in most))
    return "\n".join(lines)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # a refused definition is logged as an error: not here
    sys.exit(main())
