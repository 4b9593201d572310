"""Settings: defaults < TOML file < LEIDAN_* variables < flags; frozen, typed, unknown keys refused.

The only reader of os.environ. `LEIDAN_KAFKA__BOOTSTRAP_SERVERS` is `[kafka] bootstrap_servers`;
`LEIDAN_KAFKA__CLIENT__SASL_PASSWORD_FILE=/run/secrets/x` is the content of that file, without the
line end, as `[kafka.client] "sasl.password"`; so is `"sasl.password_file"` in TOML.

Secrets come from files and variables, never from flags, and are shown nowhere: settings leave them
out of their `repr`, and all that is printed or logged goes through `redacted`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from streams.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "LEIDAN_"
NOT_SETTINGS = frozenset({"LEIDAN_KILL", "LEIDAN_REQUIRE", "LEIDAN_CONFIG", "LEIDAN_NATIVE"})
"""Variables of the same prefix that are read elsewhere: fault injection, tests, the file's path."""

KILL = os.environ.get("LEIDAN_KILL", "")
"""Read once, at import: feed/kill_points.py."""

NATIVE = os.environ.get("LEIDAN_NATIVE", "") != "0"
"""Take the compiled short path where it is built: streams/native."""

SECRETS = frozenset(
    {
        "sasl.password",
        "ssl.key.password",
        "sasl.oauthbearer.client.secret",
        "web_token",
        "web_operator_token",
        "pool_secrets",
    }
)
"""Settings whose values are secret; those of kafka.client by librdkafka's names."""

ENVIRONMENT, FLAGS = "environment", "flags"
"""Names of the sources that are no file (`layers`)."""

HIDDEN = "[secret]"
SHORTEST_SECRET = 4  # a shorter one would be cut out of every other word
SHORTEST_TOKEN = 16
_ADDRESS = re.compile(r"https?://[A-Za-z0-9._\[\]:-]{1,200}")

_known: set[str] = set()


