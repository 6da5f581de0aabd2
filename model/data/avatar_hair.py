"""Hair: behind the head, over it, buns and tails, locks before the shoulders, beards and moustaches.

The hair is a shell around the skull that ends at the hairline, a function of height and of the way around the head.
The far half of the shell is painted before the head, the near half after it: turning shows and hides them by itself.

Shapes: N avatars, H W height and width, 2 = (x, y), 3 = RGB or (x, y, z). No suffix: one number an avatar.
Lengths: head units; heights on the sphere: -1 crown, 0 ears, 1 chin.
"""

import torch
from torch import Tensor

from model.data.avatar_canvas import Patch, capsule, ellipse, triangle_wave
from model.data.avatar_eyes import face_mask
from model.data.avatar_face import shade
from model.data.avatar_head import Ripple, Scene, Surface


def hair_shell(scene: Scene, patch: Patch, behind: bool = False) -> Surface:
    """Return the surface of the hair."""
    who = scene.identities
    ripple = Ripple(who.hair_ripple, who.hair_waves, who.hair_spikes, who.hair_phase)
    rippled = bool((who.hair_ripple > 0).any())
    return scene.shell(patch, who.hair_widen, who.hair_heighten, who.hair_rise, ripple if rippled else None, behind)


def _reach(scene: Scene) -> Tensor:
    who = scene.identities
    top = who.head_height * (who.hair_heighten + who.hair_rise.abs())
    return 1.15 * torch.maximum(top, who.head_width * 1.2 * who.hair_widen) * scene.head.size * (1 + who.hair_ripple)


def paint_hair_behind(scene: Scene) -> None:
    """Paint the far half of the hair, in its shade."""
    who = scene.identities
    with scene.canvas.window(scene.rows_N, scene.head.centre_N2, _reach(scene)) as patch:
        surface = hair_shell(scene, patch, behind=True)
        nape_NHW = (_skull_height(scene, patch, surface) - patch.on(who.hairline_nape)) * patch.on(scene.head.size)
        strip_NHW = (surface.x_NHW.abs() - patch.on(who.hair_strip)) * patch.on(scene.head.size)
        distance_NHW = torch.maximum(torch.maximum(surface.distance_NHW, nape_NHW), strip_NHW)
        patch.fill(who.hair_shadow_N3, distance_NHW, 1.0, scene.outline())


def paint_long_hair(scene: Scene) -> None:
    """Paint the hair that falls behind the shoulders."""
    who, size = scene.identities, scene.head.size
    zero = torch.zeros_like(size)
    top_N2, _ = scene.head.project(torch.stack((zero, zero - 0.1, zero - 0.35), -1))
    swing = 0.35 * torch.sin(scene.poses.roll_rad)
    ends_N2 = top_N2 + size[:, None] * torch.stack((swing * who.hair_length, who.hair_length), -1)
    middle_N2, reach = 0.5 * (top_N2 + ends_N2), (0.5 * who.hair_length + 1.75) * size
    with scene.canvas.window(scene.rows_N, middle_N2, reach) as patch:
        on = patch.on
        distance_NHW = capsule(patch, top_N2, ends_N2, who.hair_widen * who.head_width * size, who.hair_spread * size)
        down_NHW = (patch.y_NH1 - on(top_N2[:, 1])) / on(size)
        wave_NHW = torch.sin(down_NHW * on(who.hair_curl_pitch) + on(who.hair_phase))
        distance_NHW = distance_NHW + wave_NHW * on(who.hair_curl * size)
        alpha_NHW = patch.fill(who.hair_shadow_N3, distance_NHW, 1.0, scene.outline())
        tips_NHW = ((down_NHW - on(0.35 * who.hair_length)) / on(who.hair_length)).clamp_(0.0, 1.0)
        patch.paint(who.hair_tips_N3, tips_NHW * alpha_NHW * on(who.hair_tips_strength))


def _skull_height(scene: Scene, patch: Patch, surface: Surface) -> Tensor:
    """Return the height on the skull under each place of the hair: hairlines stay where they are in big hair."""
    return surface.y_NHW * patch.on(scene.identities.hair_heighten) - patch.on(scene.identities.hair_rise)


