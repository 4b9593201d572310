"""The fault matrix (reliability.md 8) on real brokers: `rowNN` in a test's id is its row there.

| To bring faults about | |
|---|---|
| `runs` | one fault on one test's own topics: the fixture `run` |
| `network`, `proxy` | the same behind a proxy that reads Kafka's framing, and what it can do |
| `storm`, `victim`, `kill_round`, `kills` | workers that die at every line, round after round |
| `fleet`, `nemesis`, `soak`, `record` | everything at once for hours, and what that has proved |
| `steady` | traffic that goes on meanwhile |

| To see what came of it | |
|---|---|
| `healing` | how long partitions stood still |
| `live` | a reader that checks what it is given while the faults happen |
| `downstream` | the reference reader of the ledger, which is killed too |

At the end it is always `tests/kafka/aftermath.py` that gathers and `tests/checker` that judges.
"""
