"""Who avatars may be: the distribution that identities are drawn from, part by part.

Each function fills in one part of the record, given what is there already: a hat presses the hair down, brows take
the colour of the hair. `avatar_wardrobe` dresses them and puts them before a background.

Shapes: N avatars, 3 = RGB. No suffix: one number an avatar.
"""

import torch

from model.data.avatar_dice import Dice, where
from model.data.avatar_hairstyles import HAIR_COLOURS, style_hair, tie_hair
from model.data.avatar_identities import AvatarIdentities
from model.data.avatar_packing import bare_identities
from model.data.avatar_wardrobe import dress, furnish, hat

_SKINS = "#fbe3d3 #f6d2b8 #f1c7a3 #e8b48a #dca276 #c98d5f #b5784b #9c6440 #7f4e31 #643b25"
_DARK_SKINS = "#8d5a3a #6f452d #573521 #50321f #f9dccb #e3b18c"
_FANTASY_SKINS = "#8fc98a #7fb6dd #b59ae0 #e58fb0 #8fd8cf #d9d26a #a9b4bd #e8795f #6f86d6 #f0f0ee"
_IRISES = "#3a2416 #5b371d #7c5127 #8c7434 #5f7d3d #3f8a5d #3f7fa8 #6ea7cf #7d8b96 #94a7b5"
_ODD_IRISES = "#b03fc0 #d9a521 #d64545 #20b0a0 #5a4fd0"
_LIPS = "#b8504f #c9656a #a63c4a #8c3340 #d4808a #7a2f3a #cf4030 #d55b8d #8f4a7c"


_PALE_LIPS = torch.tensor([0.85, 0.55, 0.5])


def sample_identities(count: int, generator: torch.Generator) -> AvatarIdentities:
    """Draw the looks of `count` avatars. The generator is on the CPU; so are the parameters."""
    dice = Dice(count, generator)
    who = bare_identities(count)
    for part in _PARTS:
        who = part(who, dice)
    return who


