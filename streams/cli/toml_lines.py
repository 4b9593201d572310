"""Which line of a TOML file says a setting."""

from __future__ import annotations

import re

SECTION = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")
KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")


def lines_by_path(text: str) -> dict[tuple[str, ...], int]:
    """Return {("kafka", "client", "sasl.password"): 4, ...}, counted from 1; the first of equals.

    text: valid TOML. Keys inside of inline tables and of texts over several lines are not told.
    """
    found: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := SECTION.fullmatch(line):
            section = _parts(header[1])
        elif key := KEY.match(line):
            found.setdefault((*section, *_parts(key[1])), number)
    return found


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in PART.findall(text))
