"""The loop: spoil, decode, count; a crash or a hang is kept with its bytes.

A crash is any exception but the decoder's documented refusal. A hang is more than HANG_S of
processor time for one input: a machine that is busy elsewhere must not look like one.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
import time
import traceback
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.fuzz.mutate import Mutator

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.targets import Target

HANG_S = 1.0
STUCK_S = 120.0  # in C, where no signal handler runs: show where, and end
MOST_SHOWN = 20  # crashes kept; all are counted
MOST_BYTES_SHOWN = 8_192
TELL_EVERY_S = 10.0
MOST_ENDINGS = 20_000


class Hang(Exception):
    """One input took longer than HANG_S."""


@dataclass
class Figures:
    """What came of one decoder's inputs."""

    decoder: str
    inputs: int = 0
    accepted: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: list[dict[str, str]] = field(default_factory=list)
    crashed: int = 0
    hangs: int = 0
    slowest_ms: float = 0.0
    seconds: float = 0.0
    interrupted: bool = False

    def as_object(self) -> dict[str, Any]:
        names = [name for name in self.__dataclass_fields__ if name != "outcomes"]
        return {n: getattr(self, n) for n in names} | {"outcomes": dict(self.outcomes)}


def fuzz(
    target: Target, inputs: int, seed: int, tell: Callable[[str], None] = lambda _: None
) -> Figures:
    """Give `target` so many inputs; the same seed gives the same ones for the same code."""
    mutator = Mutator(seed ^ zlib.crc32(target.name.encode()), target.examples, trees=target.trees)
    found = Figures(target.name)
    endings: set[str] = set()
    began_s = told_s = time.monotonic()
    before = signal.signal(signal.SIGPROF, _hang)
    judge, setitimer, clock = target.judge, signal.setitimer, time.thread_time
    try:
        while found.inputs < inputs:
            if found.inputs % 512 == 0:
                faulthandler.dump_traceback_later(STUCK_S, exit=True, file=sys.__stderr__)
                now_s = time.monotonic()
                if now_s - told_s > TELL_EVERY_S:
                    told_s = now_s
                    tell(f"{target.name}: {found.inputs:,} of {inputs:,}, {found.crashed} crashes")
            value = mutator.next()
            found.inputs += 1
            started_s = clock()
            try:
                setitimer(signal.ITIMER_PROF, HANG_S)
                try:
                    ending, accepted = judge(value)
                finally:
                    setitimer(signal.ITIMER_PROF, 0)
            except Hang as hang:
                found.hangs += 1
                ending, accepted = _keep(found, value, hang), False
            except Exception as error:  # noqa: BLE001 - what the fuzzer looks for
                ending, accepted = _keep(found, value, error), False
            spent_ms = (clock() - started_s) * 1_000
            found.slowest_ms = max(found.slowest_ms, spent_ms)
            found.outcomes[ending.partition(": ")[0]] += 1
            found.accepted += accepted
            if accepted and (found.inputs <= len(target.examples) or found.accepted % 16 == 0):
                mutator.keep(value, accepted=True)
            elif ending not in endings and len(endings) < MOST_ENDINGS:
                endings.add(ending)
                mutator.keep(value, accepted=False)
    except KeyboardInterrupt:  # what was found so far is worth telling
        found.interrupted = True
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        faulthandler.cancel_dump_traceback_later()
    found.seconds = round(time.monotonic() - began_s, 1)
    found.slowest_ms = round(found.slowest_ms, 1)
    return found


def _hang(_number: int, _frame: object) -> None:
    raise Hang


def _keep(found: Figures, value: bytes, error: BaseException) -> str:
    """Note a crash; one of each place in the code, so that the first does not hide the second."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/streams/" in f.filename] or frames
    at = f"{ours[-1].filename.rpartition('/streams/')[2]}:{ours[-1].lineno}" if ours else "?"
    ending = f"CRASH {type(error).__name__} {at}"
    found.crashed += 1
    if len(found.crashes) < MOST_SHOWN and ending not in {c["at"] for c in found.crashes}:
        found.crashes.append(
            {"at": ending, "said": str(error)[:300], "input": value[:MOST_BYTES_SHOWN].hex()}
        )
    return ending
