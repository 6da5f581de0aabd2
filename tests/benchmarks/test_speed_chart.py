"""The chart of frames/s is what the results say."""

import json

import numpy as np
from PIL import Image, ImageColor

from benchmarks.measuring import RESULTS
from benchmarks.service import percentiles
from benchmarks.speed_chart import draw_chart, gpu_panel


def length_px(picture: Image.Image, colour: str) -> int:
    """The longest row of this colour."""
    return int((np.asarray(picture) == ImageColor.getrgb(colour)).all(-1).sum(1).max())


def test_bars_are_as_long_as_they_should_be() -> None:
    picture = draw_chart([("one", [("slow", 30.0, "silver"), ("fast", 120.0, "steelblue")])])
    assert abs(length_px(picture, "steelblue") - 4 * length_px(picture, "silver")) <= 12


def test_the_kept_results_have_what_the_chart_shows() -> None:
    results = json.loads((RESULTS / "gpu-h200-vox-256.json").read_text())
    title, rows = gpu_panel("vox-256", results, "vox-256")
    assert title == "vox-256"
    assert {label: value for label, value, _ in rows}["bf16, batch 32"] > 1500


def test_percentiles_of_a_hundred() -> None:
    found = percentiles([float(number) for number in range(100, 0, -1)])
    assert found == {"p50": 50.5, "p95": 96.0, "p99": 100.0, "max": 100.0}
