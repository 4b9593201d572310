"""Every row of the fixture table has a test, named after it: semantics.md 10.

`python -m pytest -s -k fixtures` prints which row is where. Names are read from the source, so that
a row counts whatever tier its test is of; a row that is renamed away is missed here.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROWS = range(1, 44)
ROW = re.compile(r"test_fixture_(\d+)_")


def named_after_rows() -> dict[int, list[str]]:
    """Return `file: test` by row, of all tests; those of the reference model do not count."""
    found: dict[int, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        if path.parent.name == "models":
            continue
        for node in ast.parse(path.read_text()).body:
            named = ROW.match(node.name) if isinstance(node, ast.FunctionDef) else None
            if named:
                where = f"{path.relative_to(TESTS)}: {named.string}"
                found.setdefault(int(named[1]), []).append(where)
    return found


BY_ROW = named_after_rows()


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_fixture_table_has_a_test(row: int) -> None:
    named = BY_ROW.get(row, [])
    print(f"\nfixture {row:2d}: " + "\n            ".join(named))
    assert named, f"no test is named test_fixture_{row}_..."


def test_no_test_names_a_row_that_the_table_does_not_have() -> None:
    assert BY_ROW.keys() <= set(ROWS)
