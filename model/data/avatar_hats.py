"""Hats: caps on a shell around the head, brims as flat rings in space, headbands and crowns.

A hat is made of four things, each of which may be missing: a dome (a shell above a height on the head), a band around
its edge, a brim, and a tassel. A crown or a headband is a band alone.

Shapes: N avatars, H W height and width, 2 = (x, y), 3 = RGB or (x, y, z). No suffix: one number an avatar.
Lengths: head units; heights on the sphere: -1 crown, 1 chin.
"""

import torch
from torch import Tensor

from model.data.avatar_canvas import Patch, capsule, ellipse, triangle_wave
from model.data.avatar_face import shade
from model.data.avatar_head import Scene, Surface


def _shell(scene: Scene, patch: Patch, behind: bool = False) -> Surface:
    who = scene.identities
    return scene.shell(patch, who.hat_widen, who.hat_heighten, who.hat_rise, None, behind)


def _window_reach(scene: Scene) -> Tensor:
    who = scene.identities
    dome = who.head_height * (who.hat_heighten + who.hat_rise)
    return 1.1 * torch.maximum(torch.maximum(dome, who.brim_size * who.head_width), who.hat_widen) * scene.head.size


def _edge(scene: Scene, patch: Patch, surface: Surface) -> Tensor:
    """Return height_NHW of the hat's lower edge, on its shell: it sits lower behind than in front."""
    who = scene.identities
    edge = (who.hat_edge + who.hat_rise) / who.hat_heighten
    return patch.on(edge) - surface.z_NHW * patch.on(who.hat_tilt)


def paint_hat_behind(scene: Scene) -> None:
    """Paint the inside of a crown's far wall, and the far half of a brim."""
    who = scene.identities
    if bool((who.brim_size > 0).any()):
        _paint_brim(scene, half=-1.0, around_dome=False)
    with scene.canvas.window(scene.rows_N, scene.head.centre_N2, _window_reach(scene)) as patch:
        surface = _shell(scene, patch, behind=True)
        alpha_NHW = _band(scene, patch, surface).mul_(patch.cover(surface.distance_NHW))
        patch.paint(who.hat_second_N3 * 0.55, alpha_NHW.mul_(patch.on(1.0 - who.hat_dome)))


def _band(scene: Scene, patch: Patch, surface: Surface) -> Tensor:
    """Return the coverage of the band, its upper edge cut into points for a crown."""
    who, on = scene.identities, patch.on
    edge_NHW = _edge(scene, patch, surface)
    around_NHW = torch.atan2(surface.x_NHW, surface.z_NHW).mul_(1.2732)
    points_NHW = triangle_wave(around_NHW + 0.5).mul_(on(-who.hat_points)).mul_(_off_pole(surface))
    upper_NHW = edge_NHW - on(who.hat_band) + points_NHW - surface.y_NHW
    return patch.cover_any(torch.maximum(surface.y_NHW - edge_NHW, upper_NHW))


def _off_pole(surface: Surface) -> Tensor:
    """Return 1, sinking to 0 at the top of the head, where all ways around it meet and a wave has no value."""
    return (surface.y_NHW.square().neg_().add_(1.0)).mul_(4.0).clamp_(0.0, 1.0)


