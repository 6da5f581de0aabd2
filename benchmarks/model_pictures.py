"""The pictures of docs/model.md: the shipped networks on the sample pair. `python -m benchmarks.model_pictures`

The networks run as they were trained (float32, nothing rearranged), and every step is asked for by its own function.

Shapes: B batch, 1 the one source, C channels, H W height and width, K keypoints, M = K + 1 motions, 2 = (x, y).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw

from model.bundle import load_bundle
from model.bundle_index import SHIPPED
from model.config import ModelConfig
from model.inference.motion_transfer import motion_reference, transfer_motion
from model.inference.pixels import to_pixels, to_tensor
from model.inference.reference_frame import nearest_frame
from model.keypoint_drawing import draw_axes, draw_keypoints
from model.networks.assembly import Networks
from model.networks.dense_motion import DenseMotion, heatmap_differences
from model.networks.keypoints import Keypoints, frames_of
from model.training.equivariance import ThinPlateWarp, random_warp, warp_frames, warp_jacobians, warp_points
from worker import media, pictures
from worker.engine.view_drawing import flow_picture, occlusion_picture
from worker.settings import UNLIMITED

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "docs" / "pictures"
SAMPLES = ROOT / "api" / "samples"
_CAPTION = 16
_GAP = 4
_SIDE = 208
_WIDTH = 1100


class Steps(NamedTuple):
    """One frame on its way through the networks."""

    source_HWC: np.ndarray
    reference_HWC: np.ndarray
    driving_HWC: np.ndarray
    source: Keypoints
    reference: Keypoints
    driving: Keypoints
    target: Keypoints
    heatmaps_MHW: np.ndarray
    motion: DenseMotion
    moved_HWC: np.ndarray
    result_HWC: np.ndarray


def run(networks: Networks, config: ModelConfig) -> Steps:
    """Animate one moment of the sample pair: the one furthest from the reference frame."""
    detector, generator = networks
    side = config.frame_size
    source_HWC = pictures.load_image(SAMPLES / "source.png", square_px=side)
    facts = media.probe_video(SAMPLES / "driving.mp4", UNLIMITED)
    driving_THWC = np.concatenate(list(media.read_frames(SAMPLES / "driving.mp4", facts, batch_frames=16)))[::4]
    driving_THWC = np.stack([pictures.resized(frame_HWC, side, side) for frame_HWC in driving_THWC])
    source_1CHW = to_tensor(source_HWC[None], torch.device("cpu"))
    found, of_clip = detector(source_1CHW), detector(to_tensor(driving_THWC, torch.device("cpu")))
    first = nearest_frame(found, of_clip)
    reference = frames_of(of_clip, slice(first, first + 1))
    # By the median, so that one keypoint that jumps decides nothing.
    at = int((of_clip.positions_BK2 - reference.positions_BK2).norm(dim=2).median(1).values.argmax())
    driving = frames_of(of_clip, slice(at, at + 1))
    options = config.motion_transfer
    target = transfer_motion(driving, motion_reference(found, reference, options), options)
    dense = generator.dense_motion_network
    small_1CHW = dense.downsample(source_1CHW)
    motion = dense(small_1CHW, found, target, keep_warped_sources=True)
    height, width = small_1CHW.shape[2:]
    heatmaps_BMHW = heatmap_differences(found, target, height, width, dense.keypoint_variance)
    return Steps(
        source_HWC=source_HWC,
        reference_HWC=driving_THWC[first],
        driving_HWC=driving_THWC[at],
        source=found,
        reference=reference,
        driving=driving,
        target=target,
        heatmaps_MHW=heatmaps_BMHW[0].numpy(),
        motion=motion,
        moved_HWC=to_pixels(generator.move(source_1CHW, motion.flow_BHW2))[0],
        result_HWC=to_pixels(generator.decode(generator.encode(source_1CHW), motion))[0],
    )


def keypoints_picture(steps: Steps) -> Image.Image:
    """What is found in the three frames, and where the source is to go."""
    usual = float(
        torch.cat([kp.jacobians_BK22 for kp in steps[3:6] if kp.jacobians_BK22 is not None]).norm(dim=-2).mean()
    )
    tiles = (
        ("source", steps.source_HWC, steps.source),
        ("driver, reference frame", steps.reference_HWC, steps.reference),
        ("driver, this frame", steps.driving_HWC, steps.driving),
        ("result, with its target", steps.result_HWC, steps.target),
    )
    return row([(words, marked(frame_HWC, keypoints, usual)) for words, frame_HWC, keypoints in tiles])


def motions_picture(steps: Steps) -> Image.Image:
    """A column for each motion, background first: heatmap difference, source moved by it alone, mask."""
    assert steps.motion.warped_sources_BMCHW is not None
    warped_MHWC = to_pixels(steps.motion.warped_sources_BMCHW[0])
    masks_MHW = steps.motion.masks_BMHW[0].numpy()
    names = ["background", *(f"{number}" for number in range(1, len(warped_MHWC)))]
    side = min(96, _WIDTH // len(names) - _GAP)
    rows = (
        row(
            [
                (name, enlarged(signed(heatmap_HW), side))
                for name, heatmap_HW in zip(names, steps.heatmaps_MHW, strict=True)
            ]
        ),
        row([("", enlarged(warped_HWC, side)) for warped_HWC in warped_MHWC]),
        row([("", occlusion_picture(mask_HW, side)) for mask_HW in masks_MHW]),
    )
    return stack(rows)


def flow_row(steps: Steps) -> Image.Image:
    """From the flow to the frame."""
    flow_HW2 = steps.motion.flow_BHW2[0].numpy()
    grid_HW2 = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in flow_HW2.shape[1::-1])), axis=-1)
    scale = float(np.quantile(np.linalg.norm(grid_HW2 - flow_HW2, axis=-1), 0.98))
    tiles = [
        ("flow", flow_picture(flow_HW2, _SIDE, scale)),
        ("the source along the flow", pictures.resized(steps.moved_HWC, _SIDE, _SIDE)),
    ]
    if steps.motion.occlusion_B1HW is not None:
        tiles.append(("occlusion map", occlusion_picture(steps.motion.occlusion_B1HW[0, 0].numpy(), _SIDE)))
    return row([*tiles, ("result", pictures.resized(steps.result_HWC, _SIDE, _SIDE))])


def equivariance_picture(networks: Networks, config: ModelConfig, steps: Steps) -> Image.Image:
    """A frame and its warp, each with what is found in it; then those of the warp, taken back, over the frame."""
    detector = networks.keypoint_detector
    generator = torch.Generator().manual_seed(6)
    # Larger than in training (0.05, 0.005), so that it can be seen.
    warp = random_warp(1, sigma_affine=0.1, sigma_bumps=0.006, points_per_side=5, generator=generator)
    frame_1CHW = to_tensor(steps.source_HWC[None], torch.device("cpu"))
    warped_1CHW = warp_frames(frame_1CHW, warp, align_corners=config.align_corners)
    twins = detector(warped_1CHW)
    usual = float(steps.source.jacobians_BK22.norm(dim=-2).mean()) if steps.source.jacobians_BK22 is not None else 1.0
    return row(
        [
            ("frame X", marked(steps.source_HWC, steps.source, usual)),
            ("frame Y: X warped", marked(to_pixels(warped_1CHW)[0], twins, usual)),
            ("those of Y, taken back to X", marked(steps.source_HWC, taken_back(twins, warp), usual)),
        ]
    )


def taken_back(found: Keypoints, by: ThinPlateWarp) -> Keypoints:
    """Where equivariance says that keypoints of a warped frame belong in the frame itself."""
    positions_BK2 = warp_points(found.positions_BK2, by)
    if found.jacobians_BK22 is None:
        return Keypoints(positions_BK2, None)
    return Keypoints(positions_BK2, warp_jacobians(found.positions_BK2, by) @ found.jacobians_BK22)


def marked(frame_HWC: np.ndarray, keypoints: Keypoints, usual_size: float) -> np.ndarray:
    """The frame with keypoints and the axes of their Jacobians."""
    image = Image.fromarray(pictures.resized(frame_HWC, _SIDE, _SIDE))
    draw = ImageDraw.Draw(image)
    if keypoints.jacobians_BK22 is not None:
        place = (keypoints.positions_BK2[0], keypoints.jacobians_BK22[0], usual_size)
        draw_axes(draw, *place, 0, 0, image.width)
    draw_keypoints(draw, keypoints.positions_BK2[0], 0, 0, image.width)
    return np.asarray(image)


def signed(values_HW: np.ndarray) -> np.ndarray:
    """Values from -1 (blue: the keypoint was here) over 0 (white) to 1 (red: it is here now)."""
    fade_HW = 1 - np.abs(values_HW).clip(0, 1)
    ones_HW = np.ones_like(fade_HW)
    red_HW, blue_HW = np.where(values_HW < 0, fade_HW, ones_HW), np.where(values_HW > 0, fade_HW, ones_HW)
    return np.rint(255 * np.stack((red_HW, fade_HW, blue_HW), axis=-1)).astype(np.uint8)


def enlarged(picture_HWC: np.ndarray, side: int) -> np.ndarray:
    """At the size of a tile."""
    return np.asarray(Image.fromarray(picture_HWC).resize((side, side), Image.Resampling.BILINEAR))


def row(tiles: list[tuple[str, np.ndarray]]) -> Image.Image:
    """Tiles of one size beside each other, each under its words."""
    side, above = len(tiles[0][1]), _CAPTION if any(words for words, _ in tiles) else 0
    sheet = Image.new("RGB", (len(tiles) * (side + _GAP) - _GAP, side + above), "white")
    for place, (words, tile_HWC) in enumerate(tiles):
        sheet.paste(Image.fromarray(tile_HWC), (place * (side + _GAP), above))
        left = place * (side + _GAP)
        draw = ImageDraw.Draw(sheet)
        draw.text((left + 1, 2), words, fill="black")
        # A map that is white all over would have no end.
        draw.rectangle((left, above, left + side - 1, above + side - 1), outline=(190, 190, 190))
    return sheet


def stack(rows: tuple[Image.Image, ...]) -> Image.Image:
    """Rows of one width below each other."""
    sheet = Image.new("RGB", (rows[0].width, sum(image.height + _GAP for image in rows) - _GAP), "white")
    top = 0
    for image in rows:
        sheet.paste(image, (0, top))
        top += image.height + _GAP
    return sheet


def save(image: Image.Image, name: str) -> None:
    """Write a picture and say how large it is."""
    path = OUTPUT / name
    image.save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


@torch.inference_mode()
def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/model.md.")
    parser.add_argument("--bundle", type=Path, default=SHIPPED / "avatars-256")
    bundle = load_bundle(parser.parse_args().bundle)
    steps = run(bundle.networks, bundle.config)
    save(keypoints_picture(steps), "model-keypoints.png")
    save(motions_picture(steps), "model-motions.png")
    save(flow_row(steps), "model-flow.png")
    save(equivariance_picture(bundle.networks, bundle.config, steps), "model-equivariance.png")


if __name__ == "__main__":
    main()
