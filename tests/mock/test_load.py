"""`leidan load` on the embedded broker: a shop's files become records, and it says how many."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from streams.cli import run
from streams.demo.reading import Reader
from tests.test_retail import ORDER, RETURN, loaded, written

if TYPE_CHECKING:
    from streams.broker.embedded import EmbeddedBroker

TOPICS = ("orders", "cancellations")


def test_what_the_files_hold_is_sent_and_counted_by_topic(broker: EmbeddedBroker, tmp_path, capsys):
    shop = written(tmp_path, [ORDER], [RETURN])
    assert run(["load", str(shop), "--bootstrap-servers", broker.bootstrap, "--json"]) == 0
    records = loaded(shop)
    assert json.loads(capsys.readouterr().out) == {
        "sent": {"orders": 1, "cancellations": len(records) - 1}
    }
    with Reader(broker.bootstrap) as reader:
        there = [(one.topic, one.key, json.loads(one.value)) for one in reader.all_of(TOPICS)]
    sent = [(topic, key, value) for topic, key, value, _ in records]
    assert sorted(there, key=str) == sorted(sent, key=str)
