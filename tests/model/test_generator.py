import dataclasses

import torch

from model.config import ModelConfig
from model.networks.assembly import Networks
from model.networks.dense_motion import DenseMotion
from model.networks.generator import Generator
from model.networks.grid import coordinate_grid


def still(batch: int, size: int = 16, occlusion: float | None = None) -> DenseMotion:
    seen = None if occlusion is None else torch.full((batch, 1, size, size), occlusion)
    identity = coordinate_grid(size, size).expand(batch, -1, -1, -1)
    return DenseMotion(identity, seen, torch.ones(batch, 1, size, size))


def test_encode_once_and_decode_equals_encoding_for_every_frame(tiny_networks: Networks) -> None:
    generator = tiny_networks.generator
    source, driving = torch.rand(1, 3, 32, 32), torch.rand(4, 3, 32, 32)
    source_keypoints, driving_keypoints = (tiny_networks.keypoint_detector(frames) for frames in (source, driving))
    small = generator.dense_motion_network.downsample(source)
    motion = generator.dense_motion_network(small, source_keypoints, driving_keypoints)
    once = generator.decode(generator.encode(source), motion)
    every = generator.decode(generator.encode(source.expand(4, -1, -1, -1)), motion)
    assert once.shape == (4, 3, 32, 32)
    assert torch.allclose(once, every, atol=1e-5)
    assert once.min() >= 0
    assert once.max() <= 1
    assert once.std(dim=0).max() > 1e-3  # the frames do depend on the driver


def test_where_everything_is_occluded_the_source_does_not_show(tiny_networks: Networks) -> None:
    generator = tiny_networks.generator
    features = generator.encode(torch.rand(2, 3, 32, 32))
    hidden = generator.decode(features, still(2, occlusion=0.0))
    shown = generator.decode(features, still(2, occlusion=1.0))
    assert torch.allclose(hidden[0], hidden[1], atol=1e-6)
    assert not torch.allclose(shown[0], shown[1], atol=1e-3)


def test_no_occlusion_map_means_all_is_seen(tiny_networks: Networks) -> None:
    generator = tiny_networks.generator
    features = generator.encode(torch.rand(1, 3, 32, 32))
    assert torch.allclose(generator.decode(features, still(1)), generator.decode(features, still(1, occlusion=1.0)))


def with_skips(config: ModelConfig) -> Generator:
    """A generator that has learned something."""
    torch.manual_seed(1)
    generator = Generator(dataclasses.replace(config, generator=dataclasses.replace(config.generator, skips=True)))
    generator.final.weight.data.normal_()
    return generator.eval()


def test_skips_carry_the_finer_levels_along_the_flow(tiny_config: ModelConfig) -> None:
    generator, source = with_skips(tiny_config), torch.rand(2, 3, 32, 32)
    levels = generator.encode(source)
    assert [tuple(level.shape[1:]) for level in levels.finer_SCHW] == [(3, 32, 32), (4, 32, 32), (8, 16, 16)]
    # With the way through the bottleneck silenced, what is left is the finest level, moved, through the last layer.
    for block in generator.up_blocks:
        block.norm.weight.data.zero_()  # type: ignore[union-attr]
        block.norm.bias.data.zero_()  # type: ignore[union-attr]
    shift = still(2, size=32, occlusion=1.0)
    shift = shift._replace(flow_BHW2=shift.flow_BHW2 + torch.tensor([2 / 31, 0.0]))  # one pixel from the right
    moved, unmoved = generator.decode(levels, shift), generator.decode(levels, still(2, size=32, occlusion=1.0))
    assert torch.allclose(moved[..., 4:-5], unmoved[..., 5:-4], atol=1e-5)  # the kernel of 7 sees the edge
    assert not torch.allclose(moved, unmoved, atol=1e-3)


def test_what_skips_draw_is_a_correction_of_the_source_and_at_first_none(tiny_config: ModelConfig) -> None:
    source = 0.05 + 0.9 * torch.rand(2, 3, 32, 32)
    config = dataclasses.replace(tiny_config, generator=dataclasses.replace(tiny_config.generator, skips=True))
    generator = Generator(config).eval()
    levels = generator.encode(source)
    assert torch.allclose(generator.decode(levels, still(2, occlusion=1.0)), source, atol=1e-5)
    grey = generator.decode(levels, still(2, occlusion=0.0))
    assert torch.allclose(grey, torch.full_like(grey, 0.5))


def test_skips_show_nothing_of_the_source_where_it_is_hidden(tiny_config: ModelConfig) -> None:
    generator = with_skips(tiny_config)
    drawn = generator.decode(generator.encode(torch.rand(2, 3, 32, 32)), still(2, occlusion=0.0))
    assert torch.allclose(drawn[0], drawn[1], atol=1e-6)


def test_the_identity_stays_the_identity_at_every_level(tiny_config: ModelConfig) -> None:
    image = torch.rand(1, 3, 32, 32)
    assert torch.allclose(with_skips(tiny_config).move(image, still(1).flow_BHW2), image, atol=1e-5)
    published = Generator(tiny_config).move(image, still(1).flow_BHW2)
    assert not torch.allclose(published, image, atol=1e-2)  # as published: see `resize_flow`


def test_skips_once_encoded_equal_skips_encoded_for_every_frame(tiny_config: ModelConfig) -> None:
    generator, source = with_skips(tiny_config), torch.rand(1, 3, 32, 32)
    motion = still(4, occlusion=0.5)
    every = generator.decode(generator.encode(source.expand(4, -1, -1, -1)), motion)
    assert torch.allclose(generator.decode(generator.encode(source), motion), every, atol=1e-6)


def test_move_reads_along_the_flow(tiny_networks: Networks) -> None:
    image = torch.rand(1, 3, 32, 32)
    flow = coordinate_grid(32, 32)[None] + torch.tensor([2 / 31, 0.0])  # one pixel from the right
    assert torch.allclose(tiny_networks.generator.move(image, flow)[..., :-1], image[..., 1:], atol=1e-5)


def test_align_corners_comes_from_the_configuration(tiny_config: ModelConfig) -> None:
    image, flow = torch.rand(1, 3, 32, 32), coordinate_grid(32, 32)[None]
    aligned = Generator(tiny_config).move(image, flow)
    areas = Generator(dataclasses.replace(tiny_config, align_corners=False)).move(image, flow)
    assert torch.allclose(aligned, image, atol=1e-5)
    assert not torch.allclose(areas, image, atol=1e-2)


def test_first_width_may_exceed_the_limit(tiny_config: ModelConfig) -> None:
    wide = dataclasses.replace(tiny_config.generator, block_expansion=12)
    generator = Generator(dataclasses.replace(tiny_config, generator=wide)).eval()
    assert generator.decode(generator.encode(torch.rand(1, 3, 32, 32)), still(1)).shape == (1, 3, 32, 32)
