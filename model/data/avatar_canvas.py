"""The canvas that avatars are painted on: windows of it, signed distances, and their edges.

A signed distance is negative inside. `Patch.cover` turns it into the share of the pixel that is covered: a smooth step
as wide as the pixel, so edges are anti-aliased at every size without drawing anything twice.

What places a shape (one number or vector an avatar) is computed on the CPU, where the parameters live; only maps over
pixels are on the canvas's device. So windows can be sized without waiting for the device.

Coordinates are (x, y) in [-1, 1], x to the right, y down. The ends are the EDGES of the frame, not the pixel centres as
in `model.networks.grid`: a frame drawn at half the size is then the same frame averaged over 2×2 pixels.

Shapes: B frames of the canvas, N frames being painted (some of B), C channels, H W height and width of the canvas or of
the window, 2 = (x, y), 3 = RGB. What has no suffix is one number for each of N.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# An edge is this many pixels wide: between the box's 1 along the axes and its 1.41 along the diagonal.
EDGE_PX = 1.2


class Patch:
    """A window of some frames, at a place of its own in each."""

    def __init__(self, frames_NCHW: Tensor, x_NW: Tensor, y_NH: Tensor, pixel: float) -> None:
        self.frames_NCHW = frames_NCHW
        self.x_N1W = x_NW[:, None, :]
        self.y_NH1 = y_NH[:, :, None]
        self.pixel = pixel

    def on(self, values: Tensor) -> Tensor:
        """Return one number an avatar as values_N11 on the canvas's device."""
        return values.to(self.frames_NCHW.device)[:, None, None]

    def cover(self, distance_NHW: Tensor, unit: Tensor | float = 1.0) -> Tensor:
        """Return the covered share of each pixel; `unit` is the length of the distance's unit in the frame."""
        sharpness = unit / (EDGE_PX * self.pixel)
        scale = -self.on(sharpness) if isinstance(sharpness, Tensor) else -sharpness
        edge_NHW = (distance_NHW * scale).add_(0.5).clamp_(0.0, 1.0)
        return edge_NHW.square().mul_(edge_NHW.mul_(-2.0).add_(3.0))

    def stroke(self, distance_NHW: Tensor, width: Tensor, unit: Tensor | float = 1.0) -> Tensor:
        """Return the coverage of a line along distance 0. A line thinner than a pixel fades instead of breaking."""
        thinnest = self.pixel / unit
        drawn = torch.maximum(width, thinnest if isinstance(thinnest, Tensor) else torch.full_like(width, thinnest))
        covered_NHW = self.cover(distance_NHW.abs() - self.on(drawn / 2), unit)
        return covered_NHW.mul_(self.on(width / drawn))

    def cover_any(self, function_NHW: Tensor) -> Tensor:
        """Return the coverage of where any smooth function is negative: its slope is measured between the pixels."""
        slope_NHW = torch.zeros_like(function_NHW)
        down = (function_NHW[:, 1:] - function_NHW[:, :-1]).square_()
        right = (function_NHW[:, :, 1:] - function_NHW[:, :, :-1]).square_()
        slope_NHW[:, :-1] += down
        slope_NHW[:, -1:] += down[:, -1:]
        slope_NHW[:, :, :-1] += right
        slope_NHW[:, :, -1:] += right[:, :, -1:]
        slope_NHW.add_(1e-8).sqrt_().mul_(-EDGE_PX)
        return (function_NHW / slope_NHW).add_(0.5).clamp_(0.0, 1.0)

    def paint(self, colour_N3: Tensor, alpha_NHW: Tensor) -> None:
        """Lay a colour over the window, as opaque as `alpha_NHW`."""
        colour_N311 = colour_N3.to(self.frames_NCHW.device)[:, :, None, None]
        self.frames_NCHW.lerp_(colour_N311, alpha_NHW[:, None])

    def fill(self, colour_N3: Tensor, distance_NHW: Tensor, unit: Tensor | float, outline: "Outline") -> Tensor:
        """Paint a shape with its outline, which lies within the shape; return the shape's coverage."""
        alpha_NHW = self.cover(distance_NHW, unit)
        self.paint(colour_N3, alpha_NHW)
        if outline.any:
            line_NHW = self.cover(distance_NHW + self.on(outline.width / unit), unit)
            self.paint(colour_N3 * outline.tone, (alpha_NHW - line_NHW).clamp_(min=0.0))
        return alpha_NHW


class Outline:
    """The dark edge of a drawing style: its width in the frame, and how much of the colour is left in it."""

    tone = 0.42

    def __init__(self, width: Tensor) -> None:
        self.width = width
        self.any = bool((width > 0).any())


