"""Sample pictures of a run: what the networks see, where they think things move, and what they draw.

One row for each pair; columns: source and driving with their keypoints, the source moved along the flow, where it is
occluded (black), which motion moves each pixel (a colour for each keypoint, grey for the background), the prediction,
and its difference from the driving frame.

Shapes: B batch, C channels, H W height and width, M motions, K keypoints.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from model.data.pairs import FramePairs
from model.keypoint_drawing import draw_keypoints, keypoint_colours
from model.networks.assembly import Networks
from model.networks.keypoints import Keypoints

if TYPE_CHECKING:
    from PIL.Image import Image

_COLUMNS = ("source", "driving", "deformed", "occlusion", "masks", "prediction", "difference")
_GAP = 2
_HEADER = 14
_SMALLEST_TILE = 128
_BACKGROUND_GREY = 0.35


@torch.no_grad()
def sample_grid(networks: Networks, pairs: FramePairs, *, num_rows: int = 6) -> "Image":
    """Draw the first pairs with the networks in `eval()`, and return the picture. Their mode is put back."""
    modes = [network.training for network in networks]
    for network in networks:
        network.eval()
    try:
        return _compose(*_tiles(networks, pairs.source_BCHW[:num_rows], pairs.driving_BCHW[:num_rows]))
    finally:
        for network, mode in zip(networks, modes, strict=True):
            network.train(mode)


def colour_masks(masks_BMHW: Tensor) -> Tensor:
    """Return float_BCHW: each pixel the mean of the motions' colours, weighted by their masks."""
    background_13 = torch.full((1, 3), _BACKGROUND_GREY)
    colours_M3 = torch.cat((background_13, keypoint_colours(masks_BMHW.shape[1] - 1))).to(masks_BMHW)
    return torch.einsum("bmhw,mc->bchw", masks_BMHW, colours_M3)


def _tiles(
    networks: Networks, source_BCHW: Tensor, driving_BCHW: Tensor
) -> tuple[list[Tensor], list[Keypoints | None]]:
    """Return the columns, all of one size, and the keypoints to draw on each."""
    source, driving = networks.keypoint_detector(source_BCHW), networks.keypoint_detector(driving_BCHW)
    generator = networks.generator
    dense_motion = generator.dense_motion_network
    motion = dense_motion(dense_motion.downsample(source_BCHW), source, driving)
    prediction_BCHW = generator.decode(generator.encode(source_BCHW), motion)
    occlusion_B1HW = motion.occlusion_B1HW
    if occlusion_B1HW is None:
        occlusion_B1HW = torch.ones_like(motion.masks_BMHW[:, :1])
    columns = [
        source_BCHW,
        driving_BCHW,
        generator.move(source_BCHW, motion.flow_BHW2),
        occlusion_B1HW.expand(-1, 3, -1, -1),
        colour_masks(motion.masks_BMHW),
        prediction_BCHW,
        (prediction_BCHW - driving_BCHW).abs(),
    ]
    side = max(_SMALLEST_TILE, source_BCHW.shape[2])
    resized = [F.interpolate(column.float(), size=(side, side), mode="nearest").cpu() for column in columns]
    return resized, [source, driving, None, None, None, None, None]


def _compose(columns: list[Tensor], keypoints: list[Keypoints | None]) -> "Image":
    from PIL import Image, ImageDraw

    num_rows, side = len(columns[0]), columns[0].shape[2]
    step = side + _GAP
    picture = Image.new("RGB", (len(columns) * step - _GAP, _HEADER + num_rows * step - _GAP), "white")
    draw = ImageDraw.Draw(picture)
    for index, (column_BCHW, found) in enumerate(zip(columns, keypoints, strict=True)):
        draw.text((index * step + 3, 1), _COLUMNS[index], fill="black")
        levels_BHWC = column_BCHW.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        for row in range(num_rows):
            left, top = index * step, _HEADER + row * step
            picture.paste(Image.fromarray(levels_BHWC[row].numpy()), (left, top))
            if found is not None:
                draw_keypoints(draw, found.positions_BK2[row], left, top, side)
    return picture
