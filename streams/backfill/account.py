r"""What a backfill has folded and said, by partition: kept in the WriteBatch of the rows it is of.

The digest of a topic is the sum of a 128-bit hash of every output, modulo 2^128. A sum, because in
one partition the outputs of different users follow each other as the units of work happened to be
cut; so any schedule, any kill and any number of processes give the same digest, and the partitions'
digests add up to the topic's. An output left out, doubled or changed by one bit changes it.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.feed.batch import Batch
    from streams.feed.ports import Headers

_MODULUS = 1 << 128
_packed = msgspec.msgpack.Encoder().encode
_number = int.from_bytes
_topic = itemgetter(0)


class Said(msgspec.Struct):
    """The outputs to one topic: how many, and the digest of them."""

    count: int = 0
    digest: str = "0" * 32

    @property
    def number(self) -> int:
        return int(self.digest, 16)


class Account(msgspec.Struct):
    r"""The value of `\0backfill`: JSON. `clock_ms`: timestamp of the newest record folded."""

    v: int = 1
    records: int = 0
    clock_ms: int = 0
    journal: int = 0  # the live batch folded last, in journal order
    file_bytes: int = 0  # of the outputs' file, where one is kept
    outcomes: dict[str, int] = {}
    said: dict[str, Said] = {}

    def encoded(self) -> bytes:
        return msgspec.json.encode(self)


def read(note: bytes | None) -> Account:
    """Return the account of a partition; an empty one before its first unit of work."""
    return Account() if note is None else msgspec.json.decode(note, type=Account)


def element(
    topic: str, key: bytes | None, value: bytes | None, headers: Headers | list[Any]
) -> int:
    """Return the hash of one output: name, key, value and headers, without ambiguity.

    Of their MessagePack, which knows text from bytes and either from nothing, and is one call.
    """
    return _number(blake2b(_packed((topic, key, value, headers))).digest(), "little") % _MODULUS


class Ledger:
    """Adds units of work to an account."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._sums = Counter({topic: said.number for topic, said in account.said.items()})
        self._counts = Counter({topic: said.count for topic, said in account.said.items()})
        self._outcomes = Counter(account.outcomes)

    def add(self, batches: Iterable[Batch]) -> Account:
        """Take down what these batches were and said; return the account with it."""
        account, sums, counts = self.account, self._sums, self._counts
        for batch in batches:
            records = batch.records
            account.records += len(records)
            if records:
                account.clock_ms = max(account.clock_ms, records[-1].recorded_at_ms)
            self._outcomes.update(batch.outcomes)
            counts.update(map(_topic, batch.outgoing))
            for output in batch.outgoing:  # `element`, spelt out: it is a tenth of a plain order
                sums[output[0]] += _number(blake2b(_packed(output[:4])).digest(), "little")
        account.outcomes = dict(self._outcomes)
        account.said = {
            topic: Said(counts[topic], f"{number % _MODULUS:032x}")
            for topic, number in sorted(sums.items())
        }
        return account


def total(accounts: Iterable[Account]) -> Account:
    """Return the sum of all partitions' accounts."""
    whole = Account(outcomes={}, said={})
    sums: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for account in accounts:
        whole.records += account.records
        whole.clock_ms = max(whole.clock_ms, account.clock_ms)
        outcomes.update(account.outcomes)
        for topic, said in account.said.items():
            sums[topic] = (sums[topic] + said.number) % _MODULUS
            counts[topic] += said.count
    whole.outcomes = dict(sorted(outcomes.items()))
    whole.said = {t: Said(counts[t], f"{sums[t]:032x}") for t in sorted(sums)}
    return whole
