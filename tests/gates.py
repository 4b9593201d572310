"""What takes long runs when it is asked for: one gate for each size, and one reason to skip by.

Needing a real broker is another question, and the fixture `kafka_jars` answers it.
"""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path

import pytest

LONG_ASKED = bool(os.environ.get("LEIDAN_LONG"))
FAULTS_ASKED = bool(os.environ.get("LEIDAN_FAULTS"))

LONG = pytest.mark.skipif(
    not LONG_ASKED, reason="takes minutes: `make test-long` (LEIDAN_LONG=1) runs it"
)
FAULTS = pytest.mark.skipif(
    not FAULTS_ASKED,
    reason="the fault matrix takes an hour: `make test-faults` (LEIDAN_FAULTS=1) runs it",
)

VALIDATORS = Path(__file__).resolve().parents[1] / ".venv" / "validators" / "bin"
"""Where `make validators` puts programs that are no part of the environment."""


def installed(module: str, name: str) -> None:
    """Skip a test file where an extra is not installed; `make` installs all of them."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        reason = f"{module} is missing: pip install -e '.[{name}]'"
        if name in {one.strip() for one in os.environ.get("LEIDAN_REQUIRE", "").split(",")}:
            pytest.fail(f"LEIDAN_REQUIRE names {name}, but {reason}", pytrace=False)
        pytest.skip(reason, allow_module_level=True)


def program(name: str, package: str = "", how: str = "") -> str:
    """Return the path of a program that is no Python package; without it the test is skipped.

    With its name in ``LEIDAN_REQUIRE`` (a comma list) it fails instead. ``package``: of Debian;
    ``how``: what to do where it is none of Debian's.
    """
    found = shutil.which(name) or shutil.which(name, path=VALIDATORS)
    if found is not None:
        return found
    do = how or f"apt-get install -y --no-install-recommends {package}"
    reason = f"{name} is missing: {do}"
    if name in {one.strip() for one in os.environ.get("LEIDAN_REQUIRE", "").split(",")}:
        pytest.fail(f"LEIDAN_REQUIRE names {name}, but {reason}", pytrace=False)
    pytest.skip(reason)
