"""The decoders behind the topics' own: files a person writes, rows and metas we wrote ourselves."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import msgspec
import orjson

from streams import retail
from streams.agents import dead_letters
from streams.cli import campaign as campaign_cli
from streams.cli.json_lines import line_of, lines_by_path
from streams.domain import state as states
from streams.errors import DiskError, Reason, Refused, RewardsError, UsageError
from streams.settings import Settings, load
from streams.store import meta
from streams.wire import rows
from tests import builders
from tests.fuzz import world
from tests.given import given

# --- files a person writes ----------------------------------------------------------------------


class _Files:
    """A decoder that reads a file; the file is written anew for each input."""

    name = ""
    trees = True

    def __init__(self, directory: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=directory))


class CampaignFiles(_Files):
    """`leidan campaign validate FILE`: one object, a list, or one a line."""

    name = "campaign-files"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        single = world.Definitions().examples
        self.examples = [*single, b"[" + b",".join(single[:3]) + b"]", b"\n".join(single[:3])]

    def judge(self, value: bytes) -> tuple[str, bool]:
        path = self.directory / "campaign.json"
        path.write_bytes(value)
        try:
            found = campaign_cli.read(path)
        except RewardsError as refused:
            if refused.exit != UsageError.exit:
                raise
            return f"refused: {str(refused)[-40:]}", False
        return "accepted", bool(found)


class Years(_Files):
    """`leidan load DIRECTORY`: a line of each file."""

    name = "retail-lines"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        lines = [{"sku": "85048", "qty": 12, "unit_price": 695}, {"sku": "D", "qty": -1}]
        order = {"order_id": "489434", "customer_id": "13085", "at": "2009-12-01T07:45:00Z"}
        back = {"cancellation_id": "C1", "customer_id": None, "at": "2010-12-01T07:45:00+01:00"}
        came = {"qty": 2, "unit_price": 5, "sku": "1", "order_id": "489434", "line": 0}
        self.examples = [
            orjson.dumps({**order, "country": "UK", "lines": lines[:1]}),
            orjson.dumps({**order, "customer_id": None, "lines": [lines[0], lines[0]]}),
            orjson.dumps({**order, "lines": lines}),
            orjson.dumps({**back, "lines": [came, came, {**came, "order_id": None}]}),
            orjson.dumps({**back, "customer_id": "1", "lines": [{**came, "qty": 0}]}),
        ]
        self.examples.append(b"\n".join(self.examples[:2]))
        self._other = ""

    def judge(self, value: bytes) -> tuple[str, bool]:
        mine, other = retail.ORDERS_FILE, retail.CANCELLATIONS_FILE
        if b"cancellation_id" in value:
            mine, other = other, mine
        if other != self._other:
            _pack(self.directory / other, b"")
            self._other = other
        _pack(self.directory / mine, value)
        try:
            sent = list(retail.load(self.directory))
        except UsageError as refused:
            return f"refused: {str(refused).rpartition(': ')[0][-40:]}", False
        for topic, key, body, at_ms in sent:
            assert isinstance(topic, str)
            assert key is None or isinstance(key, bytes)
            assert isinstance(body, bytes)
            assert isinstance(at_ms, int)
        return "accepted", bool(sent)


def _pack(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, 0, mtime=0))


class Configurations(_Files):
    """`--config FILE`: settings as TOML."""

    name = "settings"
    trees = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.examples = [text.encode() for text in CONFIGURATIONS]

    def judge(self, value: bytes) -> tuple[str, bool]:
        path = self.directory / "leidan.toml"
        path.write_bytes(value)
        try:
            found = load(path, {}, {})
        except UsageError as refused:
            return f"refused: {world._shape(str(refused).partition(': ')[2])}", False  # noqa: SLF001
        assert isinstance(found, Settings)
        repr(found)
        return "accepted", True


def lines_of_json(value: bytes) -> tuple[str, bool]:
    """`cli.json_lines`: any text, every line it names is one of the text's."""
    text = value.decode("utf-8", "replace")
    found = lines_by_path(text)
    last = text.count("\n") + 1
    assert all(1 <= line <= last for line in found.values())
    for path in list(found)[:3]:
        line_of(f"{path}.x: problem", found)
    return f"{min(len(found), 40)} paths", bool(found)


