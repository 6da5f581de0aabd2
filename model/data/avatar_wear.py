"""Glasses, earrings, and what sits in the hair without being a hat: bows, flowers, animals' ears, horns, headphones.

Shapes: N avatars, H W height and width, 2 = (x, y), 3 = RGB or (x, y, z). No suffix: one number an avatar.
Lengths: head units.
"""

import torch

from model.data.avatar_canvas import box, capsule, ellipse
from model.data.avatar_face import ear_place, nearness
from model.data.avatar_head import Scene, Sticker

_LENS_LIFT = 1.08  # lenses stand off the face


def paint_glasses(scene: Scene) -> None:
    """Paint glasses: temples to the ears, two lenses, a bridge between them."""
    who, size = scene.identities, scene.head.size
    zero = torch.zeros_like(size)
    thick = 0.5 * who.frame_width * size
    lenses: list[Sticker] = []
    for side in (-1.0, 1.0):
        lens = scene.sticker(
            side * who.lens_longitude, who.eye_latitude + 0.03, _LENS_LIFT, twist=-side * who.lens_slant
        )
        lenses.append(lens)
        hinge_N2 = lens.at(side * who.lens_x, zero - 0.3 * who.lens_y)
        temple_N2, _ = scene.head.project(torch.stack((zero + side * 1.02, who.ear_latitude - 0.12, zero), -1))
        reach = (who.lens_x + who.lens_y + who.frame_width + 0.15) * size
        reach = torch.maximum(reach, (temple_N2 - lens.centre_N2).norm(dim=-1) + 0.05 * size)
        with scene.canvas.window(scene.rows_N, lens.centre_N2, reach) as patch:
            on, unit = patch.on, lens.unit
            seen = on((lens.facing * 3.0 - 0.4).clamp(0.0, 1.0))
            # A temple shows on the side that has turned to the viewer, and a little in front view.
            sideways = scene.head.turn_N33[:, 2, 0] * side
            arm_NHW = patch.cover(capsule(patch, hinge_N2, temple_N2, thick, thick))
            patch.paint(who.frame_colour_N3 * 0.8, arm_NHW * on((sideways * 6.0 + 0.9).clamp(0.0, 1.0)))
            x_NHW, y_NHW = lens.local(patch)
            corner = torch.minimum(who.lens_x, who.lens_y) * who.lens_round
            lens_NHW = box(x_NHW, y_NHW, on(who.lens_x), on(who.lens_y), on(corner))
            inside_NHW = patch.cover(lens_NHW, unit) * seen
            patch.paint(who.lens_colour_N3, inside_NHW * on(who.lens_tint))
            streak_NHW = patch.stroke(x_NHW + 0.7 * y_NHW + on(0.25 * who.lens_x), 0.09 + zero, unit)
            patch.paint(
                torch.ones_like(who.lens_colour_N3), streak_NHW.mul_(inside_NHW).mul_(on(0.12 + 0.3 * who.lens_tint))
            )
            rim_NHW = patch.stroke(lens_NHW, who.frame_width, unit) * seen
            keep_NHW = (on(who.lens_y * (1.3 - 1.1 * who.half_rim)) - y_NHW).mul(12.0).clamp_(0.0, 1.0)
            patch.paint(who.frame_colour_N3, rim_NHW * keep_NHW)
    left_N2, right_N2 = lenses[0].at(who.lens_x, zero - 0.02), lenses[1].at(-who.lens_x, zero - 0.02)
    middle_N2 = 0.5 * (left_N2 + right_N2)
    arch = scene.sticker(zero, who.eye_latitude - 0.06, _LENS_LIFT + 0.04).centre_N2
    reach = 0.5 * (left_N2 - right_N2).norm(dim=-1) + 0.2 * size
    with scene.canvas.window(scene.rows_N, middle_N2, reach) as patch:
        bar_NHW = capsule(patch, left_N2, arch, thick, thick)
        bar_NHW = torch.minimum(bar_NHW, capsule(patch, arch, right_N2, thick, thick))
        patch.paint(who.frame_colour_N3, patch.cover(bar_NHW))