def hairline(scene: Scene, patch: Patch, surface: Surface) -> Tensor:
    """Return height_NHW, down to which hair grows: its front, its sides over the ears, its nape, and its fringe."""
    who, on = scene.identities, patch.on
    around_NHW = surface.around()
    x_NHW = surface.x_NHW
    sides_NHW = ((on(who.hairline_corner) - around_NHW) * 4.0).clamp_(0.0, 1.0)
    nape_NHW = ((-0.15 - around_NHW) * 3.0).clamp_(0.0, 1.0)
    parted_NHW = (x_NHW - on(who.parting)).abs_()
    front_NHW = on(who.hairline_front) + on(who.hairline_slope) * x_NHW + on(who.hairline_curtain) * parted_NHW
    phase_NHW = x_NHW * on(who.fringe_waves) + on(who.hair_phase)
    locks_NHW = torch.lerp(torch.cos(6.2832 * phase_NHW), triangle_wave(phase_NHW), on(who.fringe_sharpness))
    front_NHW = front_NHW + on(who.fringe_depth) * locks_NHW
    height_NHW = torch.lerp(front_NHW, on(who.hairline_side), sides_NHW)
    return height_NHW.lerp_(on(who.hairline_nape), nape_NHW)


def paint_hair(scene: Scene) -> None:
    """Paint the near half of the hair: its mass, shade, strands, gleam and parting."""
    who, size = scene.identities, scene.head.size
    with scene.canvas.window(scene.rows_N, scene.head.centre_N2, _reach(scene)) as patch:
        on = patch.on
        surface = hair_shell(scene, patch)
        height_NHW = _skull_height(scene, patch, surface)
        inside_NHW = height_NHW - hairline(scene, patch, surface)
        crown_NHW = on(who.hair_crown) - height_NHW
        inside_NHW = torch.maximum(inside_NHW, torch.minimum(crown_NHW, surface.z_NHW + 0.3))
        inside_NHW = torch.maximum(inside_NHW, surface.x_NHW.abs() - on(who.hair_strip))
        alpha_NHW = patch.cover_any(inside_NHW).mul_(patch.cover(surface.distance_NHW))
        patch.paint(who.hair_colour_N3, alpha_NHW)
        # Strands run from the parting down.
        strand_NHW = (surface.x_NHW - on(who.parting)) * on(who.strand_waves) * (1.4 + surface.y_NHW)
        strand_NHW = torch.sin(strand_NHW.add_(on(who.hair_phase)))
        strand_NHW.add_(torch.sin(strand_NHW * 2.0 + surface.y_NHW * 5.0) * 0.5).clamp_(0.0, 1.0)
        patch.paint(who.hair_shadow_N3, strand_NHW * alpha_NHW * on(who.strand_strength))
        gleam_NHW = (surface.normal_y_NHW + 0.62 + 0.12 * strand_NHW).mul_(5.0).square_().neg_().add_(1.0).clamp_(min=0)
        gleam_NHW.mul_(((surface.normal_x_NHW * on(who.light_x.sign())) + 0.35).clamp_(0.0, 0.7))
        patch.paint(who.hair_gleam_N3, gleam_NHW.mul_(alpha_NHW).mul_(on(who.gleam_strength)))
        shade(scene, patch, surface, who.hair_shadow_N3, alpha_NHW)
        part_NHW = patch.stroke((surface.x_NHW - on(who.parting)) * on(size), 0.03 * size)
        part_NHW.mul_(((-0.35 - surface.y_NHW) * 5.0).clamp_(0.0, 1.0)).mul_(alpha_NHW)
        patch.paint(who.hair_shadow_N3, part_NHW.mul_(on(who.parting_strength)))
        outline = scene.outline()
        if outline.any:
            thin = outline.width / size
            edge_NHW = alpha_NHW - patch.cover(surface.distance_NHW + on(outline.width))
            rim_NHW = patch.cover_any(inside_NHW.abs() - on(0.6 * thin)) * alpha_NHW
            edge_NHW = torch.maximum(edge_NHW.clamp_(min=0.0), rim_NHW * on((thin > 0).float()))
            patch.paint(who.hair_colour_N3 * outline.tone, edge_NHW)


