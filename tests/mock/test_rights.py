"""A worker and the reference rights service on the embedded broker: commands and answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams import topics
from streams.demo.reading import Reader
from streams.demo.sending import send
from streams.rights.faults import Faults
from streams.rights.serving import Service
from streams.traffic import Traffic
from tests.mock.test_worker import SAMPLE, Worker

if TYPE_CHECKING:
    from streams.broker.embedded import EmbeddedBroker

ROOT = Path(__file__).resolve().parents[2]
FALLBACK = {"right_id": "c-1", "type": "coupon", "value_minor": 50}
FAULTS = ("--fail=0.2", "--retry=0.3", "--twice=0.3", "--spend=0.3", "--late=0.1", "--down=0.01")


def required(path: Path) -> Path:
    """The sample campaign, whose rights service answers each command."""
    definition = json.loads(SAMPLE.read_text())
    definition |= {"results": "required"}
    for reward in definition["step_rewards"]:
        reward["right"] = {**reward["right"], "fallback": FALLBACK}
    file = path / "required.json"
    file.write_text(json.dumps(definition))
    return file


def values(broker: EmbeddedBroker, topic: str) -> list[dict[str, Any]]:
    with Reader(broker.bootstrap) as reader:
        return [json.loads(read.value or b"null") for read in reader.all_of([topic])]


def test_every_command_is_answered_and_the_ledger_comes_to_rest(broker, tmp_path):
    file = required(tmp_path)
    send(broker.bootstrap, Traffic(5, 40, 400))
    worker = Worker(broker, tmp_path, campaign=file)
    command = [sys.executable, "-m", "streams", "rights", *FAULTS, "--exit-when-idle-s", "6"]
    command += ["--json", "--bootstrap-servers", broker.bootstrap]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=100)
    worker.until(lambda stats: stats["idle"])
    worker.process.terminate()
    assert worker.wait() == 0, worker.log.read_text()
    answers, entries = values(broker, "reward-results"), values(broker, "rewards")
    assert sum(json.loads(ran.stdout).values()) == len(answers)
    final = ("issued", "failed", "revoked", "revoke_failed")
    answered = {(a["reward_id"], a["seq"]) for a in answers if a["outcome"] in final}
    commands = [(e["reward_id"], e["seq"]) for e in entries if e["type"] != "reward.adjusted"]
    assert len(commands) > 100
    newest = dict(commands)  # an issue that is taken back before it was tried has no answer
    assert answered <= set(commands)
    assert set(newest.items()) <= answered
    accounts: Counter[str] = Counter()
    for entry in entries:
        for posting in entry["postings"]:
            accounts[posting["account"]] += posting["amount_minor"]
    assert accounts["returning"] == 0
    assert accounts["spent"] > 0
    reasons = Counter(e["reason"] for e in entries if e["type"] == "reward.adjusted")
    assert reasons["failed"] > 0
    assert reasons["spent"] > 0
    right_ids = {e["right"]["right_id"] for e in entries if e["type"] == "reward.issued"}
    assert "c-1" in right_ids, "what failed for good was replaced"
    assert "conflict" not in worker.stats()["dead_letters"]


def test_a_service_that_is_started_again_answers_nothing_twice(broker, tmp_path):
    send(broker.bootstrap, Traffic(5, 20, 100))
    worker = Worker(broker, tmp_path, exit_when_idle_s=1, campaign=required(tmp_path))
    assert worker.wait() == 0, worker.log.read_text()
    for _ in range(2):
        Service(broker.bootstrap, Faults(retry=0.5)).serve(exit_when_idle_s=2)
    ids = Counter(answer["result_id"] for answer in values(broker, topics.REWARD_RESULTS))
    assert len(ids) > 30
    assert set(ids.values()) == {1}
