"""The short path of the fold, compiled: an order event and a row in, the row and its outputs out.

Optional, and never the truth: `domain/` is. What is here does the plain case only (a first event
of a whole order, later than all its user did, campaigns that only count) and leaves everything else
to Python *before* any effect, so the same bytes come out with it and without it; tests hold the two
equal. A worker says at its start which path it takes.

`python -m streams.native.build` compiles it in place, and `make` does so after each installation
where a C compiler and Python's headers are; LEIDAN_NATIVE=0 leaves it out.

Read `fold.h`, `fold.c` (the rules), `row.h` (the layout), `order.h` (the scanner), `plan.py` (which
campaigns are plain).
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any

from confluent_kafka import Message, __version__, cimpl

from streams.feed.ports import Record
from streams.settings import NATIVE

if TYPE_CHECKING:
    from streams.native.plan import Plans


@cache
def load() -> tuple[Any, str]:
    """Return the extension, or None, and one clause that says why: for the log."""
    if not NATIVE:
        return None, "LEIDAN_NATIVE=0"
    try:
        found: Any = importlib.import_module("streams.native._native")
    except ImportError as error:
        return None, f"not built ({error}); python -m streams.native.build"
    from streams.native.build import source_digest  # noqa: PLC0415 - it is a program too

    if source_digest() != found.SOURCE:
        return None, "built from other sources; python -m streams.native.build"
    from streams.native.plan import layout_problems  # noqa: PLC0415 - only where there is one

    problems = layout_problems()
    return (None, f"of another layout: {'; '.join(problems)}") if problems else (found, "compiled")


def plans() -> Plans | None:
    """Return what an agent folds orders with; None: in Python alone."""
    module, _ = load()
    if module is None:
        return None
    from streams.native.plan import Plans  # noqa: PLC0415 - only where there is a module

    return Plans(module)


CLIENTS = ("2.16.",)
"""Versions of confluent-kafka whose clients keep their handle where sender.c looks for it."""


def sender(producer: Any) -> Any | None:
    """Return what hands records to a confluent_kafka.Producer in C; None: nothing does here."""
    module, _ = load()
    known = str(__version__).startswith(CLIENTS) and isinstance(producer, cimpl.Producer)
    if module is None or not known:
        return None
    try:
        return module.Sender(producer, cimpl.__file__)
    except (OSError, TypeError):  # another build of it: its own `produce` does as well
        return None


def taker() -> Any | None:
    """Return what makes records of a poll's messages in C; None: `kafka_log.take` does."""
    module, _ = load()
    try:
        return None if module is None else module.Taker(Message, Record).take
    except TypeError:  # another build of the wheel
        return None


def reader(consumer: Any, name: str, p: int, topic: str) -> Any | None:
    """Return what reads a partition in C once it is assigned to the Consumer; None: nothing does.

    ``name``: the topic's on the broker; ``topic``: what records call it.
    """
    module, _ = load()
    known = str(__version__).startswith(CLIENTS) and isinstance(consumer, cimpl.Consumer)
    if module is None or not known:
        return None
    try:
        return module.Reader(consumer, cimpl.__file__, name, p, topic, Record)
    except (OSError, TypeError):  # as above
        return None
