"""The confined child: what it has given up, and that whatever a decoder does in it ends as a clear error outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import REPOSITORY, decoding_children, wait_until
from worker import confined_process, picture_probe
from worker.confined_process import ask
from worker.confinement import Limits
from worker.errors import AnimationError, MediaRejected
from worker.pictures import load_image, probe_image
from worker.settings import MediaLimits

LIMITS = MediaLimits(image_timeout_s=10)
linux = pytest.mark.skipif(sys.platform != "linux", reason="what a process has given up can be looked at on Linux")


def said_by(script: str, limits: Limits) -> str:
    """What a confined shell prints."""
    with Path("/dev/null").open("rb") as nothing:
        answer = ask(("exec", "/bin/sh", "-c", script), limits, stdin=nothing, max_bytes=10**6, timeout_s=30)
    return answer.output.decode()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (96, 80), (1, 2, 3)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@linux
def test_what_a_child_has_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMATO_S3_SECRET", "hidden")
    limits = Limits(cpu_s=7, memory_bytes=1 << 30, file_bytes=1024, open_files=17, processes=33)
    text = said_by("cat /proc/self/limits /proc/self/status; env; pwd; ls /proc/self/fd | wc -l", limits)
    table = {line[:26].strip(): line[26:].split()[:2] for line in text.splitlines() if line.startswith("Max ")}
    assert table["Max cpu time"] == ["7", "8"]
    assert table["Max address space"] == [str(1 << 30)] * 2
    assert table["Max file size"] == ["1024", "1024"]
    assert table["Max open files"] == ["17", "17"]
    assert table["Max processes"] == ["33", "33"]
    assert table["Max core file size"] == ["0", "0"]
    assert "NoNewPrivs:\t1" in text
    assert "hidden" not in text
    *_, working_folder, descriptors = text.splitlines()
    assert (working_folder, int(descriptors)) == ("/", 4)  # three, and the one with which `ls` reads


@linux
def test_a_child_has_no_network() -> None:
    if subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        pytest.skip("this system lets nobody have a network of its own")
    names = said_by("cat /proc/net/dev", Limits())
    assert [line.split(":")[0].strip() for line in names.splitlines()[2:]] == ["lo"]


@linux
def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import sys; from worker.confined_process import start; from worker.confinement import Limits\n"
        "print(start(('exec', '/bin/sleep', '100'), Limits()).pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    child = Path(f"/proc/{int(parent.stdout.readline())}")
    wait_until(lambda: (child / "comm").read_text() == "sleep\n", "the child runs")
    parent.kill()
    parent.wait()
    wait_until(lambda: not child.exists() or "\nState:\tZ" in (child / "status").read_text(), "the child is gone")
    parent.stdin.close()
    parent.stdout.close()


@pytest.mark.parametrize("number", ["SEGV", "ABRT", "BUS", "ILL", "KILL", "SYS"])
def test_a_decoder_that_crashes_is_a_refusal(picture: Path, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    monkeypatch.setattr(picture_probe, "_DECODER", ("exec", "/bin/sh", "-c", f"kill -{number} $$"))
    for look in (probe_image, lambda path, limits: load_image(path, limits=limits)):
        with pytest.raises(MediaRejected, match="crashed") as caught:
            look(picture, LIMITS)
        assert caught.value.code == "media_rejected"
    assert decoding_children() == []


@pytest.mark.parametrize("end", ["kill -SEGV $$", "kill -KILL $$", "exit 3"])
def test_an_answer_of_a_decoder_that_ended_badly_is_not_taken(
    picture: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    said = '{"width": 96, "height": 80}\\n'
    monkeypatch.setattr(picture_probe, "_DECODER", ("exec", "/bin/sh", "-c", f"printf '{said}'"))
    assert probe_image(picture, LIMITS).width == 96, "the answer itself is good"
    monkeypatch.setattr(picture_probe, "_DECODER", ("exec", "/bin/sh", "-c", f"printf '{said}'; {end}"))
    with pytest.raises(AnimationError):
        probe_image(picture, LIMITS)


@pytest.mark.parametrize(
    "script",
    [
        "sleep 1000",
        "while :; do :; done",
        "sleep 1000 & sleep 1000",
        "trap '' TERM XCPU; while :; do :; done",
        "exec sleep 1000 >&- 2>&-",
    ],
)
def test_a_decoder_that_never_ends_is_ended(picture: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(confined_process, "_EXIT_TIMEOUT_S", 0.5)
    monkeypatch.setattr(picture_probe, "_DECODER", ("exec", "/bin/sh", "-c", script))
    with pytest.raises(MediaRejected) as caught:
        probe_image(picture, LIMITS.model_copy(update={"image_timeout_s": 1.0}))
    assert caught.value.code == "media_timeout"
    assert decoding_children() == []


@pytest.mark.parametrize(
    "said",
    [
        "",
        "no json\\n",
        "[]\\n",
        '{"width": 96, "height": 80}\\nmore',
        '{"width": -1, "height": -80}\\n',
        '{"width": 100000, "height": 100000}\\n',
        '{"width": "x", "height": 80}\\n',
        '{"code": "<script>", "detail": "x", "hint": null}\\n',
        '{"code": "media_rejected"}\\n',
    ],
)
def test_a_decoder_that_was_taken_over_is_not_believed(
    picture: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(picture_probe, "_DECODER", ("exec", "/bin/sh", "-c", f"printf '{said}'"))
    with pytest.raises(MediaRejected, match="crashed"):
        probe_image(picture, LIMITS)


def test_a_decoder_that_never_stops_talking_is_ended(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_probe, "_DECODER", ("exec", "/bin/sh", "-c", "yes"))
    with pytest.raises(MediaRejected, match="crashed"):
        load_image(picture, limits=LIMITS)
    assert decoding_children() == []


def test_a_decoder_that_cannot_start_is_our_fault(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_probe, "_DECODER", ("run", "worker.no_such_module"))
    with pytest.raises(AnimationError) as caught:
        probe_image(picture, LIMITS)
    assert not isinstance(caught.value, MediaRejected)
    assert caught.value.retryable


@linux
def test_memory_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (6000, 6000)).save(tmp_path / "a.png")
    assert probe_image(tmp_path / "a.png", LIMITS).width == 6000
    monkeypatch.setattr(picture_probe, "_MEMORY_BYTES", 96 << 20)
    monkeypatch.setattr(picture_probe, "_MEMORY_BYTES_PER_PIXEL", 0)
    with pytest.raises(MediaRejected) as caught:
        probe_image(tmp_path / "a.png", LIMITS)
    assert caught.value.code == "media_rejected"


@linux
def test_processor_time_has_an_end(picture: Path) -> None:
    with picture.open("rb") as file:
        answer = ask(
            ("exec", "/bin/sh", "-c", "while :; do :; done"),
            Limits(cpu_s=1),
            stdin=file,
            max_bytes=0,
            timeout_s=100,
        )
    assert answer.status == -signal.SIGXCPU
