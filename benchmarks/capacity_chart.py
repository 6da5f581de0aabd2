"""Three panels: what one of each part can do, how waits grow with the load, and the simulation beside the service."""

import math
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _PANEL_PX, _LABEL_PX, _TITLE_PX, _BAR_PX = 760, 280, 230, 40, 22
_COLOURS = ("steelblue", "darkorange", "seagreen", "firebrick")
_SHOWN_WAIT_S = 60.0


def draw_chart(report: dict[str, Any], checks: list[dict[str, Any]]) -> Image.Image:
    """Draw the panels of a report of `benchmarks.capacity`, one under the other."""
    ceilings = report["one_of_each_a_minute"]
    heights = [_TITLE_PX + _BAR_PX * len(ceilings) + 16, _TITLE_PX + _PANEL_PX, _TITLE_PX + 6 * _BAR_PX * len(checks)]
    picture = Image.new("RGB", (_WIDTH, sum(heights) + 12), "white")
    draw = ImageDraw.Draw(picture)
    _ceilings(draw, 0, ceilings)
    _curves(draw, heights[0], report["p95_wait_s_by_load"])
    _checked(draw, heights[0] + heights[1], checks)
    return picture


def _title(draw: ImageDraw.ImageDraw, top: int, text: str) -> None:
    draw.text((8, top + 12), text, fill="black", font=ImageFont.load_default(15))


def _ceilings(draw: ImageDraw.ImageDraw, top: int, ceilings: dict[str, float]) -> None:
    _title(draw, top, "What one of each can do alone: animations a minute (logarithmic)")
    furthest = max(map(math.log10, ceilings.values()))
    for row, (name, value) in enumerate(sorted(ceilings.items(), key=lambda one: one[1])):
        y = top + _TITLE_PX + row * _BAR_PX
        end = _LABEL_PX + (_WIDTH - _LABEL_PX - 80) * math.log10(value) / furthest
        draw.text((16, y + 2), name, fill="black", font=ImageFont.load_default(13))
        draw.rectangle((_LABEL_PX, y + 2, end, y + _BAR_PX - 4), fill="steelblue")
        draw.text((end + 6, y + 2), f"{value:,.0f}", fill="black", font=ImageFont.load_default(13))


def _curves(draw: ImageDraw.ImageDraw, top: int, curves: dict[str, list[list[float]]]) -> None:
    _title(draw, top, "95% wait no longer than ... s, by the load of CPU workers (simulated)")
    left, right, upper, lower = 60, _WIDTH - 130, top + _TITLE_PX, top + _TITLE_PX + _PANEL_PX - 40
    font = ImageFont.load_default(12)
    for wait_s in range(0, int(_SHOWN_WAIT_S) + 1, 10):
        y = lower - (lower - upper) * wait_s / _SHOWN_WAIT_S
        draw.line((left, y, right, y), fill="gainsboro")
        draw.text((left - 26, y - 7), str(wait_s), fill="black", font=font)
    for tenth in range(0, 11, 2):
        x = left + (right - left) * tenth / 10
        draw.text((x - 10, lower + 6), f"{10 * tenth}%", fill="black", font=font)
    for points, colour in zip(curves.values(), _COLOURS, strict=True):
        shown = [(load, wait_s) for load, wait_s in points if wait_s <= _SHOWN_WAIT_S]
        places = [
            (left + (right - left) * load, lower - (lower - upper) * wait_s / _SHOWN_WAIT_S) for load, wait_s in shown
        ]
        draw.line(places, fill=colour, width=3)
    for row, (name, colour) in enumerate(zip(curves, _COLOURS, strict=True)):
        y = upper + 20 * row
        draw.rectangle((right + 14, y + 3, right + 26, y + 11), fill=colour)
        draw.text((right + 32, y), f"{name} worker{'s' * (name != '1')}", fill="black", font=font)


def _checked(draw: ImageDraw.ImageDraw, top: int, checks: list[dict[str, Any]]) -> None:
    _title(draw, top, "Waits: the service (blue), simulated (orange, with 95% of the runs), replayed (green); s")
    font = ImageFont.load_default(13)
    y = top + _TITLE_PX
    for check in checks:
        for name in ("mean", "p50", "p95"):
            real = check["real"]["waits_s"][name]
            simulated, replayed = check["simulated"][f"wait_{name}_s"], check["replayed"][name]
            furthest = max(one["real"]["waits_s"]["p95"] for one in checks) * 1.3
            scale = (_WIDTH - _LABEL_PX - 80) / furthest
            workers = check["workers"]
            draw.text((16, y + 8), f"{workers} worker{'s' * (workers > 1)}, {name}", fill="black", font=font)
            for row, (value, colour) in enumerate(
                ((real, "steelblue"), (simulated["median"], "darkorange"), (replayed, "seagreen"))
            ):
                line = y + 12 * row
                draw.rectangle((_LABEL_PX, line, _LABEL_PX + value * scale, line + 9), fill=colour)
            middle = y + 16
            draw.line(
                (_LABEL_PX + simulated["low"] * scale, middle, _LABEL_PX + simulated["high"] * scale, middle),
                fill="black",
                width=2,
            )
            end = _LABEL_PX + max(real, simulated["high"], replayed) * scale
            draw.text((end + 8, y + 8), f"{real:.1f} / {simulated['median']:.1f}", fill="black", font=font)
            y += 2 * _BAR_PX