def paint_hat(scene: Scene) -> None:
    """Paint dome, band and brim."""
    who, size = scene.identities, scene.head.size
    if bool((who.brim_size > 0).any()):
        _paint_brim(scene, half=1.0, around_dome=False)
    with scene.canvas.window(scene.rows_N, scene.head.centre_N2, _window_reach(scene)) as patch:
        on = patch.on
        surface = _shell(scene, patch)
        edge_NHW = _edge(scene, patch, surface)
        inside_NHW = patch.cover(surface.distance_NHW)
        dome = on(who.hat_dome)
        dome_NHW = patch.cover_any(surface.y_NHW - edge_NHW).mul_(inside_NHW).mul_(dome)
        patch.paint(who.hat_colour_N3, dome_NHW)
        ribs_NHW = torch.cos(torch.atan2(surface.x_NHW, surface.z_NHW) * on(who.hat_ribs))
        patch.paint(
            who.hat_colour_N3 * 0.7,
            ribs_NHW.sub_(0.3).clamp_(0.0, 0.7).mul_(_off_pole(surface)).mul_(dome_NHW).mul_(on(who.hat_rib_strength)),
        )
        rings_NHW = patch.cover_any(on(who.hat_ring_level) - torch.cos(surface.y_NHW * 16.0))
        patch.paint(who.hat_second_N3, rings_NHW.mul_(dome_NHW))
        shade(scene, patch, surface, who.hat_colour_N3 * 0.5, dome_NHW)
        band_NHW = _band(scene, patch, surface).mul_(inside_NHW)
        patch.paint(who.hat_second_N3, band_NHW)
        shade(scene, patch, surface, who.hat_second_N3 * 0.55, band_NHW)
        outline = scene.outline()
        if outline.any:
            all_NHW = torch.maximum(dome_NHW, band_NHW)
            line_NHW = all_NHW - all_NHW * patch.cover(surface.distance_NHW + on(outline.width))
            low_NHW = patch.cover((edge_NHW - surface.y_NHW) * on(size) - on(outline.width)) * all_NHW
            edges_NHW = torch.maximum(line_NHW, low_NHW).mul_(on((outline.width > 0).float()))
            patch.paint(who.hat_colour_N3 * outline.tone, edges_NHW)
    if bool((who.brim_size > 0).any()):
        _paint_brim(scene, half=1.0, around_dome=True)


def paint_tassel(scene: Scene) -> None:
    """Paint the ball on top of a hat."""
    who, size = scene.identities, scene.head.size
    zero = torch.zeros_like(size)
    top = torch.stack((zero, -who.hat_heighten - who.hat_rise - 0.6 * who.tassel_size, zero), -1)
    top_N2, _ = scene.head.project(top)
    radius = who.tassel_size * size
    with scene.canvas.window(scene.rows_N, top_N2, 1.3 * radius + 0.02) as patch:
        ball_NHW = capsule(patch, top_N2, top_N2, radius, radius)
        alpha_NHW = patch.fill(who.hat_second_N3, ball_NHW, 1.0, scene.outline())
        dark_NHW = ((patch.y_NH1 - patch.on(top_N2[:, 1])) / patch.on(radius)).clamp(0.0, 0.5)
        patch.paint(who.hat_second_N3 * 0.5, dark_NHW * alpha_NHW)


def _paint_brim(scene: Scene, half: float, around_dome: bool) -> None:
    """Paint half of a brim or a visor, a disc in space around the hat's edge that slopes forward.

    The far half (`half` -1) is painted before the head. The near half (1) goes under the dome, and again over it where
    the dome does not stand: so the order is right whichever side of the brim is seen.
    """
    who, size = scene.identities, scene.head.size
    zero = torch.zeros_like(size)
    slope = who.brim_slope
    across_N3 = torch.stack((zero + 1.0, zero, zero), -1)
    forward_N3 = torch.stack((zero, torch.sin(slope), torch.cos(slope)), -1)
    level = who.hat_edge
    place_N3 = torch.stack((zero, level + 0.02, zero + who.brim_forward), -1)
    disc = scene.fixed(place_N3, across_N3, forward_N3)
    around = (1.0 - level.square()).clamp(min=0.1).sqrt() * who.hat_widen
    with scene.canvas.window(scene.rows_N, disc.centre_N2, (who.brim_size + 0.1) * 1.2 * size) as patch:
        on, unit = patch.on, disc.unit
        x_NHW, y_NHW = disc.local(patch)
        wide = who.head_width * who.brim_size
        disc_NHW = ellipse(x_NHW, y_NHW, on(wide), on(who.brim_size * who.brim_depth))
        alpha_NHW = patch.cover(disc_NHW, unit) * on(1.0 * (who.brim_size > 0))
        from_axis_NHW = y_NHW + on(who.brim_forward)
        alpha_NHW = alpha_NHW * patch.cover(from_axis_NHW * -half - 0.01, unit)
        if around_dome:
            hole_NHW = ellipse(x_NHW, from_axis_NHW, on(around * who.head_width), on(around))
            alpha_NHW = alpha_NHW * patch.cover(-hole_NHW, unit)
        patch.paint(who.brim_colour_N3, alpha_NHW)
        rim_NHW = patch.stroke(disc_NHW + 0.02, torch.maximum(who.outline_width, zero + 0.03), unit)
        patch.paint(who.brim_colour_N3 * 0.6, rim_NHW * alpha_NHW)
