"""Bars of each clip's error from a `metrics.json`: `python -m benchmarks.case_chart REPORT/metrics.json -o chart.png`.

For reports on clips of people whose pictures are not to be shown: the errors can be.
"""

import json
from pathlib import Path
from typing import Any

import click
from PIL import Image, ImageDraw

_LABEL_PX, _BARS_PX, _BAR_PX, _GAP_PX, _HEADER_PX = 150, 460, 11, 10, 30
_COLOURS = ("steelblue", "darkorange", "lightsteelblue", "silver")


@click.command()
@click.argument("metrics", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
@click.option("--method", "methods", multiple=True, required=True, help="A row of the table; may be repeated.")
@click.option("--label", "labels", multiple=True, help="What the picture calls it.")
def main(metrics: Path, output: Path, methods: tuple[str, ...], labels: tuple[str, ...]) -> None:
    """Draw the L1 of methods to that of copying the source, clip by clip; copying is the line at 1."""
    rows = [row for row in json.loads(metrics.read_text(encoding="utf-8"))["cases"] if row["method"] in methods]
    missing = set(methods) - {row["method"] for row in rows}
    if missing:
        raise click.UsageError(f"no such row: {', '.join(sorted(missing))}")
    draw_chart(rows, methods, labels or methods).save(output, optimize=True)


def draw_chart(rows: list[dict[str, Any]], methods: tuple[str, ...], labels: tuple[str, ...]) -> Image.Image:
    """Draw one group of bars for each case, in the order of the report."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    ratio = {(row["case"], row["method"]): row["l1_to_copy"] or 0.0 for row in rows}
    furthest = max(1.0, *ratio.values())
    group_px = len(methods) * _BAR_PX + _GAP_PX
    picture = Image.new("RGB", (_LABEL_PX + _BARS_PX + 50, _HEADER_PX + len(cases) * group_px), "white")
    draw = ImageDraw.Draw(picture)
    left = 3.0
    for label, colour in zip(labels, _COLOURS, strict=False):
        draw.rectangle((left, 8, left + 10, 18), fill=colour)
        draw.text((left + 15, 7), label, fill="black")
        left += 30 + draw.textlength(label)
    for index, case in enumerate(cases):
        top = _HEADER_PX + index * group_px
        draw.text((3, top + 4), case.partition("#")[0], fill="black")
        for place, (method, colour) in enumerate(zip(methods, _COLOURS, strict=False)):
            value, y = ratio[case, method], top + place * _BAR_PX
            end = _LABEL_PX + _BARS_PX * value / furthest
            draw.rectangle((_LABEL_PX, y, end, y + _BAR_PX - 2), fill=colour)
            draw.text((end + 4, y - 1), f"{value:.2f}", fill="black")
    line = _LABEL_PX + _BARS_PX / furthest
    draw.line((line, _HEADER_PX - 8, line, picture.height), fill="gray")
    return picture


if __name__ == "__main__":
    main()
