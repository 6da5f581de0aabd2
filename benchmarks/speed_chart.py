"""Bars of frames/s from the files in `benchmarks/results`: `python -m benchmarks.speed_chart -o FILE.png`."""

import argparse
import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from benchmarks.measuring import RESULTS

_LABEL_PX, _BARS_PX, _BAR_PX, _TITLE_PX = 250, 380, 20, 44
_OURS, _OTHERS = "steelblue", "silver"


def main() -> None:
    """Draw the chart."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed_chart", description="Bars of frames/s.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    panels = [
        gpu_against_panel(_read("gpu-h200-against.json")),
        gpu_panel("vox-256, H200", _read("gpu-h200-vox-256.json"), "vox-256"),
        gpu_panel("avatars-256 (10 keypoints), H200", _read("gpu-h200-avatars-256.json"), "avatars-256"),
        cpu_panel("vox-256, 2 cores of a Xeon, bf16", _read("pipeline-xeon-2-cores-quiet-vox-256-bf16.json")),
    ]
    draw_chart(panels).save(parser.parse_args().output, optimize=True)


Panel = tuple[str, list[tuple[str, float, str]]]


def gpu_panel(title: str, results: dict[str, Any], model: str) -> Panel:
    """Return the title and (label, frames/s, colour) of a GPU's results."""
    rows = [
        ("plain, fp32, batch 1", f"{model} plain fp32 batch 1", _OTHERS),
        ("plain, bf16, batch 32", f"{model} plain bf16 batch 32", _OTHERS),
        ("fp32, batch 32", f"{model} fp32 graphs batch 32", _OURS),
        *((f"bf16, batch {batch}", f"{model} bf16 graphs batch {batch}", _OURS) for batch in (1, 8, 32, 64)),
        ("bf16, batch 32, device alone", f"{model} bf16 graphs batch 32 device", _OURS),
    ]
    return title, [(label, results[key]["frames_per_s"], colour) for label, key, colour in rows]


def gpu_against_panel(results: dict[str, Any]) -> Panel:
    """Return the same of a run beside the official implementation on a GPU."""
    return "vox-256, H200, in turn", [
        ("official demo, fp32", results["official frames/s (fp32, TF32 as torch has it)"], _OTHERS),
        ("bf16, batch 32", results["ours frames/s (bf16, batch 32)"], _OURS),
    ]


def cpu_panel(title: str, results: dict[str, Any]) -> Panel:
    """Return the same of a run beside the official implementation."""
    beside = results["against"]
    return title, [
        ("official demo, fp32", beside["official_frames_per_s"], _OTHERS),
        (f"bf16, batch {results['batch']}", beside["frames_per_s"], _OURS),
    ]


def draw_chart(panels: list[Panel]) -> Image.Image:
    """Draw the panels, one under the other, each at a scale of its own."""
    height = sum(_TITLE_PX + len(rows) * _BAR_PX for _, rows in panels) + 12
    picture = Image.new("RGB", (_LABEL_PX + _BARS_PX + 90, height), "white")
    draw = ImageDraw.Draw(picture)
    font, bold = ImageFont.load_default(13), ImageFont.load_default(15)
    top = 0
    for title, rows in panels:
        draw.text((8, top + 18), f"{title}: frames/s", fill="black", font=bold)
        top += _TITLE_PX
        furthest = max(value for _, value, _ in rows)
        for label, value, colour in rows:
            end = _LABEL_PX + _BARS_PX * value / furthest
            draw.text((20, top + 1), label, fill="black", font=font)
            draw.rectangle((_LABEL_PX, top + 2, end, top + _BAR_PX - 3), fill=colour)
            draw.text((end + 6, top + 1), f"{value:,.0f}" if value >= 100 else f"{value:.1f}", fill="black", font=font)
            top += _BAR_PX
    return picture


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / name).read_text())


if __name__ == "__main__":
    main()
