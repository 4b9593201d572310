"""One value of a packed run, found by its id and replaced, without decoding the others.

A run is msgpack values end to end, each an array that begins with its id. No text holds what an
array begins with followed by a text's head (it would not be UTF-8), and a value decodes from no
slice but its own. What cannot be found so is None, never guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec

from streams.domain.state import Packed

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T", bound=msgspec.Struct)
_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_ID_LEN = 36  # of every derived id: ids.py


class Found(NamedTuple, Generic[T]):
    """A value of a run, and where it stands in the data."""

    value: T
    begin: int
    end: int


class Splice(Generic[T]):
    """Finds values of one struct, whose first field is a derived id."""

    def __init__(self, of: type[T]) -> None:
        self._decode = msgspec.msgpack.Decoder(of).decode
        blanks = [None] * len(of.__struct_fields__)
        self._head = _encode(blanks)[: -len(blanks)]
        self._next = self._head + _encode("x" * _ID_LEN)[:-_ID_LEN]

    def find(self, run: Packed[T], id_: str) -> Found[T] | None:
        """Return the value with this id; the newest ones are found first."""
        begin = run.data.rfind(self._head + _encode(id_))
        return None if begin < 0 else self._at(run.data, begin)

    def each(self, run: Packed[T], prefix: str) -> Iterator[T]:
        """Yield the values whose ids begin so; the others are passed over."""
        data, start = run.data, self._next + prefix.encode()
        begin = data.find(start)
        while begin >= 0:
            found = self._at(data, begin)
            if found is not None:
                yield found.value
            begin = data.find(start, begin + 1)

    def replaced(self, run: Packed[T], found: Found[T], value: T) -> Packed[T]:
        """Return the run with another value in the place of one found in it."""
        data = run.data
        return Packed(run.count, data[: found.begin] + _encode(value) + data[found.end :])

    def _at(self, data: bytes, begin: int) -> Found[T] | None:
        end = begin
        while end >= 0:
            end = data.find(self._next, end + 1)
            part: Any = data[begin:] if end < 0 else data[begin:end]
            try:
                return Found(self._decode(part), begin, len(data) if end < 0 else end)
            except msgspec.DecodeError:
                continue  # a number looked like the next one's beginning
        return None
