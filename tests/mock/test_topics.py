"""`leidan topics` before the embedded broker, which keeps no settings and would let one wait."""

from __future__ import annotations

import json
import time

import pytest
import yaml

from streams.broker.embedded import EmbeddedBroker
from streams.topics import registry
from tests.cli.conftest import leidan, require_one_clear_message

PARTITIONS = 2
COUNTS = {name: topic.partition_count(PARTITIONS) for name, topic in registry().items()}
VERBS = pytest.mark.parametrize("verb", ["plan", "apply", "check"])


@pytest.fixture(scope="module")
def whole():
    with EmbeddedBroker().start(COUNTS) as running:
        yield ("--bootstrap-servers", running.bootstrap, "-p", PARTITIONS)


@pytest.fixture(scope="module")
def bare():
    """A broker that has the topics of the shops, one of them with a partition too many."""
    with EmbeddedBroker().start({"orders": PARTITIONS, "claims": PARTITIONS + 1}) as running:
        yield ("--bootstrap-servers", running.bootstrap, "-p", PARTITIONS)


@VERBS
def test_all_is_there_and_what_was_not_looked_at_is_said_at_once(verb, whole):
    began_s = time.monotonic()
    ran = leidan("topics", verb, "--json", *whole)
    assert time.monotonic() - began_s < 12, "its limit for an answer that never comes is 15 s"
    (worth,) = json.loads(ran.out).pop("worth")
    assert worth.startswith("the embedded broker has no settings or offsets")
    nothing = {"missing": [], "created": [], "wrong": [], "worth": [worth]}
    assert json.loads(ran.out) == {"ok": True, **nothing}
    assert (ran.code, ran.err) == (0, "")


@VERBS
def test_what_is_missing_or_differs_ends_with_1_and_is_one_object(verb, bare):
    ran = leidan("topics", verb, "--json", *bare)
    assert ran.code == 1
    found = json.loads(ran.out)
    assert found["ok"] is False
    assert [one["topic"] for one in found["missing"]] == [
        name for name in registry() if name not in {"orders", "claims"}
    ]
    assert found["wrong"][0].startswith("claims has 3 partitions, not 2; nothing here resizes")


def test_what_is_missing_as_strimzi_makes_it(bare):
    ran = leidan("topics", "plan", "--strimzi", *bare)
    assert ran.code == 1
    made = {one["metadata"]["name"]: one for one in yaml.safe_load_all(ran.out)}
    assert made.keys() == registry().keys() - {"orders", "claims"}
    assert made["cancellations"]["spec"] == {
        "partitions": PARTITIONS,
        "replicas": 3,
        "config": {
            **registry()["cancellations"].configs,
            "min.insync.replicas": 2,
            "unclean.leader.election.enable": False,
        },
    }
    assert "differs: claims has 3 partitions" in ran.err, "beside the manifests, not among them"
    both = leidan("topics", "plan", "--strimzi", "--json", *bare)
    assert both.code == 2
    require_one_clear_message(both)


def test_a_prefix_that_kubernetes_does_not_take_stands_in_the_topics_own_name(bare):
    ran = leidan("topics", "plan", "--strimzi", *bare, "--topic-prefix", "Shop_1.")
    for one in yaml.safe_load_all(ran.out):
        name = one["metadata"]["name"]
        assert name.startswith("shop-1.")
        assert one["spec"]["topicName"] == "Shop_1." + name.removeprefix("shop-1.")


@VERBS
def test_settings_that_are_wrong_end_with_2(verb, whole, tmp_path):
    config = tmp_path / "worker.toml"
    config.write_text('topic_prefx = "x"\n')
    ran = leidan("topics", verb, *whole, "--config", config)
    assert ran.code == 2
    require_one_clear_message(ran)
    assert "topic_prefx" in ran.err
