"""T2: real RocksDB in a child process, killed and damaged, with all rows looked at afterwards.

`make test` runs twenty crashes; `python -m tests.crash --crashes 200 --seed 1` as many as wanted.

What runs: the shipped loop, unit of work, overlay, restore and store with their own threads, on
rocksdict and real files. What does not: Kafka. The log is a file whose transactions survive the
process (`world`), so what it does is certain and a kill can stand at any line of the protocol.

What it proves, for kill -9 at any moment:

- What is found is a prefix: rows, L, batch number and changelog offset of one and the same moment;
  never behind what was reported, never ahead of the committed offsets. Every row is compared twice:
  with the changelog up to the database's own offset, and with a plain fold of the input up to L.
- From there the restore ends at C, with every output once, wherever it is killed itself.
- A torn log, a flipped bit, a lost or cut file, a full or failing disk ends in an older prefix or
  with exit 74 and a rebuild; a foreign directory with 78; a held LOCK with waiting, then 74.

What it cannot: lose what the page cache had not written yet in another order than the files were
cut here (a real power cut); say anything of Kafka; find a bug of the fold, which is a chain of
hashes here. The bugs of `planted` must be found, or none of this counts.
"""
