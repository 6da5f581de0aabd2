"""Skin with light and shade, blush, freckles, ears, nose and mouth.

Shapes: N avatars, H W height and width, 2 = (x, y), 3 = RGB or (x, y, z). No suffix: one number an avatar.
Lengths: head units.
"""

import torch
from torch import Tensor

from model.data.avatar_canvas import Patch, capsule, ellipse
from model.data.avatar_eyes import face_mask
from model.data.avatar_head import Scene, Sticker, Surface

_TEETH = torch.tensor([[0.97, 0.96, 0.92]])
_MOUTH = torch.tensor([[0.29, 0.05, 0.08]])
_TONGUE = torch.tensor([[0.86, 0.38, 0.42]])


def shade(scene: Scene, patch: Patch, surface: Surface, shadow_N3: Tensor, alpha_NHW: Tensor) -> None:
    """Lay the shadow of a rounded surface over what was painted there: cel-shaded or soft, as the style has it."""
    who = scene.identities
    light_NHW = (
        (surface.normal_x_NHW * patch.on(who.light_x))
        .add_(surface.normal_y_NHW * patch.on(who.light_y))
        .add_(surface.normal_z_NHW * 0.55)
    )
    dark_NHW = light_NHW.neg_().add_(patch.on(who.shade_level)).mul_(patch.on(1.0 / who.shade_softness))
    dark_NHW.add_(0.5).clamp_(0.0, 1.0).mul_(patch.on(who.shade_strength)).mul_(alpha_NHW)
    patch.paint(shadow_N3, dark_NHW)


def paint_skin(scene: Scene) -> None:
    """Paint the bare head."""
    who = scene.identities
    with scene.canvas.window(scene.rows_N, scene.head.centre_N2, 1.55 * scene.head.size) as patch:
        surface = scene.shell(patch)
        alpha_NHW = patch.fill(who.skin_colour_N3, surface.distance_NHW, 1.0, scene.outline())
        shade(scene, patch, surface, who.shadow_colour_N3, alpha_NHW)


def paint_blush(scene: Scene) -> None:
    """Paint soft round cheeks."""
    who = scene.identities
    for side in (-1.0, 1.0):
        sticker = scene.sticker(side * (who.eye_spacing + 0.18), who.eye_latitude + 0.38)
        with scene.canvas.window(scene.rows_N, sticker.centre_N2, 0.42 * scene.head.size) as patch:
            x_NHW, y_NHW = sticker.local(patch)
            radius2_NHW = x_NHW.square().mul_(1 / 0.2**2).add_(y_NHW.square().mul_(1 / 0.15**2))
            soft_NHW = torch.exp(-radius2_NHW).sub_(0.03).clamp_(min=0.0) * face_mask(scene, patch)
            patch.paint(who.blush_colour_N3, soft_NHW.mul_(patch.on(who.blush_strength)))


def paint_freckles(scene: Scene) -> None:
    """Paint freckles: one in each cell of a lattice on the skin, displaced and sized by a hash of the cell."""
    who = scene.identities
    with scene.canvas.window(scene.rows_N, scene.head.centre_N2, 1.15 * scene.head.size) as patch:
        surface = scene.shell(patch)
        cells = 1.0 / who.freckle_pitch
        east_NHW, south_NHW = surface.x_NHW * patch.on(cells), surface.y_NHW * patch.on(cells)
        column_NHW, line_NHW = east_NHW.round(), south_NHW.round()
        hash_NHW = torch.sin(column_NHW * 12.99 + line_NHW * 78.23 + patch.on(who.freckle_seed)) * 43.76
        chance_NHW = hash_NHW - hash_NHW.floor()
        other_NHW = (hash_NHW * 7.31).remainder_(1.0)
        x_NHW = east_NHW - column_NHW + (chance_NHW - 0.5) * 0.5
        y_NHW = south_NHW - line_NHW + (other_NHW - 0.5) * 0.5
        # On the cheeks and across the nose, fewer further out.
        far_NHW = (surface.x_NHW * 1.25).square_() + (
            (surface.y_NHW - patch.on(who.eye_latitude + 0.3)) * 3.4
        ).square_()
        radius_NHW = (0.06 + 0.2 * other_NHW) * (1.0 - far_NHW).clamp_(min=0.0)
        distance_NHW = (x_NHW.square_() + y_NHW.square_()).sqrt_() - radius_NHW
        alpha_NHW = patch.cover(distance_NHW, who.freckle_pitch * scene.head.size)
        alpha_NHW.mul_((radius_NHW > 0.03).float()).mul_((surface.z_NHW > 0).float())
        patch.paint(who.freckle_colour_N3, alpha_NHW.mul_(patch.cover(surface.distance_NHW)).mul_(0.6))


