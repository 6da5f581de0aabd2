"""Checkpoints: complete or absent, the newest few, readable without running code."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from model.errors import CheckpointError
from model.training import checkpoint as module
from model.training.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    read_random_state,
    restore_random_state,
    save_checkpoint,
)
from model.training.errors import TrainingError
from tests.model.training_runs import GOLDEN, tiny_run


def state(step: int) -> Checkpoint:
    return Checkpoint(
        config=tiny_run(),
        step=step,
        kp_detector={"weight": torch.full((2,), float(step))},
        generator={"weight": torch.arange(3.0)},
        optimizers={"generator": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}},
        random_state=read_random_state(),
        facts={"seconds": 1.5, "initialized": {"fresh": ("a", "b")}},
    )


def test_round_trip(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, state(7), keep=2)
    assert path.name == "step-00000007.pt"
    back = load_checkpoint(path)
    assert back.config == tiny_run()
    assert back.step == 7
    assert torch.equal(back.kp_detector["weight"], torch.full((2,), 7.0))
    assert back.optimizers["generator"]["param_groups"] == [{"lr": 0.1}]
    assert back.facts["initialized"]["fresh"] == ("a", "b")


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, state(step), keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000002.pt", "step-00000010.pt"]
    assert latest_checkpoint(tmp_path).name == "step-00000010.pt"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    save_checkpoint(tmp_path, state(1), keep=1)
    before = latest_checkpoint(tmp_path).read_bytes()

    def write_half(document: dict[str, Any], file: BinaryIO) -> None:
        file.write(before[: len(before) // 2])
        raise error("no space left")

    monkeypatch.setattr(module, "_write", write_half)
    for step in (1, 2):
        with pytest.raises(error):
            save_checkpoint(tmp_path, state(step), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]
    assert latest_checkpoint(tmp_path).read_bytes() == before


def test_a_partial_file_of_a_killed_process_is_not_a_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state(1), keep=1)
    (tmp_path / ".step-00000002.pt.partial").write_bytes(b"half")
    assert latest_checkpoint(tmp_path).name == "step-00000001.pt"


def test_random_numbers_go_on_where_they_were() -> None:
    import random

    before = read_random_state()
    expected = torch.rand(3), random.random()
    restore_random_state(before)
    assert torch.equal(torch.rand(3), expected[0])
    assert random.random() == expected[1]


def test_what_is_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as refusal:
        latest_checkpoint(tmp_path)
    assert refusal.value.code == "run_not_found"
    with pytest.raises(TrainingError) as refusal:
        load_checkpoint(GOLDEN / "jacobian-cpk.pth.tar")
    assert refusal.value.code == "run_mismatch"
    path = save_checkpoint(tmp_path, state(1), keep=1)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="Remove it") as damaged:
        load_checkpoint(path)
    assert damaged.value.code == "checkpoint_truncated"


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """A limit on the size of files stands in for it: torch then says nothing but `unexpected pos`."""
    large = state(1)
    large.generator["weight"] = torch.zeros(100_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as refusal:
            save_checkpoint(tmp_path, large, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refusal.value.filename == str(tmp_path / "step-00000001.pt")
    assert list(tmp_path.iterdir()) == []
