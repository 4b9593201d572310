"""A real Prometheus scrapes a real worker: every panel has something to show, and faults are told.

The rules are those of deploy/prometheus, but that nothing waits: every `for` is a second here.
"""

from __future__ import annotations

import functools
import http.server
import json
import random
import re
import sys
import threading
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from streams.feed.crash_notes import KILLS, CrashNotes
from streams.position import Position
from streams.traffic import Traffic, rfc3339
from tests.deploy.alerting import PROMETHEUS
from tests.deploy.test_dashboards import every, panels
from tests.gates import program
from tests.kafka.cluster import free_ports
from tests.kafka.harness import PARTITIONS, Topics, wait_at_rest, wait_until
from tests.kafka.workers import Process, Worker
from tests.pooling import SEED
from tests.sim.campaigns import DEFINITIONS
from tests.sim.inputs import ASKING, Sent, claim_others

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kafka.cluster import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

USERS, ORDERS, POISON, PER_S = 120, 700, 40, 250
WINDOWS = {"$__rate_interval": "1m", "$__range": "5m"}


class Server:
    """Prometheus over the worker, the rules, and what commands have left in files."""

    def __init__(self, directory: Path, worker: int, files: int) -> None:
        (port,) = free_ports(1)
        self.base = f"http://127.0.0.1:{port}"
        rules = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                if "for" in rule:
                    rule["for"] = "1s"
        (directory / "rules.yml").write_text(yaml.safe_dump(rules))
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        (job,) = config["scrape_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{worker}"]}]
        config["scrape_configs"] += [
            {
                "job_name": name,
                "metrics_path": f"/{name}.prom",
                "static_configs": [{"targets": [f"127.0.0.1:{files}"]}],
            }
            for name in ("backfill", "verify")
        ]
        path = directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        command = [program("prometheus", "prometheus"), f"--config.file={path}"]
        command += [f"--storage.tsdb.path={directory / 'tsdb'}", "--log.level=warn"]
        command += [f"--web.listen-address=127.0.0.1:{port}"]
        self.process = Process("prometheus", command, directory / "prometheus.log")

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base}/-/ready", timeout=2) as answer:  # noqa: S310
                return answer.status == 200
        except OSError:
            return False

    def ask(self, path: str, **given: str) -> Any:
        body = urllib.parse.urlencode(given).encode() or None
        with urllib.request.urlopen(f"{self.base}/api/v1/{path}", body, timeout=10) as answer:  # noqa: S310
            return json.loads(answer.read())["data"]

    def samples(self, expression: str) -> list[Any]:
        return self.ask("query", query=expression)["result"]

    def firing(self) -> set[str]:
        return {
            alert["labels"]["alertname"]
            for alert in self.ask("alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def wait_firing(self, *names: str, timeout_s: float = 40) -> None:
        wait_until(
            lambda: set(names) <= self.firing(),
            lambda: f"{names} to fire; there are {sorted(self.firing())}",
            timeout_s,
        )

    def fired(self) -> set[str]:
        """Those that fire, or have: a budget is low for a while, and what comes back fills it."""
        since = 'count_over_time(ALERTS{alertstate="firing"}[30m])'
        return {one["metric"]["alertname"] for one in self.samples(since)}

    def wait_fired(self, *names: str, timeout_s: float = 40) -> None:
        wait_until(
            lambda: set(names) <= self.fired(),
            lambda: f"{names} to have fired; there are {sorted(self.fired())}",
            timeout_s,
        )


@pytest.fixture
def files(tmp_path: Path) -> Iterator[int]:
    """The port of a stand-in for node_exporter's textfile collector."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def guess_type(self, _path: Any) -> str:
            return "text/plain; version=0.0.4"

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def history() -> list[Sent]:
    """Orders, claims and cancellations of users who ask pools and the rights service; poison."""
    rng = random.Random("a prometheus")  # noqa: S311 - seeded on purpose
    sent = [Sent(*one) for one in Traffic(11, USERS, ORDERS, ("dup", "late"))]
    claim_others(rng, sent, ASKING)
    for n in range(POISON):
        spoilt = Sent("orders", b"u-00001", b"{", sent[9 * n].at_ms, "not_json")
        sent.insert(9 * n, spoilt)
    return sent


def taken_back(sent: list[Sent]) -> Iterator[tuple[str, bytes | None, bytes, int]]:
    """A cancellation of every order there is: what was spent of them is owed now."""
    for one in sent:
        if one.topic != "orders" or one.reason is not None:
            continue
        try:
            order = json.loads(one.value)
        except ValueError:
            continue
        at_ms = sent[-1].at_ms + 1
        event = {
            "type": "order.cancelled", "v": 1, "user_id": order["user_id"], "reason": "user",
            "order_id": order["order_id"], "cancellation_id": f"back-{order['order_id']}",
            "occurred_at": rfc3339(at_ms),
        }  # fmt: skip
        yield "cancellations", one.key, json.dumps(event).encode(), at_ms


def asked(expression: str) -> str:
    """The expression as Grafana sends it when everything is selected."""
    for name, window in WINDOWS.items():
        expression = expression.replace(name, window)
    return re.sub(r"\$[a-z]+", ".*", expression)


def leidan(*words: object, directory: Path) -> Process:
    name = str(words[0])
    command = [sys.executable, "-m", "streams", *map(str, words)]
    started = Process(name, command, directory / f"{name}.log")
    started.start()
    return started


def test_every_panel_of_a_worker_under_load_has_samples_and_real_faults_fire(
    broker: Cluster, tmp_path: Path, processes: list[Process], files: int
) -> None:
    topics = Topics(broker.bootstrap, "prom.")
    topics.create(broker)
    path, seeds = tmp_path / "asking.json", tmp_path / "seeds"
    path.write_text(json.dumps(DEFINITIONS))
    seeds.mkdir()
    (seeds / "spinner").write_text(SEED.hex())
    (port,) = free_ports(1)
    worker = Worker(
        broker.bootstrap,
        topics.prefix,
        "leidan-0",
        tmp_path,
        campaigns=[path],
        settings={"pool_secrets_dir": seeds, "web_port": port},
    )
    server = Server(tmp_path, port, files)
    where = ("--bootstrap-servers", broker.bootstrap, "--topic-prefix", topics.prefix)
    worker.start()
    server.process.start()
    service = leidan("rights", *where, "--spend=0.5", directory=tmp_path)
    processes += [worker, server.process, service]
    wait_until(server.ready, lambda: f"Prometheus\n{server.process.tail()}", 20)
    owned = f"rewards_assigned_partitions == {PARTITIONS} and on () rewards_budget_remaining_minor"
    wait_until(lambda: server.samples(owned), lambda: f"a scrape\n{worker.tail()}", 60)

    sent = history()
    topics.send((one[:4] for one in sent), per_s=PER_S)
    wait_at_rest(topics, worker.group)
    spent = 'rewards_adjusted_total{reason="spent"}'
    wait_until(lambda: server.samples(spent), lambda: f"rewards spent\n{service.tail()}", 20)
    topics.send(taken_back(sent))
    at_ms = sent[-1].at_ms + 60_000
    tick = json.dumps({"type": "tick", "v": 1, "at": rfc3339(at_ms)}).encode()
    topics.send([("ticks", None, tick, at_ms)])
    wait_at_rest(topics, worker.group)

    rules = ("--campaigns", path, "--set", f"app_id={worker.app_id}")
    audit = leidan("verify", *where, *rules, "--set", f"pool_secrets_dir={seeds}",
                   "--state-dir", tmp_path / "verify",
                   "--metrics", tmp_path / "verify.prom", directory=tmp_path)  # fmt: skip
    again = leidan("backfill", *where, *rules, "--set", f"pool_secrets_dir={seeds}", "--execute",
                   "--into", "state", "--state-dir", tmp_path / "again",
                   "--metrics", tmp_path / "backfill.prom", directory=tmp_path)  # fmt: skip
    processes += [audit, again]
    # the shop's poison; one campaign's budget nearly gone; the lottery's to the last unit
    server.wait_fired("DeadLettersRise", "BudgetLow", "BudgetExhausted")
    for command in (audit, again):
        assert command.wait(60, "end") == 0, command.tail()
    left = {(name, asked(expression)) for name, panel in panels() for expression in every(panel)}
    assert len(left) > 40

    def shown() -> bool:
        left.difference_update([one for one in left if server.samples(one[1])])
        return not left

    wait_until(shown, lambda: f"samples of {sorted(left)}", 30, 0.5)

    worker.kill()
    server.wait_firing("WorkerDown")
    committed = topics.committed(worker.group, ["orders"])
    notes = CrashNotes(worker.databases)
    for _ in range(KILLS):  # what a record leaves that kills the worker three times
        notes.write(Position("orders", 1, committed["orders", 1]))
    worker.start()
    server.wait_firing("PartitionParked")
    assert "WorkerDown" not in server.firing()
    assert "DelayBudgetBurnsFast" in server.firing(), "months-old orders are late by any clock"
    assert worker.stop() == 0, worker.tail()
