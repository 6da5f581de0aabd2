"""Neck and clothes. They follow the head, but less: shoulders turn and travel a part of the way.

Shapes: N avatars, H W height and width, 2 = (x, y), 3 = RGB or (x, y, z). No suffix: one number an avatar.
Lengths: head units.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.data.avatar_canvas import Patch, box, capsule, ellipse
from model.data.avatar_head import HEAD_SIZE, REST_Y, Scene, affine, rotation

_BELOW = 3.0  # the torso goes on below the frame


class Body(NamedTuple):
    """Where the middle of the collar is, and how the shoulders are turned; `size` is a head unit in the frame."""

    collar_N2: Tensor
    roll_N22: Tensor
    size: Tensor

    def local(self, patch: Patch) -> tuple[Tensor, Tensor]:
        """Return coordinates (x_NHW, y_NHW) from the collar, in head units."""
        return affine(patch, self.collar_N2, self.roll_N22.mT / self.size[:, None, None])

    def at(self, x: Tensor | float, y: Tensor | float) -> Tensor:
        """Return the place in the frame of a point of the clothes."""
        x, y = torch.as_tensor(x).expand_as(self.size), torch.as_tensor(y).expand_as(self.size)
        return self.collar_N2 + self.size[:, None] * (self.roll_N22 @ torch.stack((x, y), -1)[:, :, None])[:, :, 0]


class Weave(NamedTuple):
    """A periodic pattern of two waves: stripes, checks or dots, by how the waves are mixed. Waves are per unit length.

    What is painted is where  first w1 + second_wave w2 + both w1 w2 > level.
    """

    x1: Tensor
    y1: Tensor
    x2: Tensor
    y2: Tensor
    first: Tensor
    second_wave: Tensor
    both: Tensor
    level: Tensor

    def cover(self, patch: Patch, x_NHW: Tensor, y_NHW: Tensor) -> Tensor:
        """Return the pattern's coverage at these coordinates."""
        on = patch.on
        wave1_NHW = torch.cos((x_NHW * on(6.2832 * self.x1)).add_(y_NHW * on(6.2832 * self.y1)))
        wave2_NHW = torch.cos((x_NHW * on(6.2832 * self.x2)).add_(y_NHW * on(6.2832 * self.y2)))
        value_NHW = on(self.level) - wave1_NHW * on(self.first) - wave2_NHW * on(self.second_wave)
        return patch.cover_any(value_NHW.sub_(wave1_NHW.mul_(wave2_NHW).mul_(on(self.both))))


def body_of(scene: Scene) -> Body:
    """Return where the body is for the head's pose."""
    who, pose = scene.identities, scene.poses
    size = HEAD_SIZE * pose.scale.sqrt() * who.head_size
    drop = who.head_height * 0.97 + who.neck_length
    x = 0.55 * pose.translation_x - 0.05 * torch.sin(pose.yaw_rad)
    y = REST_Y + 0.6 * pose.translation_y + size * drop
    return Body(torch.stack((x, y), -1), rotation(0.25 * pose.roll_rad), size)


def paint_neck(scene: Scene) -> None:
    """Paint the neck from inside the head to below the collar, with the chin's shadow."""
    who, body = scene.identities, body_of(scene)
    zero = torch.zeros_like(body.size)
    throat_N2, _ = scene.head.project(torch.stack((zero, zero + 0.6, zero - 0.25), -1))
    base_N2 = body.at(0.0, 0.35)
    reach = 0.5 * (base_N2 - throat_N2).norm(dim=-1) + 0.9 * body.size
    with scene.canvas.window(scene.rows_N, 0.5 * (throat_N2 + base_N2), reach) as patch:
        radius = who.neck_width * body.size
        distance_NHW = capsule(patch, throat_N2, base_N2, 0.95 * radius, 1.12 * radius)
        shoulders_NHW = ellipse(*_offset(patch, body, 0.42), patch.on(who.collar_width * 1.25), patch.on(zero + 0.42))
        distance_NHW = torch.minimum(distance_NHW, shoulders_NHW * patch.on(body.size))
        alpha_NHW = patch.fill(who.skin_colour_N3, distance_NHW, 1.0, scene.outline())
        chin_NHW = scene.shell(patch, rise=-0.06).distance_NHW / patch.on(scene.head.size)
        dark_NHW = (0.75 - 3.5 * chin_NHW).clamp_(0.0, 0.8).mul_(alpha_NHW)
        patch.paint(who.shadow_colour_N3, dark_NHW.mul_(patch.on(0.4 + 0.6 * who.shade_strength)))


def _offset(patch: Patch, body: Body, down: float) -> tuple[Tensor, Tensor]:
    x_NHW, y_NHW = body.local(patch)
    return x_NHW, y_NHW - down


