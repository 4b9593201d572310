"""The README as a new user reads it: its commands in their order, and how each is tried.

A command is a line of an indented block, up to its comment. Each stands in TRIALS, so a line that
is added to the README without a trial fails (`test_readme.py`). They run as written, by bash, in a
checkout with a space in its name, but for three things: the broker's port is the test's; what the
reader has to put in (DIR, an offset) is put in; and demos are made small unless LEIDAN_LONG is set.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.gates import LONG_ASKED
from tests.kafka.harness import Topics, wait_at_rest, wait_until
from tests.kafka.workers import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

README = (REPOSITORY / "README.md").read_text()
ADDRESS = "127.0.0.1:9092"
SMALL = "--orders 300 --users 60"
FEW = "--orders 2000 --users 200"
LIMIT_S = 240
CHECKOUT = (
    "streams", "schemas", "tests", "deploy", "Makefile", "README.md", "pyproject.toml",
    "requirements.lock",
)  # fmt: skip


def prose() -> str:
    """The README without its fenced blocks: those are output, or files."""
    return re.sub(r"```.*?```", "", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = (line.strip() for line in prose().splitlines() if line.startswith("    "))
    return [re.split(r"\s{4,}", line)[0] for line in lines]


def fenced(language: str = "") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def spent_s() -> float:
    """Processor time of all that was started here and has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sample() -> dict[str, Any]:
    return json.loads((REPOSITORY / "schemas" / "samples" / "grocery-3.json").read_text())


@dataclass(frozen=True)
class Trial:
    """How a command is tried. code: its exit status; says: what its output must match.

    small: with these flags it ends sooner. stays: it runs until it is stopped. before: a method of
    `User` that brings about what the text around the command says. dry: why it is not run but only
    looked up, and where it is run.
    """

    says: str = ""
    code: int = 0
    small: str = ""
    stays: bool = False
    before: str = ""
    dry: str = ""


LONE = r"issued +revoked +net"  # the summary's head
EXPLAINED = r"recorded at +record +event +what it did"
DEMO = r"campaign +tasks +completed +issued +revoked +net +draws won +debts +spent of its budget"
CI = "CI runs it on a bare Debian (.github/workflows/test.yml)"
REAL_DATA = "needs a year of orders that is not in the repository: tests/cli/test_demo.py"
HOURS = "minutes to hours"

AT, INTO = f"--bootstrap-servers {ADDRESS}", "--state-dir again --into state"

