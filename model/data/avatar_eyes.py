"""Eyes with lids and lashes, dot eyes, and brows.

Shapes: N avatars, H W height and width, 2 = (x, y), 3 = RGB. No suffix: one number an avatar. Lengths: head units.
"""

import torch
from torch import Tensor

from model.data.avatar_canvas import Patch, capsule, ellipse
from model.data.avatar_head import Scene, Sticker

_WHITE = torch.tensor([[0.985, 0.98, 0.97]])
_INK = torch.tensor([[0.09, 0.06, 0.07]])
# Along the eye (0 middle, 1 outer corner): where lashes grow.
_LASH_ROOTS = (0.35, 0.68, 0.93)


def face_mask(scene: Scene, patch: Patch) -> Tensor:
    """Return mask_NHW of the face: what is drawn flat on it must not stick out beyond its edge."""
    return patch.cover(scene.shell(patch).distance_NHW)


def paint_eyes(scene: Scene) -> None:
    """Paint both eyes."""
    for side in (-1.0, 1.0):
        _paint_eye(scene, side)


def _paint_eye(scene: Scene, side: float) -> None:
    who, pose = scene.identities, scene.poses
    sticker = eye_place(scene, side)
    width, height = who.eye_width, who.eye_height * (1.0 + 0.12 * pose.brow_raise)
    blink = pose.blink_left if side < 0 else pose.blink_right
    closure = who.eye_lid + (1.0 - who.eye_lid) * blink
    reach = (1.25 * torch.maximum(width, height) + who.lash_length + 0.05) * scene.head.size
    with scene.canvas.window(scene.rows_N, sticker.centre_N2, reach) as patch:
        on, unit = patch.on, sticker.unit
        x_NHW, y_NHW = sticker.local(patch)
        across2_NHW = (x_NHW / on(width)).square_()
        bow_NHW = 1.0 - 0.7 * across2_NHW
        shape_NHW = ellipse(x_NHW, y_NHW, on(width), on(height))
        lens_NHW = (y_NHW.abs() - on(height) * (1.0 - across2_NHW)) * 0.6
        shape_NHW.lerp_(lens_NHW, on(who.eye_almond))
        mask_NHW = face_mask(scene, patch) * on((sticker.facing * 6.0).clamp(0.0, 1.0))
        eye_NHW = patch.cover(shape_NHW, unit).mul_(mask_NHW)
        patch.paint(_WHITE.expand(len(width), 3), eye_NHW)
        # The upper lid's shadow on the white.
        shadow_NHW = ((y_NHW + on(0.35 * height)) * on(-2.2 / height)).clamp_(0.0, 1.0)
        patch.paint(who.shadow_colour_N3, shadow_NHW * eye_NHW * 0.35)
        _paint_iris(scene, patch, sticker, x_NHW, y_NHW, eye_NHW)
        lid_NHW = on(height * (1.95 * closure - 1.05)) * bow_NHW
        lid_distance_NHW = y_NHW - lid_NHW
        patch.paint(who.lid_colour_N3, patch.cover(lid_distance_NHW, unit) * eye_NHW)
        squint = 0.35 * pose.smile.clamp(min=0.0) + 0.25 * blink
        lower_NHW = on(height * (1.08 - squint)) * bow_NHW - y_NHW
        patch.paint(who.lid_colour_N3, patch.cover(lower_NHW, unit) * eye_NHW)
        fence_NHW = patch.cover(shape_NHW - on(who.lash_weight * 0.6), unit).mul_(mask_NHW)
        edge = 0.35 + 0.65 * (who.outline_width > 0)
        patch.paint(who.lash_colour_N3, patch.stroke(shape_NHW, 0.018 * edge, unit) * mask_NHW * on(edge))
        patch.paint(who.lash_colour_N3, patch.stroke(lid_distance_NHW, who.lash_weight, unit) * fence_NHW)
        if bool((who.lash_length > 0).any()):
            _paint_lashes(scene, patch, sticker, closure, side, mask_NHW)


def _paint_iris(scene: Scene, patch: Patch, sticker: Sticker, x_NHW: Tensor, y_NHW: Tensor, eye_NHW: Tensor) -> None:
    who, pose, on, unit = scene.identities, scene.poses, patch.on, sticker.unit
    radius = who.iris_size
    x_NHW = x_NHW - on(pose.gaze_x * (who.eye_width - 0.45 * radius).clamp(min=0.03) * 0.6)
    y_NHW = y_NHW - on(pose.gaze_y * (who.eye_height - 0.35 * radius).clamp(min=0.03) * 0.5)
    iris_NHW = ellipse(x_NHW, y_NHW, on(radius), on(radius * 1.1))
    inside_NHW = patch.cover(iris_NHW, unit).mul_(eye_NHW)
    patch.paint(who.iris_colour_N3 * 0.45, inside_NHW)
    patch.paint(who.iris_colour_N3, patch.cover(iris_NHW + on(0.16 * radius), unit) * eye_NHW)
    # Light gathers at the bottom of an iris.
    glow_NHW = (y_NHW * on(1.2 / radius)).clamp_(0.0, 0.6).mul_(patch.cover(iris_NHW + on(0.2 * radius), unit))
    patch.paint(0.45 + 0.55 * who.iris_colour_N3, glow_NHW.mul_(eye_NHW))
    pupil = radius * who.pupil_size
    pupil_NHW = ellipse(x_NHW, y_NHW, on(pupil * who.pupil_slit), on(pupil * 1.15))
    patch.paint(_INK.expand(len(radius), 3), patch.cover(pupil_NHW, unit) * eye_NHW)
    for where_x, where_y, share in ((-0.36, -0.42, 0.3), (0.34, 0.36, 0.14)):
        spot_NHW = ellipse(
            x_NHW - on(where_x * radius), y_NHW - on(where_y * radius), on(share * radius), on(share * radius)
        )
        patch.paint(_WHITE.expand(len(radius), 3), patch.cover(spot_NHW, unit) * eye_NHW)


