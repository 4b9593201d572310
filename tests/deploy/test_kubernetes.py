"""Manifests: valid by the schemas, whole in themselves, and true of the worker they start."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from deploy.kubernetes import generate
from streams import settings, topics
from streams.app import FAUST_STOP_S
from streams.errors import Exit
from streams.feed.watchdog import STOP_S
from streams.web import server
from tests.contract.test_readme import parse
from tests.deploy.kustomize import BUILT, KUBERNETES, build, pod
from tests.gates import program

if TYPE_CHECKING:
    from pathlib import Path

WORKERS = [name for name in BUILT if name not in {"jobs", "overlays/strimzi"}]
CUSTOM = {
    *("PodMonitor", "PrometheusRule", "ScaledObject", "TriggerAuthentication"),
    *("KafkaTopic", "KafkaUser"),
}
"""Kinds whose schemas no package brings: tests of their own below."""

EVERY_BUILD = pytest.mark.parametrize("name", BUILT)
EVERY_GROUP = pytest.mark.parametrize("name", WORKERS)


@cache
def made(name: str) -> dict[tuple[str, str], dict]:
    objects = build(KUBERNETES / name)
    found = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    assert len(found) == len(objects), "no name twice"
    return found


def worker(name: str) -> dict:
    return made(name)["StatefulSet", "leidan"]


def pods(name: str) -> list[tuple[dict, dict]]:
    """Return each object that makes pods, with the pod."""
    return [(one, pod(one)) for one in made(name).values() if pod(one)]


def labels(one: dict) -> dict[str, str]:
    return one["spec"]["template"]["metadata"]["labels"]


def written(path: Path, objects: list[dict]) -> Path:
    path.write_text(yaml.safe_dump_all(objects))
    return path


# What others say of it


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_every_built_in_kind_satisfies_its_schema(version, tmp_path):
    validate = program("kubernetes-validate", how="make validators")
    files, count = [], 0
    for name in BUILT:
        objects = [one for one in build(KUBERNETES / name) if one["kind"] not in CUSTOM]
        count += len(objects)
        files.append(written(tmp_path / f"{name.replace('/', '-')}.yaml", objects))
    ran = subprocess.run(
        [validate, "--strict", "-k", version, *map(str, files)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    said = ran.stdout + ran.stderr
    assert (ran.returncode, said.count(" passed ")) == (0, count), said
    assert "WARN" not in said, "a kind it does not know passes with a warning"


@EVERY_BUILD
def test_kustomize_itself_builds_the_same(name):
    ran = subprocess.run(
        [program("kubectl", how="kubectl 1.27 or later"), "kustomize", str(KUBERNETES / name)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    real = {
        (one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(ran.stdout) if one
    }
    ours = made(name)
    assert real.keys() == ours.keys()
    for key, one in real.items():
        assert _trimmed(one) == _trimmed(ours[key]), key


def _trimmed(one: Any) -> Any:
    """Texts of patches keep their last line end with us, and lose it in kustomize."""
    if isinstance(one, dict):
        return {key: _trimmed(value) for key, value in one.items()}
    if isinstance(one, list):
        return [_trimmed(value) for value in one]
    return one.rstrip("\n") if isinstance(one, str) else one


@pytest.mark.parametrize("path", generate.every())
def test_what_is_generated_is_as_its_source_says(path):
    assert (KUBERNETES / path).read_text() == generate.every()[path], (
        "python deploy/kubernetes/generate.py"
    )


# Whole in itself


@EVERY_BUILD
def test_a_selector_finds_the_pods_it_means_and_no_others(name):
    objects = made(name)
    for one, _ in pods(name):
        if "selector" in one["spec"]:
            wanted = one["spec"]["selector"]["matchLabels"]
            alike = [other for other, _ in pods(name) if wanted.items() <= labels(other).items()]
            assert alike == [one]
    for (kind, named), one in objects.items():
        if kind in {"Service", "PodDisruptionBudget", "PodMonitor", "NetworkPolicy"}:
            asked = one["spec"].get("podSelector") or one["spec"]["selector"]
            wanted = asked.get("matchLabels", asked)
            hit = {
                o["metadata"]["name"] for o, _ in pods(name) if wanted.items() <= labels(o).items()
            }
            everybody = {o["metadata"]["name"] for o, _ in pods(name)}
            assert hit == (
                everybody if (kind, named) == ("NetworkPolicy", "leidan") else {"leidan"}
            )


@EVERY_BUILD
def test_ports_volumes_and_maps_that_are_named_exist(name):
    maps = {
        n: one for (kind, n), one in {**made("base"), **made(name)}.items() if kind == "ConfigMap"
    }
    for one, made_pod in pods(name):
        volumes = {volume["name"]: volume for volume in made_pod.get("volumes", [])}
        claims = {c["metadata"]["name"] for c in one["spec"].get("volumeClaimTemplates", [])}
        for volume in volumes.values():
            assert volume.get("configMap", {"name": "leidan"})["name"] in maps
        for container in made_pod["containers"]:
            ports = {port["name"] for port in container.get("ports", [])}
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= volumes.keys() | claims
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert container.get(probe, {"httpGet": {"port": "web"}})["httpGet"]["port"] in (
                    ports or {"web"}
                )
            for variable in container.get("env", []):
                key = variable.get("valueFrom", {}).get("configMapKeyRef")
                assert key is None or key["key"] in maps[key["name"]]["data"]
        assert claims | volumes.keys() == {
            mount["name"] for c in made_pod["containers"] for mount in c["volumeMounts"]
        }


@EVERY_BUILD
def test_a_pod_has_no_rights_it_does_not_need(name):
    for one, made_pod in pods(name):
        assert made_pod["automountServiceAccountToken"] is False
        context = made_pod["securityContext"]
        assert context["runAsNonRoot"]
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 10001
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in made_pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"].keys() == {"requests", "limits"}
            assert "memory" in container["resources"]["limits"]
        assert one["metadata"].get("namespace") != "default"


@EVERY_BUILD
def test_no_secret_is_in_the_tree(name):
    assert "Secret" not in {kind for kind, _ in made(name)}
    for one in made(name).values():
        for line in one.get("data", {}).get("worker.toml", "").splitlines():
            secret = line.partition(" = ")[0].strip('"')
            assert secret not in settings.SECRETS, f"{secret}: name a file, {secret}_file"


# True of the worker


def expanded(container: dict, objects: dict) -> tuple[list[str], dict[str, str]]:
    """Return arguments and environment as a kubelet gives them to pod `leidan-1`."""
    environment: dict[str, str] = {}
    for variable in container.get("env", []):
        source = variable.get("valueFrom", {})
        if "configMapKeyRef" in source:
            key = source["configMapKeyRef"]
            value = objects["ConfigMap", key["name"]]["data"][key["key"]]
        elif "fieldRef" in source:
            assert source["fieldRef"] == {"fieldPath": "metadata.name"}
            value = "leidan-1"
        else:
            value = variable["value"]
        for known, said in environment.items():
            value = value.replace(f"$({known})", said)
        environment[variable["name"]] = value
    arguments = container["args"]
    for known, said in environment.items():
        arguments = [argument.replace(f"$({known})", said) for argument in arguments]
    assert "$(" not in " ".join((*arguments, *environment.values())), "a name nobody gives"
    return arguments, environment


@EVERY_BUILD
def test_what_a_container_is_told_is_a_command_of_ours(name):
    objects = {**made("base"), **made(name)}
    for _, made_pod in pods(name):
        for container in made_pod["containers"]:
            parse(["leidan", *expanded(container, objects)[0]])


def settings_of(name: str, directory: Path) -> settings.Settings:
    """Return what the worker of an overlay is told, with every secret file there."""
    objects = made(name)
    (container,) = pod(objects["StatefulSet", "leidan"])["containers"]
    arguments, environment = expanded(container, objects)
    text = objects["ConfigMap", "leidan"]["data"]["worker.toml"]
    for file in ("web-token", "kafka-password", "ca.crt"):
        (directory / file).write_text(f"{file}-of-a-test-0123456789")
        text = text.replace(f"/run/secrets/leidan/{file}", str(directory / file))
    config = directory / "worker.toml"
    config.write_text(text)
    assert "--config=/etc/leidan/worker.toml" in arguments
    instance = next(a for a in arguments if a.startswith("--instance=")).partition("=")[2]
    return settings.load(config, {"instance": instance}, environment)


@EVERY_GROUP
def test_settings_are_ours_and_an_unknown_one_would_be_refused(name, tmp_path):
    told = settings_of(name, tmp_path)
    assert told.instance == "leidan-1", "a static member is its pod"
    assert told.web_advertised == "http://leidan-1.leidan-workers:8080"
    (container,) = pod(worker(name))["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert told.state_dir == mounts["state"]
    assert told.pool_secrets_dir == mounts["pools"]
    assert container["ports"] == [{"name": "web", "containerPort": told.web_port}]


@pytest.mark.parametrize("name", ["base", "overlays/prod", "overlays/keda"])
def test_only_a_development_cluster_answers_without_a_token(name, tmp_path):
    assert settings_of(name, tmp_path).web_token
    assert not settings_of("overlays/dev", tmp_path).web_token


@pytest.mark.parametrize("name", ["overlays/prod", "overlays/keda"])
def test_production_speaks_to_kafka_encrypted_and_proves_who_it_is(name, tmp_path):
    told = settings_of(name, tmp_path)
    assert told.kafka.client["security.protocol"] == "sasl_ssl"
    assert told.kafka.bootstrap_servers == generate.BOOTSTRAP
    assert told.kafka.client["sasl.username"] == "leidan"
    assert told.log_format == "json"


def test_probes_ask_what_the_worker_answers_without_a_token():
    (container,) = pod(worker("base"))["containers"]
    asked = {name: container[name]["httpGet"]["path"] for name in container if "Probe" in name}
    assert asked == {
        "startupProbe": server.READY,  # the restore is over
        "readinessProbe": server.READY,
        "livenessProbe": server.LIVE,  # never the restore, nor the broker: a restart mends neither
    }
    assert set(asked.values()) <= server.OPEN


def test_a_restore_may_take_longer_than_any_that_was_worked_out():
    probe = pod(worker("base"))["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 2 * 600  # twice the ten minutes


@EVERY_GROUP
def test_a_stop_has_the_time_it_may_take(name):
    patience_s = pod(worker(name))["terminationGracePeriodSeconds"]
    assert patience_s >= 2 * (STOP_S + FAUST_STOP_S)


@EVERY_GROUP
def test_a_pod_that_comes_back_in_time_keeps_its_partitions(name, tmp_path):
    told = settings_of(name, tmp_path)
    if name != "overlays/dev":
        assert told.session_timeout_ms > 1_000 * STOP_S, "a stop alone would move them"
    assert worker(name)["spec"]["podManagementPolicy"] == "Parallel"
    assert "updateStrategy" not in worker(name)["spec"], "RollingUpdate, one by one"


@EVERY_GROUP
def test_workers_share_the_partitions_evenly_and_one_may_be_away(name):
    count = worker(name)["spec"].get("replicas", generate.FEWEST)
    assert generate.PARTITIONS % count == 0
    budget = made(name)["PodDisruptionBudget", "leidan"]["spec"]
    assert budget["maxUnavailable"] == 1


def test_jobs_strimzi_and_keda_agree_on_the_partitions():
    (container,) = pod(made("jobs")["Job", "leidan-topics"])["containers"]
    assert f"--partitions={generate.PARTITIONS}" in container["args"]
    assert generate.PARTITIONS % generate.MOST == 0
    assert worker("overlays/prod")["spec"]["replicas"] == generate.FEWEST
    assert "replicas" not in worker("overlays/keda")["spec"], "KEDA's own number"


def test_a_job_that_would_say_the_same_again_is_over_and_one_without_a_broker_is_tried_again():
    job = made("jobs")["Job", "leidan-topics"]
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    exits = rule["onExitCodes"]
    assert set(exits["values"]) == {Exit.DIFFERENT, Exit.USAGE, Exit.REFUSED}
    assert [container["name"] for container in pod(job)["containers"]] == [exits["containerName"]]
    assert pod(job)["restartPolicy"] == "Never", "the policy is void with another"


MIB = {"Mi": 1, "Gi": 1024}


def mib(quantity: str) -> int:
    return int(quantity[:-2]) * MIB[quantity[-2:]]


def test_a_worker_gets_the_memory_and_disk_that_it_was_measured_to_take():
    figures = json.loads((KUBERNETES.parent / "figures.json").read_text())
    measured = {name: one["value"] for name, one in figures.items()}
    memory = pod(worker("base"))["containers"][0]["resources"]
    assert mib(memory["requests"]["memory"]) > 1.25 * measured["worker_mb"]
    assert mib(memory["limits"]["memory"]) > 2.5 * measured["worker_mb"]
    (claim,) = worker("base")["spec"]["volumeClaimTemplates"]
    users = 3 * measured["users_measured"]  # of one worker; deploy/sizing.md has 14 million
    disk = mib(claim["spec"]["resources"]["requests"]["storage"])
    assert disk * 2**20 > 1.5 * users * measured["disk_bytes_per_user"]


@EVERY_GROUP
def test_only_who_is_named_may_ask_and_only_brokers_and_names_are_asked(name):
    every, web = (made(name)["NetworkPolicy", one]["spec"] for one in ("leidan", "leidan-web"))
    assert set(every["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in every
    out = {port["port"] for rule in every["egress"] for port in rule["ports"]}
    bootstrap = made(name)["ConfigMap", "leidan"]["data"]["bootstrap-servers"]
    assert out == {53, 9092, 9093}
    assert int(bootstrap.rpartition(":")[2]) in out
    ((rule,),) = (web["ingress"],)
    assert rule["ports"] == [{"protocol": "TCP", "port": "web"}]
    assert len(rule["from"]) == 2


# Kinds of operators


def test_prometheus_finds_the_workers_under_the_name_that_the_rules_use():
    spec = made("overlays/prod")["PodMonitor", "leidan"]["spec"]
    assert labels(worker("overlays/prod"))[spec["jobLabel"]] == "leidan"
    (endpoint,) = spec["podMetricsEndpoints"]
    (container,) = pod(worker("overlays/prod"))["containers"]
    assert endpoint["port"] in {port["name"] for port in container["ports"]}
    assert endpoint["path"] == "/metrics"
    assert endpoint["authorization"]["credentials"]["key"] == "web-token"
    assert 'job="leidan"' in generate.RULES.read_text()


def test_the_rule_object_holds_the_rules_and_no_word_of_it_that_its_operator_does_not_know():
    spec = made("overlays/prod")["PrometheusRule", "leidan"]["spec"]
    assert spec == yaml.safe_load(generate.RULES.read_text())
    for group in spec["groups"]:
        assert group.keys() <= {"name", "interval", "rules"}
        for rule in group["rules"]:
            assert rule.keys() <= {
                *("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")
            }


def test_strimzi_makes_each_topic_of_the_registry_as_the_worker_wants_it():
    objects = made("overlays/strimzi")
    found = {name: one["spec"] for (kind, name), one in objects.items() if kind == "KafkaTopic"}
    assert found.keys() == topics.registry().keys()
    for name, spec in found.items():
        wanted = topics.registry()[name]
        assert spec["partitions"] == wanted.partition_count(generate.PARTITIONS)
        assert wanted.configs.items() <= spec["config"].items()
        assert (spec["replicas"], spec["config"]["min.insync.replicas"]) == (3, 2)


def test_the_workers_user_may_write_what_they_say_and_not_what_shops_say():
    acls = made("overlays/strimzi")["KafkaUser", "leidan"]["spec"]["authorization"]["acls"]
    may = {(one["resource"]["type"], one["resource"]["name"]): one["operations"] for one in acls}
    for shops in (*topics.USER_KEYED, topics.CAMPAIGNS):
        assert "Write" not in may["topic", shops]
        assert "Read" in may["topic", shops]
    for ours in (topics.REWARDS, topics.CHANGELOG, topics.DEAD_LETTERS, topics.TICKS):
        assert "Write" in may["topic", ours]
    assert {name for kind, name in may if kind == "topic"} == topics.registry().keys()
    assert not {"All", "Create", "Delete", "Alter"} & {o for one in may.values() for o in one}


def test_keda_looks_at_what_others_write_by_the_group_that_folds_it():
    spec = made("overlays/keda")["ScaledObject", "leidan"]["spec"]
    assert {one["metadata"]["topic"] for one in spec["triggers"]} == set(topics.USER_KEYED)
    for trigger in spec["triggers"]:
        given = trigger["metadata"]
        assert all(isinstance(value, str) for value in given.values()), "KEDA takes texts alone"
        assert given["consumerGroup"] == settings.Settings().group
        assert trigger["authenticationRef"]["name"] == "leidan-kafka"
    assert 0 < spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]
    assert spec["maxReplicaCount"] <= generate.PARTITIONS
    assert spec["scaleTargetRef"]["name"] == "leidan"
