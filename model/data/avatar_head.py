"""The head in space: from pose to picture, and back from each pixel to the place on the head.

The head is a unit sphere that is turned (yaw about the vertical, then pitch, then roll in the picture), looked at from
far away, and stretched into the shape of the skull: half as wide as `half_width`, narrower or wider towards the chin.
Head units: 1 is about half the width of a head. On the sphere x is to the right, y down, z towards the viewer.

Two ways to draw on it:
    Sticker   a small flat drawing fixed to a place of the head (an eye): forward, one affine map an avatar
    shell     a surface around the head (skin, hair, hat): backward, each pixel finds its place on the turned sphere

Shapes: N avatars, H W height and width, 2 = (x, y), 3 = (x, y, z), 22 = 2×2, 33 = 3×3. No suffix: one number an avatar.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.data.avatar_canvas import Canvas, Outline, Patch
from model.data.avatar_identities import AvatarIdentities
from model.data.avatar_packing import PackedIdentities
from model.data.avatar_poses import AvatarPoses

HEAD_SIZE = 0.44  # of the frame's half-width, for one head unit at scale 1
REST_Y = 0.0  # of the head's centre in the frame


class Head(NamedTuple):
    """Where the head is and how it is turned; `size` is the length of a head unit in the frame."""

    centre_N2: Tensor
    size: Tensor
    turn_N33: Tensor
    roll_N22: Tensor
    half_width: Tensor
    half_height: Tensor
    profile_N3: Tensor
    jaw_drop: Tensor

    def project(self, place_N3: Tensor) -> tuple[Tensor, Tensor]:
        """Return where a place on or around the sphere appears in the frame, and its depth towards the viewer."""
        turned_N3 = (self.turn_N33 @ place_N3[:, :, None])[:, :, 0]
        x, y = turned_N3[:, 0], turned_N3[:, 1]
        y = y + y.clamp(min=0) * self.jaw_drop
        flat_N2 = torch.stack((x * self.half_width * self.width_at(y), y * self.half_height), -1)
        return self.centre_N2 + self.size[:, None] * (self.roll_N22 @ flat_N2[:, :, None])[:, :, 0], turned_N3[:, 2]

    def width_at(self, y: Tensor) -> Tensor:
        """Return the width of the skull at a height (-1 crown, 1 chin), as a share of its width at the middle."""
        y = y.clamp(-1.0, 1.1)
        first, second, third = self.profile_N3.unbind(-1)
        return 1.0 + y * (first + y * (second + y * third))


class Sticker(NamedTuple):
    """A flat drawing fixed to the head: where it is, its axes (columns) in the frame, and how far it faces the viewer.

    `unit` is the length of one of its units in the frame.
    """

    centre_N2: Tensor
    axes_N22: Tensor
    facing: Tensor
    unit: Tensor

    def local(self, patch: Patch) -> tuple[Tensor, Tensor]:
        """Return the sticker's own coordinates (x_NHW, y_NHW) of each pixel."""
        across_x, down_x, across_y, down_y = self.axes_N22.flatten(1).unbind(1)
        # Written out: the library's inverse takes longer than painting an eye.
        adjugate_N22 = torch.stack((down_y, -down_x, -across_y, across_x), -1).view(-1, 2, 2)
        return affine(patch, self.centre_N2, adjugate_N22 / determinant(self.axes_N22)[:, None, None])

    def at(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the place in the frame of a point of the sticker."""
        return self.centre_N2 + (self.axes_N22 @ torch.stack((x, y), -1)[:, :, None])[:, :, 0]


class Surface(NamedTuple):
    """What each pixel shows of a shell.

    `distance_NHW` is to its silhouette, in the frame; `normal_*` is towards the viewer's axes; `x y z` is the place on
    the sphere of the head.
    """

    distance_NHW: Tensor
    normal_x_NHW: Tensor
    normal_y_NHW: Tensor
    normal_z_NHW: Tensor
    x_NHW: Tensor
    y_NHW: Tensor
    z_NHW: Tensor

    def around(self) -> Tensor:
        """Return around_NHW: 1 straight in front, 0 at the ears, -1 behind, whatever the height."""
        return self.z_NHW * (1.0 - self.y_NHW.square()).clamp_(min=0.02).rsqrt_()


class Scene(NamedTuple):
    """Some avatars on a canvas: what every part is given to paint itself."""

    canvas: Canvas
    rows_N: Tensor
    packed: PackedIdentities
    identities: AvatarIdentities
    poses: AvatarPoses
    head: Head

    def only(self, kept_M: Tensor) -> "Scene":
        """Return the scene of these rows alone."""
        packed = self.packed.select(kept_M)
        return Scene(
            self.canvas,
            self.rows_N[kept_M],
            packed,
            packed.unpacked(),
            AvatarPoses(*(field[kept_M] for field in self.poses)),
            Head(*(field[kept_M] for field in self.head)),
        )

    def outline(self) -> Outline:
        """Return the line that this style draws around things; it grows with the head."""
        return Outline(self.identities.outline_width * self.head.size)

    def sticker(
        self, longitude: Tensor, latitude: Tensor, lift: Tensor | float = 1.0, twist: Tensor | None = None
    ) -> Sticker:
        """Fix a sticker to the sphere: angles in radians, latitude down, `lift` the distance from its centre."""
        east, up = torch.sin(longitude), torch.cos(longitude)
        sin, cos = torch.sin(latitude), torch.cos(latitude)
        zero = torch.zeros_like(east)
        place_N3 = torch.stack((east * cos, sin, up * cos), -1)
        lift = torch.as_tensor(lift).expand_as(longitude)
        return self.fixed(
            place_N3 * lift[:, None],
            torch.stack((up, zero, -east), -1),
            torch.stack((-east * sin, cos, -up * sin), -1),
            twist,
        )

    def fixed(self, place_N3: Tensor, across_N3: Tensor, down_N3: Tensor, twist: Tensor | None = None) -> Sticker:
        """Fix a sticker anywhere, its x axis `across` and its y axis `down` in space, turned by `twist` radians."""
        head = self.head
        centre_N2, depth = head.project(place_N3)
        axes_N32 = head.turn_N33 @ torch.stack((across_N3, down_N3), -1)
        axes_N22 = head.size[:, None, None] * (head.roll_N22 @ axes_N32[:, :2])
        if twist is not None:
            axes_N22 = axes_N22 @ rotation(twist)
        # Seen edge on, a sticker has no inverse: it keeps a sliver instead.
        area = determinant(axes_N22) / head.size.square()
        facing = depth / place_N3.norm(dim=-1).clamp(min=1e-6)
        thin = (0.06 - area.abs()).clamp(min=0.0) * head.size
        sign = torch.where(area < 0, -1.0, 1.0)
        normal_N2 = torch.stack((axes_N22[:, 1, 1], -axes_N22[:, 0, 1]), -1)
        normal_N2 = normal_N2 / normal_N2.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        axes_N22 = torch.stack((axes_N22[:, :, 0] + (sign * thin)[:, None] * normal_N2, axes_N22[:, :, 1]), -1)
        unit = head.size * area.abs().clamp(0.2, 1.5).sqrt()
        return Sticker(centre_N2, axes_N22, facing, unit)

    def shell(
        self,
        patch: Patch,
        widen: Tensor | float = 1.0,
        heighten: Tensor | float = 1.0,
        rise: Tensor | float = 0.0,
        ripple: "Ripple | None" = None,
        behind: bool = False,
    ) -> Surface:
        """Return what each pixel shows of a shell around the head: wider, higher, risen by a share of the head.

        `behind` looks through to the far side.
        """
        head = self.head
        widen, heighten, rise = (torch.as_tensor(v).expand_as(head.size) for v in (widen, heighten, rise))
        inverse_N22 = head.roll_N22.mT / head.size[:, None, None]
        x_NHW, y_NHW = affine(patch, head.centre_N2, inverse_N22)
        y_NHW.div_(patch.on(head.half_height))
        y_NHW.sub_(y_NHW.clamp(min=0).mul_(patch.on(head.jaw_drop / (1.0 + head.jaw_drop))))
        t_NHW = y_NHW.clamp(-1.0, 1.1)
        first, second, third = (patch.on(c) for c in head.profile_N3.unbind(-1))
        width_NHW = (t_NHW * third).add_(second).mul_(t_NHW).add_(first).mul_(t_NHW).add_(1.0)
        x_NHW.div_(width_NHW.mul_(patch.on(head.half_width * widen)))
        y_NHW.add_(patch.on(rise)).div_(patch.on(heighten))
        radius2_NHW = x_NHW.square().add_(y_NHW.square())
        radius_NHW = (radius2_NHW + 1e-9).sqrt_()
        edge_NHW = radius_NHW if ripple is None else radius_NHW / ripple.radius(patch, x_NHW, y_NHW, head)
        unit = head.size * (head.half_width * head.half_height * widen * heighten).sqrt()
        distance_NHW = (edge_NHW - 1.0).mul_(patch.on(unit))
        z_NHW = radius2_NHW.neg_().add_(1.0).clamp_(min=0.0).sqrt_()
        if behind:
            z_NHW.neg_()
        turn_N33 = head.turn_N33
        place = [
            (x_NHW * patch.on(turn_N33[:, 0, i]))
            .add_(y_NHW * patch.on(turn_N33[:, 1, i]))
            .add_(z_NHW * patch.on(turn_N33[:, 2, i]))
            for i in range(3)
        ]
        return Surface(distance_NHW, x_NHW, y_NHW, z_NHW, *place)


class Ripple(NamedTuple):
    """A wave along the silhouette of a shell: bumps, curls or spikes. `amplitude` is a share of the radius."""

    amplitude: Tensor
    waves: Tensor
    sharpness: Tensor
    phase: Tensor

    def radius(self, patch: Patch, x_NHW: Tensor, y_NHW: Tensor, head: Head) -> Tensor:
        """Return the rippled silhouette's radius in each pixel's direction; it drifts along when the head turns."""
        drift = self.phase + 2.0 * head.turn_N33[:, 0, 2]
        angle_NHW = torch.atan2(x_NHW, -y_NHW).mul_(patch.on(self.waves)).add_(patch.on(drift))
        wave_NHW = torch.cos(angle_NHW)
        # 1 - 2 |cos| has its cusps outward: spikes, two to a wave.
        spikes_NHW = wave_NHW.abs().mul_(-2.0).add_(1.0)
        wave_NHW.lerp_(spikes_NHW, patch.on(self.sharpness))
        return wave_NHW.mul_(patch.on(self.amplitude)).add_(1.0)


def affine(patch: Patch, centre_N2: Tensor, inverse_N22: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coordinates (x_NHW, y_NHW) of each pixel in a frame of reference."""
    dx_N1W = patch.x_N1W - patch.on(centre_N2[:, 0])
    dy_NH1 = patch.y_NH1 - patch.on(centre_N2[:, 1])
    x_NHW = dx_N1W * patch.on(inverse_N22[:, 0, 0]) + dy_NH1 * patch.on(inverse_N22[:, 0, 1])
    y_NHW = dx_N1W * patch.on(inverse_N22[:, 1, 0]) + dy_NH1 * patch.on(inverse_N22[:, 1, 1])
    return x_NHW, y_NHW


def rotation(angle_rad: Tensor) -> Tensor:
    """Return rotation_N22, clockwise on the screen for positive angles, because y points down."""
    sin, cos = torch.sin(angle_rad), torch.cos(angle_rad)
    return torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)


