"""Against values computed by hand or by the standard library, and that both frames of a pair get the same."""

import colorsys
import itertools

import pytest
import torch

from model.data import augmentation as aug
from model.data.augmentation import NO_AUGMENTATION, PUBLISHED, Augmentation, Draw, apply, augment, draw
from model.data.pairs import FramePairs


def pixel(*rgb: float) -> torch.Tensor:
    return torch.tensor(rgb, dtype=torch.float32).reshape(1, 3, 1, 1)


def noise_pairs(batch_size: int = 3, size: int = 16) -> FramePairs:
    generator = torch.Generator().manual_seed(0)
    source, driving = torch.rand(2, batch_size, 3, size, size, generator=generator)
    return FramePairs(source, driving)


def neutral(batch_size: int = 1) -> Draw:
    return draw(NO_AUGMENTATION, batch_size, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("before", "shift", "after"),
    [
        ((1, 0, 0), 1 / 3, (0, 1, 0)),
        ((0, 1, 0), 1 / 3, (0, 0, 1)),
        ((0, 0, 1), 1 / 3, (1, 0, 0)),
        ((1, 0, 0), 0.5, (0, 1, 1)),
        ((1, 0, 0), -1 / 6, (1, 0, 1)),
        ((0.8, 0.4, 0.4), 1 / 6, (0.8, 0.8, 0.4)),
        ((0.5, 0.5, 0.5), 0.3, (0.5, 0.5, 0.5)),
        ((0, 0, 0), 0.3, (0, 0, 0)),
    ],
)
def test_hue_by_hand(before: tuple[float, ...], shift: float, after: tuple[float, ...]) -> None:
    torch.testing.assert_close(aug.adjust_hue(pixel(*before), shift), pixel(*after), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.0, 0.07, 0.5])
def test_hue_is_that_of_the_standard_library(shift: float) -> None:
    levels = [0.0, 0.2, 0.5, 0.9, 1.0]
    colours = list(itertools.product(levels, repeat=3))
    frames = torch.tensor(colours).T.reshape(1, 3, len(colours), 1)
    expected = []
    for colour in colours:
        hue, saturation, value = colorsys.rgb_to_hsv(*colour)
        expected.append(colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value))
    result = aug.adjust_hue(frames, shift)[0, :, :, 0].T
    torch.testing.assert_close(result, torch.tensor(expected), rtol=0, atol=2e-6)


def test_brightness_contrast_and_saturation_by_hand() -> None:
    torch.testing.assert_close(aug.adjust_brightness(pixel(0.2, 0.5, 0.9), 1.2), pixel(0.24, 0.6, 1.0))
    # luma 0.299 · 0.2 + 0.587 · 0.4 + 0.114 · 0.6 = 0.363
    torch.testing.assert_close(aug.adjust_saturation(pixel(0.2, 0.4, 0.6), 0.0), pixel(0.363, 0.363, 0.363))
    torch.testing.assert_close(aug.adjust_saturation(pixel(0.2, 0.4, 0.6), 1.5), pixel(0.1185, 0.4185, 0.7185))
    # Two grey frames, 0.2 and 0.6: their mean 0.4 is level 102 of 255.
    grey = torch.cat([pixel(0.2, 0.2, 0.2), pixel(0.6, 0.6, 0.6)])
    expected = torch.cat([pixel(0.1, 0.1, 0.1), pixel(0.7, 0.7, 0.7)])
    torch.testing.assert_close(aug.adjust_contrast(grey, 1.5), expected)


def test_neutral_amounts_change_nothing() -> None:
    pairs = noise_pairs()
    result = augment(pairs, NO_AUGMENTATION, torch.Generator().manual_seed(5))
    assert torch.equal(result.source_BCHW, pairs.source_BCHW)
    assert torch.equal(result.driving_BCHW, pairs.driving_BCHW)


def test_time_flip_swaps_and_horizontal_flip_mirrors_both() -> None:
    pairs = noise_pairs(2)
    drawn = neutral(2)._replace(swap_B=torch.tensor([True, False]), mirror_B=torch.tensor([False, True]))
    result = apply(pairs, drawn)
    assert torch.equal(result.source_BCHW[0], pairs.driving_BCHW[0])
    assert torch.equal(result.driving_BCHW[0], pairs.source_BCHW[0])
    assert torch.equal(result.source_BCHW[1], pairs.source_BCHW[1].flip(-1))
    assert torch.equal(result.driving_BCHW[1], pairs.driving_BCHW[1].flip(-1))


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_both_frames_get_the_same(name: str) -> None:
    same = noise_pairs(8).source_BCHW
    result = augment(FramePairs(same, same), PUBLISHED[name], torch.Generator().manual_seed(7))
    assert torch.equal(result.source_BCHW, result.driving_BCHW)
    assert not torch.equal(result.source_BCHW, same)


