"""All that changes while a run learns, how one step changes it, and how it goes into a checkpoint and comes back."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.bundle import compare_states
from model.data.pairs import FramePairs
from model.training.alarms import Alarms
from model.training.checkpoint import Checkpoint, read_random_state, restore_random_state
from model.training.cuda_graph import GraphedStep
from model.training.equivariance import ThinPlateWarp
from model.training.errors import TrainingError, TrainingStopped
from model.training.initialize import Initialization, initialize_discriminator, initialize_networks
from model.training.moving_average import MovingAverage
from model.training.objective import Adversary, Drawing, LossTerms, Objective, dropped_of_step, warp_of_step
from model.training.place import Place
from model.training.settings import TrainConfig, learning_rate_factor

_BETAS = (0.5, 0.999)


class Learner:
    """Networks, optimisers, moving average and alarms of a run, on the devices of a place."""

    def __init__(self, config: TrainConfig, place: Place) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.place = place
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.objective = Objective(config).to(device=place.device, memory_format=layout)  # type: ignore[call-overload]
        self.adversary = Adversary(config).to(place.device) if config.uses_discriminator else None
        self._layout = layout
        self.optimizers = self._make_optimizers()
        self.ema = MovingAverage(self.objective.networks, config.ema_decay) if config.ema_decay else None
        self.alarms = Alarms()
        self.distributed: nn.Module = place.distribute(self.objective)
        self._distributed_adversary = place.distribute(self.adversary) if self.adversary else None
        self._graphed = GraphedStep(self._learn) if self._uses_graph else None

    def step(self, step: int, pairs: FramePairs) -> tuple[LossTerms, Drawing]:
        """Learn from one batch."""
        # Data: this process's pairs, on its device.
        source_BCHW, driving_BCHW = self._placed(pairs.source_BCHW), self._placed(pairs.driving_BCHW)
        truth_BCHW = driving_BCHW if pairs.truth_BCHW is None else self._placed(pairs.truth_BCHW)
        draw = self.place.draw_of(step)
        warp = warp_of_step(self.config, draw, len(source_BCHW), self.place.device)
        dropped_BK = dropped_of_step(self.config, draw, len(source_BCHW), self.place.device)
        self._set_rates(learning_rate_factor(self.config, step))
        inputs = [source_BCHW, driving_BCHW, truth_BCHW, *warp]
        inputs += [] if dropped_BK is None else [dropped_BK]

        terms, drawing = self._graphed(inputs) if self._graphed else self._learn(inputs)
        if self.ema is not None:
            self.ema.update(self.objective.networks, step)
        return terms, drawing

    def _learn(self, inputs: list[Tensor]) -> tuple[LossTerms, Drawing]:
        """Change the networks. All that a step does on the device, and nothing that waits for it."""
        # Keypoint detector and generator.
        source_BCHW, driving_BCHW, truth_BCHW, *warp = inputs[:6]
        dropped_BK = inputs[6] if len(inputs) > 6 else None
        by = ThinPlateWarp(*warp)
        drawing: Drawing = self.distributed(source_BCHW, driving_BCHW, by, dropped_BK, truth_BCHW)
        terms = drawing.terms
        if self.adversary is not None:
            with self.objective.half_precision(self.place.device):
                lesson = self.adversary.teach(truth_BCHW, drawing.prediction_BCHW, drawing.driving)
            terms = terms._replace(generator_gan=lesson.generator_gan, feature_matching=lesson.feature_matching)
        terms.total().backward()
        if self.config.max_gradient_norm:
            nn.utils.clip_grad_norm_(self.objective.parameters(), self.config.max_gradient_norm)
        self._update("keypoint_detector", "generator")

        # Discriminator, on what was just drawn.
        if self._distributed_adversary is not None:
            with self.objective.half_precision(self.place.device):
                loss = self._distributed_adversary(truth_BCHW, drawing.prediction_BCHW, drawing.driving)
            loss.backward()
            self._update("discriminator")
            terms = terms._replace(discriminator_gan=loss)
        return terms, drawing

    def initialize(self, source: Path) -> Initialization:
        """Start from weights that exist; the optimisers start anew."""
        taken = initialize_networks(self.objective.networks, source)
        if self.adversary is not None:
            initialize_discriminator(self.adversary.discriminator.state_dict(), source)
        if self.ema is not None:
            self.ema = MovingAverage(self.objective.networks, self.config.ema_decay)
        return taken

    def checkpoint(self, step: int, facts: dict[str, Any]) -> Checkpoint:
        """Return the whole state. Tensors are shared, not copied.

        Raises `TrainingStopped` with code `weights_not_finite`: such a state is not worth keeping.
        """
        networks = self.objective.networks
        for network in networks:
            if not all(torch.isfinite(value).all() for value in network.state_dict().values()):
                raise TrainingStopped("weights_not_finite", f"At step {step} a weight is not a number.")
        return Checkpoint(
            config=self.config,
            step=step,
            kp_detector=networks.keypoint_detector.state_dict(),
            generator=networks.generator.state_dict(),
            discriminator=self.adversary.discriminator.state_dict() if self.adversary else None,
            optimizers={name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            ema=self.ema.state() if self.ema else None,
            random_state=read_random_state(),
            alarms=self.alarms.state(),
            facts=facts,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become what was written.

        Raises `TrainingError` with code `run_mismatch` if the checkpoint is of other networks.
        """
        networks = self.objective.networks
        sections: list[tuple[str, nn.Module, dict[str, Tensor] | None]] = [
            ("kp_detector", networks.keypoint_detector, checkpoint.kp_detector),
            ("generator", networks.generator, checkpoint.generator),
        ]
        if self.adversary is not None:
            sections.append(("discriminator", self.adversary.discriminator, checkpoint.discriminator))
        for name, network, state in sections:
            differences = compare_states(network.state_dict(), state or {})
            if differences:
                raise TrainingError("run_mismatch", f"The checkpoint's {name} does not fit: {differences}.")
            network.load_state_dict(state or {})
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(checkpoint.optimizers[name])
            for group in optimizer.param_groups:  # the run may go on on another device
                group["lr"], group["capturable"] = self._rate(group["base_lr"]), self._uses_graph
        if self.ema is not None and checkpoint.ema is not None:
            self.ema.restore(checkpoint.ema)
        self.alarms.restore(checkpoint.alarms)
        restore_random_state(checkpoint.random_state)

    def _make_optimizers(self) -> dict[str, torch.optim.Adam]:
        config = self.config
        parts: dict[str, tuple[nn.Module | None, float]] = {
            "keypoint_detector": (self.objective.keypoint_detector, config.lr_keypoint_detector),
            "generator": (self.objective.generator, config.lr_generator),
            "discriminator": (self.adversary.discriminator if self.adversary else None, config.lr_discriminator),
        }
        return {
            name: torch.optim.Adam(
                [{"params": list(part.parameters()), "base_lr": rate}],
                lr=self._rate(rate),
                betas=_BETAS,
                fused=True,
                capturable=self._uses_graph,
            )
            for name, (part, rate) in parts.items()
            if part is not None and rate
        }

    @property
    def _uses_graph(self) -> bool:
        """Return whether a step is one CUDA graph: on one GPU, without an adversary, and if it is wanted."""
        alone = self.place.device.type == "cuda" and self.place.world_size == 1
        return self.config.cuda_graph and alone and self.adversary is None

    def _rate(self, rate: float) -> Tensor | float:
        """Return a learning rate as the optimisers want it: in a graph a number would stay as it was captured."""
        return torch.tensor(rate, device=self.place.device) if self._uses_graph else rate

    def _set_rates(self, factor: float) -> None:
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                rate = group["base_lr"] * factor
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def _update(self, *names: str) -> None:
        for name in names:
            if name in self.optimizers:
                self.optimizers[name].step()
                self.optimizers[name].zero_grad(set_to_none=True)

    def _placed(self, frames_BCHW: Tensor) -> Tensor:
        share, size = self.place.share(self.config), self.config.model.frame_size
        if tuple(frames_BCHW.shape) != (share, self.config.model.num_channels, size, size):
            raise TrainingError(
                "batch_mismatch",
                f"The data gives batches of {list(frames_BCHW.shape)}; this run needs {share} frames of {size} pixels.",
            )
        frames_BCHW = frames_BCHW.to(self.place.device, non_blocking=True)
        return frames_BCHW.contiguous(memory_format=self._layout)
