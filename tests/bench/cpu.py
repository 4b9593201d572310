"""`python -m tests.bench.cpu`: processor time an event takes in one thread, phase by phase.

No broker and no disk: batches of real traffic are folded into overlays, encoded and handed to a
producer that has nobody to send to. Thread time, not wall time, so a busy machine only makes it
coarser. Both ways of folding, beside each other, over the same batches.
"""

from __future__ import annotations

import argparse
import gc
import sys
from time import thread_time
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from streams import native
from streams.agents.folding import fold_batch, fold_compiled
from streams.domain.registry import Campaigns
from streams.feed.batch import Batch
from streams.feed.ports import Record
from streams.store.overlay import Codec, Overlay, StateCache
from streams.wire import orders, outputs, rows
from streams.wire.campaigns import read_file
from tests.bench import live
from tests.feed.memory import MemoryStore

if TYPE_CHECKING:
    from streams.native.plan import Plans

CODEC = Codec(rows.new, rows.decode, rows.encode)
PHASES = ("fold", "encode", "produce", "keep")


def measure(
    records: list[Record], campaigns: Campaigns, plans: Plans | None, unit: int
) -> dict[str, float]:
    """Return seconds of this thread by phase; "fold" is decode, read and fold."""
    store, cache = MemoryStore().open(0), StateCache()
    producer = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0,
                         "queue.buffering.max.messages": 500_000})  # fmt: skip
    spent = dict.fromkeys(PHASES, 0.0)
    for begin in range(0, len(records), unit):
        overlay = Overlay(store, CODEC, cache)
        part = records[begin : begin + unit]
        batch = Batch("orders", 0, part, overlay, campaigns, outputs.encode)
        at_s = [thread_time()]
        if plans is None:
            fold_batch(batch, orders.decode)
        else:
            fold_compiled(batch, orders.decode, plans)
        at_s.append(thread_time())
        encoded = overlay.encoded()
        at_s.append(thread_time())
        for topic, key, value, headers, _ in batch.outgoing:
            producer.produce(topic, value, key, -1, None, None, 0, headers)
        for row_key, row in encoded.items():
            producer.produce("changelog", row, row_key, 0, None, None, 0, [])
        at_s.append(thread_time())
        overlay.kept()
        at_s.append(thread_time())
        store.write(encoded, next_offsets=None, changelog=0, batch=begin)
        for phase, since_s, until_s in zip(PHASES, at_s, at_s[1:], strict=False):
            spent[phase] += until_s - since_s
        producer.purge()
        producer.poll(0)
    return spent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cpu")
    parser.add_argument("--workload", choices=live.WORKLOADS, default="paid")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--unit", type=int, default=2_000, help="records in a unit of work")
    given = parser.parse_args()
    work = live.WORKLOADS[given.workload]
    campaigns = Campaigns.of(read_file(work.campaign))
    records = [
        Record(topic, 0, offset, key, value, [], at_ms)
        for offset, (topic, key, value, at_ms) in enumerate(
            live.traffic(work, 42, given.events, ())
        )
        if topic == "orders"
    ]
    gc.collect()
    gc.freeze()
    gc.set_threshold(300_000, 20, 100)  # as a worker has it
    plans = native.plans()
    ways = [("in Python", None)] + ([("compiled", plans)] if plans else [])
    print(
        f"{len(records)} orders of {given.workload}, units of {given.unit}; us/event of one thread"
    )
    for name, way in ways:
        spent = measure(records, campaigns, way, given.unit)
        each = {phase: seconds / len(records) * 1e6 for phase, seconds in spent.items()}
        told = "  ".join(f"{phase} {us:5.1f}" for phase, us in each.items())
        print(f"  {name:10s} {told}  all {sum(each.values()):5.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