def ear_place(scene: Scene, side: float) -> Sticker:
    """Return the sticker of an ear, its x axis outward and its origin where it is attached."""
    who = scene.identities
    flat = torch.full_like(who.ear_size, 0.0)
    place_N3 = torch.stack((flat + side * 0.96, who.ear_latitude, flat - 0.08), -1)
    outward_N3 = torch.stack((flat + side * 0.78, flat, flat - 0.62), -1)
    down_N3 = torch.stack((flat, flat + 1.0, flat), -1)
    return scene.fixed(place_N3, outward_N3, down_N3)


def paint_far_ears(scene: Scene) -> None:
    """Paint both ears behind the head: the head will hide what is behind it."""
    for side in (-1.0, 1.0):
        _paint_ear(scene, side, near=False)


def paint_near_ears(scene: Scene) -> None:
    """Paint the ear that has come to the front, over the head."""
    for side in (-1.0, 1.0):
        _paint_ear(scene, side, near=True)


def nearness(sticker: Sticker) -> Tensor:
    """Return how much a thing at the side of the head is in front of it: 0 behind, 1 in front, no jump between."""
    return (sticker.facing * 4.0 + 0.1).clamp(0.0, 1.0)


def _paint_ear(scene: Scene, side: float, near: bool) -> None:
    if near:
        rows = (nearness(ear_place(scene, side)) > 0).nonzero()[:, 0]
        if len(rows) == 0:
            return
        scene = scene.only(rows)
    who = scene.identities
    sticker = ear_place(scene, side)
    size = who.ear_size
    reach = size * (1.3 + 1.5 * who.ear_point) * scene.head.size
    with scene.canvas.window(scene.rows_N, sticker.centre_N2, reach) as patch:
        on, unit = patch.on, sticker.unit
        x_NHW, y_NHW = sticker.local(patch)
        x_NHW = x_NHW - on(0.45 * size)
        # A point pulls the upper outer part up and out.
        lean_NHW = (y_NHW * on(-1.0 / size)).clamp_(0.0, 2.0)
        x_NHW = x_NHW - lean_NHW * on(0.35 * who.ear_point)
        y_up_NHW = torch.where(y_NHW < 0, y_NHW / on(1.0 + 1.6 * who.ear_point), y_NHW)
        narrow_NHW = 1.0 + lean_NHW * on(1.2 * who.ear_point)
        outer_NHW = ellipse(x_NHW * narrow_NHW, y_up_NHW, on(0.72 * size), on(size))
        fade_NHW = on(nearness(sticker)) if near else torch.ones_like(on(size))
        alpha_NHW = patch.cover(outer_NHW, unit) * fade_NHW
        patch.paint(who.skin_colour_N3, alpha_NHW)
        line = torch.maximum(who.outline_width, torch.full_like(size, 0.012))
        rim_NHW = alpha_NHW - patch.cover(outer_NHW + on(line), unit) * fade_NHW
        patch.paint(
            torch.where((who.outline_width > 0)[:, None], who.skin_colour_N3 * 0.42, who.shadow_colour_N3), rim_NHW
        )
        inner_NHW = ellipse(x_NHW * narrow_NHW - on(0.02 * size), y_up_NHW, on(0.42 * size), on(0.62 * size))
        patch.paint(who.shadow_colour_N3, patch.cover(inner_NHW, unit) * fade_NHW * 0.8)