def redacted(text: str) -> str:
    """Return the text without any secret that was ever loaded in this process."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def hide(secret: object) -> None:
    """From now on `redacted` leaves this out."""
    if len(str(secret)) >= SHORTEST_SECRET:
        _known.add(str(secret))


LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

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
    "enable.ssl.certificate.verification": "who is not verified could read every password",
    "ssl.endpoint.identification.algorithm": "a certificate must name the broker it is shown by",
    # Faust's client cannot read these, and every client must connect in the same way
    "ssl.keystore.location": "set ssl.certificate.location and ssl.key.location",
    "ssl.certificate.pem": "set ssl.certificate.location",
    "ssl.key.pem": "set ssl.key.location",
    "sasl.mechanisms": "set sasl.mechanism",
}

SHORTEST_TRANSACTION_MS = 5_000  # the socket timeout (feed/client.py); librdkafka refuses less
LONGEST_TRANSACTION_MS = 900_000  # what brokers grant by default

PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class Kafka(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to reach the broker."""

    bootstrap_servers: str = "127.0.0.1:9092"
    topic_prefix: str = ""  # put before every topic name
    client: dict[str, str | int | float | bool] = {}  # handed to librdkafka as it is

    def __repr__(self) -> str:
        shown = {k: HIDDEN if k in SECRETS else v for k, v in self.client.items()}
        return f"Kafka({self.bootstrap_servers!r}, {self.topic_prefix!r}, {shown!r})"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a worker can be told. Durations in ms; sizes in records."""

    kafka: Kafka = Kafka()
    app_id: str = "leidan"  # consumer group `<app_id>-fold`, transactional ids `<app_id>-users-...`
    instance: str = "leidan-0"  # static member, transactional id suffix, data directory name
    state_dir: str = "state"
    campaign_files: tuple[str, ...] = ()  # definitions in force as written
    batch_records: int = 24_000  # most records of one transaction, reached under lag (feed/pace.py)
    session_timeout_ms: int = 10_000
    transaction_timeout_ms: int = 15_000
    embedded: bool = False  # the mock cluster: skip what it cannot do (D10)
    dead_letter_budget: bool = True
    dead_letter_headers: tuple[Literal["connect", "spring"], ...] = ()  # beside ours
    notifications: bool = True  # off where history is folded again: its deadlines are over
    stats_file: str | None = None  # JSON, rewritten about once a second and at exit
    exit_when_idle_s: float | None = None  # leave with 0 after so long without input
    web_host: str = "127.0.0.1"
    web_port: int | None = None  # /metrics, probes, /tasks/{user_id}; None = off
    pool_secrets: str | None = None  # lines of <pool_id>=<64 hex digits>, the seeds of lotteries
    pool_secrets_dir: str | None = None  # or a file for each pool, named by its id
    web_token: str | None = None  # whoever asks must bear it, except for /livez and /readyz
    web_operator_token: str | None = None  # role=operator sees what a dark box hides
    web_advertised: str | None = None  # where other workers send users to; http://host:port
    log_level: str = "INFO"
    tracing: bool = False  # units of work as OpenTelemetry spans (tracing.py); needs leidan[otel]
    log_format: Literal["text", "json"] = "text"  # json: an object a line (logs.py)

    def __post_init__(self) -> None:
        for key in self.kafka.client:
            if key in FIXED_CLIENT_KEYS:
                raise UsageError(
                    f"kafka.client.{key}: fixed by the design ({FIXED_CLIENT_KEYS[key]}); remove it"
                )
        _require_clear_security(self.kafka.client)
        _require_clear_web(self)
        if not 1 <= self.batch_records <= MOST_BATCH_RECORDS:
            raise UsageError(
                f"batch_records = {self.batch_records}: must lie in 1..{MOST_BATCH_RECORDS}"
            )
        if not SHORTEST_TRANSACTION_MS <= self.transaction_timeout_ms <= LONGEST_TRANSACTION_MS:
            raise UsageError(
                f"transaction_timeout_ms = {self.transaction_timeout_ms}: must lie in "
                f"{SHORTEST_TRANSACTION_MS}..{LONGEST_TRANSACTION_MS}"
            )
        if self.log_level.upper() not in LOG_LEVELS:
            raise UsageError(f"log_level = {self.log_level!r}: must be one of {LOG_LEVELS}")
        for name in ("app_id", "instance"):
            value = getattr(self, name)
            if not value or "/" in value or value in {".", ".."}:
                raise UsageError(f"{name} = {value!r}: must be usable as a directory name")

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        for name in SECRETS & shown.keys():
            shown[name] = HIDDEN if shown[name] else None
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

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


def _require_clear_web(settings: Settings) -> None:
    for name in ("web_token", "web_operator_token"):
        token = getattr(settings, name)
        if token is None:
            continue
        if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
            raise UsageError(
                f"{name}: must be at least {SHORTEST_TOKEN} printable ASCII characters"
            )
    if settings.web_advertised and not _ADDRESS.fullmatch(settings.web_advertised):
        raise UsageError("web_advertised: must be like http://worker-0.workers:8080")


def _require_clear_security(client: dict[str, str | int | float | bool]) -> None:
    """Refuse what would leave one of our clients in the clear, or fail in an hour."""
    chosen = str(client.get("security.protocol", "plaintext")).lower()
    if chosen not in PROTOCOLS:
        raise UsageError(f"kafka.client.security.protocol: none of {', '.join(PROTOCOLS)}")
    given = [key for key in client if key.startswith("sasl.")]
    if "sasl" in chosen:
        mechanism = client.get("sasl.mechanism")
        if mechanism not in MECHANISMS:
            raise UsageError(f"kafka.client.sasl.mechanism: none of {', '.join(MECHANISMS)}")
        for needed in ("sasl.username", "sasl.password"):
            if not client.get(needed):
                raise UsageError(f"kafka.client.{needed}: missing (or {needed}_file)")
    elif given:
        raise UsageError(
            f"kafka.client.{given[0]}: without effect unless security.protocol is sasl_ssl"
        )
    if "ssl" not in chosen and any(key.startswith("ssl.") for key in client):
        raise UsageError("kafka.client.ssl.*: without effect unless security.protocol is sasl_ssl")


def load(
    config: str | os.PathLike[str] | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings. ``flags`` is nested like the file; None values in it are not given.

    Raises UsageError that names the source and, for an unknown key, the nearest known one.
    """
    merged: dict[str, Any] = {}
    for _, given in layers(config, flags, environ):
        _merge(merged, given)
    _note_secrets(merged)
    if isinstance(listed := merged.get("dead_letter_headers"), str):  # of a variable or a flag
        merged["dead_letter_headers"] = [part.strip() for part in listed.split(",") if part.strip()]
    try:
        return msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"settings: {_readable(error)}") from error


