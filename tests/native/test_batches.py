"""A batch through the compiled path and one through Python alone: the same in all that is kept."""

from __future__ import annotations

from collections import Counter

import pytest

from streams import native
from streams.agents.folding import fold_batch, fold_compiled
from streams.domain import state as states
from streams.domain.registry import Campaigns
from streams.feed.batch import Batch
from streams.feed.ports import Outgoing, Record
from streams.store.overlay import Codec, Overlay, StateCache
from streams.wire import orders, outputs, rows
from streams.wire.campaigns import read_file
from tests.bench import live
from tests.feed.memory import MemoryStore
from tests.native.beside import needs_native

pytestmark = needs_native
CODEC = Codec(states.new, rows.decode_row, rows.encode_row)
SPOILT = (b"", None, b"{", b'{"type":"order.paid"}', b"\xff")


def traffic(workload: str) -> list[Record]:
    """Orders late, twice and out of turn, and every fiftieth of them no order at all."""
    sent = live.traffic(live.WORKLOADS[workload], 5, 4_000, ("dup", "late", "reorder"))
    records = [
        Record("orders", 2, offset, key, value, [("traceparent", b"00")], at_ms)
        for offset, (topic, key, value, at_ms) in enumerate(sent)
        if topic == "orders"
    ]
    for n in range(0, len(records), 50):
        key = (records[n].key, None, b"\0meta")[n // 50 % 3]
        records[n] = records[n]._replace(value=SPOILT[n // 50 % len(SPOILT)], key=key)
    return records


def folded(
    records: list[Record], campaigns: Campaigns, plans, *, packed: bool = False
) -> tuple[list, list[Overlay]]:
    """Fold in batches of 300, each on the one before, which is half the time under way."""
    store = MemoryStore().open(2)
    cache: StateCache = StateCache(capacity=50)
    below = None
    batches = []
    overlays = []
    for begin in range(0, len(records), 300):
        overlay = Overlay(store, CODEC, cache, below)
        part = records[begin : begin + 300]
        batch = Batch("orders", 2, part, overlay, campaigns, outputs.encode, packed=packed)
        if plans is None:
            fold_batch(batch, orders.decode)
        else:
            fold_compiled(batch, orders.decode, plans)
        store.write(overlay.encoded(), next_offsets=None, changelog=0, batch=begin)
        overlay.kept()
        below = overlay if begin % 600 else None
        batches.append(batch)
        overlays.append(overlay)
    return batches, overlays


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("workload", live.WORKLOADS)
def test_batches_are_equal(workload, packed):
    campaigns = Campaigns.of(read_file(live.WORKLOADS[workload].campaign))
    records = traffic(workload)
    python, plain = folded(records, campaigns, None)
    compiled, fast = folded(records, campaigns, native.plans(), packed=packed)
    for one, other in zip(python, compiled, strict=True):
        assert one.outgoing == other.outgoing
        assert one.dead == other.dead
        for counts in ("outcomes", "reasons", "outputs", "ledger", "tasks", "posted"):
            assert getattr(one, counts) == getattr(other, counts)
        assert one.at is other.at is None
    for one, other in zip(plain, fast, strict=True):
        assert list(one.encoded().items()) == list(other.encoded().items())
    whole = sum((batch.outcomes for batch in python), Counter())
    assert whole["applied"] > 1_000
    assert whole["rejected"] > 10


def test_a_packed_output_is_read_as_the_tuple_it_stands_for():
    campaigns = Campaigns.of(read_file(live.WORKLOADS["paid"].campaign))
    records = [record for record in traffic("paid") if record.value and record.key][:300]
    ((plain,), _), ((batch,), _) = (
        folded(records, campaigns, native.plans(), packed=packed) for packed in (False, True)
    )
    assert {type(said) for said in plain.outgoing} == {Outgoing}
    read = 0
    for said, packed in zip(plain.outgoing, batch.outgoing, strict=True):
        if type(packed) is Outgoing:
            continue  # Python's own
        read += 1
        topic, key, value, headers, partition = packed
        assert (topic, key, value, headers, partition) == said == packed
        assert (packed.topic, packed.headers, packed[2], packed[:4]) == (
            said.topic, said.headers, said[2], said[:4]
        )  # fmt: skip
        assert (len(packed), repr(packed), packed != said) == (5, repr(said), False)
        assert packed != said._replace(key=b"another")
    assert read > 200
    with pytest.raises(AttributeError):
        _ = batch.outgoing[0].nothing


def test_python_and_compiled_batches_share_one_overlay():
    """Claims go through Python, orders through the extension, in one unit of work."""
    campaigns = Campaigns.of(read_file(live.WORKLOADS["paid"].campaign))
    records = [record for record in traffic("paid") if record.value and record.key][:600]
    python, (plain,) = folded_by_turns(records, campaigns, None)
    compiled, (fast,) = folded_by_turns(records, campaigns, native.plans())
    assert [b.outgoing for b in python] == [b.outgoing for b in compiled]
    assert plain.encoded() == fast.encoded()


def folded_by_turns(records, campaigns, plans):
    overlay = Overlay(MemoryStore().open(2), CODEC, StateCache())
    batches = []
    for n, begin in enumerate(range(0, len(records), 60)):
        batch = Batch("orders", 2, records[begin : begin + 60], overlay, campaigns, outputs.encode)
        if plans is None or n % 2:
            fold_batch(batch, orders.decode)
        else:
            fold_compiled(batch, orders.decode, plans)
        batches.append(batch)
    return batches, [overlay]
