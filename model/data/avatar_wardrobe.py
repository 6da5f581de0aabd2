"""What avatars may wear, and before what they may stand: the second half of the distribution of identities.

Shapes: N avatars, L lights or waves, 3 = RGB or as said. No suffix: one number an avatar.
"""

import math

import torch

from model.data.avatar_body import Weave
from model.data.avatar_dice import Dice, where
from model.data.avatar_identities import NUM_LIGHTS, NUM_NOISE_WAVES, AvatarIdentities

_GOLD = "#e9bd3e #d9dbe0 #d98f4e #f1d06a"


def hat(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    """Put on a hat, a crown, a headband, headphones, an ornament, an animal's ears, or nothing."""
    count = dice.count
    # None, beanie, cap, wide brim, top hat, headband, crown, headphones, ornament, ears of an animal.
    kind = dice.choice([0.5, 0.09, 0.08, 0.07, 0.04, 0.05, 0.03, 0.04, 0.05, 0.05])
    worn = (kind >= 1) & (kind <= 6)
    dome = (kind >= 1) & (kind <= 4)
    pressed = dome | (kind == 7)
    # Under a hat the hair is flat, and what stands on top of the head goes.
    who = who._replace(
        hair_widen=where(
            pressed, who.hair_widen.clamp(max=1.12), where(worn, who.hair_widen.clamp(max=1.2), who.hair_widen)
        ),
        hair_heighten=where(
            pressed,
            who.hair_heighten.clamp(max=1.05),
            where(worn, who.hair_heighten.clamp(max=1.15), who.hair_heighten),
        ),
        hair_rise=where(worn | pressed, who.hair_rise.clamp(max=0.0), who.hair_rise),
        hair_ripple=where(pressed, who.hair_ripple.clamp(max=0.02), who.hair_ripple),
        hair_strip=where(worn, torch.full((count,), 3.0), who.hair_strip),
        bun_size=where((worn | pressed) * (who.bun_y < -0.3), torch.zeros(count), who.bun_size),
    )
    rise = torch.tensor([0.0, 0.06, 0.03, 0.1, 0.32, 0.0, 0.0, 0.0, 0.0, 0.0])[kind] * dice.uniform(0.8, 1.3)
    heighten = torch.tensor([0.0, 1.12, 1.1, 1.16, 1.34, 1.0, 1.0, 0.0, 0.0, 0.0])[kind]
    colour_N3 = where(
        dice.chance(0.35),
        dice.palette("#22252d #5b4636 #a88a63 #3c4a3a #e8e2d4"),
        dice.colour((0.35, 0.9), (0.35, 0.95)),
    )
    second_N3 = where(dice.chance(0.4), colour_N3 * 0.7, dice.colour((0.2, 0.9), (0.4, 1.0)))
    second_N3 = where(kind == 6, dice.palette(_GOLD), second_N3)
    brimmed = (kind >= 2) & (kind <= 4)
    brim = torch.tensor([0.0, 0.0, 1.0, 1.65, 1.4, 0.0, 0.0, 0.0, 0.0, 0.0])[kind] * dice.uniform(0.92, 1.1)
    # Cat, bear, rabbit, horns, antennae: root, tip, length, lean, place.
    beasts = torch.tensor(
        [[0.3, 0.04, 0.62, 0.16, 0.62], [0.28, 0.24, 0.3, 0.12, 0.66], [0.17, 0.15, 1.05, 0.12, 0.4],
         [0.15, 0.02, 0.6, 0.3, 0.55], [0.045, 0.1, 0.75, 0.25, 0.4]]
    )  # fmt: skip
    beast = dice.choice([0.35, 0.2, 0.15, 0.15, 0.15])
    root, tip, length, lean, place = beasts[beast].unbind(-1)
    is_beast = (kind == 9).float()
    fur_N3 = where(
        beast < 3,
        where(who.hair, who.hair_colour_N3, who.skin_colour_N3),
        dice.palette("#d9c8a0 #7a2a2a #4b4b55 #7fc06a"),
    )
    return who._replace(
        hat_widen=where(worn, torch.maximum(who.hair_widen + 0.05, torch.full((count,), 1.09)), torch.zeros(count)),
        hat_heighten=where(dome, heighten, who.hair_heighten + 0.05),
        hat_rise=rise,
        hat_edge=torch.tensor([0.0, -0.52, -0.55, -0.52, -0.6, -0.42, -0.55, 0.0, 0.0, 0.0])[kind]
        + dice.uniform(-0.04, 0.04),
        hat_tilt=torch.tensor([0.0, 0.12, 0.06, 0.06, 0.03, 0.06, 0.04, 0.0, 0.0, 0.0])[kind],
        hat_dome=dome.float(),
        hat_band=torch.tensor([0.0, 0.22, 0.0, 0.2, 0.18, 0.17, 0.26, 0.0, 0.0, 0.0])[kind] * dice.uniform(0.8, 1.25),
        hat_points=(kind == 6) * dice.uniform(0.08, 0.16),
        hat_ribs=where(kind == 1, dice.uniform(14.0, 22.0).round(), torch.full((count,), 6.0)),
        hat_rib_strength=((kind == 1) | (kind == 2)) * dice.uniform(0.2, 0.6),
        hat_ring_level=where((kind == 1) * dice.chance(0.4), dice.uniform(0.1, 0.6), torch.full((count,), 3.0)),
        hat_colour_N3=colour_N3,
        hat_second_N3=second_N3,
        brim_size=brim * brimmed,
        brim_depth=where(kind == 2, torch.full((count,), 0.62), torch.full((count,), 0.95)),
        brim_forward=where(kind == 2, torch.full((count,), 0.88), torch.zeros(count)),
        brim_slope=where(kind == 2, dice.uniform(0.3, 0.5), dice.uniform(0.16, 0.3)),
        brim_colour_N3=where((kind == 2) * dice.chance(0.5), second_N3, colour_N3 * 0.92),
        tassel_size=(kind == 1) * dice.chance(0.5) * dice.uniform(0.16, 0.26),
        headphones=(kind == 7).float(),
        ornament_size=(kind == 8) * dice.uniform(0.26, 0.42),
        ornament_longitude=dice.uniform(0.35, 0.8) * dice.among([-1.0, 1.0]),
        ornament_bow=dice.chance(0.5),
        ornament_colour_N3=dice.colour((0.5, 0.95), (0.6, 1.0)),
        top_ear_root=is_beast * root,
        top_ear_tip=tip * dice.uniform(0.8, 1.2),
        top_ear_length=length * dice.uniform(0.85, 1.15),
        top_ear_lean=lean * dice.uniform(0.3, 1.5),
        top_ear_x=place,
        top_ear_colour_N3=fur_N3,
        top_ear_inner_N3=where(beast < 3, dice.palette("#f0a9b0 #d98a8a #e8c4b0"), fur_N3 * 1.0),
    )


def dress(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    """Put on clothes and glasses."""
    who = _glasses(who, dice)
    count, zeros = dice.count, torch.zeros(dice.count)
    # T-shirt, pointed neckline, shirt, shirt and tie, roll neck, scarf, jacket over a shirt.
    kind = dice.choice([0.28, 0.14, 0.16, 0.1, 0.1, 0.08, 0.14])
    dull_N3 = dice.palette("#23262e #3d4a63 #6b705c #7d3f3f #e9e4d8 #c9b79a #59687a #f4f4f2")
    colour_N3 = where(dice.chance(0.35), dull_N3, dice.colour((0.25, 0.9), (0.35, 0.95)))
    second_N3 = where(dice.chance(0.5), torch.lerp(colour_N3, torch.ones(3), 0.6), dice.colour((0.1, 0.8), (0.2, 1.0)))
    patterned = dice.chance(0.45)
    weave = _weave(dice, 1.1, 2.6)
    jacket = kind == 6
    plain = (kind == 3) | (kind == 4) | jacket
    return who._replace(
        neck_length=dice.uniform(0.12, 0.34),
        neck_width=dice.uniform(0.34, 0.5),
        shoulder_width=dice.uniform(1.25, 2.05),
        shoulder_slope=dice.uniform(0.05, 0.22),
        shoulder_round=dice.uniform(0.35, 0.8),
        clothes_colour_N3=colour_N3,
        clothes_second_N3=second_N3,
        clothes_third_N3=where(
            dice.chance(0.4), dice.palette("#f4f2ec #dfe6ee #2c2f38"), dice.colour((0.1, 0.8), (0.3, 1.0))
        ),
        trim_colour_N3=where((kind == 2) | (kind == 3), dice.palette("#f4f2ec #dfe8f2 #f2dede"), second_N3),
        trim_width=where((kind <= 1) * dice.chance(0.7), dice.uniform(0.05, 0.12), zeros),
        collar_width=dice.uniform(0.46, 0.62),
        collar_depth=where(kind == 1, dice.uniform(0.3, 0.5), dice.uniform(0.16, 0.32)),
        collar_point=((kind == 1) | (kind == 2) | (kind == 3)).float(),
        sleeve_seam=where((kind <= 1) * dice.chance(0.2), dice.uniform(0.7, 0.95), zeros + 9.0),
        jacket_gap=jacket * dice.uniform(0.7, 1.2),
        emblem_size=where((kind <= 1) * (1.0 - patterned) * dice.chance(0.4), dice.uniform(0.16, 0.34), zeros),
        emblem_x=dice.among([0.0, 0.0, 0.45, -0.45]),
        flaps=((kind == 2) | (kind == 3)).float(),
        tie=(kind == 3).float(),
        tie_colour_N3=dice.colour((0.5, 0.95), (0.35, 0.9)),
        scarf=(kind == 5).float(),
        roll_neck=(kind == 4).float(),
        **{f"weave_{name}": value for name, value in weave._asdict().items()},
    )._replace(weave_level=where(patterned * ~plain, weave.level, torch.full((count,), 3.0)))


def _weave(dice: Dice, low: float, high: float) -> Weave:
    """Return patterns with this many waves per unit, at least and at most."""
    # Level stripes, upright stripes, slanting stripes, checks, dots, crossed lines.
    kind = dice.choice([0.2, 0.12, 0.15, 0.18, 0.2, 0.15])
    turn = torch.tensor([0.5, 0.0, 0.25, 0.0, 0.125, 0.0])[kind] * math.pi
    turn = where(kind == 2, turn * dice.among([-1.0, 1.0]) * dice.uniform(0.6, 1.2), turn)
    turn = where((kind == 3) * dice.chance(0.5), turn + math.pi / 4, turn)
    waves = dice.uniform(low, high)
    first = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0, 1.0])[kind]
    second = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 1.0])[kind]
    both = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0, -1.0])[kind]
    level = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.95, 0.75])[kind] + where(
        kind < 3, dice.uniform(-0.4, 0.75), 0.0 * waves
    )
    x1, y1 = waves * torch.cos(turn), waves * torch.sin(turn)
    return Weave(x1, y1, -y1, x1, first, second, both, level)


