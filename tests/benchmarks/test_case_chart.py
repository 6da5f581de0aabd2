"""The chart of errors clip by clip."""

import json
from pathlib import Path

from click.testing import CliRunner
from PIL import Image

from benchmarks.case_chart import draw_chart, main


def _row(case: str, method: str, ratio: float) -> dict[str, object]:
    return {"case": case, "method": method, "l1_to_copy": ratio}


ROWS = [_row("test/a#1.mp4", "old", 0.5), _row("test/a#1.mp4", "new", 0.25), _row("test/b#1.mp4", "old", 2.0)]


def test_bars_are_as_long_as_the_errors(tmp_path: Path) -> None:
    report, chart = tmp_path / "metrics.json", tmp_path / "chart.png"
    report.write_text(json.dumps({"cases": [*ROWS, _row("test/b#1.mp4", "new", 1.0)]}))
    told = CliRunner().invoke(main, [str(report), "-o", str(chart), "--method", "old", "--method", "new"])
    assert told.exit_code == 0, told.output
    with Image.open(chart) as picture:
        colours = [[picture.getpixel((x, y)) for x in range(150, 610)] for y in (33, 44, 65, 76)]
    lengths = [sum(pixel == row[0] for pixel in row) for row in colours]
    # The longest bar, 2.0, has the whole width.
    assert [round(length / 461, 1) for length in lengths] == [0.3, 0.1, 1.0, 0.5]


def test_a_row_that_is_not_there_is_named(tmp_path: Path) -> None:
    report = tmp_path / "metrics.json"
    report.write_text(json.dumps({"cases": ROWS}))
    told = CliRunner().invoke(main, [str(report), "-o", str(tmp_path / "chart.png"), "--method", "newer"])
    assert told.exit_code == 2
    assert "newer" in told.output


def test_cases_keep_their_order() -> None:
    rows = [*ROWS, _row("test/b#1.mp4", "new", 1.0)]
    assert draw_chart(rows, ("old", "new"), ("old", "new")).size == (660, 30 + 2 * 32)