def layers(
    config: str | os.PathLike[str] | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[tuple[str, dict[str, Any]]]:
    """Return what each source says, (name, nested values), the one that wins last.

    The first is a file's, named by its path, where there is one; then ENVIRONMENT and FLAGS.
    Values are as given, secrets among them. Raises as `load`.
    """
    environ = os.environ if environ is None else environ
    config = config or environ.get("LEIDAN_CONFIG")
    found = []
    if config:
        found.append(
            (str(config), _checked(_opened(_from_file(Path(config))), Settings, str(config)))
        )
    found.append((ENVIRONMENT, _checked(_from_environ(environ), Settings, ENVIRONMENT)))
    found.append((FLAGS, _checked(_opened(_given(flags or {})), Settings, FLAGS)))
    return found


def variables(environ: Mapping[str, str] | None = None) -> dict[tuple[str, ...], str]:
    """Return the name of the variable that says each setting, by its path."""
    environ = os.environ if environ is None else environ
    return {_path_of(name)[0]: name for name in sorted(environ) if _is_setting(name)}


def _note_secrets(merged: dict[str, Any]) -> None:
    kafka = merged.get("kafka")
    client = kafka.get("client") if isinstance(kafka, dict) else None
    for place in (merged, client if isinstance(client, dict) else {}):
        for key, value in place.items():
            if key in SECRETS:
                hide(value)


def _opened(given: dict[str, Any]) -> dict[str, Any]:
    """Replace `<secret>_file` by `<secret>`, read from that file; elsewhere change nothing."""
    opened: dict[str, Any] = {}
    for key, value in given.items():
        name = key.removesuffix("_file")
        if name != key and name in SECRETS:
            opened[name] = _secret_from(str(value), key)
        else:
            opened[key] = _opened(value) if isinstance(value, dict) else value
    return opened


def _secret_from(path: str, source: str) -> str:
    try:
        return Path(path).read_text().rstrip("\r\n")
    except (OSError, ValueError) as error:  # ValueError: no text
        raise UsageError(f"{source}: {error}") from None


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


def _is_setting(name: str) -> bool:
    return name.startswith(PREFIX) and name not in NOT_SETTINGS


def _path_of(name: str) -> tuple[tuple[str, ...], bool]:
    """Return where a variable belongs, and whether its value names a file with the setting."""
    path = name.removeprefix(PREFIX).lower().split("__")
    in_a_file = path[-1].endswith("_file") and path[-1] != "stats_file"
    if in_a_file:
        path[-1] = path[-1].removesuffix("_file")
    if path[:2] == ["kafka", "client"] and path[2:]:
        path[2] = path[2].replace("_", ".")  # librdkafka's names have dots
    return tuple(path), in_a_file


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in sorted(environ.items()):
        if not _is_setting(name):
            continue
        path, in_a_file = _path_of(name)
        if in_a_file:
            value = _secret_from(value, name)  # noqa: PLW2901
            hide(value)  # whatever it is: who writes it into a file has a reason
        given: Any = value
        if path == ("campaign_files",):
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
