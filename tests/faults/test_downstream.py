"""Who reads the ledger is told entries twice when it dies, and pays each once all the same."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from streams.traffic import Traffic
from tests.faults.downstream import amount
from tests.kafka.harness import dice, wait_until
from tests.kafka.workers import Process

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.runs import Run


def test_row28_a_reader_killed_before_its_commit_has_each_effect_once_per_event_id(
    run: Run, tmp_path: Path
) -> None:
    topics, rolls, book = run.create(), dice("row28"), tmp_path / "book.db"
    topics.send(Traffic(28, 200, 2_500, ("dup", "late", "reorder")))
    run.drained_and_stopped(run.worker())
    ledger = [json.loads(seen.value or b"null") for seen in topics.read("rewards")]
    again = {entry["reward_id"] for entry in ledger if entry.get("seq", 0) >= 3}
    assert again, "void: no reward was revoked and earned again"

    command = [sys.executable, "-m", "tests.faults.downstream"]
    command += ["--bootstrap-servers", topics.bootstrap, "--topic", f"{topics.prefix}rewards"]
    reader = Process("downstream", [*command, "--book", str(book)], tmp_path / "downstream.log")
    run.processes.append(reader)

    def ask(question: str) -> list[tuple]:
        try:
            with sqlite3.connect(f"file:{book}?mode=ro", uri=True) as opened:
                return opened.execute(question).fetchall()
        except sqlite3.OperationalError:  # not there yet
            return [(0,)]

    def told() -> int:
        return ask("select count(*) from told")[0][0]

    for _ in range(8):
        before = told()
        reader.start()
        wait_until(lambda n=before: told() > n, lambda: f"it to read: {reader.tail()}", 40)
        time.sleep(rolls.uniform(0.0, 0.3))
        reader.kill()
    reader.start()
    wait_until(
        lambda: ask("select count(*) from paid")[0][0] >= len(ledger),
        lambda: f"it to reach the end, {len(ledger)} entries: {reader.tail()}",
        60,
    )
    time.sleep(1)  # whatever it would pay too much
    reader.kill()
    twice = told() - len(ledger)
    print(f"{len(ledger)} entries, {twice} told again, {len(again)} rewards earned again")
    assert twice > 0, "void: it was never told anything twice"
    paid = {event_id for (event_id,) in ask("select event_id from paid")}
    assert paid == {entry["event_id"] for entry in ledger}
    due: Counter[str] = Counter()
    for entry in ledger:
        due[entry["user_id"]] += amount(entry)
    balances = dict(ask("select user_id, sum(amount_minor) from paid group by user_id"))
    assert balances == dict(due)
