import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.bundle import Bundle, load_bundle
from model.bundle_index import find_bundle
from model.config import MotionTransferOptions
from model.errors import DeviceError, NumericalError
from model.inference.animator import Animator
from model.inference.pixels import to_pixels, to_tensor

Pictures = NDArray[np.uint8]

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def run(animator: Animator, source: Pictures, driving: Pictures, *sizes: int) -> Pictures:
    batches = np.split(driving, np.cumsum(sizes)[:-1]) if sizes else [driving]
    return np.concatenate(list(animator.animate(animator.prepare(source), batches)))


def largest_difference(a: Pictures, b: Pictures) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_the_division_into_batches_does_not_matter(tiny_bundle: Bundle, pictures: Pictures) -> None:
    animator = Animator(tiny_bundle, "cpu")
    together = run(animator, pictures[0], pictures)
    assert together.shape == pictures.shape
    assert together.dtype == np.uint8
    assert together.std(axis=0).max() > 2  # or the comparisons below would prove nothing
    for sizes in ((1,) * 8, (3, 5), (1, 0, 7)):
        assert largest_difference(run(animator, pictures[0], pictures, *sizes), together) <= 1


def test_batches_come_back_one_for_one_and_lazily(tiny_bundle: Bundle, pictures: Pictures) -> None:
    taken = 0

    def driving() -> Iterator[Pictures]:
        nonlocal taken
        for length in (2, 3, 1):
            taken += 1
            yield pictures[:length]

    animator = Animator(tiny_bundle, "cpu")
    lengths = []
    for number, frames in enumerate(animator.animate(animator.prepare(pictures[0]), driving()), start=1):
        assert taken == number
        assert not torch.is_inference_mode_enabled()
        lengths.append(len(frames))
    assert lengths == [2, 3, 1]


def test_nothing_of_earlier_batches_is_kept(tiny_bundle: Bundle, pictures: Pictures) -> None:
    alive: list[weakref.ref[Pictures]] = []

    def driving() -> Iterator[Pictures]:
        for _ in range(6):
            batch = pictures[:2].copy()
            alive.append(weakref.ref(batch))
            yield batch
            del batch

    def num_tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    animator = Animator(tiny_bundle, "cpu")
    counts = []
    for _ in animator.animate(animator.prepare(pictures[0]), driving()):
        counts.append(num_tensors())
        assert sum(ref() is not None for ref in alive) <= 2
    assert counts[-1] == counts[1]


def test_first_frame_of_the_stream_is_the_reference(tiny_bundle: Bundle, pictures: Pictures) -> None:
    animator = Animator(tiny_bundle, "cpu")
    still = run(animator, pictures[0], pictures[[5, 5, 5]])
    own = run(animator, pictures[0], pictures[:1])
    # A driver that does not move leaves the source in its own pose, whoever the driver is.
    assert largest_difference(still, np.repeat(own, 3, axis=0)) <= 1


def test_motion_options_matter(tiny_bundle: Bundle, pictures: Pictures) -> None:
    animator = Animator(tiny_bundle, "cpu")
    prepared = animator.prepare(pictures[3])  # not the first driving frame: from there both motions are one
    (relative,) = animator.animate(prepared, [pictures])
    (absolute,) = animator.animate(prepared, [pictures], MotionTransferOptions(relative=False))
    assert largest_difference(relative, absolute) > 2


def test_source_may_have_a_batch_axis(tiny_bundle: Bundle, pictures: Pictures) -> None:
    animator = Animator(tiny_bundle, "cpu")
    with_axis, without = animator.prepare(pictures[:1]), animator.prepare(pictures[0])
    assert torch.equal(with_axis.keypoints.positions_BK2, without.keypoints.positions_BK2)


def test_read_only_frames_are_accepted(tiny_bundle: Bundle, pictures: Pictures) -> None:
    frozen = pictures.copy()
    frozen.flags.writeable = False
    assert len(run(Animator(tiny_bundle, "cpu"), frozen[0], frozen)) == 8


