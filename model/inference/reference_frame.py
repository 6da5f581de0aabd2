"""Which driving frame is most like the source: the one that relative motion is best measured from.

No landmarks: the keypoints of the model itself are compared, so it works for every category.

Shapes: B batch of driving frames, 1 the one source, K keypoints, 2 = (x, y), 22 = 2x2.
"""

from torch import Tensor

from model.networks.keypoints import Keypoints

JACOBIAN_WEIGHT = 0.1
"""Of the Jacobians' distance beside that of the positions."""
_SMALLEST = 1e-6


def constellation_distances(source: Keypoints, driving: Keypoints) -> Tensor:
    """Return distances_B of the driving constellations to the source's: 0 for the same pose, whatever place and size.

    Positions are measured from their mean, in units of their spread; Jacobians in units of their own size. Both are
    mean squares over the keypoints.
    """
    shape_BK2, own_shape_1K2 = _shape(driving.positions_BK2), _shape(source.positions_BK2)
    distances_B = (shape_BK2 - own_shape_1K2).square().sum(-1).mean(-1)
    if driving.jacobians_BK22 is None or source.jacobians_BK22 is None:
        return distances_B
    frames_BK22, own_frames_1K22 = _by_size(driving.jacobians_BK22), _by_size(source.jacobians_BK22)
    return distances_B + JACOBIAN_WEIGHT * (frames_BK22 - own_frames_1K22).square().sum((-1, -2)).mean(-1)


def nearest_frame(source: Keypoints, driving: Keypoints) -> int:
    """Return the number of the driving frame whose constellation is nearest to the source's; the first of equals."""
    distances_B = constellation_distances(source, driving).nan_to_num(float("inf"))
    return int(distances_B.argmin())


def _shape(positions_BK2: Tensor) -> Tensor:
    centred_BK2 = positions_BK2 - positions_BK2.mean(1, keepdim=True)
    spread_B11 = centred_BK2.square().sum(-1).mean(-1).sqrt()[:, None, None]
    return centred_BK2 / spread_B11.clamp_min(_SMALLEST)


def _by_size(jacobians_BK22: Tensor) -> Tensor:
    size_B111 = jacobians_BK22.square().sum((-1, -2)).mean(-1).sqrt()[:, None, None, None]
    return jacobians_BK22 / size_B111.clamp_min(_SMALLEST)
