"""`animato demo`: the main road once, as a client sees it: start the service, post, poll, download, look."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx

from worker.comparison import write_comparison
from worker.embedded import Stack
from worker.errors import EmbeddedError
from worker.settings import Settings

SAMPLES = Path(__file__).resolve().parent.parent / "api" / "samples"
_TIMEOUT_S = 900.0
_POLL_S = 0.3


def run_demo(
    settings: Settings,
    folder: Path,
    *,
    say: Callable[[str], None],
    progress: Callable[[str, int], AbstractContextManager[Callable[[int], None]]],
) -> tuple[Path, Path]:
    """Animate the sample pair through a service of its own; the paths of the video and of the picture.

    Raises EmbeddedError when the service does not start or the animation does not succeed.
    """
    source, driving = SAMPLES / "source.png", SAMPLES / "driving.mp4"
    folder.mkdir(parents=True, exist_ok=True)
    video, picture = folder / "result.mp4", folder / "comparison.png"
    # A service of its own for a moment: the keys of another one are not its.
    settings = settings.model_copy(update={"api_keys": "", "api_keys_file": ""})
    with (
        Stack(settings, host="127.0.0.1", port=0, say=say) as stack,
        httpx.Client(base_url=stack.url, timeout=60) as client,
    ):
        say(f"Animato listens on {stack.url}.")
        _wait_until_ready(client, stack)
        with source.open("rb") as image, driving.open("rb") as clip:
            answer = client.post("/animations", files={"source_image": image, "driving_video": clip})
        animation = _checked(answer)
        say(f"Posted the sample pair: {animation['id']}")
        with progress("Animating", animation["progress"]["frames_total"]) as report:
            deadline_s = time.monotonic() + _TIMEOUT_S
            while animation["status"] in ("queued", "processing") and time.monotonic() < deadline_s:
                stack.supervise()
                time.sleep(_POLL_S)
                animation = _checked(client.get(animation["links"]["self"]))
                report(animation["progress"]["frames_done"])
        if animation["status"] != "succeeded":
            raise EmbeddedError(f"The animation ended as {animation['status']}: {animation['error']}")
        with client.stream("GET", animation["links"]["result"]) as download, video.open("wb") as file:
            for chunk in download.raise_for_status().iter_bytes():
                file.write(chunk)
    write_comparison(source, driving, video, picture)
    return video, picture


def _wait_until_ready(client: httpx.Client, stack: Stack) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        stack.supervise()
        try:
            if client.get("/readyz").is_success:
                return
        except httpx.TransportError:
            pass  # The API's process is still starting.
        time.sleep(_POLL_S)
    raise EmbeddedError("The service did not get ready in a minute.", hint="Run `animato up` and read its logs.")


def _checked(answer: httpx.Response) -> dict:
    if answer.is_error:
        raise EmbeddedError(f"The service answered {answer.status_code}: {answer.text}")
    return answer.json()
