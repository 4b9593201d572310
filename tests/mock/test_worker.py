"""A whole worker on the embedded broker: hosting, channels, shutdown, refusals (T3).

Never evidence of exactly-once: the mock cluster shows aborted records and accepts a fenced
producer's commit. That is shown on real Kafka, in tests/kafka.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from streams import topics
from streams.app import create_app
from streams.broker.embedded import EmbeddedBroker
from streams.demo.sending import send
from streams.errors import Exit, Refused
from streams.feed import preflight
from streams.settings import Kafka, Settings
from streams.traffic import Traffic
from tests.mock.conftest import counts

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "schemas" / "samples" / "grocery-3.json"


class Worker:
    """`python -m streams worker` on the embedded broker, one life."""

    def __init__(
        self, broker: EmbeddedBroker, directory: Path, campaign: Path = SAMPLE, **settings: Any
    ) -> None:
        self.stats_file, self.log = directory / "stats.json", directory / "worker.log"
        given = {"embedded": True, "state_dir": directory / "state", "session_timeout_ms": 1_000}
        given |= settings
        command = [sys.executable, "-m", "streams", "worker"]
        command += ["--bootstrap-servers", broker.bootstrap, "--campaigns", str(campaign)]
        command += ["--stats-file", str(self.stats_file)]
        for key, value in given.items():
            command += ["--set", f"{key}={value}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait(self, timeout_s: float = 40) -> int:
        try:
            return self.process.wait(timeout_s)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def stats(self) -> dict[str, Any]:
        try:
            return json.loads(self.stats_file.read_bytes())
        except FileNotFoundError:
            return {}

    def until(self, holds: Any, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while not (self.stats().get("pid") == self.process.pid and holds(self.stats())):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


def test_a_worker_folds_everything_leaves_when_idle_and_goes_on_where_it_was(broker, tmp_path):
    log = list(Traffic(5, 60, 600, ("dup", "poison")))
    send(broker.bootstrap, log)
    worker = Worker(broker, tmp_path, exit_when_idle_s=1)
    assert worker.wait() == 0, worker.log.read_text()
    stats = worker.stats()
    assert stats["records_total"] == sum(topic != topics.CAMPAIGNS for topic, *_ in log)
    assert stats["running"] is False
    assert stats["rewards_issued"] > 50
    assert sum(stats["dead_letters"].values()) > 0
    assert sum(stats["outcomes"].values()) == stats["records_total"]
    assert stats["outcomes"]["rejected"] == sum(stats["dead_letters"].values())
    more = list(Traffic(6, 10, 50))
    send(broker.bootstrap, more)
    worker = Worker(broker, tmp_path, exit_when_idle_s=1)
    assert worker.wait() == 0, worker.log.read_text()
    assert worker.stats()["records_total"] == len(more)


def test_row29_sigterm_under_load_ends_with_0_within_its_20_s(broker, tmp_path):
    send(broker.bootstrap, Traffic(5, 500, 8_000))
    worker = Worker(broker, tmp_path, batch_records=50)
    worker.until(lambda stats: stats["records_total"] > 0)
    begun_s = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait(25) == 0, worker.log.read_text()
    assert time.monotonic() - begun_s < 20
    assert worker.stats()["records_total"] < 8_000, "void: nothing was left to interrupt"


def test_row29_a_second_sigterm_ends_it_at_once(broker, tmp_path):
    worker = Worker(broker, tmp_path)
    worker.until(lambda stats: stats["partitions"] == [0, 1])
    os.kill(worker.process.pid, signal.SIGTERM)
    os.kill(worker.process.pid, signal.SIGTERM)
    time.sleep(0.05)
    os.kill(worker.process.pid, signal.SIGTERM)
    assert worker.wait(5) in {0, 128 + signal.SIGTERM}


def test_as_json_every_line_of_a_worker_is_one_object_and_refused_records_have_their_place(
    broker, tmp_path
):
    send(broker.bootstrap, Traffic(5, 60, 400, ("poison",)))
    worker = Worker(broker, tmp_path, exit_when_idle_s=1, log_format="json")
    assert worker.wait() == 0, worker.log.read_text()
    lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
    assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, lines))
    assert sum("state in" in line["message"] for line in lines) == 1, "the banner too"
    refused = [line for line in lines if "refused" in line["message"]]
    assert sum(line["records"] for line in refused) == sum(worker.stats()["dead_letters"].values())
    for line in refused:
        place = f"{line['topic']}[{line['partition']}]@{line['offset']}"
        assert line["message"].startswith(f"{place}: ")


def test_the_dead_letter_budget_ends_it_with_65_and_nothing_committed(broker, tmp_path):
    bad = [("orders", b"u1", b"not json", 1_767_571_200_000 + n) for n in range(300)]
    send(broker.bootstrap, bad)
    worker = Worker(broker, tmp_path)
    assert worker.wait() == Exit.DEAD_LETTERS
    assert "dead letters: a bad deployment" in worker.log.read_text()
    assert worker.stats()["transactions"]["committed"] == 0


def test_metrics_and_probes_are_served_and_count_what_was_committed(broker, tmp_path):
    send(broker.bootstrap, Traffic(5, 60, 400))
    worker = Worker(broker, tmp_path, web_port=0)
    worker.until(lambda stats: stats["idle"] and stats["records_total"] > 400)
    line = next(x for x in worker.log.read_text().splitlines() if "/metrics, /livez, /readyz" in x)
    base = line.split("INFO streams.web.surface ")[1].split("/metrics")[0]
    with urllib.request.urlopen(f"{base}/metrics") as answer:  # noqa: S310 - our own
        text = answer.read().decode()
    orders = sum(
        float(x.rsplit(" ", 1)[1])
        for x in text.splitlines()
        if x.startswith("rewards_records_total{") and 'topic="orders"' in x
    )
    assert orders == worker.stats()["records"]["orders"]
    assert 'le="60.0"' in text, "the bucket the SLO is judged by"
    assert "rewards_build_info{" in text
    for probe in ("livez", "readyz"):
        with urllib.request.urlopen(f"{base}/{probe}") as answer:  # noqa: S310
            assert json.loads(answer.read())["ok"] is True
    shown = []
    for n in range(60):
        with urllib.request.urlopen(f"{base}/tasks/u-{n:05}") as answer:  # noqa: S310
            shown += json.loads(answer.read())["rewards"]
    kept = sum(reward["state"] == "issued" for reward in shown)
    assert 0 < kept <= worker.stats()["rewards_issued"], "the rows of those users"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{base}/nowhere")  # noqa: S310
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_row03_a_record_that_breaks_our_code_parks_its_partition_after_three_starts(
    broker, tmp_path
):
    """The fold is made to raise at one user: 70 three times, then the others go on."""
    send(broker.bootstrap, Traffic(5, 40, 200))
    directory = tmp_path / "patched"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(
        "import streams.domain.fold as fold\n"
        "real = fold.step\n"
        "def step(state, event, campaigns):\n"
        "    assert event.user_id != 'u-00003', 'planted'\n"
        "    return real(state, event, campaigns)\n"
        "fold.step = step\n"
    )
    os.environ["PYTHONPATH"] = f"{directory}{os.pathsep}{ROOT}"
    try:
        for _ in range(3):
            assert Worker(broker, tmp_path, exit_when_idle_s=1).wait() == Exit.BROKEN
        worker = Worker(broker, tmp_path, exit_when_idle_s=1)
        assert worker.wait() == 0, worker.log.read_text()
    finally:
        del os.environ["PYTHONPATH"]
    assert len(worker.stats()["records"]) > 0
    text = worker.log.read_text()
    assert "is PARKED" in text
    assert "AssertionError: planted" in text


def settings_for(bootstrap: str, **changes: Any) -> Settings:
    return Settings(kafka=Kafka(bootstrap_servers=bootstrap), embedded=True, **changes)


def test_unequal_partition_counts_are_refused_naming_all_and_the_fix():
    with (
        EmbeddedBroker().start({**counts(), topics.CLAIMS: 3}) as broker,
        pytest.raises(Refused, match=r"cancellations 2, claims 3.*made again with 3"),
    ):
        preflight.check(settings_for(broker.bootstrap))


def test_missing_topics_are_refused_with_the_command_that_makes_them():
    there = {name: n for name, n in counts().items() if name != topics.CHANGELOG}
    with (
        EmbeddedBroker().start(there) as broker,
        pytest.raises(
            Refused, match=r"topics missing: user-tasks-changelog.*leidan topics apply --execute"
        ),
    ):
        preflight.check(settings_for(broker.bootstrap))


def test_pure_python_faust_is_refused(monkeypatch):
    monkeypatch.setenv("NO_CYTHON", "1")
    with pytest.raises(Refused, match="NO_CYTHON"):
        create_app(Settings())
