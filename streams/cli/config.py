"""`leidan config show`: every setting as a worker here would have it, and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.cli.given import assigned, set_option, settings_option
from streams.cli.terminal import emit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streams.settings import Settings

DEFAULT = "default"
PathOf = tuple[str, ...]


@click.group()
def config() -> None:
    """Settings: what they are here, and who says so.

    Exit status: 0 shown, 2 a setting is unknown, unclear or refused: the message says where.
    """


@config.command()
@click.option("--origin", is_flag=True, help="Say of each where it comes from.")
@click.option("--changed", is_flag=True, help="Leave out what has its default.")
@click.option("--json", "as_json", is_flag=True, help="One object: by name, value and origin.")
@settings_option
@set_option
def show(
    origin: bool, changed: bool, as_json: bool, config: str | None, assignments: tuple[str, ...]
) -> None:
    """Show every setting as a worker that is started here would have it; secrets are masked.

    Origins: default; FILE:LINE of --config or LEIDAN_CONFIG; the name of a variable; --set.

    Exit status: 0 shown, 2 a setting is unknown, unclear or refused: the message says where.
    """
    from streams import settings

    flags = assigned(assignments)
    found = settings.load(config, flags)
    origins = _origins(settings.layers(config, flags), settings.variables())
    told = {
        ".".join(path): {"value": value, "origin": origins.get(path, DEFAULT)}
        for path, value in _values(found)
        if not (changed and path not in origins)
    }
    if as_json:
        emit(told)
        return
    width = max((len(f"{name} = {_text(one['value'])}") for name, one in told.items()), default=0)
    for name, one in told.items():
        line = f"{name} = {_text(one['value'])}"
        click.echo(f"{line:<{min(width, 60)}}  # {one['origin']}" if origin else line)


def _values(found: Settings) -> Iterator[tuple[PathOf, Any]]:
    """Yield each setting's path and value; of a secret only that there is one."""
    from streams.settings import HIDDEN, SECRETS

    kafka = found.kafka
    yield ("kafka", "bootstrap_servers"), kafka.bootstrap_servers
    yield ("kafka", "topic_prefix"), kafka.topic_prefix
    for key, value in sorted(kafka.client.items()):
        yield ("kafka", "client", key), HIDDEN if key in SECRETS else value
    for name in found.__struct_fields__:
        if name != "kafka":
            value = getattr(found, name)
            yield (name,), HIDDEN if name in SECRETS and value else value


def _origins(
    layers: list[tuple[str, dict[str, Any]]], variables: Mapping[PathOf, str]
) -> dict[PathOf, str]:
    """Return by path where the value comes from that won; nothing for a default."""
    from streams.settings import ENVIRONMENT, FLAGS

    found: dict[PathOf, str] = {}
    for source, given in layers:
        lines = {} if source in {ENVIRONMENT, FLAGS} else _lines(source)
        for path in _paths(given):
            if source == ENVIRONMENT:
                found[path] = variables.get(path, source)
            elif source == FLAGS:
                found[path] = f"--set {'.'.join(path)}"
            else:
                line = lines.get(path) or lines.get((*path[:-1], f"{path[-1]}_file"))
                found[path] = f"{source}:{line}" if line else source
    return found


def _lines(path: str) -> dict[PathOf, int]:
    from streams.cli.toml_lines import lines_by_path

    return lines_by_path(Path(path).read_text(encoding="utf-8"))


def _paths(given: Mapping[str, Any], before: PathOf = ()) -> Iterator[PathOf]:
    for key, value in given.items():
        if isinstance(value, dict):
            yield from _paths(value, (*before, key))
        else:
            yield (*before, key)


def _text(value: Any) -> str:
    """Return a value as TOML has it; nothing where there is none."""
    import orjson

    if value is None:
        return "(none)"
    return orjson.dumps(value).decode()
