"""The service as its callers see it: every request is tried again when that can help, every refusal has its code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from client.errors import Refused
from client.patience import Patience, retry_after_s

_TIMEOUT = httpx.Timeout(60, connect=15)
_SUBMIT_TIMEOUT = httpx.Timeout(60, connect=15, read=400)
"""The answer to an upload waits until both files were looked at, or fetched."""
_MAY_PASS = {408, 425, 429, 500, 502, 503, 504}
_FINAL = {"succeeded", "failed", "canceled"}


class Progress(BaseModel):
    """How far an animation is."""

    model_config = ConfigDict(extra="ignore")

    percent: int = 0
    frames_done: int = 0
    frames_total: int = 0
    eta_s: int | None = None


class Problem(BaseModel):
    """Why it failed."""

    model_config = ConfigDict(extra="ignore")

    code: str
    detail: str = ""
    title: str = ""
    hint: str | None = None


class Download(BaseModel):
    """A file to be downloaded."""

    model_config = ConfigDict(extra="ignore")

    media_type: str = ""
    size_bytes: int | None = None
    sha256: str | None = None


class Animation(BaseModel):
    """What is read of an animation; newer services may say more (`said` has all of it)."""

    model_config = ConfigDict(extra="ignore")

    id: str
    status: str
    progress: Progress = Progress()
    queue_position: int | None = None
    eta_s: int | None = None
    result: Download | None = None
    views: dict[str, Download] | None = None
    error: Problem | None = None
    said: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status in _FINAL

    @classmethod
    def read(cls, said: Any) -> Animation:
        """The animation of an answer's JSON. Raises Refused for what is none."""
        try:
            return cls.model_validate({**said, "said": said})
        except (ValidationError, TypeError) as error:
            raise Refused("The server answers, but not like Animato.", code="not_animato", hint=_WHICH) from error


class Submitted(NamedTuple):
    """The answer to a submission."""

    animation: Animation
    has_ended: bool
    """It had ended before: the key stood for it already."""


class Service:
    """A service at `url`. Close it, or use it as a context manager."""

    def __init__(
        self, url: str, *, api_key: str = "", patience_s: float = 300, say: Callable[[str], None] = lambda _: None
    ) -> None:
        headers = {"User-Agent": "animato-client"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        # Downloads may be redirected to a storage; httpx leaves the key behind when the host is another one.
        self.http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT, follow_redirects=True)
        self.patience = Patience(patience_s, say)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def submit(
        self,
        files: Mapping[str, Path],
        fields: Mapping[str, str],
        key: str,
        on_upload: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Submitted:
        """Send a form; the same `key` never makes a second animation. Raises Refused, Unreachable, OSError."""

        def send() -> httpx.Response:
            with ExitStack() as stack:
                meter = _Meter(sum(path.stat().st_size for path in files.values()), on_upload)
                parts: dict[str, Any] = {name: (None, text) for name, text in fields.items()}
                for name, path in files.items():
                    # The names of the caller's files are nobody's business.
                    parts[name] = (name, _Metered(stack.enter_context(path.open("rb")), meter))
                return self.http.post(
                    "animations", files=parts, headers={"Idempotency-Key": key}, timeout=_SUBMIT_TIMEOUT
                )

        self.patience.went_forward()
        answer = self.insist(send)
        return Submitted(Animation.read(json_of(answer)), answer.status_code == 200)

    def read(self, animation_id: str) -> Animation:
        """How an animation stands. Raises Refused, Unreachable."""
        return Animation.read(json_of(self.insist(lambda: self.http.get(f"animations/{animation_id}"))))

    def cancel(self, animation_id: str) -> None:
        """Ask for its end. Raises Refused, Unreachable."""
        self.insist(lambda: self.http.post(f"animations/{animation_id}/cancel"))

    def insist(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        """The answer to `send`, called as often as it takes. Raises Refused, Unreachable."""
        while True:
            try:
                answer = send()
            except httpx.TransportError as error:
                self.patience.wait(f"The server does not answer ({_kind(error)}).")
                continue
            if answer.status_code not in _MAY_PASS and not _is_being_received(answer):
                self.patience.went_forward()
                if answer.is_error:
                    raise refused(answer)
                return answer
            self.patience.wait(
                f"The server answered {answer.status_code} ({_problem(answer).code}).",
                retry_after_s(answer.headers.get("retry-after")),
            )

    @contextmanager
    def opened(
        self, path: str, headers: Mapping[str, str], timeout: httpx.Timeout = _TIMEOUT
    ) -> Iterator[httpx.Response]:
        """The answer to one GET while its body comes; nothing is tried again. Raises httpx.TransportError."""
        with self.http.stream("GET", path, headers=dict(headers), timeout=timeout) as answer:
            yield answer


def refused(answer: httpx.Response) -> Refused:
    """The error that an answer is."""
    problem = _problem(answer)
    return Refused(
        problem.detail or problem.title or f"The server answered {answer.status_code}.",
        code=problem.code,
        hint=problem.hint,
        status=answer.status_code,
    )


def may_pass(answer: httpx.Response) -> bool:
    """Whether the same request may have another answer later."""
    return answer.status_code in _MAY_PASS


def _is_being_received(answer: httpx.Response) -> bool:
    # The server has not noticed yet that the upload before this one was cut.
    return answer.status_code == 409 and _problem(answer).code == "idempotency_in_progress"


def _problem(answer: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(answer.read())
    except (ValidationError, httpx.HTTPError):
        return Problem(code=f"http_{answer.status_code}", hint=_WHICH if answer.status_code < 500 else None)


def json_of(answer: httpx.Response) -> Any:
    """What an answer says. Raises Refused for what is no JSON."""
    try:
        return answer.json()
    except json.JSONDecodeError as error:
        raise Refused("The server answers, but not like Animato.", code="not_animato", hint=_WHICH) from error


def _kind(error: httpx.TransportError) -> str:
    return type(error).__name__ if not str(error) else str(error)


class _Meter:
    """Counts what was read of all files of a form."""

    def __init__(self, total: int, report: Callable[[int, int], None]) -> None:
        self.total = total
        self._done = 0
        self._report = report

    def add(self, size: int) -> None:
        self._done += size
        self._report(min(self._done, self.total), self.total)


class _Metered:
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, meter: _Meter) -> None:
        self._file = file
        self._meter = meter

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._meter.add(len(content))
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def fileno(self) -> int:
        return self._file.fileno()


_WHICH = "Check --server (or ANIMATO_SERVER): it is the address that `animato up` prints."
