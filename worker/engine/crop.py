"""Which square of the source and of the driving clip the network is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from worker import media, pictures
from worker.engine.subjects import (
    Box,
    find_faces,
    find_faces_of_each,
    follow_faces,
    looked_at_size,
    moving_box,
    salient_box,
)
from worker.errors import InvalidOptions
from worker.squares import Framing, Square, asked_square, centre_square

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.jobs import VideoFacts
    from worker.settings import MediaLimits

SAMPLES = 12
"""Frames of the driving clip that are searched."""
_FACE_MARGIN = 0.6
"""Around a face, in its own size: dlib's box goes from the brows to the chin; hair, chin and neck belong in it too."""
_LEAST_FACE_MARGIN = 0.3
_RAISED = 0.1
_OTHER_MARGIN = 0.15
_LEAST_SHARE = 0.6
"""Of the shorter side: without a face nobody knows for sure, so the square stays large."""
_SQUARE_ENOUGH = 1.1
"""Longer to shorter side: such a picture without a face was cut by somebody who knew why."""


_LEAST_SEEN = 0.25
"""Of the searched frames."""


class Cut(NamedTuple):
    """A square and how it came about."""

    square: Square
    warnings: tuple[str, ...] = ()
    seen_at: tuple[int, ...] = ()
    """Of the clip: the frames in which the subject was seen. Empty when there was no face to look for."""
    subjects: tuple[Box, ...] = ()
    """Who was found, the largest first: the face of a picture; of a clip the box around all places of one."""
    subject: int | None = None
    """Which of them the square is for; None when it was not cut around a face."""


def cut_source(
    picture_HWC: NDArray[np.uint8], crop: str, subject: int, *, faces: bool, find_others: bool = False
) -> Cut:
    """The square of the source. `faces`: whether the model is one of faces.

    `find_others`: tell who is in the picture also when the square does not depend on it.
    Raises `InvalidOptions` (`crop_impossible`, `subject_not_found`).
    """
    height, width = picture_HWC.shape[:2]
    given = _given_square(crop, width, height, "source_crop")
    if given and not find_others:
        return Cut(given)
    small_HWC = pictures.resized(picture_HWC, *looked_at_size(width, height))
    factor = width / small_HWC.shape[1]
    found = tuple(box.scaled(factor) for box in find_faces(small_HWC)) if faces else ()
    if given:
        return Cut(given, subjects=found)
    if subject >= max(1, len(found)):
        raise _no_such_subject("subject", subject, len(found), "picture")
    if found:
        return Cut(face_square([found[subject]], width, height), subjects=found, subject=subject)
    salient = salient_box(small_HWC)
    return _without_face(salient and salient.scaled(factor), width, height, "picture", "stands out", faces=faces)


def cut_driving(
    path: Path,
    facts: VideoFacts,
    crop: str,
    subject: int,
    *,
    faces: bool,
    limits: MediaLimits,
    find_others: bool = False,
) -> Cut:
    """The one square of all frames of the clip; as `cut_source`."""
    width, height = facts.width, facts.height
    given = _given_square(crop, width, height, "driving_crop")
    if given and not find_others:
        return Cut(given)
    numbers, samples_THWC = _samples(path, facts, limits)
    factor = width / samples_THWC.shape[2]
    people = follow_faces(find_faces_of_each(list(samples_THWC))) if faces else []
    # Who is seen once in a while is an error of the detector, or nobody to follow.
    people = [person for person in people if sum(map(bool, person)) >= _LEAST_SEEN * len(samples_THWC)]
    places = [[box.scaled(factor) for box in person if box] for person in people]
    subjects = tuple(_around(boxes) for boxes in places)
    if given:
        return Cut(given, subjects=subjects)
    if subject >= max(1, len(people)):
        raise _no_such_subject("driving_subject", subject, len(people), "video")
    if people:
        seen_at = tuple(number for number, box in zip(numbers, people[subject], strict=True) if box)
        return Cut(face_square(places[subject], width, height), (), seen_at, subjects, subject)
    moving = moving_box(samples_THWC)
    return _without_face(moving and moving.scaled(factor), width, height, "video", "moves", faces=faces)