TRIALS: dict[str, Trial] = {
    "apt-get install -y make python3-venv": Trial(dry=CI),
    "make run": Trial(DEMO, small=SMALL),
    "make test": Trial(dry="this is it"),
    'make run ARGS="--orders 50000 --chaos dup"': Trial(DEMO, small=SMALL),
    'make run ARGS="--data DIR"': Trial(dry=REAL_DATA),
    'make run ARGS="--data DIR --lottery"': Trial(dry=REAL_DATA),
    'make run ARGS="--public draws.ndjson"': Trial(DEMO, small=SMALL),
    ".venv/bin/leidan lottery verify --file draws.ndjson": Trial(r"\d+ draws|proved"),
    'make run ARGS="--campaign my-campaign.json"': Trial(LONE, small=SMALL, before="own_rules"),
    ".venv/bin/leidan simulate --out traffic.ndjson --chaos dup,late,reorder,poison": Trial(
        r"claims \d+, orders \d+"
    ),
    ".venv/bin/leidan simulate --out four.ndjson --campaigns four": Trial(
        r"claims \d+, orders \d+"
    ),
    "make kafka": Trial(dry="the broker of all that follows was started by what it runs"),
    f".venv/bin/leidan demo {AT}": Trial(DEMO, small=SMALL),
    "export LEIDAN_CAMPAIGN_FILES=schemas/samples/grocery-3.json": Trial(before="exported"),
    f".venv/bin/leidan topics apply {AT} -p 8": Trial(
        r"nothing was changed; add --execute", code=1
    ),
    f".venv/bin/leidan topics apply {AT} -p 8 --execute": Trial(r"16 topics created"),
    f".venv/bin/leidan topics check {AT}": Trial(),
    f".venv/bin/leidan worker {AT} --state-dir state": Trial(stays=True),
    f".venv/bin/leidan simulate {AT}": Trial(
        r"cancellations \d+, claims \d+, orders \d+", small=FEW
    ),
    f".venv/bin/leidan rights {AT} --spend 0.3": Trial(stays=True),
    f".venv/bin/leidan verify {AT}": Trial(r"the same", before="at_rest"),
    f".venv/bin/leidan backfill {AT} {INTO}": Trial(
        r"nothing was done; add --execute", before="at_rest"
    ),
    f".venv/bin/leidan export archive {AT}": Trial(r"orders \d+"),
    ".venv/bin/leidan backfill --state-dir again --into state --from-archive archive --execute": (
        Trial(r"rewards|digest|records")
    ),
    f".venv/bin/leidan backfill {AT} --state-dir lost --into live": Trial(),
    f".venv/bin/leidan backfill promote again --to new/leidan-0 {AT}": (
        Trial(r"add --execute", before="nobody_works")
    ),
    ".venv/bin/leidan config show --origin": Trial(
        r"campaign_files = .*# LEIDAN_CAMPAIGN_FILES", before="works_again"
    ),
    f".venv/bin/leidan doctor {AT}": Trial(r"0 failed"),
    ".venv/bin/leidan explain u-00004 --state-dir state": Trial(
        rf"{EXPLAINED}(.|\n)*step +order +day +worth +in all +saved +why(.|\n)*reward step 1"
    ),
    ".venv/bin/leidan explain rwd_b78d362ba96798775e46fdee1c087995 --user u-00004 --json": Trial(
        r'"known":true.*"tasks":\[\{'
    ),
    ".venv/bin/leidan explain o-0000324 --at 2026-01-11T00:00:00+08:00": Trial(EXPLAINED),
    ".venv/bin/leidan state snapshot --state-dir state --out kept": Trial(r"8 of 8 partitions"),
    ".venv/bin/leidan dlq list --by reason --since 2h": Trial(
        r"\d+ +unknown_type", before="refused"
    ),
    ".venv/bin/leidan dlq list --reason unknown_type --json": Trial(r'"reason": ?"unknown_type"'),
    ".venv/bin/leidan dlq show 3@17": Trial(r"unknown_type(.|\n)*key: (.|\n)*value: "),
    # they were refused rightly, and are refused again: 5
    ".venv/bin/leidan dlq replay --reason unknown_type --limit 20 --execute --wait 30": Trial(
        r"\d+ replayed", code=5
    ),
    '.venv/bin/leidan dlq drop --user load-test --who Lin --why "not a person" --execute': Trial(
        r"\d+ dropped"
    ),
    f".venv/bin/leidan whatif --campaign new.json --since 30d {AT} --html report.html": Trial(
        r"rewards +would be", code=1, before="other_rules"
    ),
    ".venv/bin/leidan whatif --campaign new.json --since 30d --archive archive": Trial(
        r"losers: [\d,]+ users", code=1
    ),
    ".venv/bin/leidan whatif --campaign new.json --data DIR": Trial(dry=REAL_DATA),
    f".venv/bin/leidan makegood {AT} --out makegood.ndjson": Trial(
        r"next: read makegood.ndjson", code=1, before="rules_put_right"
    ),
    ".venv/bin/leidan makegood --approve makegood.ndjson --reviewer Lin": Trial(r"approved by Lin"),
    f".venv/bin/leidan makegood {AT} --emit makegood.ndjson --execute": Trial(r"emitted"),
    "make": Trial(r"make run"),
    "make quick": Trial(dry="CI"),
    "make test-faults": Trial(dry=HOURS),
    "make soak": Trial(dry=HOURS),
    "make fuzz": Trial(dry=HOURS),
    "make audit": Trial(dry="needs the network: CI"),
    "make fmt": Trial(dry="writes to the sources"),
    "make bench": Trial(dry=HOURS),
    "make lock": Trial(dry="needs the network, and writes the locks"),
    "make wheel-check": Trial(dry="needs the network: CI"),
}


