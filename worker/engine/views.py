"""The views of an animation: extra videos that show how it came about, written while its frames go by.

Each has as many frames as the result, at its rate. Nothing is kept but one frame of each; the driving clip is decoded
once more when a view shows it.

Shapes: T frames, H W height and width, C channels, K keypoints, 2 = (x, y), 22 = 2x2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from PIL import Image, ImageDraw

from worker import media, pictures
from worker.engine.disclosure import NOTHING_DISCLOSED, Disclosure
from worker.engine.view_drawing import GAP_PX, beside, fitted, fitted_size, flow_picture, occlusion_picture
from worker.jobs import AnimationOptions, VideoFacts
from worker.result_formats import RESULT_FORMATS, VIEW_FORMAT, ViewName, views_of
from worker.settings import MediaLimits
from worker.squares import Framing, Square

if TYPE_CHECKING:
    from model.networks.keypoints import Keypoints

_SMALLEST_TILE_PX, _LARGEST_TILE_PX = 256, 512
_FINER = 2
"""Lines are drawn at so many times the size, and then averaged: their edges are smooth."""
_LEAST_SCALE, _MOST, _TINY = 0.02, 0.98, 1e-6
_SHOW_DRIVING: set[ViewName] = {"comparison", "keypoints"}
_NO_OCCLUSION = "The model has no occlusion map, so there is no view of it."


class WrittenView(NamedTuple):
    """One of them."""

    name: ViewName
    path: Path
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownClip:
    """What is known of an animation before its first frame is drawn."""

    picture_HWC: np.ndarray
    """The whole source."""
    source_square: Square
    driving: Path
    facts: VideoFacts
    driving_square: Square
    result_size: tuple[int, int]
    """Width and height."""
    side: int
    """Of the animated square."""
    options: AnimationOptions
    source_keypoints: Keypoints
    """Of batch 1, on any device."""
    driving_keypoints: Keypoints
    """Of all frames, as they are used, in memory."""
    reference_frame: int


class ShownFrame(NamedTuple):
    """A frame of the result and what it was made with."""

    frame_HWC: np.ndarray
    occlusion_HW: np.ndarray | None
    flow_HW2: np.ndarray | None


def view_path(output: Path, name: ViewName) -> Path:
    """Where a view of the result at `output` is written: beside it."""
    return output.with_name(f"{output.stem}.{name}{RESULT_FORMATS[VIEW_FORMAT].suffix}")


class Views:
    """Takes the frames of a result in order and writes its views; use it in a `with` block, end it with `finish`.

    Without `finish` nothing is left behind. Without any view asked for, nothing is done.
    """

    def __init__(
        self, output: Path, clip: ShownClip, *, limits: MediaLimits, disclosure: Disclosure = NOTHING_DISCLOSED
    ) -> None:
        self._names = views_of(clip.options.views)
        self._output, self._clip, self._limits = output, clip, limits
        self._disclosure = disclosure
        self._side = min(max(clip.side, _SMALLEST_TILE_PX), _LARGEST_TILE_PX)
        self._number = 0
        self._open = ExitStack()
        self._writers: dict[ViewName, media.VideoWriter] = {}
        self._markers: dict[ViewName, Callable[[np.ndarray], np.ndarray]] = {}
        self._drawn: set[ViewName] = set()
        self._driving_frames: Iterator[np.ndarray | tuple[None]] = iter(())

    def __enter__(self) -> Self:
        if not self._names:
            return self
        clip, side = self._clip, self._side
        square_HWC = pictures.framed(clip.picture_HWC, Framing(clip.source_square, side, side))
        self._source_HWC = fitted(clip.picture_HWC, side) if clip.options.paste_back else square_HWC
        self._flow_scale, self._usual_size = _flow_scale(clip), _usual_size(clip)
        self._pointed_source_HWC = self._pointed(square_HWC, clip.source_keypoints, 0)
        with ExitStack() as opening:
            self._driving_frames = self._read_driving(opening)
            for name, width in self._widths().items():
                path = view_path(self._output, name)
                fps = Fraction(clip.facts.fps)
                writer = media.VideoWriter(
                    path,
                    fps=fps,
                    width=width,
                    height=side,
                    video_format=VIEW_FORMAT,
                    provenance=self._disclosure.of_view(shows_inputs=name in _SHOW_DRIVING),
                )
                self._writers[name] = opening.enter_context(writer)
                self._markers[name] = self._disclosure.marker(width, side)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        if kind is not None:
            for name in self._names:
                view_path(self._output, name).unlink(missing_ok=True)

    def add(self, shown: ShownFrame) -> None:
        """Write the views of the next frame of the result. Raises EncodingFailed, MediaRejected."""
        driving_HWC = next(self._driving_frames, (None,))[0]
        for name, writer in self._writers.items():
            picture_HWC = self._draw(name, shown, driving_HWC)
            if picture_HWC is not None:
                writer.write(self._markers[name](picture_HWC))
                self._drawn.add(name)
        self._number += 1

    def finish(self) -> tuple[tuple[WrittenView, ...], tuple[str, ...]]:
        """Complete all of them: the files, and what could not be shown, in sentences."""
        written = []
        for name, writer in self._writers.items():
            if name in self._drawn:
                video = writer.finish()
                written.append(WrittenView(name, view_path(self._output, name), video.width, video.height))
        return tuple(written), (_NO_OCCLUSION,) if "occlusion" in self._names and "occlusion" not in self._drawn else ()

    def _read_driving(self, opening: ExitStack) -> Iterator[np.ndarray | tuple[None]]:
        """The driving frames once more, one at a time, when a view shows them."""
        if not _SHOW_DRIVING & set(self._names):
            return iter(())
        framing = Framing(self._clip.driving_square, self._side, self._side)
        frames = media.read_frames(
            self._clip.driving, self._clip.facts, batch_frames=1, framing=framing, limits=self._limits
        )
        return opening.enter_context(closing(frames))

    def _widths(self) -> dict[ViewName, int]:
        side = self._side
        own: dict[ViewName, int] = {"flow": side, "occlusion": side, "keypoints": 2 * side + GAP_PX}
        result_width = fitted_size(*self._clip.result_size, side)[0]
        own["comparison"] = self._source_HWC.shape[1] + side + result_width + 2 * GAP_PX
        return {name: own[name] for name in self._names}

    def _draw(self, name: ViewName, shown: ShownFrame, driving_HWC: np.ndarray | None) -> np.ndarray | None:
        """The picture of one view; None when there is nothing to show."""
        if name == "flow" and shown.flow_HW2 is not None:
            return flow_picture(shown.flow_HW2, self._side, self._flow_scale)
        if name == "occlusion" and shown.occlusion_HW is not None:
            return occlusion_picture(shown.occlusion_HW, self._side)
        if name == "comparison" and driving_HWC is not None:
            return beside((self._source_HWC, driving_HWC, fitted(shown.frame_HWC, self._side)))
        if name == "keypoints" and driving_HWC is not None:
            return beside(
                (self._pointed_source_HWC, self._pointed(driving_HWC, self._clip.driving_keypoints, self._number))
            )
        return None

    def _pointed(self, square_HWC: np.ndarray, keypoints: Keypoints, number: int) -> np.ndarray:
        """The square with the keypoints of frame `number` drawn on it."""
        from model.keypoint_drawing import draw_axes, draw_keypoints

        fine = _FINER * self._side
        image = Image.fromarray(square_HWC).resize((fine, fine), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        positions_K2 = keypoints.positions_BK2[number]
        if keypoints.jacobians_BK22 is not None:
            draw_axes(draw, positions_K2, keypoints.jacobians_BK22[number], self._usual_size, 0, 0, fine)
        draw_keypoints(draw, positions_K2, 0, 0, fine)
        return np.asarray(image.reduce(_FINER))


def _flow_scale(clip: ShownClip) -> float:
    """The movement, in coordinates, that has full colour: as far as the keypoints go together, but for a few frames."""
    driving_TK2 = clip.driving_keypoints.positions_BK2
    rest_1K2 = driving_TK2[clip.reference_frame, None]
    if clip.options.motion_transfer == "absolute":
        rest_1K2 = clip.source_keypoints.positions_BK2.cpu()
    ways_TK = np.linalg.norm((driving_TK2 - rest_1K2).numpy(), axis=-1)
    return max(_LEAST_SCALE, float(np.quantile(ways_TK.mean(1), _MOST)))


def _usual_size(clip: ShownClip) -> float:
    """The usual length of a column of the Jacobians: one for the source and all frames, so that changes are seen."""
    jacobians_TK22 = clip.driving_keypoints.jacobians_BK22
    if jacobians_TK22 is None:
        return 1.0
    return max(_TINY, float(np.median(np.linalg.norm(jacobians_TK22.numpy(), axis=-2))))