def _style(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    outlined = dice.chance(0.35)
    return who._replace(
        outline_width=outlined * dice.uniform(0.025, 0.05),
        light_x=dice.uniform(0.25, 0.75) * dice.among([-1.0, 1.0]),
        light_y=dice.uniform(-0.75, -0.3),
        shade_level=dice.uniform(-0.1, 0.25),
        shade_softness=where(dice.chance(0.4), dice.uniform(0.04, 0.1), dice.uniform(0.4, 1.0)),
        shade_strength=dice.uniform(0.35, 0.85),
    )


def _skull(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    kind = dice.choice([0.5, 0.3, 0.2])
    skin_N3 = where(
        kind == 0, dice.palette(_SKINS), where(kind == 1, dice.palette(_DARK_SKINS), dice.palette(_FANTASY_SKINS))
    )
    tint_N3 = torch.stack((dice.uniform(0.62, 0.8), dice.uniform(0.5, 0.64), dice.uniform(0.5, 0.72)), -1)
    freckled = dice.chance(0.18)
    return who._replace(
        head_size=dice.uniform(0.92, 1.08),
        head_width=dice.normal(0.98, 0.05),
        head_height=dice.normal(1.13, 0.075),
        head_taper=dice.normal(-0.07, 0.075),
        head_squareness=dice.normal(0.05, 0.07),
        head_cheeks=dice.normal(0.0, 0.05),
        skin_colour_N3=skin_N3,
        shadow_colour_N3=skin_N3 * tint_N3,
        blush_strength=dice.chance(0.45) * dice.uniform(0.25, 0.8),
        blush_colour_N3=torch.lerp(skin_N3, dice.palette("#e8604f #e85a7a #d9483b"), 0.7),
        freckle_pitch=freckled * dice.uniform(0.08, 0.15),
        freckle_seed=dice.uniform(0.0, 100.0),
        freckle_colour_N3=skin_N3 * torch.tensor([0.62, 0.45, 0.38]),
    )


def _ears(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    pointed = dice.chance(0.13)
    metal_N3 = dice.palette("#e7c35a #d9dde2 #c97f52 #3fb3a6 #d9475c #f4efe6")
    drop = where(dice.chance(0.4), dice.uniform(0.12, 0.35), torch.zeros(dice.count))
    return who._replace(
        ear_size=dice.uniform(0.16, 0.32),
        ear_latitude=dice.uniform(-0.08, 0.16),
        ear_point=pointed * dice.uniform(0.35, 1.0),
        earring_size=dice.chance(0.25) * dice.uniform(0.05, 0.13),
        earring_drop=drop,
        earring_hoop=dice.chance(0.4),
        earring_colour_N3=metal_N3,
    )


def _eyes(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    odd = dice.chance(0.15)
    width = dice.uniform(0.16, 0.27)
    height = width * dice.uniform(0.6, 1.25)
    painted_N3 = dice.colour((0.3, 0.7), (0.4, 0.85))
    lid_N3 = torch.lerp(who.skin_colour_N3, who.shadow_colour_N3, 0.45)
    return who._replace(
        eye_dots=dice.chance(0.1),
        eye_spacing=(width + dice.uniform(0.16, 0.27)).clamp(0.34, 0.54),
        eye_latitude=dice.uniform(-0.1, 0.1),
        eye_width=width,
        eye_height=height,
        eye_almond=where(dice.chance(0.5), dice.uniform(0.0, 0.15), dice.uniform(0.3, 0.9)),
        eye_slant=dice.normal(0.04, 0.09),
        eye_lid=where(dice.chance(0.6), dice.uniform(0.0, 0.12), dice.uniform(0.15, 0.42)),
        iris_size=(torch.minimum(width, height) * dice.uniform(0.52, 0.8)).clamp(0.085, 0.2),
        iris_colour_N3=where(odd, dice.palette(_ODD_IRISES), dice.palette(_IRISES)),
        pupil_size=dice.uniform(0.4, 0.62),
        pupil_slit=where(odd * dice.chance(0.5), torch.full((dice.count,), 0.4), torch.ones(dice.count)),
        lid_colour_N3=where(dice.chance(0.2), torch.lerp(who.skin_colour_N3, painted_N3, 0.6), lid_N3),
        lash_colour_N3=dice.palette("#1a1213 #2b1a18 #3a2320 #1b1b2a", 0.01),
        lash_weight=dice.uniform(0.03, 0.075),
        lash_length=dice.chance(0.35) * dice.uniform(0.07, 0.15),
    )


def _nose(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    # A button, a long one, a bulb, a line, nostrils only, an animal's.
    kind = dice.choice([0.3, 0.2, 0.17, 0.15, 0.1, 0.08])
    tables = {
        "size": ([0.1, 0.095, 0.17, 0.12, 0.12, 0.12], 0.16),
        "length": ([0.1, 0.36, 0.15, 0.25, 0.1, 0.03], 0.3),
        "lift": ([0.13, 0.26, 0.2, 0.14, 0.08, 0.12], 0.3),
        "bridge": ([0.7, 0.45, 0.75, 0.4, 0.7, 1.2], 0.2),
    }
    size, length, lift, bridge = (
        torch.tensor(values)[kind] * dice.uniform(1.0 - spread, 1.0 + spread) for values, spread in tables.values()
    )
    animal = (kind == 5).float()
    red_N3 = torch.lerp(who.skin_colour_N3, who.blush_colour_N3, dice.uniform(0.0, 0.55)[:, None])
    return who._replace(
        nose_size=size,
        nose_latitude=who.eye_latitude + dice.uniform(0.27, 0.38),
        nose_length=length,
        nose_lift=lift,
        nose_bridge=bridge,
        nose_wings=where(
            dice.chance(0.35) * ((kind == 1) | (kind == 2)), dice.uniform(0.7, 1.0), torch.zeros(dice.count)
        ),
        nose_fill=((kind != 3) & (kind != 4)).float(),
        nose_line=where(kind == 3, torch.ones(dice.count), dice.chance(0.35) * (kind != 4) * 0.8),
        nose_nostrils=where(kind == 4, torch.ones(dice.count), dice.chance(0.3) * ((kind == 1) | (kind == 2)) * 0.8),
        nose_gleam=((kind != 3) & (kind != 4)) * dice.uniform(0.1, 0.5),
        nose_colour_N3=where(animal, dice.palette("#2a2022 #4a2f2f #d98a92"), red_N3),
    )


def _mouth(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    # On dark skin the line of a mouth is hardly seen: lips show how it moves.
    luminance = who.skin_colour_N3.mean(1)
    lips = torch.maximum(dice.chance(0.55), (luminance < 0.42).float())
    painted_N3 = torch.lerp(dice.palette(_LIPS), who.skin_colour_N3, dice.uniform(0.0, 0.5)[:, None])
    return who._replace(
        mouth_size=dice.uniform(0.22, 0.44),
        mouth_latitude=(who.nose_latitude + who.nose_size + dice.uniform(0.17, 0.26)).clamp(0.5, 0.72),
        mouth_curve=dice.uniform(-0.1, 0.28),
        mouth_square=dice.uniform(0.0, 0.9),
        mouth_line=dice.uniform(0.03, 0.055),
        lip_upper=lips * dice.uniform(0.03, 0.08),
        lip_lower=lips * dice.uniform(0.045, 0.11),
        lip_colour_N3=where(luminance < 0.3, torch.lerp(painted_N3, _PALE_LIPS, 0.35), painted_N3),
        teeth_upper=where(dice.chance(0.75), dice.uniform(0.05, 0.11), torch.zeros(dice.count)),
        teeth_lower=dice.chance(0.3),
        teeth_gaps=dice.chance(0.35),
        teeth_fangs=dice.chance(0.1),
        teeth_buck=dice.chance(0.08),
    )


def _brows(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    dark_N3 = torch.minimum(who.hair_colour_N3 * 0.75, who.skin_colour_N3 * 0.6)
    return who._replace(
        brow_length=who.eye_width * dice.uniform(0.95, 1.35),
        brow_thickness=(1.0 - dice.chance(0.07)) * dice.uniform(0.05, 0.15),
        brow_curve=dice.uniform(0.0, 0.35),
        brow_taper=dice.uniform(0.0, 0.9),
        brow_height=dice.uniform(0.1, 0.19),
        brow_slant=dice.normal(0.05, 0.1),
        brow_colour_N3=where(dice.chance(0.8), dark_N3, who.hair_colour_N3 * 0.8),
    )


def _beard(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    # None, full, long, at the chin only, stubble.
    kind = dice.choice([0.76, 0.08, 0.05, 0.06, 0.05])
    strength = torch.tensor([0.0, 1.0, 1.0, 1.0, 0.3])[kind]
    beneath = torch.sin(who.nose_latitude + who.nose_size) + 0.04
    at_chin = torch.sin(who.mouth_latitude) + 0.13
    bushy = strength > 0.5
    return who._replace(
        # In a beard the mouth is seen by its lips.
        lip_upper=where(bushy, who.lip_upper.clamp(min=0.035), who.lip_upper),
        lip_lower=where(bushy, who.lip_lower.clamp(min=0.06), who.lip_lower),
        beard_strength=strength,
        beard_colour_N3=where(dice.chance(0.85), who.hair_colour_N3 * 0.85, dice.palette(HAIR_COLOURS)),
        beard_top=where(kind == 3, at_chin, beneath + dice.uniform(0.0, 0.12)),
        beard_width=where(kind == 3, dice.uniform(0.22, 0.4), torch.full((dice.count,), 3.0)),
        beard_length=torch.tensor([0.0, 0.1, 0.3, 0.12, 0.0])[kind] * dice.uniform(0.7, 1.3),
        beard_ripple=torch.tensor([0.0, 0.012, 0.03, 0.0, 0.0])[kind],
        moustache_width=dice.chance(where(kind > 0, torch.full((dice.count,), 0.55), torch.full((dice.count,), 0.07)))
        * dice.uniform(0.2, 0.42),
        moustache_size=dice.uniform(0.06, 0.13),
        moustache_curl=dice.uniform(-0.08, 0.16),
    )


_PARTS = (_style, _skull, _ears, _eyes, _nose, _mouth, style_hair, tie_hair, hat, _brows, _beard, dress, furnish)