def paint_clothes(scene: Scene) -> None:
    """Paint the torso, cut out at the neckline, with its pattern, emblem, front and trim."""
    who, body = scene.identities, body_of(scene)
    zero = torch.zeros_like(body.size)
    top = float((body.collar_N2[:, 1] - (0.1 + 0.6 * body.roll_N22[:, 1, 0].abs()) * body.size).min())
    with scene.canvas.whole(scene.rows_N, top) as patch:
        on, unit = patch.on, body.size
        x_NHW, y_NHW = body.local(patch)
        sloped_NHW = y_NHW - on(who.shoulder_slope) * x_NHW.square()
        half_x = on(who.shoulder_width)
        torso_NHW = box(x_NHW, sloped_NHW - _BELOW, half_x, on(zero + _BELOW), on(who.shoulder_round))
        round_NHW = ellipse(x_NHW, y_NHW, on(who.collar_width), on(who.collar_depth))
        pointed_NHW = (x_NHW.abs() - on(who.collar_width) * (1.0 - y_NHW / on(1.6 * who.collar_depth))).mul_(0.85)
        neckline_NHW = torch.lerp(round_NHW, pointed_NHW, on(who.collar_point))
        distance_NHW = torch.maximum(torso_NHW, -neckline_NHW)
        alpha_NHW = patch.fill(who.clothes_colour_N3, distance_NHW, unit, scene.outline())
        if bool((who.weave_level < 2.0).any()):
            weave = Weave(*(getattr(who, f"weave_{name}") for name in Weave._fields))
            patch.paint(
                who.clothes_second_N3, weave.cover(patch, x_NHW, y_NHW) * alpha_NHW * on(1.0 * (who.weave_level < 2))
            )
        sleeve_NHW = patch.cover(on(who.sleeve_seam) + 0.25 * y_NHW - x_NHW.abs(), unit)
        patch.paint(who.clothes_third_N3, sleeve_NHW.mul_(alpha_NHW))
        front_NHW = patch.cover(x_NHW.abs() - on(who.jacket_gap) * (0.35 + 0.3 * y_NHW), unit)
        patch.paint(who.clothes_third_N3, front_NHW.mul_(alpha_NHW).mul_(on((who.jacket_gap > 0).float())))
        badge_NHW = ellipse(x_NHW - on(who.emblem_x), y_NHW - 0.95, on(who.emblem_size), on(who.emblem_size))
        patch.paint(
            who.trim_colour_N3, patch.cover(badge_NHW, unit).mul_(alpha_NHW).mul_(on(1.0 * (who.emblem_size > 0.02)))
        )
        # Shade towards the sides and under the chin.
        dark_NHW = (x_NHW * on(-who.light_x.sign() / who.shoulder_width) * 0.9 - 0.25).clamp_(0.0, 0.5)
        patch.paint(who.clothes_colour_N3 * 0.45, dark_NHW.mul_(alpha_NHW).mul_(on(who.shade_strength)))
        trim_NHW = patch.stroke(neckline_NHW, who.trim_width, unit).mul_(patch.cover(torso_NHW - 0.02, unit))
        patch.paint(who.trim_colour_N3, trim_NHW.mul_(on((who.trim_width > 0).float())))


def paint_collar(scene: Scene) -> None:
    """Paint what lies on the clothes: the flaps of a shirt, a tie, a roll neck, a scarf or a hood's ring."""
    who, body = scene.identities, body_of(scene)
    size, width, depth = body.size, who.collar_width, who.collar_depth
    with scene.canvas.window(scene.rows_N, body.at(0.0, 0.35), 1.1 * size) as patch:
        on = patch.on
        tie_NHW = capsule(patch, body.at(0.0, depth + 0.05), body.at(0.0, 1.3), 0.08 * size, 0.17 * size)
        knot_NHW = capsule(patch, body.at(-0.04, depth), body.at(0.04, depth), 0.1 * size, 0.1 * size)
        patch.paint(who.tie_colour_N3 * 0.8, patch.cover(tie_NHW) * on(who.tie))
        patch.paint(who.tie_colour_N3, patch.cover(knot_NHW) * on(who.tie))
        for side in (-1.0, 1.0):
            flap_NHW = capsule(
                patch, body.at(side * width, -0.06), body.at(side * 0.16, depth + 0.12), 0.12 * size, 0.03 * size
            )
            patch.paint(who.trim_colour_N3 * 0.72, patch.cover(flap_NHW - on(0.018 * size)) * on(who.flaps))
            patch.paint(who.trim_colour_N3, patch.cover(flap_NHW) * on(who.flaps))
        zero = torch.zeros_like(size)
        throat_N2, _ = scene.head.project(torch.stack((zero, zero + 0.75, zero - 0.25), -1))
        roll_top_N2 = torch.lerp(body.at(0.0, 0.1), throat_N2, 0.45)
        roll_NHW = capsule(patch, roll_top_N2, body.at(0.0, 0.2), who.neck_width * 1.12 * size, width * 1.05 * size)
        roll_NHW = torch.maximum(roll_NHW, on(roll_top_N2[:, 1] - 0.02) - patch.y_NH1)
        alpha_NHW = patch.cover(roll_NHW) * on(who.roll_neck)
        patch.paint(who.clothes_colour_N3, alpha_NHW)
        fold_NHW = (patch.y_NH1 - on(roll_top_N2[:, 1] + 0.13 * size)).expand_as(alpha_NHW)
        patch.paint(who.clothes_colour_N3 * 0.6, patch.stroke(fold_NHW, 0.035 * size) * alpha_NHW)
        for rise, dim in ((0.0, 0.75), (0.05, 1.0)):
            scarf_NHW = capsule(
                patch, body.at(-width * 0.95, 0.08 - rise), body.at(width * 0.95, 0.12 - rise), 0.23 * size, 0.23 * size
            )
            tail_NHW = capsule(patch, body.at(0.3, 0.2 - rise), body.at(0.36, 1.0 - rise), 0.17 * size, 0.19 * size)
            both_NHW = torch.minimum(scarf_NHW, tail_NHW)
            patch.paint(who.tie_colour_N3 * dim, patch.cover(both_NHW) * on(who.scarf))
