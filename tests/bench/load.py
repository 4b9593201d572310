"""`python -m tests.bench.load`: sends a workload at a steady rate, whatever becomes of it.

Open loop: the n-th record is due at begin + n / rate, and a late one never moves those behind it.
In a process of its own, so that neither worker nor reader wait for its interpreter. It tells on
its standard output, as JSON lines, when it begins (monotonic and wall clock, which all processes
of one machine share) and, at its end, by how much it was late itself.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time

from confluent_kafka import Producer

from tests.bench import live

HEAD_START_S = 0.5  # from the word that it begins to the first record
STEP_S = 0.001  # between two looks at the clock


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.load", description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic-prefix", required=True)
    parser.add_argument("--workload", choices=live.WORKLOADS, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="records a second")
    given = parser.parse_args()
    log = live.traffic(live.WORKLOADS[given.workload], given.seed, given.events, ())
    refused: list[str] = []

    def report(error: object, _message: object) -> None:
        if error is not None:
            refused.append(str(error))

    producer = Producer(
        {
            "bootstrap.servers": given.bootstrap_servers,
            "partitioner": "murmur2_random",
            "linger.ms": 5,  # the client's default, named because it is part of what is measured
            "compression.type": "zstd",
            "enable.idempotence": True,
            "on_delivery": report,
            "log_level": 3,
        }
    )
    # Known before the first record is due: a first look for a topic takes as long as a slow order.
    for topic in {given.topic_prefix + record[0] for record in log}:
        producer.list_topics(topic, timeout=10)
    gc.collect()
    gc.freeze()
    begin_s = time.monotonic() + HEAD_START_S
    tell(begin_s=begin_s, begin_ms=(time.time() + HEAD_START_S) * 1_000)
    late_s = []
    for n, (topic, key, value, timestamp_ms) in enumerate(log):
        due_s = begin_s + n / given.rate
        while (now_s := time.monotonic()) < due_s:
            producer.poll(0)
            time.sleep(min(STEP_S, due_s - now_s))
        late_s.append(now_s - due_s)
        producer.produce(given.topic_prefix + topic, value, key, timestamp=timestamp_ms)
    left = producer.flush(60)
    late_s.sort()
    tell(
        left=left,
        refused=refused[:3],
        late_p50_s=late_s[len(late_s) // 2],
        late_p99_s=late_s[len(late_s) * 99 // 100],
        late_max_s=late_s[-1],
    )
    return 1 if left or refused else 0


def tell(**said: object) -> None:
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    sys.exit(main())
