"""A lottery on the embedded broker: asked by hand, drawn by a whole worker, proved by anybody."""

from __future__ import annotations

import json

import orjson
import pytest

from streams import topics
from streams.broker.embedded import EmbeddedBroker
from streams.cli import run
from streams.demo.reading import Reader
from streams.demo.sending import send
from streams.errors import Exit
from streams.partitioner import partition_of
from tests.mock.conftest import counts
from tests.mock.test_worker import Worker
from tests.pooling import SEED, ask, at, definition, odds, prize, written

ASKED = 40


@pytest.fixture
def wheel(tmp_path):
    """Settings of a worker that knows a pool and its seed."""
    path, seeds = tmp_path / "wheel.json", tmp_path / "seeds"
    prizes = [prize("top", 3, 900, max_per_user=1), prize("five", 5, 50)]
    path.write_bytes(
        orjson.dumps(definition(prizes=prizes, odds=[odds(("top", 300_000), ("five", 400_000))]))
    )
    seeds.mkdir()
    (seeds / "veg-wheel").write_text(SEED.hex())
    return {"campaign": path, "pool_secrets_dir": seeds, "exit_when_idle_s": 1}


def requests(first, count):
    for n in range(first, first + count):
        key, value = written(ask(n, n / 10, f"u-{n % 7}"))
        yield "draw-requests", key, value, at(n)


def proved(broker, capsys):
    with pytest.raises(SystemExit) as left:
        run(["lottery", "verify", "--bootstrap-servers", broker.bootstrap, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert left.value.code == 0, found
    return found["pools"][0]


def test_a_worker_draws_once_what_is_asked_twice_and_anybody_can_prove_it(tmp_path, wheel, capsys):
    with EmbeddedBroker().start(counts()) as broker:
        send(broker.bootstrap, [*requests(0, ASKED), *requests(0, 5)])
        worker = Worker(broker, tmp_path, **wheel)
        assert worker.wait() == 0, worker.log.read_text()
        assert SEED.hex() not in worker.log.read_text()
        assert proved(broker, capsys)["draws"] == ASKED
        send(broker.bootstrap, requests(ASKED - 5, 15))  # a new life goes on with the same stock
        worker = Worker(broker, tmp_path, **wheel)
        assert worker.wait() == 0, worker.log.read_text()
        assert worker.stats()["outcomes"]["duplicate"] >= 5
        found = proved(broker, capsys)
        assert (found["draws"], found["won"]) == (ASKED + 10, 8)
        with Reader(broker.bootstrap) as reader:
            said = list(reader.all_of([topics.LOTTERY_DRAWS, topics.DRAW_RESULTS]))
    for record in said:
        assert record.key is not None
        where = partition_of(record.key, counts()[record.topic])
        assert record.partition == where, "murmur2 of the pool, or of the user"


def test_a_worker_with_another_seed_does_not_start(tmp_path, wheel):
    (wheel["pool_secrets_dir"] / "veg-wheel").write_text(bytes(32).hex())
    later = json.loads(wheel["campaign"].read_bytes()) | {"closes_at": "2999-01-01T00:00:00Z"}
    wheel["campaign"].write_bytes(orjson.dumps(later))
    with EmbeddedBroker().start(counts()) as broker:
        worker = Worker(broker, tmp_path, **wheel)
        assert worker.wait() == Exit.SECRET, worker.log.read_text()
    said = worker.log.read_text()
    assert "pool veg-wheel: the secret seed does not match" in said
    assert "Traceback" not in said
    assert bytes(32).hex() not in said
