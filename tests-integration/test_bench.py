"""Rows of the bench that became worse than recorded are found, and noise is not."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "tools"))

import bench_recorded
from bench_recorded import Ratio, worse


@pytest.fixture(autouse=True)
def recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_recorded, "RECORDED", tmp_path / "recorded.json")
    bench_recorded.RECORDED.write_text('{"nodes": {}, "ratios": {}}')
    assert worse({"row": Ratio(2.0, 1.95, 2.02, 100)}) == {}  # the first time, it is recorded


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (Ratio(2.2, 2.15, 2.25, 100), True),
        (Ratio(2.09, 2.04, 2.2, 100), False),
        (Ratio(2.2, 2.08, 2.3, 100), False),  # its own rounds spread as far
        (Ratio(1.0, 0.9, 1.1, 100), False),
        (Ratio(2.0, 1.95, 2.02, 105), False),
        (Ratio(2.0, 1.95, 2.02, 106), True),
    ],
)
def test_a_row_is_worse_beyond_both_spreads_or_by_its_nodes(now, found):
    assert list(worse({"row": now})) == ["row"] * found


def test_rows_are_compared_with_the_first_record_until_they_are_recorded_again():
    slower = {"row": Ratio(3.0, 2.9, 3.1, 200)}
    assert worse(slower)
    assert worse(slower)
    assert worse(slower, record=True) == {}
    assert worse(slower) == {}


def test_ratios_belong_to_a_processor_and_nodes_to_all(monkeypatch):
    monkeypatch.setattr(bench_recorded, "_processor", lambda: "another")
    assert worse({"row": Ratio(9.0, 8.9, 9.1, 100)}) == {}
    assert worse({"row": Ratio(9.0, 8.9, 9.1, 200)}) == {"row": "executes 200 nodes, recorded were 100"}
    assert len(json.loads(bench_recorded.RECORDED.read_text())["ratios"]) == 2


def test_what_is_recorded_is_kept_as_it_would_be_written():
    text = (Path(__file__).parent.parent / "tools" / "bench_recorded.json").read_text()
    assert bench_recorded._written(json.loads(text)) == text