def _paint_lashes(scene: Scene, patch: Patch, sticker: Sticker, closure: Tensor, side: float, mask_NHW: Tensor) -> None:
    who = scene.identities
    for root in _LASH_ROOTS:
        lid = who.eye_height * (1.95 * closure - 1.05) * (1.0 - 0.7 * root * root)
        top = -who.eye_height * (1.0 - root * root) ** 0.5
        from_x, from_y = side * root * who.eye_width, torch.maximum(lid, top)
        to_x = from_x + side * who.lash_length * (0.35 + 0.6 * root)
        to_y = from_y - who.lash_length * (1.0 - 0.5 * root) * (1.0 - 1.5 * closure)
        thick = 0.5 * who.lash_weight * sticker.unit
        hair_NHW = capsule(patch, sticker.at(from_x, from_y), sticker.at(to_x, to_y), thick, 0.3 * thick)
        patch.paint(who.lash_colour_N3, patch.cover(hair_NHW) * mask_NHW * patch.on((who.lash_length > 0).float()))


def eye_place(scene: Scene, side: float) -> Sticker:
    """Return the sticker of an eye: side -1 is the left of the picture."""
    who = scene.identities
    return scene.sticker(side * who.eye_spacing, who.eye_latitude, twist=-side * who.eye_slant)


def paint_dot_eyes(scene: Scene) -> None:
    """Paint eyes that are only dots; they close to a line."""
    who, pose = scene.identities, scene.poses
    for side in (-1.0, 1.0):
        sticker = eye_place(scene, side)
        blink = pose.blink_left if side < 0 else pose.blink_right
        radius = 0.62 * who.iris_size
        with scene.canvas.window(scene.rows_N, sticker.centre_N2, 3.0 * radius * scene.head.size) as patch:
            on, unit = patch.on, sticker.unit
            x_NHW, y_NHW = sticker.local(patch)
            x_NHW = x_NHW - on(0.35 * radius * pose.gaze_x)
            y_NHW = y_NHW - on(0.35 * radius * pose.gaze_y)
            # A closing eye droops at its corners, like a smile upside down.
            y_NHW = y_NHW + on(0.35 * blink / radius) * x_NHW.square()
            dot_NHW = ellipse(x_NHW, y_NHW, on(radius * (1 + 0.5 * blink)), on(radius * 1.25 * (1.0 - 0.85 * blink)))
            mask_NHW = face_mask(scene, patch)
            patch.paint(_INK.expand(len(radius), 3), patch.cover(dot_NHW, unit) * mask_NHW)
            spot_NHW = ellipse(x_NHW + on(0.3 * radius), y_NHW + on(0.45 * radius), on(0.3 * radius), on(0.3 * radius))
            patch.paint(_WHITE.expand(len(radius), 3), patch.cover(spot_NHW, unit) * mask_NHW * on(1.0 - blink))


def paint_brows(scene: Scene) -> None:
    """Paint the brows; a tilt of 1 is anger (inner ends down), -1 worry."""
    who, pose = scene.identities, scene.poses
    for side in (-1.0, 1.0):
        latitude = who.eye_latitude - who.eye_height - who.brow_height - 0.11 * pose.brow_raise
        twist = -side * (who.brow_slant + 0.35 * pose.brow_tilt)
        sticker = scene.sticker(side * who.eye_spacing * 1.03, latitude + 0.03 * pose.brow_tilt, twist=twist)
        reach = (1.1 * who.brow_length + who.brow_thickness) * scene.head.size
        with scene.canvas.window(scene.rows_N, sticker.centre_N2, reach) as patch:
            on = patch.on
            x_NHW, y_NHW = sticker.local(patch)
            along_NHW = x_NHW * on(side / who.brow_length)
            beyond_NHW = (along_NHW.abs() - 1.0).clamp_(min=0.0).mul_(on(who.brow_length))
            along_NHW.clamp_(-1.0, 1.0)
            along2_NHW = along_NHW.square()
            half_NHW = on(0.5 * who.brow_thickness) * (1.0 - on(who.brow_taper) * (0.5 + 0.5 * along_NHW))
            middle_NHW = on(who.brow_curve * who.brow_length) * (along2_NHW - 0.4)
            half_NHW.mul_(1.0 - along2_NHW.square())
            distance_NHW = (y_NHW - middle_NHW).abs_().sub_(half_NHW).add_(beyond_NHW)
            alpha_NHW = patch.cover(distance_NHW, sticker.unit)
            patch.paint(who.brow_colour_N3, alpha_NHW * face_mask(scene, patch))
