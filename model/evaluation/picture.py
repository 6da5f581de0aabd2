"""The picture of an evaluation: the best, the middle and the worst frames, chosen by L1 and not by taste.

Shapes: R rows, H W height and width, C channels, K keypoints, 2 = (x, y).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.evaluation.cases import Case, CaseSet
from model.evaluation.methods import COPY, Method
from model.evaluation.scores import CaseScore
from model.inference.animator import Animator
from model.keypoint_drawing import draw_keypoints

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_SMALLEST_TILE_PX = 128
_GAP_PX = 3
_LABEL_PX, _HEADER_PX, _LINE_PX = 150, 18, 15
_DIFFERENCE_GAIN = 2
_PAPER = "white"
# With one part there is room for the quartiles too.
_QUANTILES = {1: ("best", "quartile", "median", "quartile", "worst"), 3: ("best", "median", "worst")}


class Chosen(NamedTuple):
    """A frame of one case, and why it is in the picture."""

    why: str
    case_set_index: int
    part: str
    frame: int
    l1: float
    l1_of_copy: float


def choose(scores: Sequence[CaseScore], method: str) -> list[Chosen]:
    """Return frames from the best to the worst of each part, by the L1 of one method."""
    parts = list(dict.fromkeys(score.part for score in scores))
    copies = {(score.part, score.case_set_index): score.l1_T for score in scores if score.method == COPY}
    chosen = []
    for part in parts:
        own = [score for score in scores if (score.part, score.method) == (part, method)]
        ranked = sorted(
            (float(l1), score.case_set_index, frame) for score in own for frame, l1 in enumerate(score.l1_T)
        )
        names = _QUANTILES[1 if len(parts) == 1 else 3]
        for place, why in enumerate(names):
            l1, index, frame = ranked[round(place * (len(ranked) - 1) / (len(names) - 1))]
            chosen.append(Chosen(why, index, part, frame, l1, float(copies[part, index][frame])))
    return chosen


def draw_picture(cases: CaseSet, chosen: Sequence[Chosen], methods: Sequence[Method], animator: Animator) -> "Image":
    """Draw a row for each chosen frame; the keypoints are the animator's, and the difference is the first method's.

    Copying needs no column: it is the source.
    """
    from PIL import Image, ImageDraw

    rows = [_one_frame(cases, one) for one in chosen]
    with_start = any(case.reference_HWC is not None for case in rows)
    size = animator.config.frame_size
    side = size * max(1, -(-_SMALLEST_TILE_PX // size))
    names = ["source", *(["driver at start"] if with_start else []), "driving", "truth"]
    names += [*(method.name for method in methods), f"|difference| x {_DIFFERENCE_GAIN}"]
    step = side + _GAP_PX
    picture = Image.new("RGB", (_LABEL_PX + len(names) * step, _HEADER_PX + len(chosen) * step), _PAPER)
    draw = ImageDraw.Draw(picture)
    for column, name in enumerate(names):
        draw.text((_LABEL_PX + column * step + 2, 2), _shortened(draw, name, side), fill="black")
    for row, (one, case) in enumerate(zip(chosen, rows, strict=True)):
        top = _HEADER_PX + row * step
        seen = [case.source_HWC, *([case.reference_HWC] if with_start else []), case.driving_THWC[0]]
        for column, tile_HWC in enumerate((*seen, case.truth_THWC[0], *_results(case, methods))):
            if tile_HWC is None:
                continue
            left = _LABEL_PX + column * step
            picture.paste(Image.fromarray(tile_HWC).resize((side, side), Image.Resampling.NEAREST), (left, top))
            if column < len(seen):
                positions_K2 = animator.keypoints(tile_HWC[None]).positions_BK2[0]
                draw_keypoints(draw, positions_K2, left, top, side)
        if row and one.part != chosen[row - 1].part:
            draw.line((0, top - 2, picture.width, top - 2), fill="black")
        lines = (
            *one.part.replace(", ", ",\n").split("\n"),
            one.why,
            case.name.split("/")[-1],
            f"L1 {one.l1:.4f}",
            f"copying {one.l1_of_copy:.4f}",
        )
        for number, line in enumerate(lines):
            text = _shortened(draw, line, _LABEL_PX - 6)
            draw.text((3, top + 2 + number * _LINE_PX), text, fill="firebrick" if line == "worst" else "black")
    return picture


def _one_frame(cases: CaseSet, chosen: Chosen) -> Case:
    case = next(case for case in cases[chosen.case_set_index] if case.part == chosen.part)
    rows = slice(chosen.frame, chosen.frame + 1)
    return case._replace(driving_THWC=case.driving_THWC[rows], truth_THWC=case.truth_THWC[rows])


def _results(case: Case, methods: Sequence[Method]) -> list[NDArray[np.uint8]]:
    """Return what each method draws, and how the first one's differs from the truth."""
    results = [method.animate(case)[0] for method in methods]
    difference_HWC = np.abs(results[0].astype(int) - case.truth_THWC[0]) * _DIFFERENCE_GAIN
    return [*results, difference_HWC.clip(0, 255).astype(np.uint8)]


def _shortened(draw: "ImageDraw", text: str, width_px: int) -> str:
    """Return as much of the end of the text as fits: names differ at their ends."""
    whole = text
    while len(text) > 1 and draw.textlength(text if text == whole else "..." + text) > width_px:
        text = text[1:]
    return text if text == whole else "..." + text
