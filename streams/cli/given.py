"""Settings as the command line gives them: what verbs share that read what the workers read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.settings import Settings

settings_option = click.option(
    "--config", metavar="FILE", help="Settings as TOML. LEIDAN_* and flags win over it."
)
set_option = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting by name."
)
campaigns_option = click.option(
    "--campaigns",
    "campaign_files",
    multiple=True,
    metavar="FILE",
    help="A definition in force as written, beside those of the topic; may be repeated.",
)


def settings_of(
    config: str | None,
    assignments: Iterable[str],
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    **named: Any,
) -> Settings:
    """Return the settings of a verb. ``named``: other flags; one that was not given says nothing.

    Raises UsageError.
    """
    from streams import settings

    flags = assigned(assignments)
    flags |= {key: value for key, value in named.items() if value not in (None, ())}
    kafka = {"bootstrap_servers": bootstrap_servers, "topic_prefix": topic_prefix}
    flags["kafka"] |= {key: value for key, value in kafka.items() if value is not None}
    return settings.load(config, flags)


def meant(word: str, known: Sequence[str]) -> str:
    """Return the hint for a word that is none of those known."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def assigned(assignments: Iterable[str]) -> dict[str, Any]:
    """Return what --set KEY=VALUE says, nested like the settings' file. Raises UsageError."""
    flags: dict[str, Any] = {"kafka": {"client": {}}}
    for assignment in assignments:
        _assign(flags, assignment)
    return flags


def _assign(flags: dict[str, Any], assignment: str) -> None:
    """Put `kafka.client.fetch.min.bytes=1` where the settings expect it; client keys have dots."""
    from streams.settings import SECRETS

    key, equals, value = assignment.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {assignment}: write KEY=VALUE, e.g. --set batch_records=500")
    if key.removeprefix("kafka.client.") in SECRETS:
        raise UsageError(
            f"--set {key}: a secret on the command line is seen by everybody on the machine; "
            f"give --set {key}_file=FILE, or the variable LEIDAN_..._FILE"
        )
    place = flags
    if key.startswith("kafka.client."):
        place, key = flags["kafka"]["client"], key.removeprefix("kafka.client.")
    elif key.startswith("kafka."):
        place, key = flags["kafka"], key.removeprefix("kafka.")
    place[key] = value
