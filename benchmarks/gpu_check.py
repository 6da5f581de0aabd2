"""What a GPU does with the model, in a few minutes and without a network.

    python -m benchmarks.gpu_check --output FOLDER [--against PATH] [--budget 360] [--stages vox,tests,...]

from the root of the repository, with torch (CUDA), numpy, safetensors and pytest; nothing has to be installed, and
nothing is written but in FOLDER. PATH is a checkout of the official implementation. Stages:

    vox       peaks; frames/s plain and fast by batch, PSNR, latency of vox-256 (seeded weights)
    avatars   the same of avatars-256
    tests     the CUDA tests of tests/model
    against   the official implementation as its demo does, frame by frame, in turn with ours, on the same card
    profile   which kernels the time goes to, and ways to compute a convolution
    compile   the same with torch.compile
    cpu-...   benchmarks.pipeline on two of the CPU's cores, beside nothing else; 60 seconds at most each

Each stage runs in a process of its own, prints each result at once and writes FOLDER/STAGE.json after each; one that
fails or runs out of time takes no other along. `--budget` (seconds) is for all stages but those of the CPU, and ends
them hard. `--device cpu --tiny` tries the script itself where there is no GPU.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

_LONGEST_S = {"vox": 60, "against": 60, "tests": 100, "avatars": 50, "profile": 30, "compile": 90}
_ON_CPU = {
    "cpu-bf16": ["--bundle", "vox-256", "--precision", "bf16"],
    "cpu-fp32": ["--bundle", "vox-256", "--precision", "fp32"],
    "cpu-avatars": ["--bundle", "avatars-256", "--precision", "bf16"],
}
_LONGEST_ON_CPU_S = 60
STAGES = [*_LONGEST_S, *_ON_CPU]
_ROOT = Path(__file__).resolve().parent.parent


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--budget", type=float, default=360, help="Seconds for all stages but `cpu-...`.")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="A few frames only: to try the script.")
    return parser.parse_args()


def main() -> None:
    """Run the stages, one after the other."""
    given = options()
    given.output.mkdir(parents=True, exist_ok=True)
    output = given.output.resolve()
    deadline_s = time.monotonic() + given.budget
    outcomes = {}
    for stage in given.stages.split(","):
        longest_s = _LONGEST_S.get(stage, 0) if given.device != "cpu" else given.budget
        left_s = _LONGEST_ON_CPU_S if stage in _ON_CPU else min(longest_s, deadline_s - time.monotonic())
        if left_s < 5:
            outcomes[stage] = "no time left"
        elif stage == "against" and given.against is None:
            outcomes[stage] = "needs --against"
        else:
            started_s = time.monotonic()
            outcomes[stage] = _run(_command(stage, given, output, left_s), left_s, output / f"{stage}.log")
            outcomes[stage] += f" ({time.monotonic() - started_s:.1f} s)"
        print(f"== {stage}: {outcomes[stage]}", flush=True)
        (output / "stages.json").write_text(json.dumps(outcomes, indent=2))


def _command(stage: str, given: argparse.Namespace, output: Path, left_s: float) -> list[str]:
    against = [] if given.against is None else ["--against", str(given.against.resolve())]
    if stage == "tests":
        # Only what these tests need: the suite's own settings ask for packages that are not needed here.
        settings = output / "pytest.ini"
        settings.write_text(f"[pytest]\npythonpath = {_ROOT}\nmarkers =\n    cuda: needs a GPU\n    slow: slow\n")
        folder = _ROOT / "tests" / "model"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            str(settings),
            f"--confcutdir={folder}",
            "-p",
            "no:cacheprovider",
        ]
        command += ["--import-mode=importlib", "-ra", "-v", "--durations=15", "--tb=short"]
        return [*command, str(folder / "test_cuda.py"), str(folder / "test_fixed_batches.py")]
    if stage in _ON_CPU:
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
        command = [
            "taskset",
            "-c",
            cores,
            sys.executable,
            "-m",
            "benchmarks.pipeline",
            "--device",
            "cpu",
            *_ON_CPU[stage],
        ]
        # The official classes have no skips, which the avatars have.
        command += ["--frames", "2" if given.tiny else "4", "--rounds", "2", "--threads", "2"]
        return command + (against if "vox-256" in command else [])
    more = ["--tiny"] if given.tiny else []
    command = [sys.executable, "-m", "benchmarks.gpu_stages", stage, "--output", str(output), "--device", given.device]
    return [*command, "--budget", str(left_s - 3), *against, *more]


def _run(command: list[str], limit_s: float, log: Path) -> str:
    """Run a stage, passing on and keeping what it prints, and end it and its children at its limit."""
    print(f"-- {' '.join(command)}", flush=True)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if "benchmarks.pipeline" in command:
        environment |= {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=_ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        shown, deadline_s = 0, time.monotonic() + limit_s
        while process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.2)
            shown = _show(log, shown)
        late = process.poll() is None
        if late:
            os.killpg(process.pid, 9)
            process.wait()
    _show(log, shown)
    if "benchmarks.pipeline" in command and not late and process.returncode == 0:
        log.with_suffix(".json").write_text(log.read_text().splitlines()[-1] + "\n")
    return "out of time" if late else "done" if process.returncode == 0 else f"failed ({process.returncode})"


def _show(log: Path, shown: int) -> int:
    text = log.read_bytes()[shown:]
    sys.stdout.write(text.decode(errors="replace"))
    sys.stdout.flush()
    return shown + len(text)


if __name__ == "__main__":
    main()
