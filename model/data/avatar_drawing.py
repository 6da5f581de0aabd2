"""Draw avatars: the list of parts, from back to front.

Identity and pose are apart: any identity can be drawn in any pose.

Shapes: B avatars (identities and poses in pairs), C channels, H W height and width. No suffix: one number an avatar.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from model.data import avatar_background as background
from model.data import avatar_body as body
from model.data import avatar_eyes as eyes
from model.data import avatar_face as face
from model.data import avatar_hair as hair
from model.data import avatar_hats as hats
from model.data import avatar_wear as wear
from model.data.avatar_canvas import Canvas
from model.data.avatar_head import Scene, pose_head
from model.data.avatar_identities import AvatarIdentities
from model.data.avatar_packing import pack
from model.data.avatar_poses import AvatarPoses

Part = Callable[[Scene], None]
Present = Callable[[AvatarIdentities], Tensor]


def _all(who: AvatarIdentities) -> Tensor:
    return who.head_size > 0


def _ears_show(who: AvatarIdentities) -> Tensor:
    return (who.hair == 0) | (who.hairline_side < 0.3)


# From back to front: what paints, and who has it.
LAYERS: tuple[tuple[Part, Present], ...] = (
    (background.paint_gradient, _all),
    (background.paint_wallpaper, lambda who: who.wall == 1),
    (background.paint_rays, lambda who: who.wall == 2),
    (background.paint_noise, lambda who: who.wall == 3),
    (background.paint_lights, lambda who: who.wall == 4),
    (hair.paint_long_hair, lambda who: (who.hair_length > 0) & (who.hair > 0)),
    (hair.paint_buns_behind, lambda who: (who.bun_size > 0) & (who.hair > 0)),
    (wear.paint_top_ears, lambda who: who.top_ear_root > 0),
    (hair.paint_hair_behind, lambda who: who.hair > 0),
    (hats.paint_hat_behind, lambda who: (who.hat_widen > 0) & ((who.hat_dome == 0) | (who.brim_size > 0))),
    (body.paint_neck, _all),
    (body.paint_clothes, _all),
    (body.paint_collar, lambda who: (who.flaps + who.tie + who.scarf + who.roll_neck) > 0),
    (face.paint_far_ears, _ears_show),
    (wear.paint_far_earrings, lambda who: (who.earring_size > 0) & _ears_show(who)),
    (face.paint_skin, _all),
    (face.paint_blush, lambda who: who.blush_strength > 0),
    (face.paint_freckles, lambda who: who.freckle_pitch > 0),
    (hair.paint_beard, lambda who: who.beard_strength > 0),
    (face.paint_mouth, _all),
    (hair.paint_moustache, lambda who: who.moustache_width > 0),
    (eyes.paint_eyes, lambda who: who.eye_dots == 0),
    (eyes.paint_dot_eyes, lambda who: who.eye_dots > 0),
    (eyes.paint_brows, lambda who: who.brow_thickness > 0),
    (face.paint_nose, _all),
    (face.paint_near_ears, _ears_show),
    (wear.paint_near_earrings, lambda who: (who.earring_size > 0) & _ears_show(who)),
    (hair.paint_hair, lambda who: who.hair > 0),
    (hair.paint_locks, lambda who: (who.lock_width > 0) & (who.hair > 0)),
    (hair.paint_buns_before, lambda who: (who.bun_size > 0) & (who.hair > 0)),
    (wear.paint_glasses, lambda who: who.frame_width > 0),
    (hats.paint_hat, lambda who: who.hat_widen > 0),
    (hats.paint_tassel, lambda who: who.tassel_size > 0),
    (wear.paint_headphones, lambda who: who.headphones > 0),
    (wear.paint_ornament, lambda who: who.ornament_size > 0),
)


def draw(identities: AvatarIdentities, poses: AvatarPoses, size: int, *, device: torch.device | str = "cpu") -> Tensor:
    """Return frames_BCHW, float32 in [0, 1]: each identity in the pose beside it.

    Parameters stay on the CPU, where they say which parts there are and how large their windows must be; nothing waits
    for the device. One identity is drawn in many poses, or many in one, by `select` with repeated rows.

    Raises `ValueError` where identities and poses differ in number.
    """
    if len(identities.head_size) != len(poses.scale):
        raise ValueError(f"{len(identities.head_size)} identities cannot take {len(poses.scale)} poses")
    count = len(poses.scale)
    canvas = Canvas(count, size, torch.device(device))
    # Not inference mode: what is drawn goes into training, whose backward pass cannot keep inference tensors.
    with torch.no_grad():
        everyone = Scene(canvas, torch.arange(count), pack(identities), identities, poses, pose_head(identities, poses))
        for paint, present in LAYERS:
            rows = present(identities).nonzero()[:, 0]
            if len(rows) == count:
                paint(everyone)
            elif len(rows):
                paint(everyone.only(rows))
    return canvas.frames_BCHW
