"""Styles of hair, and the distribution that they are drawn from.

Shapes: N avatars, V styles, F fields of a style, 3 = RGB or (x, y, z). No suffix: one number an avatar.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.data.avatar_dice import Dice, where
from model.data.avatar_identities import AvatarIdentities

HAIR_COLOURS = "#17120f #2a1b14 #3f281b #5a3822 #7a4c2a #9c6a38 #c79a55 #e3c27f #a3431f #c4602d"
_BRIGHT_HAIRS = "#d9d6d0 #9a9a9a #d64a7b #3f7fd1 #46a96c #7d4fc0 #e0574a #35b5b8 #f2b8d0 #f0e6c0"


class HairStyle(NamedTuple):
    """A style of hair: fields of `AvatarIdentities` that make its form, before they are varied."""

    hair_widen: float = 1.06
    hair_heighten: float = 1.07
    hair_rise: float = 0.02
    hairline_front: float = -0.56
    hairline_corner: float = 0.5
    hairline_side: float = -0.1
    hairline_nape: float = 0.55
    hairline_slope: float = 0.0
    hairline_curtain: float = 0.0
    fringe_depth: float = 0.0
    fringe_waves: float = 2.0
    fringe_sharpness: float = 0.0
    hair_ripple: float = 0.0
    hair_waves: float = 14.0
    hair_spikes: float = 0.0
    hair_crown: float = -3.0
    hair_strip: float = 3.0


_HAIR_STYLES = (
    HairStyle(),  # short
    HairStyle(hairline_front=-0.48, fringe_depth=0.07, fringe_waves=2.6, fringe_sharpness=1.0),  # cropped fringe
    HairStyle(hairline_front=-0.56, hairline_slope=0.3, hair_rise=0.05, hair_heighten=1.1),  # side parting
    HairStyle(hairline_front=-0.8, hairline_curtain=0.62, hairline_side=0.3, hairline_corner=0.42),  # curtains
    HairStyle(1.15, 1.1, 0.03, -0.45, 0.45, 0.72, 0.85, fringe_depth=0.03, fringe_waves=3.0),  # bob
    HairStyle(1.42, 1.38, 0.16, -0.58, 0.5, 0.12, 0.75, hair_ripple=0.03, hair_waves=19.0),  # afro
    HairStyle(1.17, 1.17, 0.05, -0.54, 0.5, 0.02, 0.6, fringe_depth=0.06, fringe_waves=2.2, hair_ripple=0.05),  # curls
    HairStyle(1.1, 1.2, 0.08, -0.5, 0.5, -0.1, 0.5, 0.0, 0.0, 0.1, 2.4, 1.0, 0.12, 9.0, 1.0),  # spikes
    HairStyle(
        1.1, 1.32, 0.12, -0.62, 0.1, -0.6, 0.6, hair_ripple=0.07, hair_waves=11.0, hair_spikes=1.0, hair_strip=0.26
    ),
    HairStyle(1.04, 1.03, 0.0, -0.9, 0.45, -0.02, 0.6, hair_crown=-0.5),  # a ring around a bald head
    HairStyle(1.04, 1.05, 0.01, -0.78, 0.62, -0.08, 0.55, hairline_curtain=-0.3),  # receding
    HairStyle(1.15, 1.1, 0.02, -0.4, 0.42, 0.02, 0.6, fringe_depth=0.02, fringe_waves=4.0),  # bowl
    HairStyle(
        1.06, 1.26, 0.12, -0.6, 0.5, -0.15, 0.5, fringe_depth=0.04, fringe_waves=1.6, fringe_sharpness=0.5
    ),  # quiff
    HairStyle(1.07, 1.09, 0.03, -0.52, 0.46, 0.15, 0.6, 0.6, 0.0, 0.03, 3.0, 1.0),  # pixie
    HairStyle(1.05, 1.07, 0.02, -0.66, 0.52, -0.05, 0.6),  # combed back
    HairStyle(1.015, 1.015, 0.0, -0.6, 0.55, -0.15, 0.45),  # buzz cut
    HairStyle(1.12, 1.12, 0.03, -0.6, 0.48, 0.45, 0.9, hairline_curtain=0.2),  # long, middle parting
    HairStyle(1.22, 1.22, 0.08, -0.5, 0.5, 0.25, 0.8, 0.2, 0.0, 0.07, 1.8, 0.0, 0.045, 13.0),  # big curls
)
_HAIR_WEIGHTS = [8, 8, 9, 7, 9, 6, 7, 7, 3, 3, 4, 5, 7, 7, 6, 5, 11, 7]
# Which styles may fall long behind the shoulders.
_MAY_BE_LONG = [0, 0, 0, 0.5, 0, 0, 0, 0, 0.1, 0.1, 0.1, 0, 0, 0.3, 0.4, 0, 1.0, 0.7]


def style_hair(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    """Choose a style, vary it, colour it, and let it fall long where it may."""
    table_VF = torch.tensor(_HAIR_STYLES)
    style = dice.choice([float(w) for w in _HAIR_WEIGHTS])
    form = HairStyle(*table_VF[style].unbind(-1))  # pyright: ignore[reportArgumentType]
    fields = form._asdict()
    bulk = dice.uniform(0.8, 1.25)
    fields["hair_widen"] = 1.0 + (fields["hair_widen"] - 1.0) * bulk
    fields["hair_heighten"] = 1.0 + (fields["hair_heighten"] - 1.0) * bulk
    fields["hair_rise"] = fields["hair_rise"] * bulk
    fields["hairline_front"] = fields["hairline_front"] + dice.normal(0.0, 0.03)
    fields["hairline_side"] = fields["hairline_side"] + dice.normal(0.0, 0.06)
    fields["fringe_depth"] = fields["fringe_depth"] * dice.uniform(0.6, 1.4)
    fields["fringe_waves"] = fields["fringe_waves"] * dice.uniform(0.7, 1.4)
    fields["hair_ripple"] = fields["hair_ripple"] * dice.uniform(0.6, 1.4)
    fields["hair_waves"] = (fields["hair_waves"] * dice.uniform(0.75, 1.3)).round()
    mirror = dice.among([-1.0, 1.0])
    fields["hairline_slope"] = fields["hairline_slope"] * mirror * dice.uniform(0.7, 1.3)
    colour_N3 = where(dice.chance(0.74), dice.palette(HAIR_COLOURS), dice.palette(_BRIGHT_HAIRS, 0.06))
    long = dice.chance(torch.tensor(_MAY_BE_LONG)[style])
    curly = where(dice.chance(0.4), dice.uniform(0.05, 0.13), dice.uniform(0.0, 0.03))
    return who._replace(
        **fields,
        hair=1.0 - dice.chance(0.06),
        hair_colour_N3=colour_N3,
        hair_shadow_N3=colour_N3 * dice.uniform(0.55, 0.72)[:, None],
        hair_gleam_N3=torch.lerp(colour_N3, torch.ones(3), 0.55),
        hair_tips_N3=where(dice.chance(0.5), dice.palette(_BRIGHT_HAIRS), dice.colour((0.5, 0.9), (0.6, 0.95))),
        hair_tips_strength=long * dice.chance(0.25),
        hair_phase=dice.uniform(0.0, 6.28),
        parting=where(fields["hairline_slope"] != 0, -0.35 * mirror, dice.normal(0.0, 0.08)),
        parting_strength=where((style == 2) | (style == 3) | (style == 16), torch.full((dice.count,), 0.8), 0.0 * bulk),
        strand_waves=dice.uniform(7.0, 16.0),
        strand_strength=dice.uniform(0.0, 0.5),
        gleam_strength=dice.chance(0.6) * dice.uniform(0.3, 0.9),
        hair_length=long * dice.uniform(1.0, 2.3),
        hair_spread=dice.uniform(0.85, 1.35),
        hair_curl=curly,
        hair_curl_pitch=dice.uniform(4.0, 9.0),
        lock_width=long * dice.chance(0.65) * dice.uniform(0.14, 0.26),
        lock_length=dice.uniform(0.6, 1.4),
    )


def tie_hair(who: AvatarIdentities, dice: Dice) -> AvatarIdentities:
    """Tie some of it into buns and tails."""
    tame = (
        (who.hair_widen < 1.2)
        & (who.hair_heighten < 1.25)
        & (who.hair_crown < -2)
        & (who.hair_strip > 1)
        & (who.hair > 0)
    )
    # None, a bun on top, two buns, tails at both sides, one tail behind.
    kind = dice.choice([0.66, 0.1, 0.07, 0.1, 0.07]) * tame
    places = torch.tensor([[0, 0, 0], [0, -1.28, -0.15], [0.72, -0.95, -0.1], [1.1, -0.1, -0.1], [0.5, -0.55, -0.95]])
    place_N3 = places[kind]
    tail = ((kind >= 3).float() * dice.uniform(0.8, 1.7)).clamp(max=1.6)
    worn: Tensor = (kind > 0).float()
    return who._replace(
        bun_size=worn * dice.uniform(0.23, 0.36),
        bun_pair=((kind == 2) | (kind == 3)).float(),
        bun_x=place_N3[:, 0] * dice.uniform(0.9, 1.1) * dice.among([-1.0, 1.0]),
        bun_y=place_N3[:, 1] * dice.uniform(0.95, 1.08),
        bun_z=place_N3[:, 2],
        tail_length=tail,
        tail_taper=where(tail > 0, dice.uniform(0.3, 1.0), torch.ones(dice.count)),
        tail_flare=dice.uniform(0.1, 0.5),
    )