def paint_nose(scene: Scene) -> None:
    """Paint the nose: a bar from the bridge on the face to a tip in front of it, so it passes over when turning."""
    who = scene.identities
    zero, size = torch.zeros_like(who.nose_size), scene.head.size
    bridge_N2 = scene.sticker(zero, who.nose_latitude - who.nose_length).centre_N2
    tip_N2 = scene.sticker(zero, who.nose_latitude, 1.0 + who.nose_lift).centre_N2
    reach = (1.3 * who.nose_size + who.nose_length + 0.5 * who.nose_lift + 0.1) * size
    with scene.canvas.window(scene.rows_N, 0.5 * (bridge_N2 + tip_N2), reach) as patch:
        on = patch.on
        tip_radius = who.nose_size * size
        distance_NHW = capsule(patch, bridge_N2, tip_N2, who.nose_bridge * tip_radius, tip_radius)
        x_NHW = (patch.x_N1W - on(tip_N2[:, 0])) / on(tip_radius)
        y_NHW = (patch.y_NH1 - on(tip_N2[:, 1])) / on(tip_radius)
        wing_NHW = ellipse(x_NHW.abs() - on(who.nose_wings), y_NHW - 0.15, on(zero + 0.55), on(zero + 0.5))
        distance_NHW = torch.minimum(
            distance_NHW, torch.where(on(who.nose_wings) > 0.1, wing_NHW, 9.0) * on(tip_radius)
        )
        alpha_NHW = patch.cover(distance_NHW)
        patch.paint(who.nose_colour_N3, alpha_NHW * on(who.nose_fill))
        dark_NHW = (x_NHW * on(-who.light_x) + y_NHW * on(-who.light_y)).clamp_(0.0, 1.0)
        patch.paint(who.shadow_colour_N3 * who.nose_colour_N3.sqrt(), dark_NHW * alpha_NHW * on(0.75 * who.nose_fill))
        low_NHW = (y_NHW * 2.0 + 0.3).clamp_(0.0, 1.0)
        line_NHW = patch.stroke(distance_NHW, 0.035 * size) * low_NHW
        patch.paint(who.skin_colour_N3 * 0.45, line_NHW * on(who.nose_line))
        hole_NHW = ellipse(x_NHW.abs() - on(0.42 + 0.5 * who.nose_wings), y_NHW - 0.45, on(zero + 0.2), on(zero + 0.14))
        patch.paint(who.skin_colour_N3 * 0.3, patch.cover(hole_NHW, tip_radius) * on(who.nose_nostrils))
        gleam_NHW = ellipse(
            x_NHW - on(0.4 * who.light_x), y_NHW - on(0.45 * who.light_y), on(zero + 0.3), on(zero + 0.22)
        )
        patch.paint(0.5 + 0.5 * who.nose_colour_N3, patch.cover(gleam_NHW, tip_radius) * on(who.nose_gleam))