def test_wrong_frames_are_refused(tiny_bundle: Bundle, pictures: Pictures) -> None:
    animator = Animator(tiny_bundle, "cpu")
    with pytest.raises(ValueError, match="source must be uint8"):
        animator.prepare(pictures[0, :16])
    with pytest.raises(ValueError, match="source must be uint8"):
        animator.prepare(pictures[0].astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one source"):
        animator.prepare(pictures[:2])
    with pytest.raises(ValueError, match="driving frames must be uint8"):
        list(animator.animate(animator.prepare(pictures[0]), [pictures[..., :1]]))


def test_not_a_number_never_becomes_a_picture(tiny_bundle: Bundle, pictures: Pictures) -> None:
    with torch.no_grad():
        tiny_bundle.networks.generator.final.weight[0] = float("nan")
    with pytest.raises(NumericalError) as caught:
        run(Animator(tiny_bundle, "cpu"), pictures[0], pictures)
    assert caught.value.code == "output_not_finite"


def test_singular_jacobians_still_give_pictures(tiny_bundle: Bundle, pictures: Pictures) -> None:
    jacobian = tiny_bundle.networks.keypoint_detector.jacobian
    assert jacobian is not None
    with torch.no_grad():
        jacobian.weight.zero_()
        jacobian.bias.zero_()  # type: ignore[union-attr]
    assert run(Animator(tiny_bundle, "cpu"), pictures[0], pictures).std() > 1


def test_bf16_is_near_and_keeps_keypoints_exact(pictures: Pictures) -> None:
    directory = find_bundle("avatars-256")
    plain, reduced = Animator(load_bundle(directory), "cpu"), Animator(load_bundle(directory), "cpu", "bf16")
    large = np.ascontiguousarray(pictures.repeat(8, axis=1).repeat(8, axis=2))
    prepared = reduced.prepare(large[0])
    assert torch.equal(prepared.keypoints.positions_BK2, plain.prepare(large[0]).keypoints.positions_BK2)
    expected, actual = (run(animator, large[0], large[:4]) for animator in (plain, reduced))
    assert np.abs(expected.astype(int) - actual.astype(int)).mean() < 1.5
    assert largest_difference(expected, actual) > 0


@needs_cuda
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.5), ("bf16", 1.5), ("fp16", 1.0)])
def test_cuda_is_near_the_cpu(pictures: Pictures, precision: str, tolerance: float) -> None:
    directory = find_bundle("avatars-256")
    large = np.ascontiguousarray(pictures.repeat(8, axis=1).repeat(8, axis=2))
    expected = run(Animator(load_bundle(directory), "cpu"), large[0], large)
    actual = run(Animator(load_bundle(directory), "cuda", precision), large[0], large)  # type: ignore[arg-type]
    assert np.abs(expected.astype(int) - actual.astype(int)).mean() < tolerance


def test_unavailable_devices_and_precisions(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Animator(tiny_bundle, "auto").device.type == "cpu"
    for device, precision, code in (
        ("cuda", "fp32", "device_unavailable"),
        ("tpu", "fp32", "device_unavailable"),
        ("cpu", "fp16", "precision_unsupported"),
        ("cpu", "fp8", "precision_unsupported"),
    ):
        with pytest.raises(DeviceError) as caught:
            Animator(tiny_bundle, device, precision)  # type: ignore[arg-type]
        assert caught.value.code == code


def test_facts_about_the_animator(tiny_bundle: Bundle) -> None:
    animator = Animator(tiny_bundle, "cpu", "bf16")
    assert (animator.device.type, animator.precision) == ("cpu", "bf16")
    assert animator.num_parameters == tiny_bundle.info.num_parameters > 0


def test_pixels_survive_the_way_there_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    there = to_tensor(levels, torch.device("cpu"))
    assert there.shape == (1, 3, 16, 16)
    assert there.max() == 1
    assert np.array_equal(to_pixels(there), levels)
    assert to_pixels(torch.tensor([-0.5, 0.5, 1.5]).view(1, 1, 1, 3)).flatten().tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("bf16", "amx", "best"), [(True, False, "bf16"), (False, True, "bf16"), (False, False, "fp32")]
)
def test_auto_is_bf16_where_the_cpu_computes_in_it(
    bf16: bool, amx: bool, best: str, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert Animator(tiny_bundle, "cpu", "auto").precision == best
