"""Random numbers for sampling avatars: always on the CPU, so that a seed means the same on every device.

Shapes: N avatars, V values to choose from, 3 = RGB. No suffix: one number an avatar.
"""

import torch
from torch import Tensor


class Dice:
    """Draws one number, choice or colour for each of N avatars."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        if generator.device.type != "cpu":
            raise ValueError(
                "avatars are sampled with a generator on the CPU, so that a seed means the same everywhere"
            )
        self.count, self.generator = count, generator

    def uniform(self, low: float, high: float) -> Tensor:
        """Return numbers between two limits."""
        return low + (high - low) * torch.rand(self.count, generator=self.generator)

    def normal(self, mean: float, deviation: float) -> Tensor:
        """Return numbers around a mean, never further than two deviations."""
        noise = torch.randn(self.count, generator=self.generator)
        return mean + deviation * noise.clamp(-2.0, 2.0)

    def chance(self, share: float | Tensor) -> Tensor:
        """Return 1 with this probability, else 0."""
        return (torch.rand(self.count, generator=self.generator) < share).float()

    def choice(self, weights: list[float] | Tensor) -> Tensor:
        """Return which of V things, as integers, by weight."""
        weights_V = torch.as_tensor(weights, dtype=torch.float32)
        edges_V = weights_V.cumsum(0) / weights_V.sum()
        return torch.bucketize(torch.rand(self.count, generator=self.generator), edges_V[:-1], right=True)

    def among(self, values: list[float], weights: list[float] | None = None) -> Tensor:
        """Return one of these numbers, by weight."""
        return torch.tensor(values)[self.choice([1.0] * len(values) if weights is None else weights)]

    def palette(self, colours: str, jitter: float = 0.04) -> Tensor:
        """Return one of these colours ("#rrggbb #rrggbb"), a little off."""
        colours_V3 = hex_colours(colours)
        picked_N3 = colours_V3[self.choice([1.0] * len(colours_V3))]
        noise_N3 = torch.randn(self.count, 3, generator=self.generator).clamp(-2.0, 2.0)
        light_N1 = torch.randn(self.count, 1, generator=self.generator).clamp(-2.0, 2.0)
        return (picked_N3 + jitter * (0.5 * noise_N3 + light_N1)).clamp(0.02, 0.99)

    def colour(self, saturation: tuple[float, float], value: tuple[float, float]) -> Tensor:
        """Return colours of any hue."""
        return hsv_to_rgb(self.uniform(0.0, 1.0), self.uniform(*saturation), self.uniform(*value))

    def shares(self, *shape: int) -> Tensor:
        """Return uniform numbers in [0, 1) of a shape after N."""
        return torch.rand(self.count, *shape, generator=self.generator)


def hex_colours(colours: str) -> Tensor:
    """Return colours_V3 in [0, 1]."""
    return torch.tensor([[int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)] for colour in colours.split()])


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Return colours_N3; the hue is in turns, 0 red, 1/3 green, 2/3 blue."""
    phase_N3 = (hue[:, None] + torch.tensor([0.0, 2.0 / 3.0, 1.0 / 3.0])).remainder(1.0)
    pure_N3 = ((phase_N3 * 6.0 - 3.0).abs() - 1.0).clamp(0.0, 1.0)
    return value[:, None] * (1.0 - saturation[:, None] * (1.0 - pure_N3))


def where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Return `yes` where the condition is not 0, for numbers and for colours."""
    return torch.where(condition[:, None] > 0 if yes.ndim == 2 or no.ndim == 2 else condition > 0, yes, no)