CONFIGURATIONS = (
    """
instance = "a-0"\nbatch_records = 500
web_token = "0123456789abcdef"
[kafka]
bootstrap_servers = "h:1"
[kafka.client]
"fetch.min.bytes" = 1
"security.protocol" = "sasl_ssl"
"sasl.mechanism" = "PLAIN"
"sasl.username" = "u"
"sasl.password" = "p"
"ssl.ca.location" = "ca.pem"
""",
    """
app_id = "x"\nstate_dir = "/tmp"\ncampaign_files = ["a.json", "b.json"]
exit_when_idle_s = 1.5\nembedded = true\nweb_port = 0\nlog_level = "INFO"
""",
    'kafka.topic_prefix = "p-"\nkafka.client."client.id" = 0x1F\n[[x]]\ny = 1979-05-27\n',
    'stats_file = """\nmany\nlines"""\nsession_timeout_ms = 1_000\nweb_token_file = "/dev/null"\n',
)

# --- what we wrote ourselves --------------------------------------------------------------------


def row_examples() -> list[bytes]:
    known = given([builders.campaign()], list(world.HISTORY))
    spent = known.when(builders.result(known.reward_id("1", "rp-1"), "spent", day=6))
    return [rows.encode_row(s) for s in (states.new(builders.USER), known.state, spent.state)]


def row(value: bytes) -> tuple[str, bool]:
    """A row: read as written, or refused before anything is folded onto it."""
    try:
        state = rows.decode_row(builders.USER, value)
    except (Refused, DiskError) as refused:
        return f"{type(refused).__name__}: {world._shape(str(refused)[-60:])}", False  # noqa: SLF001
    again = rows.encode_row(state)
    assert rows.decode_row(builders.USER, again) == state
    return "accepted", True


IDENTITY = meta.Identity("leidan", "cluster-1", 0, 4, {"orders": "id-1"}, 1, 1)


def meta_examples() -> list[bytes]:
    return [
        meta.encode_meta(meta.Meta({"orders": 7, "claims": 2**53}, 3, 1, 1)),
        meta.encode_offsets({"orders": 7, "claims": 0}),
        meta.encode_identity(IDENTITY),
    ]


def metas(value: bytes) -> tuple[str, bool]:
    """The three JSON records among the rows; whoever reads them knows msgspec's errors only."""
    ended, accepted = [], False
    for decode in (meta.decode_meta, meta.decode_offsets, meta.decode_identity):
        try:
            decode(value)
        except msgspec.MsgspecError as refused:
            ended.append(type(refused).__name__)
        else:
            ended.append("accepted")
            accepted = True
    return " ".join(ended), accepted


# --- headers of the dead-letters topic, which anybody may have written --------------------------

_SEPARATOR = b"\x1e"


def header_examples() -> list[bytes]:
    """One header is name, unit separator, value; headers are joined by record separators."""
    reasons = [f"dl-reason\x1f{reason.value}".encode() for reason in Reason]
    return [*reasons, _SEPARATOR.join(reasons[:3]), b"dl-detail\x1fx", b"dl-reason\x1f"]


def headers(value: bytes) -> tuple[str, bool]:
    """The label counted for a dead letter is one of the closed list or `unknown`."""
    found: list[tuple[str, bytes | None]] = []
    for part in value.split(_SEPARATOR):
        name, between, text = part.partition(b"\x1f")
        found.append((name.decode("utf-8", "replace"), text if between else None))
    for given_headers in (found, dict(found), None):
        label = dead_letters.reason_of(given_headers)
        assert label == dead_letters.UNKNOWN or Reason(label)
    label = dead_letters.reason_of(found)
    return label, label != dead_letters.UNKNOWN
