"""From what a person asks for to a run: the preset, the data, where to start. What `animato train` calls."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model.data.augmentation import NO_AUGMENTATION, PUBLISHED
from model.data.avatar_pool import GROUP_IDENTITIES, AvatarPool, DrawnGroups, draw_groups
from model.data.avatars import AVATARS, AvatarPairs
from model.data.clip_cache import CacheProgress
from model.data.clips import ClipPairs
from model.data.pairs import PairSource
from model.errors import ConfigError
from model.training.backbones import find_backbone
from model.training.place import Place, as_fast_as
from model.training.presets import PRESETS
from model.training.run_folder import prepare_run, read_run
from model.training.settings import TrainConfig
from model.training.train import Progress, run_training

_TOLD_PROBLEMS = 10
_log = logging.getLogger("animato.train")

_BY_IDENTITY = frozenset({"vox-256", "vox-adv-256", "taichi-256", "taichi-adv-256"})
"""Published configurations whose epochs visit identities, not clips."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """What a person asks for. Exactly one of `preset` and `resume` says what run it is."""

    output: Path
    preset: str | None = None
    data: Path | None = None
    """A folder of clips; None draws avatars, which only the `avatars-*` presets are made for."""
    resume: bool = False
    init_from: Path | None = None
    by_identity: bool | None = None
    """Visit people, not clips: whoever has many clips then does not fill the epoch. None: as the preset was published.
    """
    changes: tuple[tuple[str, Any], ...] = ()
    """Settings of `TrainConfig` that differ from the preset's."""


def launch(
    wanted: Launch,
    *,
    dry_run: bool = False,
    on_cache: Callable[[CacheProgress], None] | None = None,
    on_pool: Callable[[int, int], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[TrainConfig, Path]:
    """Train, and return the configuration and the last checkpoint; `dry_run` stops after writing `run.json`.

    `on_cache` is told of clips that are decoded, `on_pool` of avatars that are drawn ahead: how many, of how many.

    Raises `ConfigError`, `DataError` and what `run_training` raises.
    """
    config = _configuration(wanted)
    if wanted.data is None and not config.name.startswith("avatars-"):
        raise ConfigError("config_invalid", f"{config.name} needs a folder of clips.", "Give one with --data.")
    if any(config.losses.perceptual) and not dry_run:
        # Before clips are decoded, which can take an hour.
        find_backbone(config.perceptual.backbone, config.perceptual.weights_file)
    place = Place(config.device)
    if not wanted.resume and "precision" not in dict(wanted.changes):
        config = as_fast_as(place.device, config)
    share = place.share(config)
    if wanted.data is None:
        config = replace(config, data=AVATARS)
        if config.avatar_pool:
            config = replace(config, num_workers=0)  # what is drawn already needs nobody who draws ahead
        unseen: PairSource = AvatarPairs(config.model.frame_size, min(share, 8), seed=config.seed, split="test")
        pairs = unseen if dry_run else _avatars(config, share, place, on_pool)
        data_name = AVATARS
    else:
        clips = _clips(wanted.data, config, share, on_cache)
        if place.is_main:
            _tell_problems(clips)
        config = replace(config, data=clips.fingerprint).with_clips(clips.pairs_per_epoch)
        pairs = unseen = clips
        data_name = wanted.data.name
    if dry_run:
        return config, prepare_run(config, wanted.output, resume=wanted.resume)
    checkpoint = run_training(
        config,
        pairs,
        wanted.output,
        resume=wanted.resume,
        init_from=wanted.init_from,
        on_progress=on_progress,
        sample_from=unseen,
        facts={"data": data_name},
    )
    return config, checkpoint


def _configuration(wanted: Launch) -> TrainConfig:
    changes = dict(wanted.changes)
    if wanted.by_identity is not None:
        changes["by_identity"] = wanted.by_identity
    if wanted.resume:
        return replace(read_run(wanted.output), **changes)
    if wanted.preset is None or wanted.preset not in PRESETS:
        raise ConfigError(
            "config_invalid", f"There is no training preset {wanted.preset!r}.", f"There are: {', '.join(PRESETS)}."
        )
    return replace(PRESETS[wanted.preset](), **{"by_identity": wanted.preset in _BY_IDENTITY, **changes})


def _tell_problems(clips: ClipPairs) -> None:
    for problem in clips.problems[:_TOLD_PROBLEMS]:
        _log.warning("A clip is left out: %s: %s", problem.name, problem.error.detail)
    if len(clips.problems) > _TOLD_PROBLEMS:
        _log.warning(
            "%d more clips are left out; `animato data check` lists them.", len(clips.problems) - _TOLD_PROBLEMS
        )


def pool_of(config: TrainConfig, drawn: DrawnGroups, batch_size: int) -> AvatarPool:
    """Return the pairs of a run, taken from avatars that were drawn ahead."""
    return AvatarPool(drawn, config.model.frame_size, batch_size, seed=config.seed, **_shares(config))


def _shares(config: TrainConfig) -> dict[str, Any]:
    """Return which share of the pairs of drawn avatars is of which kind."""
    return {name: getattr(config, name) for name in ("expression_pairs", "close_ups", "cross_identity_pairs")}


def _avatars(
    config: TrainConfig, share: int, place: Place, on_pool: Callable[[int, int], None] | None
) -> AvatarPairs | AvatarPool:
    size = config.model.frame_size
    if config.avatar_pool:
        drawn = draw_groups(
            range(max(1, config.avatar_pool // GROUP_IDENTITIES)),
            2 * size if config.close_ups else size,
            seed=config.seed,
            device=place.device,
            on_progress=on_pool,
        )
        return pool_of(config, drawn, share)
    # On a GPU the frames are drawn where they are needed, unless processes of their own draw ahead.
    device = place.device if config.num_workers == 0 else "cpu"
    return AvatarPairs(size, share, seed=config.seed, device=device, **_shares(config))


def _clips(
    folder: Path,
    config: TrainConfig,
    share: int,
    on_cache: Callable[[CacheProgress], None] | None,
) -> ClipPairs:
    return ClipPairs(
        folder,
        frame_size=config.model.frame_size,
        batch_size=share,
        seed=config.seed,
        id_sampling=config.by_identity,
        augmentation=PUBLISHED.get(config.name, NO_AUGMENTATION),
        on_progress=on_cache,
    )
