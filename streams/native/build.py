"""`python -m streams.native.build`: compile the extension beside its sources, if that can be done.

Exit status 0 in any case but a compiler's complaint about our sources: without a compiler or
Python's headers leidan works as well, only slower.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLAGS = ("-std=c11", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")
WHOLE = ("-flto",)
"""Calls across files become none: a fifth of a fold. Not every compiler has a linker for that."""
CHECKED = ("-Werror", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
"""What `--check` adds: load the result with libasan preloaded (tests/native/sanitized.py)."""


def target(directory: Path = HERE) -> Path:
    """Return where the extension of this interpreter lies."""
    return directory / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"


def source_digest() -> int:
    """Return a number that is another one for other sources: a stale extension is not loaded."""
    digest = 0
    for path in sorted((*HERE.glob("*.c"), *HERE.glob("*.h"))):
        digest = zlib.crc32(path.read_bytes(), digest)
    return digest


def command(compiler: str, to: Path, extra: tuple[str, ...] = ()) -> list[str]:
    """Return the compiler's command line for one shared library."""
    shared = (
        ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    )
    return [
        *shlex.split(compiler),
        *FLAGS,
        *extra,
        *shared,
        f"-DLEIDAN_SOURCE={source_digest()}L",
        f"-I{sysconfig.get_path('include')}",
        *map(str, sorted(HERE.glob("*.c"))),
        "-o",
        str(to),
    ]


def missing() -> str:
    """Return what keeps the extension from being built here, or nothing."""
    compiler = shlex.split(os.environ.get("CC", "cc"))[0]
    if shutil.which(compiler) is None:
        return f"no C compiler ({compiler})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "no Python.h (python3-dev)"
    return "" if os.access(HERE, os.W_OK) else f"{HERE} cannot be written"


def build(to: Path, extra: tuple[str, ...] = ()) -> None:
    """Compile; the file appears whole or not at all. Raises CalledProcessError."""
    partial = to.with_suffix(f".{os.getpid()}.partial")
    compiler = os.environ.get("CC", "cc")
    try:
        whole = command(compiler, partial, (*WHOLE, *extra))
        if subprocess.run(whole, capture_output=True, check=False).returncode:  # noqa: S603
            subprocess.run(command(compiler, partial, extra), check=True)  # noqa: S603
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)


def main() -> int:
    """Build it, or say in one line why not."""
    why = missing()
    if why:
        sys.stderr.write(f"leidan: no compiled short path: {why}; leidan works without it\n")
        return 0
    try:
        build(target(), CHECKED if "--check" in sys.argv else ())
    except subprocess.CalledProcessError:
        sys.stderr.write("leidan: the compiled short path does not build here; going on without\n")
        return 1
    sys.stderr.write(f"leidan: compiled short path: {target().name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
