"""Settings: defaults < TOML file < LEIDAN_* variables < flags; frozen, typed, unknown keys refused.

The only reader of os.environ. `LEIDAN_KAFKA__BOOTSTRAP_SERVERS` is `[kafka] bootstrap_servers`;
`LEIDAN_KAFKA__CLIENT__SASL_PASSWORD_FILE=/run/secrets/x` is the content of that file, without the
line end, as `[kafka.client] "sasl.password"`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from streams.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "LEIDAN_"
NOT_SETTINGS = frozenset({"LEIDAN_KILL", "LEIDAN_REQUIRE", "LEIDAN_CONFIG"})
"""Variables of the same prefix that are read elsewhere: fault injection, tests, the file's path."""

KILL = os.environ.get("LEIDAN_KILL", "")
"""Read once, at import: feed/kill_points.py."""

MOST_BATCH_RECORDS = 100_000
"""All of one poll lies in memory and in one transaction, which must end in its 15 s."""

FIXED_CLIENT_KEYS = {
    "partitioner": "Java producers must put the same user on the same partition (D3)",
    "partition.assignment.strategy": "p of every topic must land on one worker (D3)",
    "group.protocol": "range assignment needs the classic protocol",
    "group.id": "set app_id",
    "group.instance.id": "set instance",
    "client.rack": "it would change the range assignment",
    "isolation.level": "aborted records must not be read",
    "transactional.id": "set instance",
    "enable.idempotence": "transactions need it",
    "enable.auto.commit": "offsets ride in the transaction (D4)",
    "enable.auto.offset.store": "offsets ride in the transaction (D4)",
    "enable.partition.eof": "the restore needs it",
    "auto.offset.reset": "the restore names every offset",
    "acks": "transactions need all",
    "bootstrap.servers": "set kafka.bootstrap_servers",
    "session.timeout.ms": "set session_timeout_ms",
    "transaction.timeout.ms": "set transaction_timeout_ms",
}


class Kafka(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to reach the broker."""

    bootstrap_servers: str = "127.0.0.1:9092"
    topic_prefix: str = ""  # put before every topic name
    client: dict[str, str | int | float | bool] = {}  # handed to librdkafka as it is


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a worker can be told. Durations in ms; sizes in records."""

    kafka: Kafka = Kafka()
    app_id: str = "leidan"  # consumer group `<app_id>-fold`, transactional ids `<app_id>-users-...`
    instance: str = "leidan-0"  # static member, transactional id suffix, data directory name
    state_dir: str = "state"
    campaign_files: tuple[str, ...] = ()  # definitions in force as written
    batch_records: int = 2_000  # most records of one poll, hence of one transaction
    session_timeout_ms: int = 10_000
    transaction_timeout_ms: int = 15_000
    embedded: bool = False  # the mock cluster: skip what it cannot do (D10)
    dead_letter_budget: bool = True
    stats_file: str | None = None  # JSON, rewritten about once a second and at exit
    exit_when_idle_s: float | None = None  # leave with 0 after so long without input
    web_host: str = "127.0.0.1"
    web_port: int | None = None  # /metrics and /healthz; None = off
    log_level: str = "INFO"

    def __post_init__(self) -> None:
        for key in self.kafka.client:
            if key in FIXED_CLIENT_KEYS:
                raise UsageError(
                    f"kafka.client.{key}: fixed by the design ({FIXED_CLIENT_KEYS[key]}); remove it"
                )
        if not 1 <= self.batch_records <= MOST_BATCH_RECORDS:
            raise UsageError(
                f"batch_records = {self.batch_records}: must lie in 1..{MOST_BATCH_RECORDS}"
            )
        for name in ("app_id", "instance"):
            value = getattr(self, name)
            if not value or "/" in value or value in {".", ".."}:
                raise UsageError(f"{name} = {value!r}: must be usable as a directory name")

    def topic(self, name: str) -> str:
        """Return the topic's name on the broker."""
        return self.kafka.topic_prefix + name

    @property
    def group(self) -> str:
        """Return the feed's consumer group; Faust's own is the app id itself."""
        return f"{self.app_id}-fold"

    @property
    def database_dir(self) -> Path:
        """Return where the databases of this instance's first stage lie."""
        return Path(self.state_dir) / self.instance / "users"


def load(
    config: str | os.PathLike[str] | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings. ``flags`` is nested like the file; None values in it are not given.

    Raises UsageError that names the source and, for an unknown key, the nearest known one.
    """
    environ = os.environ if environ is None else environ
    config = config or environ.get("LEIDAN_CONFIG")
    merged: dict[str, Any] = {}
    if config:
        _merge(merged, _checked(_from_file(Path(config)), Settings, str(config)))
    _merge(merged, _checked(_from_environ(environ), Settings, "environment"))
    _merge(merged, _checked(_given(flags or {}), Settings, "flags"))
    try:
        return msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"settings: {_readable(error)}") from error


def _readable(error: msgspec.ValidationError) -> str:
    text = str(error)
    message, at, path = text.rpartition(" - at `$.")
    return f"{path[:-1]}: {message}" if at else text


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        # ValueError: no text, no TOML, or an integer of more digits than Python reads
        raise UsageError(f"{path}: {error}") from error


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        path = name.removeprefix(PREFIX).lower().split("__")
        if path[-1].endswith("_file") and path[-1] != "stats_file":
            path[-1] = path[-1].removesuffix("_file")
            try:
                value = Path(value).read_text().rstrip("\r\n")  # noqa: PLW2901
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"{name}: {error}") from error
        if path[:2] == ["kafka", "client"] and path[2:]:
            path[2] = path[2].replace("_", ".")  # librdkafka's names have dots
        given: Any = value
        if path == ["campaign_files"]:
            given = [part for part in value.split(os.pathsep) if part]
        place = found
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = given
    return found


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what was not given: a flag without a value, a section without flags."""
    given: dict[str, Any] = {}
    for key, value in flags.items():
        if isinstance(value, dict) and key != "client":
            nested = _given(value)
            if nested:
                given[key] = nested
        elif value is not None:
            given[key] = list(value) if isinstance(value, tuple) else value
    return given


def _checked(given: dict[str, Any], struct: type, source: str, at: str = "") -> dict[str, Any]:
    """Refuse unknown keys by name, with the nearest known one."""
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for key, value in given.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {at}{near[0]}?" if near else f"; known: {', '.join(fields)}"
            raise UsageError(f"{source}: unknown setting {at}{key}{hint}")
        if fields[key].type is Kafka:
            if not isinstance(value, dict):
                raise UsageError(f"{source}: {at}{key} is a section, not a value")
            _checked(value, Kafka, source, f"{at}{key}.")
    return given


def _merge(into: dict[str, Any], over: dict[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
