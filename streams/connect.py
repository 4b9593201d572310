"""How every client of ours proves who it is to the broker, and how a refusal is told.

The same keys for librdkafka and for Faust's own client: `kafka.client` in the settings, by
librdkafka's names. What one of the two cannot do is refused by name, or half of a worker would
speak in the clear. Broker certificates are always verified, host names too.
"""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException

from streams.errors import BrokerUnreachable, Refused, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Values = Mapping[str, str | int | float | bool]

PREFIXES = ("security.", "sasl.", "ssl.")
REFUSAL = {
    KafkaError._AUTHENTICATION: "the broker refuses the credentials",  # noqa: SLF001 - its public name
    KafkaError.SASL_AUTHENTICATION_FAILED: "the broker refuses the credentials",
    KafkaError._SSL: "no trust between us and the broker",  # noqa: SLF001
}
LOOK_S = 0.5  # between two looks at what the client met; doubled each time, for slow networks
MOST_LOOK_S = 4.0
PATIENCE = 2  # refusals before it is no accident of a broker that is starting


def security(client: Values) -> dict[str, str | int | float | bool]:
    """Return of `kafka.client` what a client of any kind needs to connect."""
    return {key: value for key, value in client.items() if key.startswith(PREFIXES)}


class Met:
    """What a client's error callback was told: hand it over as `error_cb`."""

    def __init__(self) -> None:
        self.errors: list[KafkaError] = []

    def __call__(self, error: KafkaError) -> None:
        self.errors.append(error)

    def refusal(self) -> str | None:
        """Return why the broker will not have us, once that is certain.

        A connection that only broke off says nothing: the broker may be on its way down or up.
        """
        found = [
            error
            for error in self.errors
            if error.code() in REFUSAL and "Disconnected" not in error.str()
        ]
        if len(found) < PATIENCE:
            return None
        return f"{REFUSAL[found[-1].code()]} ({_short(found[-1])})"

    def last(self) -> str:
        """Return the newest error that says more than that nobody is there."""
        telling = [e for e in self.errors if e.code() != KafkaError._ALL_BROKERS_DOWN]  # noqa: SLF001
        return _short(telling[-1]) if telling else ""


def made(factory: Callable[[dict[str, Any]], Any], config: dict[str, Any]) -> Any:
    """Return the client; raises UsageError for settings it does not take, files it cannot read."""
    try:
        return factory(config)
    except KafkaException as error:
        raise UsageError(f"kafka.client: {_unreadable(config) or error.args[0].str()}") from None


def _unreadable(config: Mapping[str, Any]) -> str | None:
    """Return which file cannot be read; librdkafka says `BIO lib` and not which."""
    for key, value in config.items():
        if key.startswith("ssl.") and key.endswith(".location") and value:
            try:
                with Path(str(value)).open("rb"):
                    continue
            except IsADirectoryError:
                continue  # a folder of authorities
            except OSError as error:
                return f"{key}: {value}: {error.strerror}"
    return None


def metadata(client: Any, met: Met, servers: str, timeout_s: float) -> Any:
    """Return what `list_topics` does; the first question to any broker.

    Raises Refused within a second or two when the broker refuses us or we do not trust it, and
    BrokerUnreachable when nobody answers in time.
    """
    until_s, look_s = time.monotonic() + timeout_s, LOOK_S / 2
    while True:
        look_s = min(2 * look_s, MOST_LOOK_S)
        try:
            return client.list_topics(timeout=look_s)
        except KafkaException as error:
            client.poll(0)
            if why := met.refusal():
                raise Refused(
                    f"{servers}: {why}. Check security.protocol, sasl.* and ssl.* of kafka.client"
                ) from None
            if time.monotonic() > until_s:
                why = met.last() or error.args[0].str()
                raise BrokerUnreachable(
                    f"{servers}: no broker answers ({why}). Check "
                    "kafka.bootstrap_servers, that the broker runs, and that its listener speaks "
                    "kafka.client.security.protocol"
                ) from None


def _short(error: KafkaError) -> str:
    """A librdkafka error without the client's name and the advice behind it."""
    text = error.str().partition("]: ")[2] or error.str()
    return text.partition(" (after ")[0][:300]


def tls_context(client: Values) -> ssl.SSLContext | None:
    """Return the context for Faust's client that says what `client` says, None without TLS."""
    if "ssl" not in protocol(client):
        return None
    trusted, inline = client.get("ssl.ca.location"), client.get("ssl.ca.pem")
    try:
        context = ssl.create_default_context(
            cafile=str(trusted) if trusted else None, cadata=str(inline) if inline else None
        )
        if certificate := client.get("ssl.certificate.location"):
            password = str(client.get("ssl.key.password", ""))
            key = client.get("ssl.key.location")
            # a function: OpenSSL would ask the terminal for what it is not given
            context.load_cert_chain(str(certificate), str(key) if key else None, lambda: password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UsageError(f"kafka.client: ssl.*: {error}") from None
    return context


def protocol(client: Values) -> str:
    return str(client.get("security.protocol", "plaintext")).lower()
