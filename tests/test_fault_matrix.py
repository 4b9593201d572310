"""Every row of the fault matrix has a test, named after it (`row07`): reliability.md 8.

Which row is where is read from the ids of all tests, those of the long tiers too; so a row that is
renamed away or skipped for good is missed here. `python -m pytest -s -k matrix` prints the table.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROWS = range(1, 31)
ROW = re.compile(r"row(\d\d)")


@pytest.fixture(scope="module")
def ids_by_row() -> dict[int, list[str]]:
    """Test ids by row, of every tier, as pytest collects them."""
    everything = os.environ | {"LEIDAN_LONG": "1", "LEIDAN_FAULTS": "1"}
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=REPOSITORY,
        env=everything,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found: dict[int, list[str]] = {}
    for line in collected.stdout.splitlines():
        if "::" in line:
            for row in set(ROW.findall(line)):
                found.setdefault(int(row), []).append(line.strip())
    return found


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_fault_matrix_runs_somewhere(
    ids_by_row: dict[int, list[str]], row: int
) -> None:
    named = ids_by_row.get(row, [])
    where = sorted({id_.partition("::")[0] for id_ in named})
    print(f"row {row:2d}: {len(named):3d} tests in {', '.join(where)}")
    assert named, f"no test id holds row{row:02d}"


def test_no_test_names_a_row_that_the_matrix_does_not_have(
    ids_by_row: dict[int, list[str]],
) -> None:
    assert set(ids_by_row) <= set(ROWS)