def paint_far_earrings(scene: Scene) -> None:
    """Paint earrings before the head is."""
    _paint_earrings(scene, near=False)


def paint_near_earrings(scene: Scene) -> None:
    """Paint the one on the ear that has come to the front."""
    _paint_earrings(scene, near=True)


def _paint_earrings(scene: Scene, near: bool) -> None:
    who, size = scene.identities, scene.head.size
    for side in (-1.0, 1.0):
        ear = ear_place(scene, side)
        lobe_N2 = ear.at(side * 0.0 + 0.38 * who.ear_size, 0.95 * who.ear_size)
        fade = nearness(ear) if near else torch.ones_like(size)
        hang_N2 = torch.stack((torch.zeros_like(size), who.earring_drop * size), -1)
        reach = (who.earring_drop + 2.0 * who.earring_size) * size
        with scene.canvas.window(scene.rows_N, lobe_N2, reach) as patch:
            on = patch.on
            end_N2 = lobe_N2 + hang_N2
            thread_NHW = capsule(patch, lobe_N2, end_N2, 0.02 * size, 0.02 * size)
            patch.paint(who.earring_colour_N3 * 0.8, patch.cover(thread_NHW) * on(fade))
            radius = who.earring_size * size
            jewel_NHW = capsule(patch, end_N2, end_N2, radius, radius)
            ring_NHW = patch.stroke(jewel_NHW, 0.045 * size)
            full_NHW = patch.cover(jewel_NHW)
            patch.paint(who.earring_colour_N3, torch.lerp(full_NHW, ring_NHW, on(who.earring_hoop)) * on(fade))


def paint_top_ears(scene: Scene) -> None:
    """Paint the ears of a cat, a bear or a rabbit, horns, or antennae: a pair of tapered bars on top of the head."""
    who, size = scene.identities, scene.head.size
    zero = torch.zeros_like(size)
    for side in (-1.0, 1.0):
        root_N3 = torch.stack((zero + side * who.top_ear_x, zero - 0.72, zero - 0.05), -1)
        tip_N3 = torch.stack((side * (who.top_ear_x + who.top_ear_lean), -0.72 - who.top_ear_length, zero), -1)
        from_N2, _ = scene.head.project(root_N3)
        to_N2, _ = scene.head.project(tip_N3)
        reach = 0.5 * (to_N2 - from_N2).norm(dim=-1) + (who.top_ear_root + who.top_ear_tip + 0.1) * size
        with scene.canvas.window(scene.rows_N, 0.5 * (from_N2 + to_N2), reach) as patch:
            bar_NHW = capsule(patch, from_N2, to_N2, who.top_ear_root * size, who.top_ear_tip * size)
            patch.fill(who.top_ear_colour_N3, bar_NHW, 1.0, scene.outline())
            inner_NHW = patch.cover(bar_NHW + patch.on((0.35 * who.top_ear_root + 0.02) * size))
            patch.paint(who.top_ear_inner_N3, inner_NHW)