def paint_mouth(scene: Scene) -> None:
    """Paint lips, the opening between them, and what is inside: teeth and tongue."""
    who, pose = scene.identities, scene.poses
    zero = torch.zeros_like(who.mouth_size)
    sticker = scene.sticker(zero, who.mouth_latitude + 0.02 * pose.mouth_open)
    half = who.mouth_size * (1.0 + 0.3 * pose.mouth_width + 0.1 * pose.smile - 0.12 * pose.mouth_open)
    opening = pose.mouth_open * (0.28 + 0.35 * who.mouth_size)
    bend = half * (0.55 * pose.smile + who.mouth_curve)
    with scene.canvas.window(scene.rows_N, sticker.centre_N2, (1.2 * half + 0.25) * scene.head.size) as patch:
        on, unit = patch.on, sticker.unit
        x_NHW, y_NHW = sticker.local(patch)
        across2_NHW = (x_NHW / on(half)).square_()
        arch_NHW = (1.0 - across2_NHW) * (1.0 + on(who.mouth_square) * across2_NHW)
        blunt_NHW = 1.0 - across2_NHW.square()
        base_NHW = on(bend) * (0.5 - across2_NHW)
        top_NHW = base_NHW - on(0.25 * opening) * arch_NHW
        bottom_NHW = base_NHW + on(0.75 * opening) * arch_NHW
        mask_NHW = face_mask(scene, patch)
        # The dip in the middle of the upper lip.
        cupid_NHW = 1.0 - 0.45 * torch.exp(across2_NHW * -30.0)
        upper_NHW = top_NHW - on(who.lip_upper) * arch_NHW * cupid_NHW
        lower_NHW = bottom_NHW + on(who.lip_lower) * arch_NHW
        lips_NHW = torch.maximum(upper_NHW - y_NHW, y_NHW - lower_NHW).mul_(0.85)
        lips_NHW = patch.cover(lips_NHW, unit).mul_(mask_NHW)
        patch.paint(who.lip_colour_N3, lips_NHW * on((who.lip_lower > 0).float()))
        line_NHW = on(0.5 * who.mouth_line) * blunt_NHW
        hole_NHW = torch.maximum(top_NHW - line_NHW - y_NHW, y_NHW - bottom_NHW - line_NHW).mul_(0.85)
        hole_NHW = patch.cover(hole_NHW, unit).mul_(mask_NHW)
        patch.paint(_MOUTH.expand(len(half), 3), hole_NHW)
        inside = (opening * 14.0 - 0.3).clamp(0.0, 1.0)
        _paint_teeth(scene, patch, sticker, half, opening, x_NHW, y_NHW - top_NHW, hole_NHW * on(inside))
        tongue_NHW = ellipse(x_NHW, y_NHW - bottom_NHW, on(0.6 * half), on(0.45 * opening + 0.01))
        patch.paint(_TONGUE.expand(len(half), 3), patch.cover(tongue_NHW, unit) * hole_NHW * on(inside))
        floor_NHW = patch.cover(bottom_NHW - on(0.16 * who.teeth_lower * (0.3 + opening)) - y_NHW, unit)
        patch.paint(_TEETH.expand(len(half), 3), floor_NHW * hole_NHW * on(inside * (who.teeth_lower > 0)))


def _paint_teeth(
    scene: Scene,
    patch: Patch,
    sticker: Sticker,
    half: Tensor,
    opening: Tensor,
    x_NHW: Tensor,
    below_NHW: Tensor,
    mask_NHW: Tensor,
) -> None:
    """Paint the upper row (`below_NHW` is the distance under the upper lip), with gaps, fangs or two big ones."""
    who, on, unit = scene.identities, patch.on, sticker.unit
    off_NHW = (x_NHW.abs() - on(0.5 * half)).abs_() / on(0.2 * half)
    fang_NHW = on(who.teeth_fangs * 0.16) * (1.0 - off_NHW).clamp_(min=0.0)
    buck_NHW = on(who.teeth_buck * 0.1) * (x_NHW.abs() < on(0.34 * half)).float()
    # A mouth that is hardly open shows the edge of its teeth only.
    length = torch.minimum(who.teeth_upper, 0.42 * opening)
    row_NHW = patch.cover(below_NHW - on(length) - fang_NHW - buck_NHW, unit).mul_(mask_NHW)
    patch.paint(_TEETH.expand(len(half), 3), row_NHW)
    pitch = 0.3 * half
    gap_NHW = patch.stroke(x_NHW - (x_NHW / on(pitch)).round() * on(pitch), torch.full_like(half, 0.012), unit)
    patch.paint(_MOUTH.expand(len(half), 3), gap_NHW.mul_(row_NHW).mul_(on(0.7 * who.teeth_gaps)))
