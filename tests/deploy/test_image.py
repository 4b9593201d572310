"""Dockerfile and compose file: what a linter and a schema can say, and whether names in them exist.

No engine runs here: that the image builds was tried by hand, step by step (deploy/README.md).
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from streams import __version__, settings
from streams.feed.watchdog import STOP_S
from streams.web import server
from tests.contract.test_readme import parse
from tests.gates import program

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = {
    name: one for name, one in COMPOSE["services"].items() if one["image"].startswith("leidan:")
}
WORKERS = {name: one for name, one in OURS.items() if name.startswith("worker-")}


def steps() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions: the word, and the rest on one line."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line[:1] != "#"]
    text = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, " ".join(rest.split()))
        for word, _, rest in (line.partition(" ") for line in text.splitlines())
        if word
    ]


STEPS = steps()
FINAL = STEPS[max(at for at, (word, _) in enumerate(STEPS) if word == "FROM") :]


def only(word: str, of: list[tuple[str, str]] = FINAL) -> str:
    (one,) = [rest for each, rest in of if each == word]
    return one


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(only("ENV")))


def ignored(path: str) -> bool:
    """Say whether the build is given a file: the last pattern that fits decides."""
    out = False
    for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if not pattern or pattern[0] == "#":
            continue
        if pattern.startswith("**/"):
            fits = any(Path(part).match(pattern[3:]) for part in path.split("/"))
        else:
            fits = pattern in {"*", path} or path.startswith(f"{pattern}/")
        out = out if not fits else line[0] != "!"
    return out


def test_both_stages_begin_with_the_same_base_pinned_by_digest():
    bases = [rest.split()[0] for word, rest in STEPS if word == "FROM"]
    assert bases == ["${PYTHON}", "${PYTHON}"]
    name, _, base = next(rest for word, rest in STEPS if word == "ARG").partition("=")
    assert name == "PYTHON"
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)


def test_it_does_not_run_as_root_and_the_kubelet_can_tell():
    assert only("USER") == "10001:10001", "numbers: runAsNonRoot cannot look names up"
    after = FINAL[FINAL.index(("USER", only("USER"))) :]
    assert not [word for word, _ in after if word in {"RUN", "COPY", "ADD"}]


def test_every_package_is_installed_by_a_hash_of_the_lock():
    run = [part.strip() for word, rest in STEPS if word == "RUN" for part in rest.split("&&")]
    pips = [part for part in run if re.search(r"\bpip (wheel|install|--python)", part)]
    assert len(pips) == 4
    for part in pips:
        assert "--require-hashes" in part or "--no-index" in part, part
    assert not [word for word, _ in STEPS if word == "ADD"], "COPY says what it does"
    assert not [part for part in run if re.search(r"curl|wget|--upgrade|apt-get upgrade", part)]


def test_what_is_installed_by_apt_leaves_no_lists_and_none_of_it_gets_into_the_result():
    for _word, rest in STEPS:
        if "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert "rm -rf /var/lib/apt/lists/*" in rest
    assert not [rest for word, rest in FINAL if word == "RUN" and "apt-get" in rest]
    assert [rest for word, rest in FINAL if word == "COPY"] == [
        "--from=build /opt/leidan /opt/leidan"
    ]


def test_everything_that_is_copied_is_there_and_let_through():
    copied = [rest.split()[:-1] for word, rest in STEPS if word == "COPY" and "--from" not in rest]
    for source in (one for each in copied for one in each):
        assert (ROOT / source).exists()
        assert not ignored(source)
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {hatch["project"]["readme"], *hatch["project"]["license-files"], "streams", "schemas"}
    assert needed <= {one for each in copied for one in each}


@pytest.mark.parametrize(
    "path",
    [".git/config", ".env", ".venv/bin/python", "state/leidan-0/users/LOCK", "tests/given.py",
     "deploy/SECURITY.md", "streams/native/_native.cpython-311-x86_64-linux-gnu.so",
     "streams/domain/__pycache__/fold.cpython-311.pyc"],
)  # fmt: skip
def test_nothing_else_of_the_checkout_gets_into_the_build(path):
    assert ignored(path)


@pytest.mark.parametrize("path", ["streams/native/fold.c", "schemas/topics/orders.yaml", "LICENSE"])
def test_what_the_build_needs_does(path):
    assert not ignored(path)


def test_variables_are_settings_and_none_of_them_is_secret():
    ours = {name: value for name, value in environment().items() if name.startswith("LEIDAN_")}
    told = settings.load(environ=ours)
    assert told.web_port == int(only("EXPOSE"))
    assert told.state_dir == only("VOLUME") == only("WORKDIR")
    for word, rest in STEPS:
        if word in {"ENV", "ARG"}:
            assert not re.search(r"password|token|secret", rest, re.IGNORECASE)


def test_its_command_is_ours_in_exec_form_so_that_sigterm_arrives():
    command = [*json.loads(only("ENTRYPOINT")), *json.loads(only("CMD"))]
    parse(command)
    assert only("STOPSIGNAL") == "SIGTERM"


def test_its_health_is_that_of_the_loop():
    health = only("HEALTHCHECK")
    port = environment()["LEIDAN_WEB_PORT"]
    assert f"http://127.0.0.1:{port}{server.LIVE}" in health
    command = json.loads(health.partition("CMD ")[2])
    compile(command[2], "healthcheck", "exec")


# compose.yaml


@pytest.mark.slow
def test_the_compose_file_satisfies_the_specification():
    ran = subprocess.run(
        [program("check-jsonschema", how="make validators"), "--builtin-schema",
         "vendor.compose-spec", str(DEPLOY / "compose.yaml")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_nothing_listens_beyond_this_machine():
    published = [port for one in COMPOSE["services"].values() for port in one.get("ports", [])]
    assert len(published) == 5
    for port in published:
        assert port.startswith("127.0.0.1:")
    hosts = [port.split(":")[1] for port in published]
    assert len(set(hosts)) == len(hosts)


def test_every_image_is_pinned_and_ours_is_this_version():
    for one in COMPOSE["services"].values():
        tag = one["image"].partition("@")[0].partition(":")[2]
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), one["image"]
    assert {one["image"] for one in OURS.values()} == {f"leidan:{__version__}"}
    build = OURS["topics"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()


@pytest.mark.parametrize("name", OURS)
def test_what_a_service_is_told_is_a_command_of_ours(name):
    parse(["leidan", *OURS[name]["command"]])
    told = settings.load(environ={k: str(v) for k, v in OURS[name].get("environment", {}).items()})
    if name in WORKERS:
        assert told.kafka.bootstrap_servers == "kafka:19092"
        assert told.web_port == 8080


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_has_a_read_only_root_and_no_capability(name):
    one = OURS[name]
    assert one["read_only"]
    assert one["tmpfs"] == ["/tmp"]  # noqa: S108 - of the container
    assert one["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in one["security_opt"]


def test_two_workers_share_neither_name_nor_rows():
    assert len(WORKERS) == 2
    names = {a for one in WORKERS.values() for a in one["command"] if a.startswith("--instance")}
    rows = {v for one in WORKERS.values() for v in one["volumes"] if v.endswith(":/var/lib/leidan")}
    assert len(names) == len(rows) == 2
    for one in WORKERS.values():
        assert float(one["stop_grace_period"].removesuffix("s")) > STOP_S
        assert server.READY in one["healthcheck"]["test"][-1]


def test_what_is_mounted_is_there():
    for name, one in COMPOSE["services"].items():
        for volume in one.get("volumes", []):
            source, _, target = volume.partition(":")
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name}: {source}"
                assert target.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"]


def test_prometheus_scrapes_the_workers_and_grafana_finds_its_files():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    (found,) = job["static_configs"]
    assert set(found["targets"]) == {f"{name}:8080" for name in WORKERS}
    mounted = COMPOSE["services"]["grafana"]["volumes"]
    provider = next((DEPLOY / "grafana" / "provisioning" / "dashboards").glob("*.y*ml"))
    (one,) = yaml.safe_load(provider.read_text())["providers"]
    boards = {path.name for path in (DEPLOY / "grafana").glob("*.json")}
    assert boards == {Path(v.split(":")[1]).name for v in mounted if one["options"]["path"] in v}
    source = next((DEPLOY / "grafana" / "provisioning" / "datasources").glob("*.y*ml"))
    (data,) = yaml.safe_load(source.read_text())["datasources"]
    assert data["url"] == "http://prometheus:9090"