class User:
    """Somebody with a checkout, its environment and a broker."""

    def __init__(self, bootstrap: str, home: Path) -> None:
        self.bootstrap, self.home = bootstrap, home / "a user"
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("LEIDAN_")
        }
        self.environment["LEIDAN_KAFKA__BOOTSTRAP_SERVERS"] = bootstrap  # 127.0.0.1:9092 by default
        self.topics = Topics(bootstrap, "")
        self._staying: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._check_out()

    def _check_out(self) -> None:
        """The sources, and an environment that `make` takes for its own."""
        self.home.mkdir()
        for name in CHECKOUT:
            (self.home / name).symlink_to(REPOSITORY / name)
        binaries = self.home / ".venv" / "bin"
        binaries.mkdir(parents=True)
        for name, words in (("python", ""), ("leidan", "-m streams ")):
            (binaries / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
            (binaries / name).chmod(0o755)
        for name in (".locked", ".ready"):
            (self.home / ".venv" / name).touch()
            time.sleep(0.02)

    # -- what the text around a command says ---------------------------------------------------

    def own_rules(self) -> None:
        (block,) = fenced("json")
        (self.home / "my-campaign.json").write_text(block)

    def exported(self) -> None:
        (name, value), *_ = re.findall(r"^    export (\w+)=(\S+)", README, re.MULTILINE)
        self.environment[name] = value

    def at_rest(self) -> None:
        for _ in range(2):  # what the rights service answers is folded too
            wait_at_rest(self.topics, "leidan-fold", 120)
            time.sleep(2)

    def nobody_works(self) -> None:
        """Stop all that stays; a static member is forgotten when its session is over."""
        for command, process in self._staying:
            process.send_signal(signal.SIGTERM)
            assert process.wait(40) == 0, command
        group = self.topics.admin.describe_consumer_groups
        wait_until(
            lambda: not group(["leidan-fold"])["leidan-fold"].result().members,
            lambda: "the group to forget its member",
            40,
        )

    def works_again(self) -> None:
        stopped, self._staying = self._staying, []
        for command, _ in stopped:
            self.stay(command)

    def refused(self) -> None:
        """Some records that cannot become events."""
        sent = self.bash(
            f".venv/bin/leidan simulate --bootstrap-servers {self.bootstrap}"
            " --chaos poison --orders 1500 --users 100 --seed 77"
        )
        assert sent.returncode == 0, sent.stdout
        wait_at_rest(self.topics, "leidan-fold", 120)

    def other_rules(self) -> None:
        """The sample with `target.orders` 4 where it was 3."""
        definition = sample()
        definition["target"]["orders"] = 4
        (self.home / "new.json").write_text(json.dumps(definition))

    def rules_put_right(self) -> None:
        """As if the workers had refused orders that were large enough."""
        definition = sample()
        definition["qualify"]["min_amount_minor"] -= 500
        (self.home / "right.json").write_text(json.dumps(definition))
        self.environment["LEIDAN_CAMPAIGN_FILES"] = "right.json"

    # -- running -------------------------------------------------------------------------------

    def typed(self, command: str, trial: Trial) -> str:
        """What is typed for a command of the README."""
        words = command.replace(ADDRESS, self.bootstrap)
        if trial.small and not LONG_ASKED:
            words = words.replace("--orders 50000", "")
            if not words.startswith("make"):
                return f"{words} {trial.small}"
            if "ARGS" not in words:
                return f'{words} ARGS="{trial.small}"'
            return words.replace('ARGS="', f'ARGS="{trial.small} ')
        if "3@17" in words:
            listed = self.bash(".venv/bin/leidan dlq list --reason unknown_type --json").stdout
            first: dict[str, Any] = json.loads(listed.splitlines()[0])
            return words.replace("3@17", str(first["letter"]))
        return words

    def try_(self, command: str, trial: Trial) -> str:
        """Run it as the trial says; its output. Raises AssertionError."""
        if trial.before:
            getattr(self, trial.before)()
        if command.startswith("export "):
            return ""
        words = self.typed(command, trial)
        if trial.stays:
            return self.stay(words)
        begun_s = spent_s()
        ran = self.bash(words)
        print(f"[{ran.returncode}] {spent_s() - begun_s:5.1f} s  {words}", flush=True)
        assert ran.returncode == trial.code, f"{words} ended with {ran.returncode}\n{ran.stdout}"
        assert "Traceback" not in ran.stdout, ran.stdout
        assert re.search(trial.says, ran.stdout), f"{words} said\n{ran.stdout}"
        return ran.stdout

    def bash(self, words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", words],
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def stay(self, words: str) -> str:
        """Start it in a terminal of its own, and see that it stays."""
        with (self.home / f"terminal-{len(self._staying)}.log").open("ab") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {words}"],
                cwd=self.home,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._staying.append((words, process))
        try:
            code: int | None = process.wait(3)
        except subprocess.TimeoutExpired:
            code = None
        assert code is None, f"{words} ended with {code}"
        return ""

    def close(self) -> None:
        for _, process in self._staying:
            if process.poll() is None:
                process.kill()
                process.wait(20)
        shutil.rmtree(self.home, ignore_errors=True)