def bun_places(scene: Scene) -> list[Tensor]:
    """Return the places of buns and tails: one at the given angle, its mirror image for those that have two."""
    who = scene.identities
    return [
        torch.stack((side * who.bun_x, who.bun_y, who.bun_z), -1)
        for side in ((1.0, -1.0) if bool(who.bun_pair.any()) else (1.0,))
    ]


def paint_buns_behind(scene: Scene) -> None:
    """Paint buns and tails before the head is."""
    _paint_buns(scene, near=False)


def paint_buns_before(scene: Scene) -> None:
    """Paint those that have come to the front over the hair."""
    _paint_buns(scene, near=True)


def _paint_buns(scene: Scene, near: bool) -> None:
    who, size = scene.identities, scene.head.size
    for index, place_N3 in enumerate(bun_places(scene)):
        from_N2, depth = scene.head.project(place_N3)
        swing = torch.stack((-0.6 * torch.sin(scene.poses.roll_rad), torch.ones_like(size)), -1)
        side = torch.sign(from_N2[:, 0] - scene.head.centre_N2[:, 0])
        flare = torch.stack((side * who.tail_flare, torch.zeros_like(size)), -1)
        to_N2 = from_N2 + (size * who.tail_length)[:, None] * (swing + flare)
        shown = torch.ones_like(size) if index == 0 else who.bun_pair
        if near:
            shown = shown * (depth * 8.0).clamp(0.0, 1.0)
        reach = (who.bun_size + 0.75 * who.tail_length + 0.1) * size
        with scene.canvas.window(scene.rows_N, 0.5 * (from_N2 + to_N2), reach) as patch:
            on = patch.on
            radius = who.bun_size * size
            distance_NHW = capsule(patch, from_N2, to_N2, radius, radius * who.tail_taper)
            alpha_NHW = patch.cover(distance_NHW) * on(shown)
            dark_N3 = torch.where((who.outline_width > 0)[:, None], who.hair_colour_N3 * 0.42, who.hair_shadow_N3)
            patch.paint(dark_N3, alpha_NHW)
            line = torch.maximum(who.outline_width, torch.full_like(size, 0.02)) * size
            patch.paint(who.hair_colour_N3, patch.cover(distance_NHW + on(line)) * on(shown))
            x_NHW = (patch.x_N1W - on(from_N2[:, 0])) / on(radius)
            y_NHW = (patch.y_NH1 - on(from_N2[:, 1])) / on(radius)
            strand_NHW = torch.sin(x_NHW * 5.0 + y_NHW * 2.0 + on(who.hair_phase)).clamp_(0.0, 1.0)
            patch.paint(who.hair_shadow_N3, strand_NHW * alpha_NHW * on(who.strand_strength))
            band_NHW = ellipse(x_NHW, y_NHW + 0.75, on(torch.full_like(size, 0.5)), on(torch.full_like(size, 0.22)))
            tie = shown * (who.tail_length > 0.3)
            patch.paint(who.tie_colour_N3, patch.cover(band_NHW, radius) * on(tie))


def paint_locks(scene: Scene) -> None:
    """Paint locks that frame the face and fall before the shoulders."""
    who, size = scene.identities, scene.head.size
    zero = torch.zeros_like(size)
    for side in (-1.0, 1.0):
        root_N3 = torch.stack((zero + side * 0.93 * who.hair_widen, zero - 0.25, zero + 0.15), -1)
        tip_N3 = torch.stack((zero + side * 0.9 * who.hair_widen, who.lock_length, zero + 0.1), -1)
        from_N2, depth = scene.head.project(root_N3)
        to_N2, _ = scene.head.project(tip_N3)
        to_N2 = to_N2 - torch.stack((0.5 * torch.sin(scene.poses.roll_rad) * size * who.lock_length, zero), -1)
        reach = 0.5 * (to_N2 - from_N2).norm(dim=-1) + (who.lock_width + 0.1) * size
        with scene.canvas.window(scene.rows_N, 0.5 * (from_N2 + to_N2), reach) as patch:
            on = patch.on
            distance_NHW = capsule(patch, from_N2, to_N2, who.lock_width * size, 0.6 * who.lock_width * size)
            down_NHW = (patch.y_NH1 - on(from_N2[:, 1])) / on(size)
            wave_NHW = torch.sin(down_NHW * on(who.hair_curl_pitch) + on(who.hair_phase + side))
            distance_NHW = distance_NHW + wave_NHW * on(0.7 * who.hair_curl * size)
            shown_NHW = on((depth * 6.0 + 1.3).clamp(0.0, 1.0))
            alpha_NHW = patch.cover(distance_NHW) * shown_NHW
            patch.paint(who.hair_colour_N3, alpha_NHW)
            tips_NHW = ((down_NHW - 0.2) / on(who.lock_length + 0.3)).clamp_(0.0, 1.0)
            patch.paint(who.hair_tips_N3, tips_NHW * alpha_NHW * on(who.hair_tips_strength))
            line = torch.maximum(who.outline_width, torch.full_like(size, 0.015)) * size
            edge_NHW = alpha_NHW - patch.cover(distance_NHW + on(line)) * shown_NHW
            dark_N3 = torch.where((who.outline_width > 0)[:, None], who.hair_colour_N3 * 0.42, who.hair_shadow_N3)
            patch.paint(dark_N3, edge_NHW.clamp_(min=0.0) * (down_NHW > 0.12))


