"""Training in two processes on one machine: gloo on the CPU stands in for several GPUs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.errors import DeviceError
from model.training.checkpoint import load_checkpoint
from model.training.errors import TrainingError
from model.training.learner import Learner
from model.training.place import Place, as_fast_as, describe_place
from tests.conftest import REPOSITORY
from tests.model.training_runs import gradients_of_half, tiny_run

PROGRAM = """
import sys
import torch
from pathlib import Path
from model.training.learner import Learner
from model.training.place import Place
from model.training.train import run_training
from tests.model.training_runs import ShiftedBlobs, gradients_of_half, tiny_run

torch.set_num_threads(1)
output = Path(sys.argv[1])
place = Place("cpu")
assert place.world_size == 2
gradients = gradients_of_half(Learner(tiny_run(), place), place.rank * 2, place.rank * 2 + 2)
torch.save(gradients, output / f"gradients-{place.rank}.pt")
place.wait()
run_training(tiny_run(num_steps=4), ShiftedBlobs(batch_size=2), output / "run")
"""


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    """Batch norms use stored statistics here: torch has no synchronised batch norm for CPUs."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    finished = subprocess.run(
        [*command, str(program), str(tmp_path)],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    alone = gradients_of_half(Learner(tiny_run(), Place("cpu")), 0, 4)
    first, second = (torch.load(tmp_path / f"gradients-{rank}.pt") for rank in range(2))
    assert first.keys() == alone.keys()
    for name, gradient in alone.items():
        torch.testing.assert_close(first[name], gradient, atol=1e-5, rtol=1e-4, msg=name)
        assert torch.equal(first[name], second[name])
    checkpoint = load_checkpoint(tmp_path / "run/checkpoints/step-00000004.pt")
    assert checkpoint.facts["processes"] == 2


def test_one_process_alone() -> None:
    place = Place("cpu")
    assert (place.rank, place.world_size, place.is_main) == (0, 1, True)
    assert place.draw_of(7) == 7
    assert place.share(tiny_run()) == 4
    assert place.any(True)
    facts = describe_place(place)
    assert facts["torch"] == torch.__version__
    assert type(facts["torch"]) is str


def test_shares_do_not_overlap() -> None:
    places = [Place("cpu"), Place("cpu")]
    for rank, place in enumerate(places):
        place.rank, place.world_size = rank, 2
    assert sorted(place.draw_of(step) for place in places for step in range(3)) == list(range(6))
    assert places[0].share(tiny_run()) == 2
    with pytest.raises(TrainingError) as refusal:
        places[0].share(tiny_run(batch_size=5))
    assert refusal.value.code == "batch_mismatch"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(DeviceError):
        Place("cuda")


def test_bfloat16_is_left_where_it_would_be_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = tiny_run(precision="bf16", keypoint_precision="bf16")
    for fast, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr("model.training.place.multiplies_in_bf16", lambda _, fast=fast: fast)
        config = as_fast_as(torch.device("cpu"), wanted)
        assert (config.precision, config.keypoint_precision) == (precision, precision)
    assert as_fast_as(torch.device("cpu"), tiny_run()) == tiny_run()