def determinant(matrices_N22: Tensor) -> Tensor:
    """Return the determinant of each matrix."""
    a, b, c, d = matrices_N22.flatten(1).unbind(1)
    return a * d - b * c


def pose_head(identities: AvatarIdentities, poses: AvatarPoses) -> Head:
    """Return the head of these identities in these poses."""
    sin_yaw, cos_yaw = torch.sin(poses.yaw_rad), torch.cos(poses.yaw_rad)
    sin_pitch, cos_pitch = torch.sin(poses.pitch_rad), torch.cos(poses.pitch_rad)
    zero = torch.zeros_like(sin_yaw)
    # Positive yaw turns the face to the right of the picture, positive pitch turns it down.
    turn_N33 = torch.stack(
        (
            torch.stack((cos_yaw, zero, sin_yaw), -1),
            torch.stack((-sin_yaw * sin_pitch, cos_pitch, cos_yaw * sin_pitch), -1),
            torch.stack((-sin_yaw * cos_pitch, -sin_pitch, cos_yaw * cos_pitch), -1),
        ),
        -2,
    )
    return Head(
        centre_N2=torch.stack((poses.translation_x, poses.translation_y + REST_Y), -1),
        size=HEAD_SIZE * poses.scale * identities.head_size,
        turn_N33=turn_N33,
        roll_N22=rotation(poses.roll_rad),
        half_width=identities.head_width,
        half_height=identities.head_height,
        profile_N3=torch.stack((identities.head_taper, identities.head_squareness, identities.head_cheeks), -1),
        jaw_drop=0.12 * poses.mouth_open,
    )