def paint_beard(scene: Scene) -> None:
    """Paint a beard on a shell around the jaw, full, at the chin only, or stubble."""
    who, size = scene.identities, scene.head.size
    with scene.canvas.window(scene.rows_N, scene.head.centre_N2, (1.5 + who.beard_length) * size) as patch:
        on = patch.on
        ripple = Ripple(who.beard_ripple, torch.full_like(size, 22.0), torch.full_like(size, 0.5), who.hair_phase)
        surface = scene.shell(
            patch, 1.02 + 0.2 * who.beard_length, 1.02 + who.beard_length, -0.5 * who.beard_length, ripple
        )
        x2_NHW = surface.x_NHW.square()
        # From the side burns down the cheeks, then under the mouth corners to the middle.
        top_NHW = on(who.beard_top) - on(who.beard_top + 0.15) * (x2_NHW * 1.15).square_()
        inside_NHW = torch.maximum(top_NHW - surface.y_NHW, -0.1 - surface.z_NHW)
        # One at the chin only is round.
        tuft_NHW = ellipse(surface.x_NHW, surface.y_NHW - 1.0, on(who.beard_width), on(1.02 - who.beard_top))
        inside_NHW = torch.where(on(who.beard_width) < 1.0, tuft_NHW, inside_NHW)
        alpha_NHW = patch.cover_any(inside_NHW).mul_(patch.cover(surface.distance_NHW))
        alpha_NHW.mul_(on(who.beard_strength))
        patch.paint(who.beard_colour_N3, alpha_NHW)
        strand_NHW = torch.sin(surface.x_NHW * 26.0 + torch.sin(surface.y_NHW * 19.0) * 1.5).clamp_(min=0.0)
        patch.paint(who.beard_colour_N3 * 0.7, strand_NHW * alpha_NHW * 0.5)


def paint_moustache(scene: Scene) -> None:
    """Paint a moustache between nose and mouth; it rides on the upper lip."""
    who, pose = scene.identities, scene.poses
    latitude = who.mouth_latitude - 0.06 - who.lip_upper - 0.4 * who.moustache_size - 0.03 * pose.mouth_open
    sticker = scene.sticker(torch.zeros_like(latitude), latitude, 1.03)
    with scene.canvas.window(
        scene.rows_N, sticker.centre_N2, (who.moustache_width * 1.5 + 0.1) * scene.head.size
    ) as patch:
        on = patch.on
        x_NHW, y_NHW = sticker.local(patch)
        s_NHW = (x_NHW.abs() / on(who.moustache_width)).clamp_(max=1.3)
        middle_NHW = on(who.moustache_curl) * (s_NHW.square() - 0.3) - on(0.12 * pose.smile) * s_NHW.square()
        half_NHW = on(who.moustache_size) * (1.0 - s_NHW.square()) * (0.55 + 1.2 * s_NHW * (1.0 - 0.5 * s_NHW))
        distance_NHW = (y_NHW - middle_NHW).abs_().sub_(half_NHW)
        patch.paint(who.beard_colour_N3, patch.cover(distance_NHW, sticker.unit) * face_mask(scene, patch))
