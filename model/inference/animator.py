"""The animator: a source picture and a stream of driving frames in, a stream of animated frames out.

The source is prepared once; for each batch of driving frames runs only what depends on them; between batches nothing
is kept but the reference of the motion. Keypoints and coordinates are float32 at every precision.

Shapes: T frames, B batch, 1 the one source, C channels, H W height and width, K keypoints.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle import Bundle
from model.config import ModelConfig, MotionTransferOptions
from model.devices import multiplies_in_bf16
from model.errors import DeviceError, NumericalError
from model.inference.cuda_runner import CudaRunner
from model.inference.motion_transfer import MotionReference, motion_reference, transfer_motion
from model.inference.optimized import FastNetworks, FastSource
from model.inference.plain import PlainNetworks, PlainSource
from model.inference.runners import Runner, StraightRunner, finished
from model.networks.assembly import Networks
from model.networks.keypoints import Keypoints, frames_of, on_device

Precision = Literal["auto", "fp32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


PreparedSource = PlainSource | FastSource
"""All that the networks need of the source, on the animator's device."""


class Drawn(NamedTuple):
    """Frames, and which part of each the generator took from the source."""

    frames_THWC: NDArray[np.uint8]
    occlusion_THW: NDArray[np.float32] | None
    """1 where the source is visible, 0 where it had to be invented; at the size of the dense motion. None from a
    model without an occlusion map."""
    flow_THW2: NDArray[np.float32] | None = None
    """Where each pixel of a frame comes from in the source; only what `flow` was asked for."""


