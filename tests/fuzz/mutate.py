"""Spoilt bytes from good ones: by the byte, by the token and by the tree of a JSON value.

Blind mutation with a memory: an input that ended in a new way (`Mutator.keep`) becomes an example
itself, so that the second accident can build on the first. Same seed, same inputs.
"""

from __future__ import annotations

import copy
import json
import random
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_KEPT = 1_000
"""Examples won on the way; beyond it the oldest of them makes room."""

MOST_BYTES = 64 << 10
"""Of one input. Larger ones are judged by their length alone, which has tests of its own."""

NUMBERS = (
    *(str(number).encode() for number in (
        0, 1, -1, 2, 255, 256, 2**15, 2**31 - 1, 2**31, 2**32, 2**53 - 1, 2**53, 2**53 + 1,
        2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**53), -(2**63), -(2**63) - 1, 10**30, 366, 1000,
    )),
    b"-0", b"00", b"01", b"1e5", b"1E+2", b"1.0", b"0.1", b"1e999", b"-1e999", b"1e-999", b"NaN",
    b"Infinity", b"-Infinity", b"0x10", b"1_000", b"9" * 400, b"9" * 5_000, b"0." + b"0" * 400,
)  # fmt: skip
TOKENS = (
    *NUMBERS,
    b"null", b"true", b"false", b'""', b"{}", b"[]", b"[[]]", b'{"":{}}', b",", b":", b'"', b"\\",
    b'"\\ud800"', b'"\\udc00\\ud800"', b"\\u0000", b'"\\u0000"', b"\\n", b'"\\u001f"', b"\x00",
    b"\x7f", b"\xc2\x80", b"\xc2", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff\xfe",
    b"\xef\xbb\xbf", b"\xf0\x9f\x8e\x81", b"\xe2\x80\xa8", b"\r\n", b"\n", b"\t", b"//", b"/* */",
    b'"type":"order.paid",', b'"v":2,', b'"user_id":"",', b'"user_id":null,', b'"extra":1,',
    b'"2026-02-30T00:00:00Z"', b'"0001-01-01T00:00:00+14:00"', b'"9999-12-31T23:59:59-14:00"',
    b'"9999-12-31T23:00:00Z"', b'"2999-12-31T23:59:59.999Z"', b'"2999-12-31"',
    b'"2026-03-02T24:00:00Z"', b'"2026-03-02T23:59:60Z"', b'"2026-03-02T12:00:00"',
    b'"2026-03-02T12:00:00.9999999+08:00"', b'"2026-03-02 12:00:00Z"', b'"9999-12-31"',
    b'"0001-01-01"', b'"../../etc/localtime"', b'"Etc/GMT+12"', b'"Pacific/Apia"', b'"a b"',
    b'"' + b"a" * 128 + b'"', b'"' + b"a" * 129 + b'"', b'"' + b"\xc3\xa9" * 128 + b'"',
    b"[" * 300, b"]" * 300, b"[" * 2_000, b'{"a":' * 300, b'{"a":' * 1_100, b"\xc1" * 3,
    b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff",
    b"\xcf" + b"\xff" * 8, b"\xd3\x80" + b"\x00" * 7, b"\x91" * 400,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**40, 0.5,
    1.0, -0.0, 1e308, float("nan"), float("inf"), "", " ", "a", "0", "1", "a" * 128, "a" * 129,
    "\x00", "\x1f", "\x7f", "\x85", "é", "e\u0301", "\U0001f381", "\ud800", "line\nfeed", [], {},
    [None], [[]], {"": None}, [1, 2], {"a": 1}, "2026-03-02T12:00:00Z", "2026-03-02T12:00:00",
    "9999-12-31T23:00:00Z", "2999-12-31T23:59:59.999Z", "2999-12-31", "1970-01-01",
    "9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00+23:59", "2000-01-01T00:00:00Z",
    "1999-12-31T23:59:59.999Z", "2026-13-01T00:00:00Z", "2026-03-02", "9999-12-31", "0001-01-01",
    "00:00", "23:59", "24:00", "UTC", "Asia/Shanghai", "America/New_York", "Pacific/Kiritimati",
    "CNY", "cny", "USD", "every_n", "fixed", "from_claim", "auto", "debt", 1000, 366, 365, 1001,
)  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_STRING = re.compile(rb'"[^"\\]*"')
_PLAIN = json.JSONEncoder(ensure_ascii=True).encode  # writes a lone surrogate as an escape
_UNICODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Mutator:
    """``next()`` gives one spoilt input after another; the first ones are the examples as given."""

    def __init__(self, seed: int, examples: Sequence[bytes], *, trees: bool = True) -> None:
        """``trees``: the examples are JSON, and half of the accidents happen to their trees."""
        assert examples, "nothing to begin from"
        self._random = random.Random(seed)  # noqa: S311 - no secret is made of it
        self._examples = list(examples)
        self._given = len(self._examples)
        self._whole = list(examples)  # each is tried unspoilt once
        self._good: list[bytes] = []
        self._trees = trees
        self._oldest = 0
        self._accidents: tuple[Callable[[bytes], bytes], ...] = (
            self._flip, self._flip, self._byte, self._cut, self._without, self._twice, self._splice,
            self._token, self._token, self._number, self._number, self._number, self._number,
            self._number, self._text, self._text, self._nested, self._framed, self._bad_text,
        )  # fmt: skip

    def next(self) -> bytes:
        """Return the next input, of at most MOST_BYTES."""
        if self._whole:
            return self._whole.pop()
        rng = self._random
        value = self._pick()
        if self._trees and rng.random() < 0.6:
            value = self._tree(value)
            if rng.random() < 0.8:
                return value[:MOST_BYTES]
        for _ in range(1 + int(rng.expovariate(1.2))):
            value = self._accidents[int(rng.random() * len(self._accidents))](value)
        return value[:MOST_BYTES]

    def keep(self, value: bytes, *, accepted: bool) -> None:
        """Take an input among the examples: accepted, or ended in a way not seen before.

        Two inputs of three are made from accepted ones, or hardly any would come through.
        """
        if accepted:
            if len(self._good) < MOST_KEPT:
                self._good.append(value)
            else:
                self._good[int(self._random.random() * MOST_KEPT)] = value
        elif len(self._examples) < self._given + MOST_KEPT:
            self._examples.append(value)
        else:
            self._examples[self._given + self._oldest % MOST_KEPT] = value
            self._oldest += 1

    def _pick(self) -> bytes:
        rng = self._random.random
        pool = self._good if self._good and rng() < 0.66 else self._examples
        return pool[int(rng() * len(pool))]

    def _at(self, value: bytes) -> int:
        return int(self._random.random() * (len(value) + 1))

    # --- by the byte ---------------------------------------------------------------------------

    def _flip(self, value: bytes) -> bytes:
        if not value:
            return b"\x00"
        at = int(self._random.random() * len(value))
        flipped = value[at] ^ (1 << int(self._random.random() * 8))
        return value[:at] + bytes((flipped,)) + value[at + 1 :]

    def _byte(self, value: bytes) -> bytes:
        at = self._at(value)
        return value[:at] + bytes((int(self._random.random() * 256),)) + value[at + 1 :]

    def _cut(self, value: bytes) -> bytes:
        return value[: self._at(value)]

    def _without(self, value: bytes) -> bytes:
        at = self._at(value)
        return value[:at] + value[at + 1 + int(self._random.expovariate(0.1)) :]

    def _twice(self, value: bytes) -> bytes:
        at, to = sorted((self._at(value), self._at(value)))
        times = 2 if self._random.random() < 0.9 else 50
        return value[:at] + value[at:to] * times + value[to:]

    def _splice(self, value: bytes) -> bytes:
        other = self._pick()
        return value[: self._at(value)] + other[self._at(other) :]

    # --- by the token --------------------------------------------------------------------------

    def _token(self, value: bytes) -> bytes:
        at = self._at(value)
        token = TOKENS[int(self._random.random() * len(TOKENS))]
        over = len(token) if self._random.random() < 0.3 else 0
        return value[:at] + token + value[at + over :]

    def _replaced(self, value: bytes, pattern: re.Pattern[bytes], by: bytes) -> bytes:
        """Replace the first match behind a random place, or the first of all."""
        found = pattern.search(value, self._at(value)) or pattern.search(value)
        return value[: found.start()] + by + value[found.end() :] if found else value + by

    def _number(self, value: bytes) -> bytes:
        return self._replaced(value, _NUMBER, NUMBERS[int(self._random.random() * len(NUMBERS))])

    def _text(self, value: bytes) -> bytes:
        return self._replaced(value, _STRING, TOKENS[int(self._random.random() * len(TOKENS))])

    def _nested(self, value: bytes) -> bytes:
        depth = (1, 2, 20, 255, 256, 257, 999, 1_200)[int(self._random.random() * 8)]
        if self._random.random() < 0.5:
            return b"[" * depth + value + b"]" * depth
        inner = b"[" * depth + b"]" * depth
        return self._replaced(value, _NUMBER, inner)

    def _framed(self, value: bytes) -> bytes:
        return b"\x00" + self._random.randbytes(4) + value

    def _bad_text(self, value: bytes) -> bytes:
        at = self._at(value)
        bad = (b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f", b"\x80", b"\xed\xbf\xbf")
        return value[:at] + bad[int(self._random.random() * len(bad))] + value[at:]

    # --- by the tree ---------------------------------------------------------------------------

    def _tree(self, value: bytes) -> bytes:
        """Change one to three places of a JSON value; bytes that are none are spoilt as bytes."""
        try:
            tree = json.loads(value)
        except (ValueError, RecursionError):
            return self._token(value)
        rng = self._random
        for _ in range(1 + int(rng.expovariate(1.5))):
            tree = self._changed(tree)
        try:
            text = (_PLAIN if rng.random() < 0.5 else _UNICODE)(tree)
            data = text.encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):  # more digits, or depth, than Python writes
            return self._token(value)
        return self._twin_key(data) if rng.random() < 0.1 else data

    def _changed(self, tree: Any) -> Any:
        """Change one place, every level of the tree as likely as the next."""
        rng = self._random
        if not tree or not isinstance(tree, (dict, list)) or rng.random() < 0.02:
            return self._value(tree)
        place: Any = tree
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = keys[int(rng.random() * len(keys))]
            below = place[key]
            if below and isinstance(below, (dict, list)) and rng.random() < 0.75:
                place = below
                continue
            break
        lot = rng.random()
        if lot < 0.55:
            place[key] = self._value(below)
        elif lot < 0.70:
            del place[key]
        elif lot < 0.80 and isinstance(place, dict):
            place[f"{key}x" if lot < 0.75 else ""] = place.pop(key)
        elif lot < 0.90 and isinstance(place, list):
            place.extend([below] * (1 if lot < 0.88 else 400))
        else:
            place[key] = [below] if lot < 0.95 else {"": below}
        return tree

    def _value(self, old: Any) -> Any:
        rng = self._random
        if type(old) is int and rng.random() < 0.5:
            return old + rng.choice((-1, 1, 1_000, -1_000, 2**31, 2**53))
        if isinstance(old, str) and rng.random() < 0.3:
            return old + rng.choice(("x", "\x00", "\n", "é", "0", " "))
        value = VALUES[int(rng.random() * len(VALUES))]
        return copy.deepcopy(value) if isinstance(value, (dict, list)) else value

    def _twin_key(self, data: bytes) -> bytes:
        """Give one object the same key twice, with another value first."""
        found = re.search(rb'\{("[^"\\]*"):', data[self._at(data) :]) or re.search(
            rb'\{("[^"\\]*"):', data
        )
        if not found:
            return data
        token = TOKENS[int(self._random.random() * len(TOKENS))]
        at = data.find(found[0])
        return data[: at + 1] + found[1] + b":" + token + b"," + data[at + 1 :]
