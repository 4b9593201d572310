"""A broker that lets nobody in without TLS, a client certificate and SASL; made with openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.kafka.cluster import Cluster, free_ports

if TYPE_CHECKING:
    from pathlib import Path

USER = "leidan"
PASSWORD = "correct-horse-battery-staple"  # noqa: S105 - of this test's broker
SCRAM_PASSWORD = "scram-only-Tr0ub4dor"  # noqa: S105
KEY_PASSWORD = "key-to-the-client-key"  # noqa: S105
SECRETS = (PASSWORD, SCRAM_PASSWORD, KEY_PASSWORD)
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def authority(folder: Path, name: str) -> Path:
    """Make a certificate authority; return its certificate's path."""
    openssl(
        folder, "req", "-x509", *CURVE, "-nodes", "-days", "2", "-keyout", f"{name}.key",
        "-out", f"{name}.pem", "-subj", f"/CN={name}",
    )  # fmt: skip
    return folder / f"{name}.pem"


def certificate(folder: Path, name: str, password: str | None = None) -> None:
    """Make a certificate of `ca` for 127.0.0.1, its key encrypted if there is a password."""
    secrecy = ("-passout", f"pass:{password}") if password else ("-nodes",)
    openssl(
        folder, "req", *CURVE, *secrecy, "-keyout", f"{name}.key", "-out", f"{name}.csr",
        "-subj", f"/CN={name}",
    )  # fmt: skip
    (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
        "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem",
    )  # fmt: skip


@dataclass
class Secured:
    """One KRaft broker; only its own controller and `plain` come in without proof."""

    folder: Path
    cluster: Cluster
    bootstrap: str  # SASL_SSL
    plain: str  # PLAINTEXT, for what the test looks at beside the worker

    def config(self, name: str = "good", **changes: str) -> Path:
        """Write a settings file; `changes` by librdkafka's names, `.` as `_`."""
        client = {
            "security.protocol": "sasl_ssl",
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password_file": str(self.secret(PASSWORD)),
            "ssl.ca.location": str(self.folder / "ca.pem"),
            "ssl.certificate.location": str(self.folder / "client.pem"),
            "ssl.key.location": str(self.folder / "client.key"),
            "ssl.key.password_file": str(self.secret(KEY_PASSWORD)),
        }
        for key, value in changes.items():
            dotted = key.replace("_", ".").replace(".file", "_file")
            assert dotted in client, dotted
            client[dotted] = value
        path = self.folder / f"{name}.toml"
        lines = [f'"{key}" = "{value}"\n' for key, value in client.items()]
        path.write_text("[kafka.client]\n" + "".join(lines))
        return path

    def secret(self, value: str) -> Path:
        path = self.folder / f"secret-{value[:5]}"
        path.write_text(value + "\n")
        path.chmod(0o600)
        return path

    @classmethod
    def start(cls, folder: Path, **more: str) -> Self:
        """``more``: settings of the broker, `.` as `_`."""
        authority(folder, "ca")
        authority(folder, "stranger")
        certificate(folder, "broker")
        certificate(folder, "client", KEY_PASSWORD)
        (folder / "store.pem").write_text(
            (folder / "broker.key").read_text() + (folder / "broker.pem").read_text()
        )
        plain, secure, controller = free_ports(3)
        jaas = "org.apache.kafka.common.security"
        settings = {
            "controller.quorum.voters": f"0@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure},"
            f"CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "SASL_SSL:SASL_SSL",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{jaas}.plain.PlainLoginModule "
            f'required user_{USER}="{PASSWORD}";',
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{jaas}.scram."
            "ScramLoginModule required;",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / "store.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(folder / "ca.pem"),
            "ssl.client.auth": "required",
            **{key.replace("_", "."): value for key, value in more.items()},
        }
        cluster = Cluster().start(port=plain, settings=settings)
        made = cls(folder, cluster, f"127.0.0.1:{secure}", cluster.bootstrap)
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        upsertion = UserScramCredentialUpsertion(USER, info, SCRAM_PASSWORD.encode())
        admin = AdminClient({"bootstrap.servers": made.plain, "log_level": 0})
        for done in admin.alter_user_scram_credentials([upsertion]).values():
            done.result(30)
        return made