def face_square(boxes: Sequence[Box], width: int, height: int) -> Square:
    """The square around all places of one face, with margins like those of talking-head data sets.

    It keeps to the picture as far as a smaller margin and a shift allow it, and reaches outside where they do not.
    """
    around = _around(boxes)
    face = float(np.median([box.side for box in boxes]))
    least, wanted = around.side + 2 * _LEAST_FACE_MARGIN * face, around.side + 2 * _FACE_MARGIN * face
    side = max(least, min(wanted, width, height))
    x, y = around.middle
    slack = (side - least) / 2
    start_x = _shifted(x - side / 2, side, width, slack)
    start_y = _shifted(y - _RAISED * face - side / 2, side, height, slack)
    return Square(round(start_x), round(start_y), round(side))


def _given_square(crop: str, width: int, height: int, name: str) -> Square | None:
    """The square that the option names; None when it is to be found."""
    if crop == "none":
        return centre_square(width, height)
    return None if crop == "auto" else asked_square(crop, width, height, name)


def _around(boxes: Sequence[Box]) -> Box:
    left, top, right, bottom = np.array(boxes).T
    return Box(left.min(), top.min(), right.max(), bottom.max())


def _without_face(box: Box | None, width: int, height: int, of: str, how: str, *, faces: bool) -> Cut:
    middle = centre_square(width, height)
    not_found = (f"No face was found in the {of}; ",) if faces else ()
    if box is None or max(width, height) <= _SQUARE_ENOUGH * min(width, height):
        return Cut(middle, tuple(text + "the square in its middle was taken." for text in not_found))
    shorter = min(width, height)
    side = min(shorter, max(box.side * (1 + 2 * _OTHER_MARGIN), _LEAST_SHARE * shorter))
    x, y = box.middle
    square = Square(
        round(_shifted(x - side / 2, side, width, side)), round(_shifted(y - side / 2, side, height, side)), round(side)
    )
    return Cut(square, tuple(text + f"the square around what {how} was taken." for text in not_found))


def _shifted(start: float, side: float, length: int, most: float) -> float:
    """`start`, moved by at most `most` so that the stretch lies inside of 0 and `length`."""
    inside = min(max(start, 0.0), length - side) if side <= length else (length - side) / 2
    return start + min(max(inside - start, -most), most)


def _samples(path: Path, facts: VideoFacts, limits: MediaLimits) -> tuple[list[int], NDArray[np.uint8]]:
    """Up to `SAMPLES` frames spread over the clip, small, and their numbers."""
    count = min(SAMPLES, facts.frames)
    numbers = [int((index + 0.5) * facts.frames / count) for index in range(count)]
    size = looked_at_size(facts.width, facts.height)
    # Small clips are enlarged here: only what is searched, not each frame that is decoded.
    framing = Framing(None, *size) if size < (facts.width, facts.height) else None
    samples, start = [], 0
    for frames_THWC in media.read_frames(path, facts, batch_frames=4, framing=framing, limits=limits):
        wanted = [number - start for number in numbers if 0 <= number - start < len(frames_THWC)]
        samples += [pictures.resized(frames_THWC[place], *size) for place in wanted]
        start += len(frames_THWC)
    return numbers, np.stack(samples)


def _no_such_subject(option: str, subject: int, found: int, of: str) -> InvalidOptions:
    seldom = " Who is seen in fewer than a quarter of the searched frames does not count." if of == "video" else ""
    return InvalidOptions(
        f"{option}: there is no face number {subject} in the {of}; faces found: {found}.{seldom}",
        code="subject_not_found",
        hint="They are counted from 0, the largest first. x,y,w,h as crop names a place itself.",
    )
