"""Sample pictures."""

from __future__ import annotations

import torch

from model.keypoint_drawing import keypoint_colours
from model.networks.assembly import assemble
from model.training.sample_grid import colour_masks, sample_grid
from tests.model.training_runs import ShiftedBlobs, tiny_model


def test_a_grid_has_a_row_for_each_pair() -> None:
    networks = assemble(tiny_model())
    networks.generator.train()
    picture = sample_grid(networks, ShiftedBlobs().batch(0), num_rows=2)
    assert picture.mode == "RGB"
    assert picture.size == (7 * 130 - 2, 14 + 2 * 130 - 2)
    assert networks.generator.training
    assert not networks.keypoint_detector.training


def test_a_model_without_occlusion_or_jacobians() -> None:
    model = tiny_model(estimate_jacobian=False)
    import dataclasses

    model = dataclasses.replace(model, generator=dataclasses.replace(model.generator, estimate_occlusion_map=False))
    picture = sample_grid(assemble(model), ShiftedBlobs().batch(0), num_rows=1)
    occlusion = picture.crop((3 * 130, 14, 3 * 130 + 128, 14 + 128))
    assert occlusion.getextrema() == ((255, 255), (255, 255), (255, 255))


def test_masks_are_coloured_by_keypoint() -> None:
    masks = torch.zeros(1, 4, 1, 2)
    masks[0, 0, 0, 0] = masks[0, 1, 0, 1] = 1
    colours = colour_masks(masks)[0, :, 0].T
    torch.testing.assert_close(colours[0], torch.full((3,), 0.35))
    torch.testing.assert_close(colours[1], keypoint_colours(3)[0])
