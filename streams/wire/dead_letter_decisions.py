"""`dead-letter-decisions`: which dead letters were replayed or dropped, by whom and why.

A decision is written in the transaction that puts the record back, so a letter is replayed once.
Schema: schemas/dead-letter-decisions.v1.schema.json.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

REPLAYED: Final = "dead-letter.replayed"
DROPPED: Final = "dead-letter.dropped"

Kind = Literal["dead-letter.replayed", "dead-letter.dropped"]
_Place = Annotated[int, msgspec.Meta(ge=0)]


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was decided of one letter, at `letter_partition`@`letter_offset` of `dead-letters`.

    letter_written_ms tells letters apart should that topic be made again. topic, partition, offset:
    where the refused record stands; none where the letter does not say. digest: of its bytes.
    attempt: of the record that was put back; of a drop, of the letter. decided_at: RFC 3339.
    """

    type: Kind
    v: Literal[1]
    letter_partition: _Place
    letter_offset: _Place
    letter_written_ms: _Place
    digest: str
    reason: str
    attempt: Annotated[int, msgspec.Meta(ge=1)]
    who: str
    decided_at: str
    topic: str | None = None
    partition: _Place | None = None
    offset: _Place | None = None
    why: str = ""


_decode = msgspec.json.Decoder(Decision).decode
encode = msgspec.json.Encoder().encode


def key(decision: Decision) -> bytes:
    """Return the record's key: the letter's place."""
    return f"{decision.letter_partition}@{decision.letter_offset}".encode()


def plain(decision: Decision) -> dict[str, Any]:
    """Return it as it is written, for whoever shows it."""
    return dict(msgspec.to_builtins(decision))


def decode(value: bytes) -> Decision:
    """Raises msgspec.DecodeError: the topic is ours, so that is a newer version or damage."""
    try:
        return _decode(value)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
