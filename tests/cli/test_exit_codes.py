"""Every way in which a command ends that is somebody's to put right, by its exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest

from streams.broker.embedded import EmbeddedBroker
from streams.topics import CHANGELOG, CLAIMS, registry
from tests.cli.conftest import SAMPLES, finish, leidan, require_one_clear_message, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Ran

NOBODY = "127.0.0.1:1"  # a port where nothing listens
PARTITIONS = 2


@pytest.fixture
def broken_campaign(tmp_path: Path) -> Path:
    definition = json.loads((SAMPLES / "grocery-3.json").read_text())
    definition["window"]["dayz"] = definition["window"].pop("days")
    definition["features"] = ["light_bocks"]
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(definition, indent=2))
    return path


@pytest.mark.parametrize(
    "verb", ["demo --campaign", "worker --campaigns", "simulate --out - --campaign"]
)
def test_a_refused_campaign_ends_with_2_before_anything_starts(verb, broken_campaign):
    ran = leidan(*verb.split(), broken_campaign)
    assert ran.code == 2
    require_one_clear_message(ran)
    line = broken_campaign.read_text().splitlines().index('    "dayz": 7') + 1
    assert f"{broken_campaign}:{line}: window.dayz: unknown field (did you mean days?)" in ran.err
    assert "light_bocks" in ran.err, "all problems at once"
    assert "leidan campaign validate" in ran.err, "and what to do next"


def test_validate_names_every_problem_of_every_file_and_ends_with_2(broken_campaign, tmp_path):
    good, absent = SAMPLES / "grocery-3.json", tmp_path / "absent.json"
    ran = leidan("campaign", "validate", good, broken_campaign, absent)
    assert ran.code == 2
    assert ran.out.startswith("grocery-3 version 1: 3 orders")
    assert "light_bocks" in ran.err
    assert f"{absent}: No such file" in ran.err
    assert leidan("campaign", "validate", good).code == 0


def test_validate_as_json_is_one_object(broken_campaign):
    ran = leidan("campaign", "validate", "--json", broken_campaign)
    assert ran.code == 2
    assert len(json.loads(ran.out)["problems"]) >= 2


@pytest.fixture(scope="module")
def without_broker(tmp_path_factory) -> dict[str, Ran]:
    """Every verb that needs a broker, all at once: each waits some seconds before it gives up."""
    state = tmp_path_factory.mktemp("state")
    commands = {
        "worker": ("worker", "--bootstrap-servers", NOBODY, "--state-dir", state),
        "demo": ("demo", "--bootstrap-servers", NOBODY),
        "simulate": ("simulate", "--bootstrap-servers", NOBODY),
        "topics plan": ("topics", "plan", "--bootstrap-servers", NOBODY),
        "topics apply": ("topics", "apply", "--execute", "--bootstrap-servers", NOBODY),
        "topics check": ("topics", "check", "--bootstrap-servers", NOBODY),
    }
    running = {name: start(*command) for name, command in commands.items()}
    return {name: finish(process) for name, process in running.items()}


@pytest.mark.parametrize(
    "verb", ["worker", "demo", "simulate", "topics plan", "topics apply", "topics check"]
)
def test_an_unreachable_broker_ends_with_4(verb, without_broker):
    ran = without_broker[verb]
    assert ran.code == 4, ran.err
    require_one_clear_message(ran)
    assert NOBODY in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("simulate", "exactly one of --bootstrap-servers and --out"),
        ("simulate --out - --chaos flood", "unknown chaos: flood; known: dup"),
        ("simulate --out /nowhere/at/all", "/nowhere/at/all: No such file or directory"),
        ("demo --data /nowhere", "/nowhere/orders.ndjson.gz: no such file"),
        ("demo --orders 0", "--orders"),
        ("worker --set batch_recrods=5", "did you mean batch_records?"),
        ("worker --set batch_records", "write KEY=VALUE"),
        ("worker --set batch_records=0", "must lie in 1..100000"),
        ("worker --set transaction_timeout_ms=4999", "must lie in 5000..900000"),
        ("worker --set kafka.client.partitioner=random", "same user on the same partition"),
        ("worker --config /nowhere.toml", "/nowhere.toml"),
        ("orders", "No such command 'orders'"),
    ],
)
def test_wrong_usage_and_settings_end_with_2(arguments, said):
    ran = leidan(*arguments.split())
    assert ran.code == 2, ran.err
    require_one_clear_message(ran)
    assert said in ran.err


def test_python_without_asserts_is_refused():
    ran = leidan("--version", options=("-O",))
    assert ran.code == 2
    assert "start it without -O" in ran.err


def test_the_reader_of_our_output_may_leave_early():
    process = start("simulate", "--out", "-", "--orders", "20000")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0
    assert process.stderr is not None
    with process.stderr as said:
        assert "Traceback" not in said.read()


def test_ctrl_c_ends_with_130_and_leaves_no_worker(tmp_path):
    process = start("demo", "--state-dir", tmp_path, "--orders", "50000")
    stats = tmp_path / "stats.json"
    deadline = time.monotonic() + 60
    while not stats.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    worker_pid = json.loads(stats.read_text())["pid"]
    process.send_signal(signal.SIGINT)
    ran = finish(process, 30)
    assert ran.code == 130, ran.err
    assert "Traceback" not in ran.err
    with pytest.raises(ProcessLookupError):
        os.kill(worker_pid, 0)


# -- 78: what a restart would not mend ------------------------------------------------------------


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker().start(counts()) as running:
        yield running


def counts(**other: int) -> dict[str, int]:
    return {name: topic.partition_count(PARTITIONS) for name, topic in registry().items()} | other


def worker(broker: EmbeddedBroker, state: Path, *, instance: str = "second") -> Ran:
    """A worker that leaves by itself once all is folded, or earlier for a reason."""
    return leidan(
        "worker",
        f"--bootstrap-servers={broker.bootstrap}",
        f"--state-dir={state}",
        f"--instance={instance}",
        f"--campaigns={SAMPLES / 'grocery-3.json'}",
        "--set=embedded=true",
        "--set=exit_when_idle_s=1",
        "--set=session_timeout_ms=1000",  # so long a static member that left is waited for
        limit_s=60,
    )


def require_refused(ran: Ran, *said: str) -> None:
    assert ran.code == 78, ran.err
    assert "Traceback" not in ran.err
    for words in said:
        assert words in ran.err, ran.err


def test_row26_unequal_partition_counts_are_refused_with_the_counts(tmp_path):
    with EmbeddedBroker().start(counts(**{CLAIMS: PARTITIONS + 1})) as uneven:
        ran = worker(uneven, tmp_path)
    require_refused(ran, f"claims {PARTITIONS + 1}", f"orders {PARTITIONS}", "must have the same")
    require_one_clear_message(ran)


def test_missing_topics_are_refused_with_the_command_that_makes_them(tmp_path):
    with EmbeddedBroker().start({"orders": PARTITIONS}) as bare:
        ran = worker(bare, tmp_path)
    require_refused(ran, CHANGELOG, "leidan topics apply --execute")


def test_simulate_creates_nothing_unless_told_to():
    with EmbeddedBroker().start({"orders": PARTITIONS}) as bare:
        ran = leidan("simulate", "--bootstrap-servers", bare.bootstrap, "--orders", "10")
        there = {topic for topic, _ in bare.low_watermarks()}
    require_refused(ran, "claims", "--create-topics")
    assert there == {"orders"}


@pytest.fixture(scope="module")
def left(broker, tmp_path_factory) -> Path:
    """The state of a worker that ran and left with 0."""
    directory = tmp_path_factory.mktemp("left")
    ran = worker(broker, directory, instance="first")
    assert ran.code == 0, ran.err
    return directory / "first"


@pytest.fixture
def state(left, tmp_path) -> Path:
    """A copy of it, where `worker` looks for its own.

    Another instance, because the broker waits ten seconds for the return of a static member.
    """
    shutil.copytree(left, tmp_path / "second")
    return tmp_path


def test_row22_the_state_of_another_partition_is_refused_and_left_alone(broker, state):
    zero, one = (state / "second" / "users" / name for name in "01")
    zero.rename(zero.with_name("spare"))
    one.rename(zero)
    before = sorted(path.name for path in zero.iterdir())
    ran = worker(broker, state)
    require_refused(ran, str(zero), "partition")
    kept = {path.name for path in zero.iterdir() if path.suffix in {".sst", ".log"}}
    assert kept >= {name for name in before if name.endswith(".sst")}


def test_row22_the_state_of_another_cluster_is_refused(state):
    with EmbeddedBroker().start(counts()) as other:
        require_refused(worker(other, state), "cluster")


def test_row27_the_state_of_a_newer_version_is_refused(broker, state):
    label = state / "second" / "users" / "0.identity.json"
    identity = json.loads(label.read_text())
    identity["row_schema"] += 1
    label.write_text(json.dumps(identity))
    require_refused(worker(broker, state), "newer")