class Animator:
    """Runs one bundle on one device at one precision. The networks of the bundle become the animator's own.

    `device` is "cpu", "cuda", "cuda:N", or "auto": CUDA when there is one. `precision` is that of the generator's
    convolutions, which is where the time goes; "fp16" needs CUDA, because on a CPU it is slower than float32 and
    overflows sooner than "bf16", and "auto" is "bf16" where the device multiplies in it, else "fp32".

    The networks run as `model.inference.optimized` arranges them; `plain` asks for them as they were trained instead,
    which is slower and differs by rounding only. On a GPU `graphs` and `compiled` are as in `CudaRunner`, and so
    is `tf32`: it is on below "fp32" unless said otherwise, and concerns the keypoints there.

    Raises `DeviceError` with code `device_unavailable` or `precision_unsupported`.
    Out of memory is torch's own `torch.cuda.OutOfMemoryError`: the caller may try a smaller batch.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        precision: Precision = "fp32",
        *,
        plain: bool = False,
        tf32: bool | None = None,
        graphs: bool = True,
        compiled: bool = False,
    ) -> None:
        self.config: ModelConfig = bundle.config
        self.device: torch.device = _choose_device(device)
        if precision == "auto":
            precision = "bf16" if multiplies_in_bf16(self.device) else "fp32"
        self.precision: Precision = precision
        if precision not in _DTYPES:
            hint = "auto, fp32, bf16 or fp16."
            raise DeviceError("precision_unsupported", f"There is no precision {precision!r}.", hint)
        if precision == "fp16" and self.device.type == "cpu":
            raise DeviceError("precision_unsupported", "fp16 needs a GPU.", "On a CPU use fp32 or bf16.")
        self._use_jacobians = True
        self.num_parameters: int = bundle.networks.num_parameters
        detector, generator = bundle.networks
        networks = Networks(detector.to(self.device), generator.to(self.device))
        dtype = _DTYPES[precision]
        self._networks = PlainNetworks(networks, dtype) if plain else FastNetworks(networks, self.config, dtype)
        self._runner: Runner = (
            CudaRunner(
                self._networks,
                self.device,
                tf32=precision != "fp32" if tf32 is None else tf32,
                graphs=graphs,
                compiled=compiled,
            )
            if self.device.type == "cuda" and not plain
            else StraightRunner(self._networks, self.device)
        )

    def prepare(self, source: NDArray[np.uint8]) -> PreparedSource:
        """Encode the source, RGB uint8_HWC (or uint8_1HWC) at the model's frame size.

        Raises `ValueError` for a picture of another size or type.
        """
        source_1HWC = source[None] if source.ndim == 3 else source
        self._check(source_1HWC, "source")
        if len(source_1HWC) != 1:
            raise ValueError(f"one source is needed, not {len(source_1HWC)}")
        with torch.inference_mode():
            prepared = self._runner.prepare(source_1HWC)
            return prepared._replace(keypoints=self._usable(prepared.keypoints))

    def keypoints(self, frames_THWC: NDArray[np.uint8]) -> Keypoints:
        """Return the keypoints, batch T, of uint8_THWC frames.

        Raises `ValueError` for frames of another size or type.
        """
        self._check(frames_THWC, "frames")
        with torch.inference_mode():
            return self._usable(self._runner.detect(frames_THWC))

    def without_jacobians(self) -> "Animator":
        """Return an animator of the same networks that moves each keypoint by translation alone.

        That is how a zeroth-order model moves; one that was trained as such may of course do better.
        """
        zeroth = copy.copy(self)
        zeroth._use_jacobians = False
        return zeroth

    def animate(
        self,
        prepared: PreparedSource,
        driving_batches: Iterable[NDArray[np.uint8]],
        motion: MotionTransferOptions | None = None,
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield one uint8_THWC batch for each uint8_THWC batch of driving frames, with as many frames.

        Batches may differ in length; their division does not change the result beyond rounding. The first frame of
        the stream is the pose that relative motion is measured from. `motion` defaults to the model's own. On a GPU
        the next batch is taken before this one's frames are yielded.

        Raises `ValueError` for frames of another size or type, and `NumericalError` (`output_not_finite`) instead of
        yielding a frame that is not made of numbers.
        """
        options = self.config.motion_transfer if motion is None else motion
        yield from finished(self._begin_each(prepared, driving_batches, options), self.ahead)

    @property
    def ahead(self) -> int:
        """How many batches should be begun (`start`) before the frames of the first are asked for."""
        return self._runner.ahead

    def _begin_each(
        self, prepared: PreparedSource, driving_batches: Iterable[NDArray[np.uint8]], options: MotionTransferOptions
    ) -> Iterator[Callable[[], NDArray[np.uint8]]]:
        reference: MotionReference | None = None
        for driving_THWC in driving_batches:
            self._check(driving_THWC, "driving frames")
            if len(driving_THWC) == 0:
                yield partial(np.copy, driving_THWC)
                continue
            driving = self.keypoints(driving_THWC)
            if reference is None:
                reference = motion_reference(prepared.keypoints, frames_of(driving, slice(1)), options)
            yield partial(_frames_of, self.start(prepared, driving, reference, options))

    def draw(
        self, prepared: PreparedSource, driving: Keypoints, reference: MotionReference, options: MotionTransferOptions
    ) -> Drawn:
        """Return the source moved by the driver's keypoints, batch T, which may be on any device.

        Raises `NumericalError` (`output_not_finite`) instead of returning a frame that is not made of numbers.
        """
        return self.start(prepared, driving, reference, options)()

    def start(
        self, prepared: PreparedSource, driving: Keypoints, reference: MotionReference, options: MotionTransferOptions
    ) -> Callable[[], Drawn]:
        """Begin to `draw`. What is returned waits for the frames; it is called once, or never.

        On a GPU the next batch may be begun before the frames of this one are asked for; on a CPU nothing is gained.
        """
        # A block of its own each time: inference mode must not leak into a consumer while a generator is suspended.
        with torch.inference_mode():
            target = transfer_motion(on_device(driving, self.device), reference, options)
            finish = self._runner.start(prepared, target)

        def finished() -> Drawn:
            drawn = finish()
            self._check_finite(drawn.finite_T)
            return Drawn(drawn.frames_THWC, drawn.occlusion_THW)

        return finished

    def flow(
        self, prepared: PreparedSource, driving: Keypoints, reference: MotionReference, options: MotionTransferOptions
    ) -> NDArray[np.float32]:
        """Return flow_THW2 of the same frames that `draw` returns, in coordinates of the source, at its own size.

        The motion is estimated again: who only draws frames pays nothing for it, and keeps nothing of it.
        """
        with torch.inference_mode():
            target = transfer_motion(on_device(driving, self.device), reference, options)
            flow_BHW2 = self._networks.flow(prepared, target)  # pyright: ignore[reportArgumentType] - of the same kind
            return flow_BHW2.float().cpu().numpy()

    def _usable(self, keypoints: Keypoints) -> Keypoints:
        return keypoints if self._use_jacobians else keypoints._replace(jacobians_BK22=None)

    def _check_finite(self, finite_T: NDArray[np.bool_]) -> None:
        # NaN has no defined value as a byte: it would become an arbitrary picture.
        if not finite_T.all():
            raise NumericalError(
                "output_not_finite",
                f"The model {self.config.name} produced frames that are not made of numbers.",
                "Use fp32 or bf16." if self.precision == "fp16" else "The weights may be damaged.",
            )

    def _check(self, frames_THWC: NDArray[np.uint8], what: str) -> None:
        size, channels = self.config.frame_size, self.config.num_channels
        if frames_THWC.dtype != np.uint8 or frames_THWC.shape[1:] != (size, size, channels):
            raise ValueError(
                f"{what} must be uint8 of shape (..., {size}, {size}, {channels}), "
                f"not {frames_THWC.dtype} of {frames_THWC.shape}"
            )


def _frames_of(finish: Callable[[], Drawn]) -> NDArray[np.uint8]:
    return finish().frames_THWC


def _choose_device(name: str) -> torch.device:
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdigit())):
        raise DeviceError("device_unavailable", f"There is no device {name!r}.", "auto, cpu, cuda or cuda:N.")
    if kind == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count():
        return torch.device("cuda", int(number or 0))
    if kind == "cuda":
        raise DeviceError("device_unavailable", f"There is no CUDA device for {name!r} here.", "Use auto or cpu.")
    return torch.device("cpu")
