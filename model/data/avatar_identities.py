"""Who an avatar is, apart from how it is posed: every parameter of its looks, one tensor each.

Unless a comment says otherwise a length is in head units (1 is about half the width of a head), a colour is RGB in
[0, 1], and a share is 0 to 1. Where a thing may be absent, one of its parameters is 0 then.

Shapes: N avatars, L lights or waves, 3 = RGB or as said. No suffix: one number an avatar.
"""

from typing import NamedTuple

from torch import Tensor

NUM_LIGHTS = 5
NUM_NOISE_WAVES = 7


class AvatarIdentities(NamedTuple):
    """The looks of N avatars. Drawn by `sample_identities`."""

    # Style: drawing, light
    outline_width: Tensor  # 0: no outlines
    light_x: Tensor  # direction of the light in the picture; negative: from the left
    light_y: Tensor  # negative: from above
    shade_level: Tensor  # how much of the head lies in the shade
    shade_softness: Tensor  # small: one hard edge, as in cel animation
    shade_strength: Tensor
    # Skull
    head_size: Tensor  # share of the usual size
    head_width: Tensor  # half of it
    head_height: Tensor  # half of it
    head_taper: Tensor  # negative: narrower at the chin
    head_squareness: Tensor
    head_cheeks: Tensor
    skin_colour_N3: Tensor
    shadow_colour_N3: Tensor  # of the skin in the shade
    blush_strength: Tensor  # 0 to 1
    blush_colour_N3: Tensor
    freckle_pitch: Tensor  # size of the lattice's cells; 0: no freckles
    freckle_seed: Tensor
    freckle_colour_N3: Tensor
    # Ears
    ear_size: Tensor
    ear_latitude: Tensor
    ear_point: Tensor  # 0 round to 1 an elf's
    earring_size: Tensor  # radius; 0: none
    earring_drop: Tensor  # length of its thread
    earring_hoop: Tensor  # 0 or 1
    earring_colour_N3: Tensor
    # Eyes: angles in radians on the sphere
    eye_dots: Tensor  # 1: eyes are only dots
    eye_spacing: Tensor  # longitude
    eye_latitude: Tensor
    eye_width: Tensor  # half of it
    eye_height: Tensor  # half of it
    eye_almond: Tensor  # 0 oval to 1 pointed at both ends
    eye_slant: Tensor  # radians; positive: outer corners up
    eye_lid: Tensor  # how far the lid hangs at rest, 0 to 1
    iris_size: Tensor  # radius
    iris_colour_N3: Tensor
    pupil_size: Tensor  # share of the iris
    pupil_slit: Tensor  # 1 round, small: a cat's
    lid_colour_N3: Tensor
    lash_colour_N3: Tensor
    lash_weight: Tensor  # width of the line along the lid
    lash_length: Tensor  # 0: none
    # Brows
    brow_length: Tensor  # half of it
    brow_thickness: Tensor  # 0: none
    brow_curve: Tensor
    brow_taper: Tensor  # 0 even to 1 pointed outside
    brow_height: Tensor  # above the eye
    brow_slant: Tensor  # radians
    brow_colour_N3: Tensor
    # Nose: lengths in head units, the rest 0 to 1
    nose_size: Tensor  # radius of its tip
    nose_latitude: Tensor  # radians
    nose_length: Tensor  # from bridge to tip, radians
    nose_lift: Tensor  # how far it stands out
    nose_bridge: Tensor  # radius of the bridge as a share of the tip's
    nose_wings: Tensor
    nose_fill: Tensor
    nose_line: Tensor
    nose_nostrils: Tensor
    nose_gleam: Tensor
    nose_colour_N3: Tensor
    # Mouth
    mouth_size: Tensor  # half of its width
    mouth_latitude: Tensor  # radians
    mouth_curve: Tensor  # smile at rest
    mouth_square: Tensor  # 0 or more: the opening's corners
    mouth_line: Tensor  # width of the line between the lips
    lip_upper: Tensor  # thickness; 0: no lips are painted
    lip_lower: Tensor
    lip_colour_N3: Tensor
    teeth_upper: Tensor  # length
    teeth_lower: Tensor  # 0 or 1
    teeth_gaps: Tensor  # 0 to 1
    teeth_fangs: Tensor  # 0 to 1
    teeth_buck: Tensor  # 0 or 1
    # Hair: heights on the sphere, -1 crown, 0 ears, 1 chin
    hair: Tensor  # 0 bald or 1
    hair_colour_N3: Tensor
    hair_shadow_N3: Tensor
    hair_gleam_N3: Tensor
    hair_tips_N3: Tensor
    hair_tips_strength: Tensor  # 0 to 1
    hair_widen: Tensor  # the hair's shell over the skull's, across
    hair_heighten: Tensor  # the same, upward
    hair_rise: Tensor  # of the shell's centre
    hair_ripple: Tensor  # amplitude of the silhouette's waves, share of the radius
    hair_waves: Tensor  # number of them
    hair_spikes: Tensor  # 0 waves to 1 spikes
    hair_phase: Tensor  # radians; it also makes strands differ
    hair_crown: Tensor  # bare above this height
    hair_strip: Tensor  # half-width of the strip that hair grows on: a mohawk's is narrow
    hairline_front: Tensor  # height
    hairline_corner: Tensor  # where the forehead ends: cosine of the longitude
    hairline_side: Tensor  # height over the ears
    hairline_nape: Tensor  # height
    hairline_slope: Tensor
    hairline_curtain: Tensor
    parting: Tensor  # place across the head
    parting_strength: Tensor  # 0 to 1
    fringe_depth: Tensor
    fringe_waves: Tensor
    fringe_sharpness: Tensor
    strand_waves: Tensor
    strand_strength: Tensor  # 0 to 1
    gleam_strength: Tensor  # 0 to 1
    hair_length: Tensor  # below the ears, behind the shoulders; 0: short
    hair_spread: Tensor  # half of its width at the ends
    hair_curl: Tensor  # amplitude of its waves
    hair_curl_pitch: Tensor  # radians a head unit
    lock_width: Tensor  # of locks before the shoulders; 0: none
    lock_length: Tensor
    bun_size: Tensor  # radius; 0: none
    bun_pair: Tensor  # 0 one or 1 two, left and right
    bun_x: Tensor  # place on or around the sphere
    bun_y: Tensor
    bun_z: Tensor
    tail_length: Tensor  # 0: a bun, more: a tail
    tail_taper: Tensor
    tail_flare: Tensor
    # Beard
    beard_strength: Tensor  # opacity; 0: none, little: stubble
    beard_colour_N3: Tensor
    beard_top: Tensor  # height below the nose
    beard_width: Tensor  # half of it, on the sphere
    beard_length: Tensor
    beard_ripple: Tensor
    moustache_width: Tensor  # half of it; 0: none
    moustache_size: Tensor
    moustache_curl: Tensor
    # Glasses
    frame_width: Tensor  # 0: none
    frame_colour_N3: Tensor
    lens_colour_N3: Tensor
    lens_tint: Tensor  # opacity
    lens_x: Tensor  # half-width
    lens_y: Tensor  # half-height
    lens_round: Tensor  # 0 rectangle to 1 round
    lens_slant: Tensor  # radians
    lens_longitude: Tensor  # radians
    half_rim: Tensor  # 1: no rim below
    # Hats and what else is on the head
    hat_widen: Tensor  # shell; 0: no hat
    hat_heighten: Tensor
    hat_rise: Tensor
    hat_edge: Tensor  # height of the lower edge
    hat_tilt: Tensor  # how much lower it is behind
    hat_dome: Tensor  # 1, or 0 for bands and crowns
    hat_band: Tensor  # height of the band
    hat_points: Tensor  # of a crown
    hat_ribs: Tensor
    hat_rib_strength: Tensor
    hat_ring_level: Tensor  # 2: no rings
    hat_colour_N3: Tensor
    hat_second_N3: Tensor
    brim_size: Tensor  # radius; 0: none
    brim_depth: Tensor  # front to back as a share of the width
    brim_forward: Tensor
    brim_slope: Tensor  # radians
    brim_colour_N3: Tensor
    tassel_size: Tensor  # radius; 0: none
    headphones: Tensor  # 0 or 1
    ornament_size: Tensor  # bow or flower; 0: none
    ornament_longitude: Tensor  # radians
    ornament_bow: Tensor  # 0 flower or 1 bow
    ornament_colour_N3: Tensor
    top_ear_root: Tensor  # radius of an animal's ear or a horn at its root; 0: none
    top_ear_tip: Tensor
    top_ear_length: Tensor
    top_ear_lean: Tensor
    top_ear_x: Tensor
    top_ear_colour_N3: Tensor
    top_ear_inner_N3: Tensor
    # Body and clothes
    neck_length: Tensor
    neck_width: Tensor
    shoulder_width: Tensor  # half of it
    shoulder_slope: Tensor
    shoulder_round: Tensor
    clothes_colour_N3: Tensor
    clothes_second_N3: Tensor  # of the pattern
    clothes_third_N3: Tensor  # of sleeves or what a jacket shows
    trim_colour_N3: Tensor
    trim_width: Tensor
    collar_width: Tensor  # half of the neckline
    collar_depth: Tensor
    collar_point: Tensor  # 0 round to 1 pointed
    sleeve_seam: Tensor  # half-width of the front between sleeves of another colour; 9: none
    jacket_gap: Tensor  # 0: closed
    emblem_size: Tensor
    emblem_x: Tensor
    flaps: Tensor  # 0 or 1: a shirt's
    tie: Tensor  # 0 or 1
    tie_colour_N3: Tensor
    scarf: Tensor  # 0 or 1
    roll_neck: Tensor  # 0 or 1
    weave_x1: Tensor  # see `Weave`
    weave_y1: Tensor
    weave_x2: Tensor
    weave_y2: Tensor
    weave_first: Tensor
    weave_second_wave: Tensor
    weave_both: Tensor
    weave_level: Tensor  # 2 or more: plain
    # Background: lengths in the frame's half-width
    sky_first_N3: Tensor
    sky_second_N3: Tensor
    sky_x: Tensor  # direction of the gradient, or its centre
    sky_y: Tensor
    sky_radial: Tensor  # 0 or 1
    wall: Tensor  # 0 plain, 1 weave, 2 rays, 3 noise, 4 lights
    wall_colour_N3: Tensor
    wall_second_N3: Tensor
    wall_strength: Tensor  # 0 to 1
    wall_bend: Tensor
    wall_x1: Tensor  # see `Weave`
    wall_y1: Tensor
    wall_x2: Tensor
    wall_y2: Tensor
    wall_first: Tensor
    wall_second_wave: Tensor
    wall_both: Tensor
    wall_level: Tensor
    ray_count: Tensor
    ray_rings: Tensor  # 0 rays or 1 rings
    noise_waves_NL3: Tensor  # (x, y, phase) of each wave
    lights_NL3: Tensor  # (x, y, radius) of each light
    light_blur: Tensor

    def select(self, rows: Tensor | slice) -> "AvatarIdentities":
        """Return these avatars, in this order; rows may repeat."""
        return AvatarIdentities(*(field[rows] for field in self))
