"""`fold-journal`: in which order a transaction was folded (schemas/fold-journal.v1.schema.json).

One record per partition and transaction, inside it: with the source topics beside it, a replay says
byte for byte what was said, in the same order. Ours alone, so a bad one is a bug and not bad data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec
import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

WHOLE = -1


class Range(NamedTuple):
    """Records of one topic folded one after another: offsets from `first` to before `next`.

    All readable records between are meant; markers and aborted records take offsets too. A tick
    that was not through with its users is a range without records (`next` is `first`), and `users`
    is how many of them it had, in the order of `Overlay.due`. Else `users` is WHOLE. Where it had
    none because rows were to be dated first, `dated` is the last user of those that were.
    """

    topic: str
    first: Annotated[int, msgspec.Meta(ge=0)]
    next: Annotated[int, msgspec.Meta(ge=0)]
    users: Annotated[int, msgspec.Meta(ge=WHOLE)] = WHOLE
    dated: str = ""


class Folded(msgspec.Struct, frozen=True):
    """What a partition's part of one transaction was folded from, and with which definitions.

    batch: number of its WriteBatch, also in the changelog's meta row. campaigns: the next offset of
    the topic `campaigns` that was known. files: digest of the definitions that came from files.
    muted: output topics that nothing was written to. ranges: in the order they were folded.
    """

    batch: int
    fold_version: int
    campaigns: int
    ranges: tuple[Range, ...]
    files: str = ""
    muted: tuple[str, ...] = ()


class Written(Folded, frozen=True, tag="folded"):
    """The record as it is read."""

    v: Literal[1] = 1


_decode = msgspec.json.Decoder(Written).decode


def encode(folded: Folded) -> bytes:
    """Return the record's value: compact JSON, what has its default left out."""
    value = {
        "type": "folded",
        "v": 1,
        "batch": folded.batch,
        "fold_version": folded.fold_version,
        "campaigns": folded.campaigns,
        "ranges": _listed(folded.ranges),
    }
    if folded.files:
        value["files"] = folded.files
    if folded.muted:
        value["muted"] = folded.muted
    return orjson.dumps(value)


def _listed(ranges: Sequence[Range]) -> list[tuple[str | int, ...]]:
    return [each[: 3 if each.users == WHOLE else 5 if each.dated else 4] for each in ranges]


def decode(value: bytes) -> Folded:
    """Raises msgspec.DecodeError: the journal is ours, so that is a bug or damage."""
    try:
        return _decode(value)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