def test_colours_go_through_one_function_in_frames_that_differ() -> None:
    """The driving frame is the source with its pixels shuffled: so must the results be."""
    source = noise_pairs(4).source_BCHW
    order = torch.randperm(16 * 16, generator=torch.Generator().manual_seed(1))
    driving = source.flatten(2)[..., order].reshape(source.shape)
    jitter = Augmentation(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.3)
    result = augment(FramePairs(source, driving), jitter, torch.Generator().manual_seed(2))
    torch.testing.assert_close(result.source_BCHW.flatten(2)[..., order], result.driving_BCHW.flatten(2))


def test_pure_in_the_generator() -> None:
    results = [augment(noise_pairs(), PUBLISHED["mgif-256"], torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(results[0].source_BCHW, results[1].source_BCHW)
    assert not torch.equal(results[0].source_BCHW, results[2].source_BCHW)


def test_draws_cover_the_published_ranges() -> None:
    wide = Augmentation(horizontal_flip=True, time_flip=True, brightness=0.1, hue=0.5, resize_ratio=(0.9, 1.1))
    drawn = draw(wide, 4000, torch.Generator().manual_seed(0))
    brightness, contrast, _, hue = drawn.jitter_B4.unbind(dim=1)
    assert 0.9 <= float(brightness.min()) < 0.901
    assert 1.099 < float(brightness.max()) <= 1.1
    assert bool((contrast == 1).all())
    assert -0.5 <= float(hue.min()) < -0.499
    assert float(drawn.scale_B.min()) >= 0.9
    assert float(drawn.scale_B.max()) <= 1.1
    assert {tuple(row) for row in drawn.order_B4.tolist()} == set(itertools.permutations(range(4)))
    both = (drawn.mirror_B & drawn.swap_B).float().mean()
    assert abs(float(both) - 0.25) < 0.03


def test_smaller_frames_are_centred_and_their_edge_repeated() -> None:
    frames = torch.rand(2, 3, 8, 8)
    flat = frames.mean(dim=(2, 3), keepdim=True).expand(-1, -1, 8, 8)
    torch.testing.assert_close(aug.resize_and_crop(flat, 0.75, 0.5, 0.5), flat)
    small = torch.nn.functional.interpolate(frames, size=6, mode="bilinear", antialias=True)
    result = aug.resize_and_crop(frames, 0.75, 0.9, 0.1)
    torch.testing.assert_close(result[..., 1:7, 1:7], small)
    torch.testing.assert_close(result[..., 1:7, 0], small[..., 0])


def test_larger_frames_are_cropped_where_drawn() -> None:
    frames = torch.rand(2, 3, 8, 8)
    large = torch.nn.functional.interpolate(frames, size=16, mode="bilinear")
    torch.testing.assert_close(aug.resize_and_crop(frames, 2.0, 0.0, 0.0), large[..., :8, :8])
    torch.testing.assert_close(aug.resize_and_crop(frames, 2.0, 0.9999, 0.5), large[..., 4:12, 8:])


def test_impossible_ranges_are_refused() -> None:
    with pytest.raises(ValueError, match="hue"):
        Augmentation(hue=0.6)
    with pytest.raises(ValueError, match="negative"):
        Augmentation(brightness=-0.1)
    with pytest.raises(ValueError, match="smaller one first"):
        Augmentation(resize_ratio=(1.1, 0.9))


def test_published_values() -> None:
    assert PUBLISHED["vox-256"] == Augmentation(
        horizontal_flip=True, time_flip=True, brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1
    )
    assert PUBLISHED["nemo-256"] == Augmentation(horizontal_flip=True, time_flip=True)
    assert PUBLISHED["fashion-256"] == Augmentation(horizontal_flip=True, time_flip=True, hue=0.1)
    assert PUBLISHED["mgif-256"].resize_ratio == (0.9, 1.1)
