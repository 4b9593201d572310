"""Lotteries of a run: a sample is committed to no seed yet, so the demo makes one for each run.

The secret lies in a file of mode 0600 in a directory that is gone when the run is over; by then the
public records hold it, or nobody needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from streams.errors import UsageError
from streams.pool_secrets import new_seed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UNCOMMITTED = "0" * 64
"""What stands in a sample where the commitment belongs; no seed anybody knows commits to it."""


def with_commitments(files: Sequence[Path], seeds: Path, out: Path) -> list[Path]:
    """Return the files, those with an uncommitted lottery as copies in `out` which are committed.

    seeds: the directory of the secrets, one file a pool. Raises UsageError.
    """
    return [_committed(file, seeds, out / f"{n}-{file.name}") for n, file in enumerate(files)]


def _committed(file: Path, seeds: Path, copy: Path) -> Path:
    try:
        found: Any = orjson.loads(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except orjson.JSONDecodeError:
        return file  # not one value: a definition a line, or for others to refuse
    records = found if isinstance(found, list) else [found]
    waiting = [
        one for one in records if isinstance(one, dict) and one.get("commitment") == UNCOMMITTED
    ]
    for pool in waiting:
        pool["commitment"] = new_seed(str(pool["pool_id"]), seeds / str(pool["pool_id"]))
    if not waiting:
        return file
    copy.write_bytes(orjson.dumps(records, option=orjson.OPT_INDENT_2))
    return copy