def _glasses(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    # Round, rectangular, drop-shaped, narrow.
    kind = dice.choice([0.35, 0.3, 0.2, 0.15])
    lens_x = torch.maximum(who.eye_width * dice.uniform(1.2, 1.5), torch.full((dice.count,), 0.2))
    share = torch.tensor([1.0, 0.75, 0.85, 0.55])[kind] * dice.uniform(0.92, 1.1)
    dark = dice.chance(0.22)
    return who._replace(
        frame_width=dice.chance(0.24) * dice.uniform(0.035, 0.085),
        frame_colour_N3=where(
            dice.chance(0.55),
            dice.palette("#1c1a1d #3a2519 #8a6a3c #b9bcc2"),
            dice.colour((0.4, 0.9), (0.3, 0.9)),
        ),
        lens_colour_N3=where(dark, dice.palette("#16181d #3a2a1c #1f2f45 #5a2340"), dice.palette("#dcecf5 #f2e6c8")),
        lens_tint=where(dark, dice.uniform(0.7, 0.9), dice.uniform(0.08, 0.25)),
        lens_x=lens_x,
        lens_y=lens_x * share,
        lens_round=torch.tensor([1.0, 0.35, 0.75, 0.8])[kind],
        lens_slant=torch.tensor([0.0, 0.0, 0.1, 0.05])[kind] * dice.uniform(0.0, 2.0),
        lens_longitude=torch.maximum(who.eye_spacing, lens_x + 0.06),
        half_rim=dice.chance(0.2),
    )


def furnish(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    """Put up a background."""
    base_N3 = where(dice.chance(0.6), dice.colour((0.1, 0.5), (0.6, 0.98)), dice.colour((0.2, 0.8), (0.15, 0.7)))
    angle = dice.uniform(0.0, 2.0 * math.pi)
    second_N3 = where(dice.chance(0.5), base_N3 * dice.uniform(0.5, 0.9)[:, None], dice.colour((0.1, 0.7), (0.3, 1.0)))
    contrast_N3 = where(dice.chance(0.5), dice.colour((0.1, 0.8), (0.3, 1.0)), torch.lerp(base_N3, torch.ones(3), 0.5))
    wave_length_NL = dice.shares(NUM_NOISE_WAVES) * 3.0 + torch.linspace(1.0, 8.0, NUM_NOISE_WAVES)
    turn_NL, phase_NL = (2.0 * math.pi * dice.shares(NUM_NOISE_WAVES) for _ in range(2))
    noise_NL3 = torch.stack((wave_length_NL * torch.cos(turn_NL), wave_length_NL * torch.sin(turn_NL), phase_NL), -1)
    lights_NL3 = dice.shares(NUM_LIGHTS, 3) * torch.tensor([2.2, 2.2, 0.4]) + torch.tensor([-1.1, -1.1, 0.08])
    return who._replace(
        sky_first_N3=base_N3,
        sky_second_N3=second_N3,
        sky_x=torch.cos(angle),
        sky_y=torch.sin(angle),
        sky_radial=dice.chance(0.35),
        wall=dice.choice([0.22, 0.3, 0.13, 0.17, 0.18]).float(),
        wall_colour_N3=contrast_N3,
        wall_second_N3=dice.colour((0.1, 0.7), (0.4, 1.0)),
        wall_strength=dice.uniform(0.2, 0.8),
        wall_bend=dice.chance(0.25) * dice.uniform(-0.3, 0.3),
        ray_count=dice.uniform(5.0, 13.0).round(),
        ray_rings=dice.chance(0.35),
        noise_waves_NL3=noise_NL3,
        lights_NL3=lights_NL3,
        light_blur=where(dice.chance(0.5), dice.uniform(0.0, 0.05), dice.uniform(0.1, 0.4)),
        **{f"wall_{name}": value for name, value in _weave(dice, 1.2, 3.6)._asdict().items()},
    )
