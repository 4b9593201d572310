"""What our databases hold: states of users and pools, of this row schema and fold, and whose."""

from __future__ import annotations

from streams.domain.fold import FOLD_VERSION
from streams.store.meta import Identity
from streams.store.overlay import Codec
from streams.wire import rows

CODEC: Codec[rows.State] = Codec(
    rows.new, rows.decode, rows.encode, rows.due_ms, rows.due_of, rows.due_part
)


def identity(app: str, cluster: str, partitions: int, topic_ids: dict[str, str]) -> Identity:
    """Return whose rows they are that this version writes; each partition's says which it is."""
    return Identity(
        app=app,
        cluster=cluster,
        partition=-1,  # replaced for each database
        partitions=partitions,
        topics=topic_ids,
        row_schema=rows.ROW_SCHEMA,
        fold_version=FOLD_VERSION,
    )
