"""Who may import whom: the source itself is walked, so a shortcut fails here and not in review.

The rule is the tree's: the kernel knows nothing, the edges know everything, nothing points upwards.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "streams"

# `feed.ports` names what a log, a store and a record are; `feed.kill_points` does nothing unless a
# test asks for a crash. Neither imports the feed: everybody may know them.
LEAVES = {
    "streams", "position", "errors", "topics", "metrics", "settings", "connect",
    "feed.ports", "feed.kill_points", "partitioner",
}  # fmt: skip
KERNEL = LEAVES | {"domain", "wire"}
EDGE = KERNEL | {"store"}

# By first part of the module's name: what of ours it may import, and which libraries of others.
OURS: dict[str, set[str]] = {
    "domain": {"domain"},
    "position": set(),
    "errors": {"position"},
    "topics": set(),
    "asyncapi": {"streams", "topics"},
    "metrics": {"errors"},
    "settings": {"errors"},
    "logs": {"settings"},
    "tracing": LEAVES | {"feed.batch", "feed.unit_of_work"},
    "connect": {"errors"},
    "wire": KERNEL,
    "store": EDGE,
    "traffic": EDGE,
    "retail": EDGE,
    "web": EDGE | {"web", "feed"},
    "ticker": EDGE,
    "pool_secrets": KERNEL,
    "partitioner": set(),
    "feed": EDGE | {"feed"},
    "native": KERNEL | {"native"},
    "agents": KERNEL | {"agents", "feed.batch", "native"},
    "rights": KERNEL | {"rights"},
    "broker": {"broker"},
    "backfill": EDGE | {"logs", "backfill", "feed", "agents", "pool_secrets"},
    "dlq": EDGE | {"dlq", "feed"},
    "doctor": EDGE | {"doctor", "dlq", "feed", "native"},
    "demo": EDGE | {"demo", "broker", "traffic", "retail", "rights", "ticker", "pool_secrets"},
    "replay": EDGE | {"replay", "feed", "agents", "native", "pool_secrets", "backfill"},
    "app": {"*"},
    "cli": {"*"},
    "__main__": {"cli"},
}
OTHERS: dict[str, set[str]] = {
    "domain": {"msgspec"},
    "topics": {"msgspec", "yaml"},
    "asyncapi": {"yaml"},
    "metrics": {"prometheus_client"},
    "settings": {"msgspec"},
    "tracing": {"opentelemetry"},
    "connect": {"confluent_kafka"},
    "wire": {"msgspec", "orjson"},
    "store": {"msgspec", "orjson", "rocksdict"},
    "traffic": {"orjson"},
    "retail": {"orjson"},
    "web": {"aiohttp", "msgspec", "prometheus_client", "orjson"},
    "ticker": {"confluent_kafka", "orjson"},
    "feed": {"msgspec", "orjson", "confluent_kafka", "mode"},
    "native": {"msgspec", "orjson", "confluent_kafka"},
    "agents": {"faust", "mode", "msgspec"},
    "rights": {"confluent_kafka", "orjson"},
    "broker": {"confluent_kafka"},
    "backfill": {"confluent_kafka", "msgspec", "orjson", "rich", "zstandard"},
    "dlq": {"confluent_kafka", "msgspec"},
    "doctor": {"confluent_kafka"},
    "demo": {"confluent_kafka", "orjson", "rich"},
    "replay": {"confluent_kafka", "msgspec", "orjson"},
    "app": {"*"},
    "cli": {"click", "orjson", "rich"},
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_schemas" not in path.parts)


def module_of(path: Path) -> str:
    """`streams/feed/loop.py` -> `feed.loop`; a package's `__init__` is the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "streams"


def imports_of(source: str) -> set[str]:
    """Every module named by an import anywhere in the file, those for types too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            module = node.module or ""
            for alias in node.names:
                deeper = PACKAGE.parent / Path(*module.split("."), alias.name)
                there = deeper.is_dir() or deeper.with_suffix(".py").is_file()
                found.add(f"{module}.{alias.name}" if there else module)
    return found


def allowed(module: str, imported: str) -> bool:
    area = module.partition(".")[0]
    top, _, rest = imported.partition(".")
    if top != "streams":
        return top in sys.stdlib_module_names or bool(OTHERS.get(area, set()) & {top, "*"})
    may = OURS.get(area, set())
    name = rest or "streams"
    return "*" in may or any(name == one or name.startswith(f"{one}.") for one in may)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_place_in_the_tree_allows(path):
    module = module_of(path)
    wrong = {name for name in imports_of(path.read_text()) if not allowed(module, name)}
    if module == "streams":
        assert not imports_of(path.read_text()), "streams/__init__.py is the version and no more"
    else:
        assert not wrong, f"{module} may not import {sorted(wrong)}"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if module_of(path).startswith("feed")], ids=lambda p: p.name
)
def test_the_feed_moves_batches_and_never_folds(path):
    assert "streams.domain.fold" not in imports_of(path.read_text())


@pytest.mark.parametrize(
    "path", [p for p in MODULES if module_of(p).startswith(("replay", "web"))], ids=lambda p: p.name
)
def test_who_only_reads_owns_no_producer(path):
    names = {
        node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)
    }
    taken = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "confluent_kafka"
        for alias in node.names
    }
    assert "Producer" not in names | taken
    assert "streams.feed.producer" not in imports_of(path.read_text())


def test_nobody_imports_app_or_cli_but_the_command_line():
    for path in MODULES:
        area = module_of(path).partition(".")[0]
        if area not in {"cli", "__main__", "app"}:
            edges = {name for name in imports_of(path.read_text()) if name.startswith(TOP)}
            assert not edges, f"{path} imports {edges}"


TOP = ("streams.app", "streams.cli")


HELPERS = {
    f"tests.{name}"
    for name in (
        "asking",
        "builders",
        "fair",
        "given",
        "pooling",
        "second_verifier",
        "shared_pools",
    )
}


def test_the_tests_of_the_kernel_know_the_kernel_alone():
    helpers = {"streams.domain", "tests.domain"}
    for path in sorted((ROOT / "tests" / "domain").rglob("*.py")):
        ours = {n for n in imports_of(path.read_text()) if n.startswith(("streams", "tests"))}
        foreign = {n for n in ours if not any(n == h or n.startswith(f"{h}.") for h in helpers)}
        assert foreign <= HELPERS, f"{path.name} imports {foreign}"


@pytest.mark.parametrize(
    ("module", "imported", "verdict"),
    [
        ("domain.fold", "datetime", True),
        ("domain.fold", "msgspec", True),
        ("domain.fold", "orjson", False),
        ("domain.fold", "streams.errors", False),
        ("store.rows", "rocksdict", True),
        ("feed.loop", "rocksdict", False),
        ("agents.orders", "streams.feed.batch", True),
        ("agents.orders", "streams.feed.producer", False),
        ("agents.orders", "confluent_kafka", False),
        ("demo.run", "streams.app", False),
        ("broker.embedded", "streams.errors", False),
    ],
)
def test_the_rule_itself_refuses_what_it_should(module, imported, verdict):
    assert allowed(module, imported) is verdict


@pytest.mark.parametrize("leaf", ["feed/ports.py", "feed/kill_points.py"])
def test_the_leaves_inside_the_feed_import_no_other_part_of_it(leaf):
    ours = {n for n in imports_of((PACKAGE / leaf).read_text()) if n.startswith("streams.feed")}
    assert not ours
