"""The motion of a driving clip: its keypoints, looked at once, steadied, and where it is measured from.

All keypoints of a clip are kept, a few hundred bytes a frame; its pictures never are.

Shapes: T frames, K keypoints, N numbers of a thumbnail.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from model.config import MotionTransferOptions
from worker.engine.batches import InParts
from worker.engine.hold import held, listed, lost_frames, marked, stretches, thumbnails
from worker.engine.rows import Rows
from worker.jobs import AnimationOptions

if TYPE_CHECKING:
    from model.inference.animator import Animator, Drawn, PreparedSource
    from model.networks.keypoints import Keypoints


class Motion(NamedTuple):
    """What the source is to do."""

    keypoints: Keypoints
    """Of all frames, in memory."""
    warnings: tuple[str, ...] = ()
    held_frames: tuple[tuple[int, int], ...] = ()
    """Where the motion of another frame is shown: first and last of each stretch."""

    def steadied(self, fps: Fraction, smoothing: float) -> Motion:
        """The same, as steady as the option of this name says."""
        from model.inference.smoothing import steady

        return self._replace(keypoints=steady(self.keypoints, float(fps), smoothing))


def read_motion(
    animator: Animator,
    driving_batches: Iterable[np.ndarray],
    seen_at: Sequence[int],
    *,
    frames: int | None = None,
    damaged: Sequence[tuple[int, int]] = (),
) -> Motion:
    """The keypoints of a clip. Frames without its subject, and damaged ones, hold the motion of the last frame before.

    `damaged`: first and last of each stretch of frames that could not be decoded. `frames`: how many the clip
    has, when only every n-th of them comes; warnings name the right ones then.
    """
    import torch

    from model.networks.keypoints import Keypoints, frames_of

    positions, jacobians, thumbs = Rows(), Rows(), Rows()
    in_parts = InParts[Keypoints]()
    for frames_THWC in driving_batches:
        for found in in_parts.run(len(frames_THWC), partial(_keypoints, animator, frames_THWC)):
            positions.add(found.positions_BK2.cpu().numpy())
            if found.jacobians_BK22 is not None:
                jacobians.add(found.jacobians_BK22.cpu().numpy())
        thumbs.add(thumbnails(frames_THWC))
    keypoints = Keypoints(torch.from_numpy(positions.all()), torch.from_numpy(jacobians.all()) if jacobians else None)
    lost_T = lost_frames(thumbs.all(), seen_at)
    step = math.ceil((frames or len(lost_T)) / len(lost_T))
    damaged_T = marked(damaged, step * len(lost_T))[::step]
    warnings = tuple(
        f"{what} in frames {listed(which_T.repeat(step)[:frames])} of the video: the last motion was held there."
        for what, which_T in (
            ("The subject was not seen", lost_T & ~damaged_T),
            ("Nothing could be decoded", damaged_T),
        )
        if which_T.any()
    )
    # Of a clip that is dark wherever it is whole, the dark is what there is to follow.
    lost_T = damaged_T if (lost_T | damaged_T).all() else lost_T | damaged_T
    if lost_T.any():
        keypoints = frames_of(keypoints, torch.from_numpy(held(lost_T)))
    return Motion(keypoints, warnings, stretches(lost_T))


def reference_number(wanted: str, prepared: PreparedSource, motion: Motion) -> int:
    """The driving frame that relative motion is measured from; it was checked that it exists."""
    from model.inference.reference_frame import nearest_frame
    from model.networks.keypoints import on_device

    if wanted == "first":
        return 0
    if wanted == "auto":
        source = on_device(prepared.keypoints, motion.keypoints.positions_BK2.device)
        return nearest_frame(source, motion.keypoints)
    return int(wanted)


def draw_motion(
    animator: Animator,
    prepared: PreparedSource,
    motion: Motion,
    reference_frame: int,
    options: AnimationOptions,
    batch_frames: int,
    *,
    with_flow: bool = False,
) -> Iterator[Drawn]:
    """The animated source, a batch at a time; `with_flow` adds the flow that moved it."""
    from model.inference.motion_transfer import motion_reference
    from model.inference.runners import finished
    from model.networks.keypoints import frames_of, on_device

    transfer = MotionTransferOptions(
        relative=options.motion_transfer == "relative",
        relative_jacobian=options.relative_jacobian,
        adapt_scale=options.adapt_scale,
    )
    initial = frames_of(motion.keypoints, slice(reference_frame, reference_frame + 1))
    reference = motion_reference(prepared.keypoints, on_device(initial, animator.device), transfer)
    in_parts: InParts[Callable[[], Drawn]] = InParts()

    def begin(driving: Keypoints, part: slice) -> Callable[[], Drawn]:
        own = frames_of(driving, part)
        finish = animator.start(prepared, own, reference, transfer)
        if not with_flow:
            return finish
        return lambda: finish()._replace(flow_THW2=animator.flow(prepared, own, reference, transfer))

    def begun() -> Iterator[Callable[[], Drawn]]:
        for first in range(0, len(motion.keypoints.positions_BK2), batch_frames):
            driving = frames_of(motion.keypoints, slice(first, first + batch_frames))
            yield from in_parts.run(len(driving.positions_BK2), partial(begin, driving))

    yield from finished(begun(), animator.ahead)


def _keypoints(animator: Animator, frames_THWC: np.ndarray, part: slice) -> Keypoints:
    return animator.keypoints(frames_THWC[part])
