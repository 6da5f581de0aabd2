"""Motion transfer: which keypoints the source should have when the driver has these (section 3.4 of the paper).

Pure functions. What is constant over a clip is computed once, in `motion_reference`.

Shapes: B batch of driving frames, 1 the one source or the first driving frame, K keypoints, 2 = (x, y), 22 = 2x2.
"""

from typing import NamedTuple

from torch import Tensor

from model.config import MotionTransferOptions
from model.networks.keypoints import Keypoints, multiply, relative_jacobians

# Keypoints that span less than this share of the frame's 2x2 square have no size to compare: at 256 pixels it is
# a tenth of a pixel square.
SMALLEST_HULL_AREA = 1e-6


class MotionReference(NamedTuple):
    """What the motion of a clip is measured from.

    `scale` is the size of the source relative to the driver's (1 unless it is to be adapted).
    """

    source: Keypoints
    initial_driving: Keypoints
    scale: float


def motion_reference(source: Keypoints, initial_driving: Keypoints, options: MotionTransferOptions) -> MotionReference:
    """Fix the reference of a clip from the source and the driver's first frame, both of batch 1."""
    scale = movement_scale(source, initial_driving) if options.relative and options.adapt_scale else 1.0
    return MotionReference(source, initial_driving, scale)


def transfer_motion(driving: Keypoints, reference: MotionReference, options: MotionTransferOptions) -> Keypoints:
    """Return the keypoints, batch B, to which the source is moved.

    absolute            p = p_D,                            J = J_D
    relative            p = p_S + scale (p_D - p_D0),       J = J_D
    and Jacobians       J = (J_D J_D0⁻¹) J_S; where J_D0 cannot be inverted, J = J_S: no turn, no stretch
    """
    if not options.relative:
        return driving
    source, initial = reference.source, reference.initial_driving
    shift_BK2 = (driving.positions_BK2 - initial.positions_BK2) * reference.scale
    positions_BK2 = source.positions_BK2 + shift_BK2
    return Keypoints(positions_BK2, _transfer_jacobians(driving, reference, options))


def _transfer_jacobians(
    driving: Keypoints, reference: MotionReference, options: MotionTransferOptions
) -> Tensor | None:
    initial_1K22, source_1K22 = reference.initial_driving.jacobians_BK22, reference.source.jacobians_BK22
    if driving.jacobians_BK22 is None or initial_1K22 is None or source_1K22 is None or not options.relative_jacobian:
        return driving.jacobians_BK22
    return multiply(relative_jacobians(driving.jacobians_BK22, initial_1K22), source_1K22)


def movement_scale(source: Keypoints, initial_driving: Keypoints) -> float:
    """Return sqrt(area of the source's keypoints / area of the driver's), areas of their convex hulls.

    Keypoints in a line or in one place have no area; nothing can be learned from them and the scale is 1.
    """
    source_area = convex_hull_area(source.positions_BK2[0].tolist())
    driving_area = convex_hull_area(initial_driving.positions_BK2[0].tolist())
    if not min(source_area, driving_area) > SMALLEST_HULL_AREA:
        return 1.0
    return (source_area / driving_area) ** 0.5


def convex_hull_area(points: list[list[float]]) -> float:
    """Return the area of the convex hull of (x, y) points: Andrew's monotone chain, then the shoelace formula."""
    ordered = sorted((x, y) for x, y in points)
    hull = _half_hull(ordered) + _half_hull(ordered[::-1])
    corners = zip(hull, hull[1:] + hull[:1], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in corners)) / 2


def _half_hull(ordered: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Walk along the points, keeping only left turns. The last point is left to the other half."""
    half: list[tuple[float, float]] = []
    for point in ordered:
        while len(half) > 1 and not _turns_left(half[-2], half[-1], point):
            half.pop()
        half.append(point)
    return half[:-1]


def _turns_left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) > 0
