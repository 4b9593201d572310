"""How a verb that is no worker connects: the same settings, of which it takes the security."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streams.connect import Values

config_option = click.option(
    "--config", metavar="FILE", help="Settings as TOML: TLS and SASL of kafka.client are taken."
)


def how_to_connect(config: str | None) -> Values:
    """Return security.*, sasl.* and ssl.* of --config and LEIDAN_*; raises UsageError."""
    from streams import connect, settings

    return connect.security(settings.load(config).kafka.client)
