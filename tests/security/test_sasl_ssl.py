"""A real worker, and every verb, over a listener that asks for TLS, a certificate and SASL."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import finish, leidan, require_one_clear_message, start
from tests.gates import LONG
from tests.kafka.harness import Topics, wait_until
from tests.kafka.workers import SAMPLE, Process
from tests.security.secured import SCRAM_PASSWORD, SECRETS, Secured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.kafka

PREFIX = "secured-"
WEB_TOKEN = "a-token-for-the-web-surface"  # noqa: S105 - of this test's worker


@pytest.fixture(scope="module")
def secured(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:  # noqa: ARG001
    broker = Secured.start(tmp_path_factory.mktemp("secured"))
    with broker.cluster:
        yield broker


def place(broker: Secured, config: Path) -> tuple[object, ...]:
    return ("--bootstrap-servers", broker.bootstrap, "--config", config, "--topic-prefix", PREFIX)


def test_a_reward_comes_out_over_sasl_ssl_and_no_secret_is_printed(secured, tmp_path):
    good = secured.config()
    scram_secret = str(secured.secret(SCRAM_PASSWORD))
    scram = secured.config("scram", sasl_mechanism="SCRAM-SHA-512", sasl_password_file=scram_secret)
    # given topics and traffic made through the secured listener, by PLAIN and by SCRAM
    made = leidan("topics", "apply", "--execute", "-p", 2, *place(secured, good))
    assert made.code == 0, made.err
    sent = leidan("simulate", "--orders", 300, "--users", 30, *place(secured, scram))
    assert sent.code == 0, sent.err
    # when a worker folds them, each of its clients over the same listener
    settings = ("log_level=DEBUG", "web_port=0", f"app_id={PREFIX}leidan")
    words = ("worker", *place(secured, scram), "--state-dir", tmp_path / "state")
    words += ("--stats-file", tmp_path / "stats.json", "--campaigns", SAMPLE)
    words += tuple(f"--set={setting}" for setting in settings)
    command = [sys.executable, "-m", "streams", *map(str, words)]
    worker = Process("secured worker", command, tmp_path / "worker.log")
    topics = Topics(secured.plain, PREFIX)
    worker.start(LEIDAN_WEB_TOKEN=WEB_TOKEN)
    try:
        wait_until(lambda: rewards(topics), "a reward", 60)
        # then Faust's own consumer of the dead letters is in its group too
        wait_until(lambda: group_state(topics, f"{PREFIX}leidan") == "Stable", "Faust's group", 60)
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".sst"]
    said = [made.out, made.err, sent.out, sent.err]
    said += [path.read_bytes().decode("latin-1") for path in files]
    assert worker.log.stat().st_size > 1_000, "there is something to look at"
    for secret in (*SECRETS, WEB_TOKEN):
        assert not [text for text in said if secret in text]


@LONG
def test_the_demo_runs_over_the_same_listener(secured):
    config = secured.config("demo")
    ran = leidan(
        "demo", "--json", "--orders", 500, "--users", 50, "-p", 2, "--config", config,
        "--bootstrap-servers", secured.bootstrap, "--topic-prefix", "secured-demo-",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["rewards_net"] > 20
    assert not [secret for secret in SECRETS if secret in ran.out + ran.err]


def rewards(topics: Topics) -> bool:
    return any(b'"reward.issued"' in seen.value for seen in topics.read("rewards"))


def group_state(topics: Topics, group: str) -> str:
    described = topics.admin.describe_consumer_groups([group])[group].result(10)
    return str(described.state.name).title() if described.members else "Empty"


WRONG = {
    "password": ({"sasl_password_file": "wrong"}, "refuses the credentials"),
    "authority": ({"ssl_ca_location": "stranger.pem"}, "no trust"),
}
VERBS = {
    "worker": ("worker", "--state-dir", "DIR"),
    "topics plan": ("topics", "plan"),
    "simulate": ("simulate", "--orders", "10"),
}


@pytest.fixture(scope="module")
def refusals(secured, tmp_path_factory):
    """Each verb with each fault, all at once."""
    running = {}
    for fault, (changes, _) in WRONG.items():
        found = {}
        for key, name in changes.items():
            path = secured.folder / name
            if not path.exists():
                path.write_text("wrong-password-entirely")
            found[key] = str(path)
        config = secured.config(fault, **found)
        for verb, words in VERBS.items():
            directory = str(tmp_path_factory.mktemp("state"))
            command = [directory if word == "DIR" else word for word in words]
            running[verb, fault] = start(*command, *place(secured, config))
    return {case: finish(process) for case, process in running.items()}


@pytest.mark.parametrize("fault", WRONG)
@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_one_ends_with_78_and_one_clear_message_without_the_secret(verb, fault, refusals):
    ran = refusals[verb, fault]
    assert ran.code == 78, ran.err
    require_one_clear_message(ran)
    assert WRONG[fault][1] in ran.err
    assert "kafka.client" in ran.err, "where to look"
    for secret in (*SECRETS, "wrong-password-entirely"):
        assert secret not in ran.err + ran.out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ssl_ca_location": "/nowhere/ca.pem"}, "ca.pem"),
        ({"ssl_key_password_file": "/nowhere/password"}, "/nowhere/password"),
        ({"sasl_mechanism": "GSSAPI"}, "sasl.mechanism: none of PLAIN"),
        ({"security_protocol": "sasl-tls"}, "security.protocol: none of"),
    ],
)
def test_settings_that_cannot_work_end_with_2_before_anything_is_asked(secured, changes, said):
    ran = leidan("topics", "plan", *place(secured, secured.config("odd", **changes)))
    assert ran.code == 2, ran.err
    require_one_clear_message(ran)
    assert said in ran.err


def test_without_security_the_listener_does_not_answer_and_it_is_said(secured):
    ran = leidan("topics", "plan", "--bootstrap-servers", secured.bootstrap)
    assert ran.code == 4, ran.err
    require_one_clear_message(ran)
    assert "security.protocol" in ran.err, "what it might be"


def test_a_broker_by_another_name_than_its_certificate_says_is_not_trusted(secured):
    elsewhere = secured.bootstrap.replace("127.0.0.1", "localhost")
    config = secured.config()
    ran = leidan("topics", "plan", "--bootstrap-servers", elsewhere, "--config", config)
    assert ran.code == 78, ran.err
    require_one_clear_message(ran)
    assert "no trust" in ran.err
