"""What can be told without a broker: versions, the compiled part, state, disk, campaigns."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from streams import __version__, native
from streams.doctor.finding import Finding, fail, ok, warn
from streams.domain.fold import FOLD_VERSION
from streams.domain.pool_history import Unfit
from streams.domain.registry import Campaigns
from streams.errors import CampaignRefused, UsageError
from streams.wire import campaigns
from streams.wire.rows import ROW_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.settings import Settings

LIBRARIES = ("confluent-kafka", "faust-streaming", "rocksdict", "msgspec", "orjson", "tzdata")
FAIL_BYTES, WARN_BYTES = 1 << 30, 5 << 30
"""Free below these: RocksDB compacts into new files before it drops old ones."""


def look(settings: Settings) -> Iterator[Finding]:
    yield versions()
    yield compiled()
    yield state_directory(settings)
    yield disk(settings)
    yield definitions(settings)


def versions() -> Finding:
    said = [f"leidan {__version__}", f"fold {FOLD_VERSION}", f"rows {ROW_SCHEMA}"]
    said.append(f"Python {platform.python_version()}")
    missing = []
    for name in LIBRARIES:
        try:
            said.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing == ["tzdata"]:
        return warn(
            "versions",
            f"{', '.join(said)}; tzdata is the system's",
            "install tzdata: days begin by it, and all workers must agree",
        )
    if missing:
        return fail("versions", f"missing: {', '.join(missing)}", "install from requirements.lock")
    return ok("versions", ", ".join(said))


def compiled() -> Finding:
    module, why = native.load()
    if module is None:
        return warn("native", why, "python -m streams.native.build; without it a fold costs more")
    return ok("native", "the short path is compiled")


def state_directory(settings: Settings) -> Finding:
    """Look whether this process may write there, or make it."""
    path = settings.database_dir
    there = _nearest(path)
    if not there.is_dir():
        return fail("state", f"{there} is no directory", "set state_dir to another place")
    if not os.access(there, os.W_OK | os.X_OK):
        return fail(
            "state", f"{there} cannot be written", f"chown it to the worker's user, {os.getuid()}"
        )
    if there != path:
        return ok("state", f"{path} will be made")
    count = sum(1 for one in path.iterdir() if one.is_dir() and one.name.isdigit())
    return ok("state", f"{path}: {count} partitions")


def disk(settings: Settings) -> Finding:
    there = _nearest(Path(settings.state_dir).absolute())
    usage = shutil.disk_usage(there)
    said = f"{there}: {usage.free / (1 << 30):.1f} of {usage.total / (1 << 30):.1f} GiB free"
    next_ = "make room, or move state_dir: on a full disk the worker ends with 74"
    if usage.free < FAIL_BYTES:
        return fail("disk", said, next_)
    return warn("disk", said, next_) if usage.free < WARN_BYTES else ok("disk", said)


def _nearest(path: Path) -> Path:
    """Return a path, or the nearest of its parents that exists."""
    return next(one for one in (path, *path.parents) if one.exists())


def definitions(settings: Settings) -> Finding:
    """Read the files a worker would be given, and hold them against each other."""
    names = [Path(name) for name in settings.campaign_files]
    if not names:
        return ok("campaigns", "none from files; those of the topic are the workers' to judge")
    try:
        found, _ = campaigns.read_files(names)
        Campaigns.of(found)
    except (CampaignRefused, UsageError, Unfit) as refused:
        first = str(refused).partition("\n")[0]
        listed = " ".join(map(str, names))
        return fail("campaigns", first, f"leidan campaign validate {listed}")
    return ok("campaigns", f"{len(found)} definitions of {len(names)} files are clear")
