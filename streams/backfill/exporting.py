"""Topics of a broker into an archive, up to ends frozen before the first record is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams import topics
from streams.backfill import frozen, plan
from streams.backfill.archive import Format, Manifest, Writer
from streams.feed import preflight

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from streams.settings import Settings


def export(
    settings: Settings,
    directory: Path,
    format_: Format,
    names: Sequence[str],
    say: Callable[[str], None],
) -> Manifest:
    """Write an archive. ``names``: topics; none: all that a backfill reads.

    Raises UsageError when the directory is not new, BrokerUnreachable, Refused.
    """
    found = preflight.check(settings)
    log = plan.Log(settings, None)
    try:
        wanted = names or [  # the journal first, as a plan asks
            *([topics.JOURNAL] if log.exists(topics.JOURNAL) else []),
            *topics.FOLDED,
            topics.CAMPAIGNS,
        ]
        ranges = {
            topic: [log.bounds(topic, p) for p in range(log.partitions(topic))] for topic in wanted
        }
    finally:
        log.close()
    writer = Writer(directory, format_)
    source = frozen.KafkaSource(settings)
    for topic, bounds in ranges.items():
        for p, (first, end) in enumerate(bounds):
            count = writer.write(topic, p, first, end, frozen.records(source, topic, p, first, end))
            say(f"{topic}[{p}]: {count:,} records of offsets {first}..{end}")
    return writer.finish(found.cluster, found.partitions, found.topic_ids)