class Canvas:
    """Frames being painted."""

    def __init__(self, count: int, size: int, device: torch.device) -> None:
        self.size, self.device = size, device
        self.pixel = 2.0 / size
        self.frames_BCHW = torch.empty(count, 3, size, size, device=device)
        self._centres_W = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) * self.pixel - 1.0

    @contextmanager
    def whole(self, rows_N: Tensor, top: float = -1.0) -> Iterator[Patch]:
        """Paint on the whole of these frames, or on what is below a height."""
        first = min(max(int((top + 1.0) / self.pixel), 0), self.size - 1)
        x_NW, y_NH = self._centres_W[None], self._centres_W[None, first:]
        below_BCHW = self.frames_BCHW[:, :, first:]
        if len(rows_N) == len(self.frames_BCHW):
            yield Patch(below_BCHW, x_NW, y_NH, self.pixel)
            return
        rows_on_device_N = rows_N.to(self.device)
        frames_NCHW = below_BCHW.index_select(0, rows_on_device_N)
        yield Patch(frames_NCHW, x_NW, y_NH, self.pixel)
        below_BCHW.index_copy_(0, rows_on_device_N, frames_NCHW)

    @contextmanager
    def window(self, rows_N: Tensor, centre_N2: Tensor, reach: Tensor) -> Iterator[Patch]:
        """Paint on a square around `centre_N2` in each of these frames, `reach` being half its side in the frame."""
        side = int(2.0 * float(reach.max()) / self.pixel) + 3
        if side >= self.size * 0.8:
            with self.whole(rows_N) as patch:
                yield patch
            return
        corner_N2 = ((centre_N2 + 1.0) / self.pixel - side / 2).round().long().clamp(0, self.size - side)
        corner_N2, rows_N = corner_N2.to(self.device), rows_N.to(self.device)
        # Read through overlapping views and written by one scatter: many times quicker than indexing both ways.
        views = self.frames_BCHW.unfold(2, side, 1).unfold(3, side, 1)
        frames_NCHW = views[rows_N, :, corner_N2[:, 1], corner_N2[:, 0]]
        index_N2S = corner_N2[:, :, None] + torch.arange(side, device=self.device)
        yield Patch(frames_NCHW, self._centres_W[index_N2S[:, 0]], self._centres_W[index_N2S[:, 1]], self.pixel)
        start_N = (rows_N * 3 * self.size + corner_N2[:, 1]) * self.size + corner_N2[:, 0]
        steps_S = torch.arange(side, device=self.device)
        plane_3 = torch.arange(3, device=self.device) * self.size**2
        inside_3SS = plane_3[:, None, None] + self.size * steps_S[:, None] + steps_S
        place_X = (start_N[:, None] + inside_3SS.flatten()).flatten()
        self.frames_BCHW.view(-1).scatter_(0, place_X, frames_NCHW.reshape(-1))


def ellipse(x_NHW: Tensor, y_NHW: Tensor, radius_x: Tensor, radius_y: Tensor) -> Tensor:
    """Return the distance to an ellipse around the origin, exact at its edge to first order. Radii are N11."""
    # An ellipse of no size is a point, not a division by zero.
    inverse_x, inverse_y = 1.0 / radius_x.clamp(min=1e-3), 1.0 / radius_y.clamp(min=1e-3)
    x2_NHW, y2_NHW = (x_NHW * inverse_x).square_(), (y_NHW * inverse_y).square_()
    length_NHW = (x2_NHW + y2_NHW).add_(1e-9).sqrt_()
    slope_NHW = (x2_NHW * inverse_x.square() + y2_NHW * inverse_y.square()).add_(1e-9).sqrt_()
    return length_NHW.mul_(length_NHW - 1.0).div_(slope_NHW)


def box(x_NHW: Tensor, y_NHW: Tensor, half_x: Tensor, half_y: Tensor, corner: Tensor) -> Tensor:
    """Return the distance to a rectangle around the origin with rounded corners. Sizes are N11."""
    over_x_NHW, over_y_NHW = x_NHW.abs() - (half_x - corner), y_NHW.abs() - (half_y - corner)
    outside_NHW = (over_x_NHW.clamp(min=0).square() + over_y_NHW.clamp(min=0).square()).add_(1e-12).sqrt_()
    return outside_NHW + torch.maximum(over_x_NHW, over_y_NHW).clamp(max=0) - corner


def capsule(patch: Patch, from_N2: Tensor, to_N2: Tensor, from_radius: Tensor, to_radius: Tensor) -> Tensor:
    """Return the distance in the frame to a bar between two points whose radius changes evenly along it."""
    step_N2 = to_N2 - from_N2
    length2 = step_N2.square().sum(-1).clamp(min=1e-9)
    dx_N1W = patch.x_N1W - patch.on(from_N2[:, 0])
    dy_NH1 = patch.y_NH1 - patch.on(from_N2[:, 1])
    along_NHW = dx_N1W * patch.on(step_N2[:, 0] / length2) + dy_NH1 * patch.on(step_N2[:, 1] / length2)
    along_NHW.clamp_(0.0, 1.0)
    off_x_NHW = dx_N1W - along_NHW * patch.on(step_N2[:, 0])
    off_y_NHW = dy_NH1 - along_NHW * patch.on(step_N2[:, 1])
    distance_NHW = off_x_NHW.square_().add_(off_y_NHW.square_()).add_(1e-12).sqrt_()
    return distance_NHW.sub_(along_NHW.mul_(patch.on(to_radius - from_radius)).add_(patch.on(from_radius)))


def triangle_wave(phase_NHW: Tensor) -> Tensor:
    """Return a wave of period 1 between -1 and 1, with its peak at phase 0: spikes and zigzags."""
    return (phase_NHW - phase_NHW.round()).abs_().mul_(-4.0).add_(1.0)