def paint_ornament(scene: Scene) -> None:
    """Paint a bow or a flower at the side of the hair."""
    who = scene.identities
    sticker = scene.sticker(who.ornament_longitude, torch.full_like(who.ornament_longitude, -0.72), 1.12)
    with scene.canvas.window(
        scene.rows_N, sticker.centre_N2, (1.3 * who.ornament_size + 0.05) * scene.head.size
    ) as patch:
        on, unit = patch.on, sticker.unit
        x_NHW, y_NHW = (v / on(who.ornament_size) for v in sticker.local(patch))
        seen = on((sticker.facing * 4.0 + 0.6).clamp(0.0, 1.0))
        scale = unit * who.ornament_size
        radius_NHW = (x_NHW.square() + y_NHW.square()).add_(1e-6).sqrt_()
        petals_NHW = radius_NHW - 0.66 - 0.26 * torch.cos(5.0 * torch.atan2(y_NHW, x_NHW))
        wings_NHW = torch.maximum(y_NHW.abs() - 0.15 - 0.5 * x_NHW.abs(), x_NHW.abs() - 0.95)
        shape_NHW = torch.lerp(petals_NHW, wings_NHW, on(who.ornament_bow))
        patch.paint(who.ornament_colour_N3 * 0.6, patch.cover(shape_NHW - 0.06, scale) * seen)
        patch.paint(who.ornament_colour_N3, patch.cover(shape_NHW + 0.02, scale) * seen)
        heart_NHW = patch.cover(radius_NHW - 0.28, scale) * seen
        patch.paint(torch.lerp(who.trim_colour_N3, who.ornament_colour_N3 * 0.75, who.ornament_bow[:, None]), heart_NHW)


def paint_headphones(scene: Scene) -> None:
    """Paint headphones: an arc over the head and a cup at each ear that is not behind it."""
    who, size = scene.identities, scene.head.size
    zero = torch.zeros_like(size)
    across_N3 = torch.stack((zero + 1.0, zero, zero), -1)
    down_N3 = torch.stack((zero, zero + 1.0, zero), -1)
    arc = scene.fixed(torch.stack((zero, zero, zero + 1e-3), -1), across_N3, down_N3)
    over = who.head_height * (who.hair_heighten + who.hair_rise).clamp(min=1.05) + 0.03
    wide = who.head_width * 1.1
    with scene.canvas.window(scene.rows_N, arc.centre_N2, 1.75 * size) as patch:
        on = patch.on
        x_NHW, y_NHW = arc.local(patch)
        ring_NHW = ellipse(x_NHW, y_NHW, on(wide), on(over))
        alpha_NHW = patch.stroke(ring_NHW, zero + 0.15, arc.unit) * patch.cover(y_NHW - 0.1, arc.unit)
        # The half of the arc that has turned behind the head does not show.
        depth_NHW = x_NHW * on(scene.head.turn_N33[:, 2, 0]) + y_NHW * on(scene.head.turn_N33[:, 2, 1])
        alpha_NHW = alpha_NHW * ((depth_NHW + 0.4) * 6.0).clamp_(0.0, 1.0)
        patch.paint(who.hat_colour_N3, alpha_NHW)
        patch.paint(who.hat_second_N3, patch.stroke(ring_NHW - 0.02, zero + 0.04, arc.unit) * alpha_NHW)
    for side in (-1.0, 1.0):
        centre_N2, depth = scene.head.project(torch.stack((zero + side * 1.08, who.ear_latitude, zero), -1))
        yaw = scene.poses.yaw_rad
        half_x = (0.17 * torch.cos(yaw) + 0.3 * torch.sin(yaw).abs()) * size
        shown = (depth * 5.0 + 1.4).clamp(0.0, 1.0)
        with scene.canvas.window(scene.rows_N, centre_N2, 0.5 * size) as patch:
            on = patch.on
            turned = scene.head.roll_N22.mT
            x_NHW, y_NHW = (
                (patch.x_N1W - on(centre_N2[:, 0])) * on(turned[:, i, 0])
                + (patch.y_NH1 - on(centre_N2[:, 1])) * on(turned[:, i, 1])
                for i in (0, 1)
            )
            cup_NHW = ellipse(x_NHW, y_NHW, on(half_x), on(0.34 * size))
            patch.paint(who.hat_colour_N3, patch.cover(cup_NHW) * on(shown))
            pad_NHW = ellipse(x_NHW, y_NHW, on(0.6 * half_x), on(0.2 * size))
            patch.paint(who.hat_second_N3, patch.cover(pad_NHW) * on(shown))
