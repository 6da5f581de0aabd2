"""The parameters of identities in four tensors, so that avatars are selected at once instead of field by field.

Shapes: N avatars, F fields, L lights or waves, 3 = RGB or as the field says.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.data.avatar_identities import NUM_LIGHTS, NUM_NOISE_WAVES, AvatarIdentities

_FIELDS = AvatarIdentities._fields


class PackedIdentities(NamedTuple):
    """The fields of `AvatarIdentities`, in their order: numbers, colours, and the two that are lists."""

    numbers_NF: Tensor
    colours_NF3: Tensor
    noise_waves_NL3: Tensor
    lights_NL3: Tensor

    def select(self, rows_N: Tensor) -> "PackedIdentities":
        """Return these avatars."""
        return PackedIdentities(*(field[rows_N] for field in self))

    def unpacked(self) -> AvatarIdentities:
        """Return the record; its fields are views."""
        numbers, colours = iter(self.numbers_NF.unbind(1)), iter(self.colours_NF3.unbind(1))
        special = {"noise_waves_NL3": self.noise_waves_NL3, "lights_NL3": self.lights_NL3}
        return AvatarIdentities(
            *(special[n] if n in special else next(colours if n.endswith("_N3") else numbers) for n in _FIELDS)
        )


def pack(identities: AvatarIdentities) -> PackedIdentities:
    """Return the parameters in four tensors."""
    pairs = list(zip(_FIELDS, identities, strict=True))
    return PackedIdentities(
        torch.stack([field for name, field in pairs if "_N" not in name], 1),
        torch.stack([field for name, field in pairs if name.endswith("_N3")], 1),
        identities.noise_waves_NL3,
        identities.lights_NL3,
    )


def bare_identities(count: int) -> AvatarIdentities:
    """Return avatars whose every parameter is zero: what sampling starts from."""
    num_colours = sum(name.endswith("_N3") for name in _FIELDS)
    zeros = PackedIdentities(
        torch.zeros(count, len(_FIELDS) - num_colours - 2),
        torch.zeros(count, num_colours, 3),
        torch.zeros(count, NUM_NOISE_WAVES, 3),
        torch.zeros(count, NUM_LIGHTS, 3),
    )
    return zeros.unpacked()
