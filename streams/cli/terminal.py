"""Where words go: data on stdout, talk on stderr, colour only where somebody can see it."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
import orjson


def say(text: str = "") -> None:
    """Tell the person something; never data."""
    click.echo(text, err=True)


def emit(value: Any) -> None:
    """Print one object as one line of JSON on stdout."""
    click.echo(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


def lively() -> bool:
    """Return whether stderr is a terminal that may be redrawn and coloured."""
    return (
        sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def reader_left() -> None:
    """Send the rest of stdout nowhere, or Python complains about the closed pipe at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
