"""The page of all benchmarks, and the sizing page: nothing fetched, nothing made up."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench import report, sizing

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = {"cpu": "a processor", "cores": 2, "python": "3.11.7", "load_1min": 0.1}


def leg(bench: str, round_: int = 1, **figures: Any) -> dict[str, Any]:
    return {
        "bench": bench, "engine": "leidan", "workload": "paid", "events": 1_000, "users": 10_000,
        "round": round_, "digest": "d" * 16, "commit": "abc1234", "date": f"2026-11-2{round_}",
        "machine": MACHINE, "seed": 42, **figures,
    }  # fmt: skip


SCALE = [
    leg("scale", users=users, cpu_us=cost + noise, round_=round_,
        more={"of": "users", "skew": "uniform", "disk_bytes_per_user": 390, "row_bytes": 840,
              "filter_index_bytes_per_user": 2.5})
    for users, cost in ((10_000, 20.0), (5_000_000, 61.25))
    for round_, noise in ((1, -9.0), (2, 0.0), (3, 5.0))
]  # fmt: skip
LIVE = [
    leg("live", engine=one, events_per_s=rate)
    for one, rate in (("quix", 4_000), ("leidan", 31_234))
]
LATENCY = {
    "machine": MACHINE | {"commit": "abc1234", "date": "2026-11-21"}, "workload": "paid",
    "legs": [{"rate": 3000, "whole": {"ms": {"p50": 41.5, "p99": 187.25},
                                      "buckets_us": {"32768": 70, "131072": 3}}}],
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """What benchmarks write: lines, a list, one object."""
    lines = "".join(json.dumps(one) + "\n" for one in SCALE)
    found = {"scale": lines, "live": json.dumps(LIVE), "latency": json.dumps(LATENCY)}
    for name, text in found.items():
        (tmp_path / f"{name}.json").write_text(text)
    return [tmp_path / f"{name}.json" for name in found]


class Page(HTMLParser):
    """Tags, attributes and the texts of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_one_file_without_a_script_and_fetches_nothing(files):
    page = Page(report.page(report.read(files)))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe"})
    assert not [attrs for _, attrs in page.tags if attrs.keys() & {"src", "href", "onload"}]


def test_every_benchmark_has_its_plots_and_its_medians_in_a_table(files):
    page = Page(report.page(report.read(files)))
    titles = {attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"}
    assert "processor time of an order by users, us" in titles
    assert "events a second by engine" in titles
    assert "order to visible reward, ms, by orders a second" in titles
    assert any("how many took" in str(title) for title in titles)
    assert {"61.25", "31,234", "187.25", "abc1234"} <= set(page.texts)
    assert "52.25" not in page.texts, "a round stands in the table beside its median"


def test_legs_of_another_commit_are_another_row():
    one, other = leg("live", events_per_s=1), leg("live", events_per_s=3)
    assert [row["events_per_s"] for row in report.rows([one, other])] == [2]
    other["commit"] = "def5678"
    assert [row["events_per_s"] for row in report.rows([one, other])] == [1, 3]


@pytest.mark.parametrize("text", ["", "[]", "nothing", "[1]"])
def test_a_file_without_legs_is_named(tmp_path, text, capsys):
    path = tmp_path / "live.json"
    path.write_text(text)
    assert report.main([str(path), "--out", str(tmp_path / "page.html")]) == 2
    assert capsys.readouterr().err.startswith(("no legs", str(path), "live: a leg"))
    assert not (tmp_path / "page.html").exists()


# -- sizing ----------------------------------------------------------------------------------------


def test_the_sizing_page_is_what_the_figures_give():
    """Red: run `make sizing` and look at what has changed."""
    figures = json.loads(sizing.FIGURES_FILE.read_text())
    assert sizing.PAGE.read_text() == sizing.page(figures)


def test_figures_are_medians_of_the_legs_with_the_most_users(files):
    found = sizing.taken({}, report.read(files))
    assert found.keys() == {"disk_bytes_per_user", "row_bytes", "filter_index_bytes_per_user"}
    taken = found["disk_bytes_per_user"]
    assert (taken["value"], taken["legs"], taken["commit"]) == (390, 3, "abc1234")
    assert "assumed" not in taken
    assert not taken["busy"], "a load of 0.1"


VALUES = {
    "order_events_per_s": 16_000.0, "order_cpu_us": 50.0, "worker_mb": 300.0,
    "disk_bytes_per_user": 400.0, "row_bytes": 800.0, "filter_index_bytes_per_user": 2.0,
    "users_measured": 5e6, "restore_rows_per_s": 100_000.0, "backfill_events_per_s": 40_000.0,
}  # fmt: skip


def test_workers_are_as_many_as_rate_recovery_and_filters_each_need():
    case = sizing.Case("", orders_a_day=86_400_000, users=480_000_000)
    it = sizing.sized(case, VALUES)
    assert it.peak_per_s == 1_000 * 3 * 5
    assert it.by_rate == 3  # 15,000 records/s of 10,000 x 0.6 each
    assert it.by_recovery == 8  # 480 million rows in 600 s of 100,000 each
    assert it.by_filters == 15  # 960 MB in 64 MiB each
    assert (it.workers, it.partitions, it.users_a_worker) == (15, 64, 32_000_000)
    assert it.disk_gb == pytest.approx(32e6 * 400 * 1.5 / 1e9)
    assert it.lost_disk_s == 320


def test_more_users_in_a_process_than_were_measured_are_said_to_be():
    figures = {name: {"value": value, "unit": "", "what": ""} for name, value in VALUES.items()}
    assert "Beyond what was measured" in sizing.page(figures)
    figures["users_measured"]["value"] = 1e9
    assert "Beyond what was measured" not in sizing.page(figures)
