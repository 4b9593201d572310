"""Write the manifests that follow from the registry of topics and from the alerts.

    python deploy/kubernetes/generate.py

`schemas/topics` gives Strimzi's topics, what the workers may do with each, and the backlogs that
KEDA looks at; `deploy/prometheus/rules.yml` gives the PrometheusRule. A test compares: change the
sources, never these files.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from streams import topics
from streams.settings import Settings

HERE = Path(__file__).resolve().parent
RULES = HERE.parent / "prometheus" / "rules.yml"

PARTITIONS = 64
"""N of production, for ever. A worker of overlays/prod has 16 of them, of the most 4."""
FEWEST, MOST = 4, 16
"""Workers of overlays/keda; the fewest are those of overlays/prod."""
LAG = 30_000
"""Records of one topic for which a worker more is wanted: some seconds of one worker's work."""

BOOTSTRAP = "kafka-kafka-bootstrap.kafka.svc:9093"
READ, WRITE = ("Read", "Describe"), ("Write", "Describe")


def every() -> dict[str, str]:
    """Return each generated file, by its path from here."""
    return {
        "monitoring/rules.yaml": _written("deploy/prometheus/rules.yml", [_rules()]),
        "overlays/keda/scaledobject.yaml": _written("schemas/topics", [_scaled(), _keda_access()]),
        "overlays/strimzi/topics.yaml": _written("schemas/topics", map(_topic, topics.registry())),
        "overlays/strimzi/users.yaml": _written("schemas/topics", [_user()]),
    }


def _rules() -> dict[str, Any]:
    spec = yaml.safe_load(RULES.read_text())
    return _object("monitoring.coreos.com/v1", "PrometheusRule", "leidan", spec)


def _topic(name: str) -> dict[str, Any]:
    return topics.strimzi(name, name, topics.registry()[name].partition_count(PARTITIONS))


def acls(settings: Settings) -> list[dict[str, Any]]:
    """Return what the workers and their clock may do: these resources, and nothing else.

    Topics as the registry names their writers and readers. Settings of topics are read by the
    preflight.
    """
    found = []
    for name, topic in topics.registry().items():
        allowed = {"Describe", "DescribeConfigs"}  # for the preflight, of every topic
        if name == topics.TICKS or any(one.startswith("worker") for one in topic.consumers):
            allowed |= set(READ)
        if name == topics.TICKS or "worker" in topic.producers:
            allowed |= set(WRITE)
        found.append(_may("topic", settings.topic(name), *sorted(allowed)))
    app = settings.app_id
    found += [_may("group", name, *READ) for name in (app, settings.group, f"{app}-campaigns")]
    found.append(_may("group", "leidan-reader", "Describe"))  # the clock's reader joins no group
    found.append(_may("transactionalId", f"{app}-users-", *WRITE, pattern="prefix"))
    found.append(_may("transactionalId", f"{app}-ticks", *WRITE))
    return found


def _user() -> dict[str, Any]:
    spec = {
        "authentication": {"type": "scram-sha-512"},
        "authorization": {"type": "simple", "acls": acls(Settings())},
    }
    made = _object("kafka.strimzi.io/v1", "KafkaUser", "leidan", spec)
    made["metadata"]["labels"] = {"strimzi.io/cluster": "kafka"}
    return made


def _scaled() -> dict[str, Any]:
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "leidan"},
        "minReplicaCount": FEWEST,  # never 0: a transaction's marker is a lag of 1 for ever
        "maxReplicaCount": MOST,
        "pollingInterval": 30,
        "cooldownPeriod": 600,
        "fallback": {"failureThreshold": 3, "replicas": FEWEST},
        "advanced": {
            "horizontalPodAutoscalerConfig": {
                "behavior": {
                    "scaleUp": {
                        "stabilizationWindowSeconds": 120,
                        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 300}],
                    },
                    "scaleDown": {
                        "stabilizationWindowSeconds": 1800,
                        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 600}],
                    },
                }
            }
        },
        "triggers": [_trigger(name) for name in topics.USER_KEYED],
    }
    return _object("keda.sh/v1alpha1", "ScaledObject", "leidan", spec)


def _trigger(topic: str) -> dict[str, Any]:
    metadata = {
        "bootstrapServers": BOOTSTRAP,
        "consumerGroup": Settings().group,
        "topic": topic,
        "lagThreshold": str(LAG),
        "offsetResetPolicy": "earliest",
        "limitToPartitionsWithLag": "true",  # a hot partition is not helped by a worker more
        "sasl": "scram_sha512",
        "tls": "enable",
    }
    return {"type": "kafka", "metadata": metadata, "authenticationRef": {"name": "leidan-kafka"}}


def _keda_access() -> dict[str, Any]:
    given = {"username": "kafka-username", "password": "kafka-password", "ca": "ca.crt"}
    spec = {
        "secretTargetRef": [
            {"parameter": parameter, "name": "leidan", "key": key}
            for parameter, key in given.items()
        ]
    }
    return _object("keda.sh/v1alpha1", "TriggerAuthentication", "leidan-kafka", spec)


def _may(kind: str, name: str, *operations: str, pattern: str = "literal") -> dict[str, Any]:
    resource = {"type": kind, "name": name, "patternType": pattern}
    return {"resource": resource, "operations": list(operations)}


def _object(api: str, kind: str, name: str, spec: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _written(source: str, documents: Any) -> str:
    head = f"# Written by deploy/kubernetes/generate.py from {source}: change that, not this.\n"
    return head + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=10_000)


if __name__ == "__main__":
    for path, text in every().items():
        (HERE / path).write_text(text)
        sys.stdout.write(f"{path}\n")
