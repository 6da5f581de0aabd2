"""The official training step through its own classes, in a process of its own: see `benchmarks.train`."""

import json
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

from model.training.backbones import Vgg19


def _serve(path: str, folder: Path, device: str) -> None:
    sys.path.insert(0, path)
    # Its perceptual loss asks torchvision for a trained VGG-19, which takes as long with random weights.
    vision: Any = ModuleType("torchvision")
    vision.models = SimpleNamespace(vgg19=lambda **_options: Vgg19())
    sys.modules["torchvision"] = vision
    from modules.discriminator import MultiScaleDiscriminator  # type: ignore[import-not-found]
    from modules.generator import OcclusionAwareGenerator  # type: ignore[import-not-found]
    from modules.keypoint_detector import KPDetector  # type: ignore[import-not-found]
    from modules.model import DiscriminatorFullModel, GeneratorFullModel  # type: ignore[import-not-found]

    arguments = json.loads((folder / "train.json").read_text())
    detector = KPDetector(**arguments["detector"]).to(device)
    generator = OcclusionAwareGenerator(**arguments["generator"]).to(device)
    discriminator = MultiScaleDiscriminator(**arguments["discriminator"], num_channels=3).to(device)
    adversary = arguments["train"]["loss_weights"]["generator_gan"] != 0
    whole = GeneratorFullModel(detector, generator, discriminator, arguments["train"]).to(device)
    judge = DiscriminatorFullModel(detector, generator, discriminator, arguments["train"]).to(device)
    of_generator, of_discriminator, of_detector = (
        torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
        for network in (generator, discriminator, detector)
    )
    frames = torch.from_numpy(np.load(folder / "frames.npy")).permute(0, 3, 1, 2).float().div(255).to(device)
    source, driving = frames.split(len(frames) // 2)
    pairs = {"source": source, "driving": driving}
    for _ in sys.stdin:
        started_s = time.perf_counter()
        losses, generated = whole(pairs)
        loss = torch.stack([value.mean() for value in losses.values()]).sum()
        loss.backward()
        for optimizer in (of_generator, of_detector):
            optimizer.step()
            optimizer.zero_grad()
        if adversary:
            of_discriminator.zero_grad()
            torch.stack([value.mean() for value in judge(pairs, generated).values()]).sum().backward()
            of_discriminator.step()
            of_discriminator.zero_grad()
        loss.item()  # waits for the device
        print(time.perf_counter() - started_s, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[4]))
    _serve(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
