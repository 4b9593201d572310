"""What `kustomize build` makes of deploy/kubernetes, for machines that have no kustomize.

Knows what our files use and refuses the rest: resources, namespace, labels, images, replicas and
JSON patches. Where kubectl is found, a test holds it against the real one.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
BUILT = ("base", "jobs", "overlays/dev", "overlays/prod", "overlays/keda", "overlays/strimzi")
NO_NAMESPACE = {"Namespace"}
KNOWN = {
    *("apiVersion", "kind", "resources", "namespace", "labels", "images", "replicas", "patches"),
}

Object = dict[str, Any]


def build(directory: Path) -> list[Object]:
    """Return every object, as it would be applied; AssertionError for a word not known."""
    given = yaml.safe_load((directory / "kustomization.yaml").read_text())
    assert given.keys() <= KNOWN, f"{directory}: teach the renderer {given.keys() - KNOWN}"
    objects: list[Object] = []
    for resource in given["resources"]:
        path = (directory / resource).resolve()
        assert path.exists(), f"{directory.name}: {resource} does not exist"
        objects += build(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    objects = copy.deepcopy(objects)
    for patch in given.get("patches", []):
        _patch(objects, patch)
    for one in objects:
        _name_space(one, given.get("namespace"))
        for labels in given.get("labels", []):
            _label(one, labels)
        for count in given.get("replicas", []):
            if one["metadata"]["name"] == count["name"] and "replicas" in one.get("spec", {}):
                one["spec"]["replicas"] = count["count"]
        for image in given.get("images", []):
            _image(one, image)
    return objects


def pod(one: Object) -> Object:
    """Return the pod that an object makes; nothing where it makes none."""
    template = one.get("spec", {}).get("template", {})
    return template.get("spec", {}) if isinstance(template, dict) else {}


def _name_space(one: Object, namespace: str | None) -> None:
    if namespace is None:
        return
    if one["kind"] in NO_NAMESPACE:
        one["metadata"]["name"] = namespace
    else:
        one["metadata"]["namespace"] = namespace


def _label(one: Object, labels: Object) -> None:
    assert labels.keys() == {"pairs", "includeTemplates"}
    marked = [one["metadata"]]
    if pod(one):
        marked.append(one["spec"]["template"]["metadata"])
        marked += [claim["metadata"] for claim in one["spec"].get("volumeClaimTemplates", [])]
    for metadata in marked:
        metadata.setdefault("labels", {}).update(labels["pairs"])


def _image(one: Object, image: Object) -> None:
    for container in pod(one).get("containers", []):
        if container["image"].partition(":")[0] == image["name"]:
            container["image"] = f"{image['newName']}:{image['newTag']}"


def _patch(objects: list[Object], patch: Object) -> None:
    target = patch["target"]
    hit = [
        one
        for one in objects
        if (one["kind"], one["metadata"]["name"]) == (target["kind"], target["name"])
    ]
    assert len(hit) == 1, f"{target} is not there once"
    for step in yaml.safe_load(patch["patch"]):
        *way, last = [part.replace("~1", "/") for part in step["path"].strip("/").split("/")]
        at: Any = hit[0]
        for part in way:
            at = at[int(part) if isinstance(at, list) else part]
        key = int(last) if isinstance(at, list) else last
        if step["op"] != "add":
            at[key]  # is there, or KeyError
        if step["op"] == "remove":
            del at[key]
        else:
            at[key] = step["value"]
