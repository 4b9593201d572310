"""Which line of a JSON file a path stands on, so that a problem can be shown as file:line."""

from __future__ import annotations

import re

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


MOST_DEPTH = 1_100
"""The JSON reader refuses 1,024 levels; beyond them there is nothing to tell the place of."""


def lines_by_path(text: str) -> dict[str, int]:
    """Return {"window.days": 9, "final_rewards[0].type": 14, ...}, lines counted from 1.

    text: valid JSON; of anything else what could be told before it broke off. An object's path is
    the line of its key.
    """
    found: dict[str, int] = {}
    path: list[str | int] = []  # keys and indexes down to here; "" until a key was read
    outer: list[str] = []  # for each of them, the name of what it lies in
    expect_key = False
    key = ""
    line, counted = 1, 0  # the line of text[counted]: each line end is looked at once
    for token in TOKEN.finditer(text):
        word = token[0]
        line += text.count("\n", counted, token.start())
        counted = token.start()
        if expect_key and word.startswith('"'):
            key = word[1:-1]
            continue
        if word == ":" and path:
            path[-1] = key
            expect_key = False
            found.setdefault(_name(outer[-1], key), line)
        elif word == "," and path:
            last = path[-1]
            expect_key = not isinstance(last, int)
            path[-1] = last + 1 if isinstance(last, int) else ""
        elif word in "}]":
            if path:
                path.pop()
                outer.pop()
            expect_key = False
        else:  # a value begins
            name = _name(outer[-1], path[-1]) if path else ""
            if path and isinstance(path[-1], int):
                found.setdefault(name, line)
            if len(path) > MOST_DEPTH:
                break
            if word in "{[":
                path.append("" if word == "{" else 0)
                outer.append(name)
                expect_key = word == "{"
    return found


def _name(outer: str, part: str | int) -> str:
    """Return the path of a part: `a` in `` is `a`, `b` in `a` is `a.b`, 0 in `a` is `a[0]`."""
    if isinstance(part, int):
        return f"{outer}[{part}]"
    return f"{outer}.{part}" if outer else part


def line_of(problem: str, lines: dict[str, int]) -> int | None:
    """Return the line of a problem written `<path>: <text>`, or of the nearest object around it."""
    path = problem.partition(":")[0].strip()
    while path:
        if path in lines:
            return lines[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return None
