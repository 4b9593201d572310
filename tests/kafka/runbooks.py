"""Runbook pages of deploy/runbooks and their trials: the commands run as they stand on the page.

A page has the sections of SECTIONS; its shell blocks (```sh) are scripts. `Desk` gives them what an
operator has: the variables of deploy/runbooks/README.md, `leidan`, and `systemctl` and `journalctl`
that reach this test's own workers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

from tests.kafka.cluster import free_ports
from tests.kafka.harness import Topics, wait_until
from tests.kafka.workers import REPOSITORY, Worker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster

PAGES = REPOSITORY / "deploy" / "runbooks"
NOT_PROCEDURES = ("README.md", "alerts.md")
SECTIONS = ("Symptom", "What it means", "Look", "Do", "Check", "Undo")
TRIED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
LIMIT_S = 120

LEIDAN = '#!/bin/sh\ncd "$DESK" && PYTHONPATH={root} exec {python} -m streams "$@"\n'
JOURNALCTL = '#!/bin/sh\ncat "$DESK"/leidan-*.log\n'
SYSTEMCTL = """#!/bin/sh
printf '%s' "$*" > "$DESK/$$.new"
mv "$DESK/$$.new" "$DESK/$$.ask"
while [ ! -e "$DESK/$$.done" ]; do sleep 0.05; done
"""


class Ran(NamedTuple):
    """What came of one block."""

    code: int
    out: str


class Page:
    """One runbook: its sections and the scripts in them."""

    def __init__(self, name: str) -> None:
        self.name, self.text = name, (PAGES / f"{name}.md").read_text()
        parts = re.split(r"^## (.+)$", self.text, flags=re.MULTILINE)
        self.sections = dict(zip(parts[1::2], parts[2::2], strict=True))

    def blocks(self, section: str) -> list[str]:
        return re.findall(r"```sh\n(.*?)```", self.sections[section], re.DOTALL)

    @property
    def trials(self) -> list[tuple[str, str]]:
        """(file, test) of each trial the page names."""
        return TRIED.findall(self.text)


def pages() -> list[str]:
    return sorted(path.stem for path in PAGES.glob("*.md") if path.name not in NOT_PROCEDURES)


class Desk:
    """An operator's desk: one deployment on a broker of the tests, under the plain topic names."""

    def __init__(
        self, broker: Cluster, name: str, directory: Path, workers: int = 1, **settings: object
    ) -> None:
        """``settings``: of the workers, as a line each of their file."""
        self.topics, self.directory = Topics(broker.bootstrap, f"{name}-"), directory
        self.topics.create(broker)
        self.page = Page(name)
        self._ports = free_ports(workers)
        app_id = f"{name}-leidan"
        given = {"app_id": app_id, "session_timeout_ms": 6_000, "transaction_timeout_ms": 10_000}
        config = directory / "worker.toml"
        lines = [f"{key} = {value!r}" for key, value in (given | settings).items()]
        lines += ["[kafka]", f'bootstrap_servers = "{broker.bootstrap}"']
        config.write_text("\n".join([*lines, f'topic_prefix = "{name}-"', ""]))
        self.workers = [self._worker(n, config) for n in range(workers)]
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("LEIDAN_")},
            "PATH": f"{directory / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "DESK": str(directory),
            "LEIDAN_CONFIG": str(config),
            "B": broker.bootstrap,
            "W": f"http://127.0.0.1:{self._ports[0]}",
            "S": str(directory / "state" / "0"),
        }
        self._programs()
        self._stop = threading.Event()
        self._systemd = threading.Thread(target=self._serve, name="systemd", daemon=True)
        self._systemd.start()

    def _worker(self, n: int, config: Path) -> Worker:
        one = Worker(
            self.topics.bootstrap, self.topics.prefix, f"leidan-{n}", self.directory, campaigns=()
        )
        command = [sys.executable, "-m", "streams", "worker", "--config", str(config)]
        command += ["--instance", f"leidan-{n}", "--web-port", str(self._ports[n])]
        command += ["--state-dir", str(self.directory / "state" / str(n))]
        one.command = (*command, "--stats-file", str(one.stats_file))
        return one

    def _programs(self) -> None:
        folder = self.directory / "bin"
        folder.mkdir()
        leidan = LEIDAN.format(root=REPOSITORY, python=sys.executable)
        for name, text in (
            ("leidan", leidan),
            ("journalctl", JOURNALCTL),
            ("systemctl", SYSTEMCTL),
        ):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def _serve(self) -> None:
        """Be systemd for `systemctl start|stop leidan-worker@N`."""
        while not self._stop.wait(0.05):
            for ask in self.directory.glob("*.ask"):
                verb, _, unit = ask.read_text().partition(" ")
                worker = self.workers[int(unit.partition("@")[2])]
                if verb == "start" and not worker.running:
                    worker.start()
                elif verb == "stop" and worker.running:
                    worker.stop()
                ask.rename(ask.with_suffix(".done"))

    def run(self, section: str, **variables: str) -> list[Ran]:
        """Run the section's blocks, one after the other; each one's exit status and output."""
        ran = []
        for block in self.page.blocks(section):
            done = subprocess.run(
                ["bash", "-eu", "-c", block],
                cwd=self.directory,
                env=self.environment | variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
            print(f"$ {block}{done.stdout}[{done.returncode}]", flush=True)
            ran.append(Ran(done.returncode, done.stdout))
        return ran

    def well(self, section: str, **variables: str) -> str:
        """Run the section; every block must end with 0. What all of them said."""
        ran = self.run(section, **variables)
        assert ran, f"{self.page.name}: nothing to run under {section}"
        assert [one.code for one in ran] == [0] * len(ran), ran
        return "".join(one.out for one in ran)

    def ready(self, *workers: Worker) -> None:
        """Wait until each owns partitions, all restored."""
        for one in workers or self.workers:
            wait_until(
                lambda one=one: (
                    one.lives() and bool(one.stats()["partitions"]) and not one.stats()["paused"]
                ),
                lambda one=one: f"{one.name} to be ready: {one.tail(8)}",
                60,
            )

    def close(self) -> None:
        self._stop.set()
        self._systemd.join(5)
        for worker in self.workers:
            worker.close()
