"""`python -m tests.native.sanitized`: the extension under address and undefined-behaviour checks.

Builds it with both sanitizers into a folder of its own, starts again with their library loaded
first and every Python object from malloc, and runs the tests of this folder and the fuzzer of
orders on it. A read or write out of bounds, an overflow, a bad shift ends it with a report.

Exit status: that of the first run that failed; 2 where it cannot be built.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from streams.native import build
from tests.fuzz import __main__ as fuzz

NAME = "streams.native._native"
BUILT = "SANITIZED_NATIVE"  # where the child finds what the parent built


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.native.sanitized")
    parser.add_argument("--inputs", type=int, default=100_000, help="of the fuzzer (100,000)")
    given = parser.parse_args()
    if BUILT in os.environ:
        return checked(Path(os.environ[BUILT]), given.inputs)
    why = build.missing()
    if why:
        sys.stderr.write(f"cannot be built: {why}\n")
        return 2
    with tempfile.TemporaryDirectory() as directory:
        built = build.target(Path(directory))
        build.build(built, build.CHECKED)
        return subprocess.run(
            [sys.executable, "-m", "tests.native.sanitized", *sys.argv[1:]],
            env={**os.environ, **runtime(), BUILT: str(built)},
            check=False,
        ).returncode


def runtime() -> dict[str, str]:
    """What the sanitizers ask of the process that loads them late."""
    compiler = os.environ.get("CC", "cc")
    libraries = [
        subprocess.check_output([compiler, f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    return {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter leaves much behind on purpose
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # each object with its own bounds
    }


def checked(built: Path, inputs: int) -> int:
    """Run everything on the extension at ``built``, in the place of the usual one."""
    spec = importlib.util.spec_from_file_location(NAME, built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[NAME] = module
    # What starts processes of its own, or compiles, has nothing to do with it.
    here = str(Path(__file__).parent)
    status = pytest.main(
        ["-q", "-p", "no:cacheprovider", here, "--ignore", f"{here}/test_build.py"]
    )
    assert Path(sys.modules[NAME].__file__ or "") == built
    return int(status) or fuzz.main(["--decoder", "orders", "--inputs", str(inputs)])


if __name__ == "__main__":
    sys.exit(main())
