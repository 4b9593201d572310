"""Which line of a JSON file a path stands on, so that a problem can be shown as file:line."""

from __future__ import annotations

import re

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def lines_by_path(text: str) -> dict[str, int]:
    """Return {"window.days": 9, "final_rewards[0].type": 14, ...}, lines counted from 1.

    text: valid JSON; of anything else what could be told before it broke off. An object's path is
    the line of its key.
    """
    found: dict[str, int] = {}
    path: list[str | int] = []  # keys and indexes down to here; "" until a key was read
    expect_key = False
    key = ""
    for token in TOKEN.finditer(text):
        word = token[0]
        if expect_key and word.startswith('"'):
            key = word[1:-1]
            continue
        if word == ":" and path:
            path[-1] = key
            expect_key = False
            _note(found, path, text, token.start())
        elif word == "," and path:
            last = path[-1]
            expect_key = not isinstance(last, int)
            path[-1] = last + 1 if isinstance(last, int) else ""
        elif word in "}]":
            path = path[:-1]
            expect_key = False
        else:  # a value begins
            if path and isinstance(path[-1], int):
                _note(found, path, text, token.start())
            if word in "{[":
                path.append("" if word == "{" else 0)
                expect_key = word == "{"
    return found


def line_of(problem: str, lines: dict[str, int]) -> int | None:
    """Return the line of a problem written `<path>: <text>`, or of the nearest object around it."""
    path = problem.partition(":")[0].strip()
    while path:
        if path in lines:
            return lines[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return None


def _note(found: dict[str, int], path: list[str | int], text: str, at: int) -> None:
    name = ""
    for part in path:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            name += f".{part}" if name else part
    found.setdefault(name, text.count("\n", 0, at) + 1)
