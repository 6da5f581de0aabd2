"""What is behind an avatar. It does not move with the pose.

Every background is a gradient; over it lies one of: nothing, a weave (stripes, checks, dots), rays, noise, soft lights.

Shapes: N avatars, H W height and width, 2 = (x, y), 3 = RGB, L lights or waves. No suffix: one number an avatar.
"""

import torch

from model.data.avatar_body import Weave
from model.data.avatar_head import Scene
from model.data.avatar_identities import NUM_LIGHTS, NUM_NOISE_WAVES


def paint_gradient(scene: Scene) -> None:
    """Paint two colours into each other, along a line or outward from a point."""
    who = scene.identities
    with scene.canvas.whole(scene.rows_N) as patch:
        on = patch.on
        linear_NHW = patch.x_N1W * on(0.5 * who.sky_x) + patch.y_NH1 * on(0.5 * who.sky_y)
        x_N1W, y_NH1 = patch.x_N1W - on(who.sky_x), patch.y_NH1 - on(who.sky_y)
        radial_NHW = (x_N1W.square() + y_NH1.square()).sqrt_().mul_(0.55).sub_(0.5)
        linear_NHW.lerp_(radial_NHW, on(who.sky_radial)).add_(0.5).clamp_(0.0, 1.0)
        device = linear_NHW.device
        first_N311, second_N311 = (c.to(device)[:, :, None, None] for c in (who.sky_first_N3, who.sky_second_N3))
        torch.lerp(first_N311, second_N311, linear_NHW[:, None], out=patch.frames_NCHW)


def paint_wallpaper(scene: Scene) -> None:
    """Paint stripes, checks or dots."""
    who = scene.identities
    with scene.canvas.whole(scene.rows_N) as patch:
        weave = Weave(*(getattr(who, f"wall_{name}") for name in Weave._fields))
        x_NHW, y_NHW = torch.broadcast_tensors(patch.x_N1W, patch.y_NH1)
        # A slow bend, so that not all walls are ruled.
        bent_NHW = x_NHW + torch.sin(y_NHW * 3.0) * patch.on(who.wall_bend)
        patch.paint(who.wall_colour_N3, weave.cover(patch, bent_NHW, y_NHW) * patch.on(who.wall_strength))


def paint_rays(scene: Scene) -> None:
    """Paint rays from a point, or rings around it."""
    who = scene.identities
    with scene.canvas.whole(scene.rows_N) as patch:
        on = patch.on
        x_N1W, y_NH1 = patch.x_N1W - on(who.sky_x * 0.6), patch.y_NH1 - on(who.sky_y * 0.6)
        angle_NHW = torch.atan2(y_NH1, x_N1W).mul_(on(who.ray_count))
        radius_NHW = (x_N1W.square() + y_NH1.square()).sqrt_()
        phase_NHW = torch.lerp(angle_NHW, radius_NHW * on(2.0 * who.ray_count), on(who.ray_rings))
        # The middle, where rays meet, is left out: there they are finer than any pixel.
        middle_NHW = ((radius_NHW - 0.05) * 8.0).clamp_(0.0, 1.0)
        wave_NHW = patch.cover_any(torch.sin(phase_NHW)).mul_(middle_NHW)
        patch.paint(who.wall_colour_N3, wave_NHW.mul_(on(who.wall_strength)))


def paint_noise(scene: Scene) -> None:
    """Paint a texture like clouds, marble or cloth: waves bent by waves."""
    who = scene.identities
    with scene.canvas.whole(scene.rows_N) as patch:
        on = patch.on
        value_NHW = None
        for wave in range(NUM_NOISE_WAVES):
            x, y, phase = who.noise_waves_NL3[:, wave].unbind(-1)
            angle_NHW = (patch.x_N1W * on(x)).add(patch.y_NH1 * on(y)).add_(on(phase))
            if value_NHW is None:
                value_NHW = torch.sin(angle_NHW)
            else:
                value_NHW.mul_(0.62).add_(torch.sin(angle_NHW.add_(value_NHW * 1.6)))
        assert value_NHW is not None
        patch.paint(who.wall_colour_N3, value_NHW.mul_(0.35).add_(0.4).clamp_(0.0, 1.0).mul_(on(who.wall_strength)))


def paint_lights(scene: Scene) -> None:
    """Paint soft discs, as a lens out of focus sees them."""
    who = scene.identities
    with scene.canvas.whole(scene.rows_N) as patch:
        on = patch.on
        for light in range(NUM_LIGHTS):
            x, y, radius = who.lights_NL3[:, light].unbind(-1)
            dx_N1W, dy_NH1 = patch.x_N1W - on(x), patch.y_NH1 - on(y)
            far_NHW = (dx_N1W.square() + dy_NH1.square()).sqrt_().sub_(on(radius))
            disc_NHW = (0.5 - far_NHW * on(1.0 / (who.light_blur + 0.012))).clamp_(0.0, 1.0)
            colour_N3 = who.wall_colour_N3 if light % 2 else who.wall_second_N3
            patch.paint(colour_N3, disc_NHW.mul_(on(who.wall_strength)))
