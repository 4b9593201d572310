"""What is fuzzed: each decoder with its examples, the refusals it may end with, and what follows.

`judge(value)` returns (how it ended, accepted) and raises for whatever the decoder must not raise.
An accepted input goes on to where it goes in a worker: the fold, its outputs, its row.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.fuzz import ours, world

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Judge = Callable[[bytes], tuple[str, bool]]


class Target(NamedTuple):
    """One decoder. ``trees``: its examples are JSON."""

    name: str
    examples: Sequence[bytes]
    judge: Judge
    trees: bool = True


def targets(directory: Path) -> dict[str, Target]:
    """Return every target by name; files are written below ``directory``."""
    made: list[Target] = []
    for topic in world.TOPICS:
        records = world.Requests() if topic == "draw-requests" else world.Records(topic)
        made.append(Target(topic, records.examples, records.judge))
    definitions = world.Definitions()
    made.append(Target("campaigns", definitions.examples, definitions.judge))
    for maker in (ours.CampaignFiles, ours.Years, ours.Configurations):
        files: Any = maker(directory)
        made.append(Target(files.name, files.examples, files.judge, files.trees))
    made += [
        Target("json-lines", definitions.examples, ours.lines_of_json),
        Target("rows", ours.row_examples(), ours.row, trees=False),
        Target("metas", ours.meta_examples(), ours.metas),
        Target("dead-letter-headers", ours.header_examples(), ours.headers, trees=False),
    ]
    return {target.name: target for target in made}


def names() -> list[str]:
    """Return the names of all targets."""
    with tempfile.TemporaryDirectory() as directory:
        return list(targets(Path(directory)))
