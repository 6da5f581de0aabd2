"""ffmpeg as a child process: the only door through which it is started.

Every input that a person gave us is opened through `media_guard`, which lets ffmpeg use one demuxer, a short list
of decoders and the file protocol, whatever the bytes claim to be: a playlist named `.mp4` cannot make it read another
file. The child is confined before ffmpeg begins (`confinement`): no environment, no terminal, no network where the
system allows that, no file written or one of bounded size, and, unless it only encodes frames of ours, bounded memory
and processor time. It lives in a process group of its own that is killed and reaped when the `with` block is left, on
whichever way.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import imageio_ffmpeg

from worker import confined_process, ending
from worker.confinement import Limits
from worker.media_formats import VIDEO_DECODERS
from worker.media_guard import file_url

_BASE_ARGUMENTS = ("-hide_banner", "-nostdin", "-nostats", "-loglevel")
_ADDRESS_SPACE_BYTES = 4 << 30
_DECODING_THREADS = 2
_OPEN_FILES = 64
_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 16
_LINE_BYTES = 4096
_KEPT_LINES = 60
_EXIT_TIMEOUT_S = 20.0

# What follows in the log after the line that says what was wrong.
_CONSEQUENCES = (
    "Error opening input",
    "Error opening output",
    "Error parsing options",
    "Failed to set value",
    "Conversion failed",
    "Task finished",
    "Terminating thread",
    "Nothing was written",
    "Error submitting",
    "Error while opening",
    "Error processing packet",
    "At least one output",
)
_OFF_WHITELIST = ") not on whitelist '"
_OF_VIDEO_DECODERS = tuple(f"[{decoder} @ " for decoder in VIDEO_DECODERS)
_LOG_LINE = re.compile(r"^(?:\[[^\]]*@ 0x[0-9a-f]+\] )*\[(?P<level>\w+)\] (?P<text>.*)$")


class Ffmpeg:
    """One run of ffmpeg; use it in a `with` block. Waiting longer than a timeout raises `TimeoutError`.

    `timeout_s` bounds all waits together; a method's own timeout bounds one of its waits. (The time in between, in
    which ffmpeg waits for us, does not count.) `feeds`: its standard input is a pipe that `feed` fills. `yields`: its
    standard output is a pipe that `read_into` empties. Without either, `lines` gives its log while it runs.
    `writes_bytes`: how large a file it may write.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        timeout_s: float = math.inf,
        feeds: bool = False,
        yields: bool = False,
        writes_bytes: int = 0,
        log_level: str = "error",
    ) -> None:
        self._arguments = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            *_BASE_ARGUMENTS,
            f"repeat+level+{log_level}",
            *arguments,
        ]
        self._feeds, self._yields = feeds, yields
        # What is fed are frames of ours, and the encoder of large ones needs much memory and time.
        self._limits = Limits(
            cpu_s=None if feeds or timeout_s == math.inf else math.ceil(timeout_s * _DECODING_THREADS),
            memory_bytes=None if feeds else _ADDRESS_SPACE_BYTES,
            file_bytes=writes_bytes,
            open_files=_OPEN_FILES,
        )
        self._patience_s = timeout_s
        self._log: deque[str] = deque(maxlen=_KEPT_LINES)
        self._unfinished_line = b""
        self._log_ended = False

    def __enter__(self) -> Self:
        self._process = confined_process.start(
            ("exec", *self._arguments),
            self._limits,
            stdin=subprocess.PIPE if self._feeds else subprocess.DEVNULL,
            stdout=subprocess.PIPE if self._yields else subprocess.DEVNULL,
        )
        self._ending = ending.current()
        if self._ending is not None:
            self._ending.watch(self._end_from_elsewhere)
        try:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
                    _widen(pipe.fileno())
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process id, which is the id of its group as well."""
        return self._process.pid

    def read_into(self, view: memoryview, *, stall_timeout_s: float) -> int:
        """Fills `view` with output and returns the bytes read: fewer only at the end of the output."""
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        filled = 0
        with self._watching(output, selectors.EVENT_READ) as events:
            while filled < len(view):
                if output in events(stall_timeout_s):
                    try:
                        count = os.readv(output, [view[filled:]])
                    except BlockingIOError:
                        continue
                    if count == 0:
                        break
                    filled += count
                else:
                    self._take_log(events)
        return filled

    def feed(self, view: memoryview, *, stall_timeout_s: float) -> None:
        """Writes all of `view` to its input; `BrokenPipeError` when ffmpeg is gone."""
        assert self._process.stdin is not None
        target = self._process.stdin.fileno()
        written = 0
        with self._watching(target, selectors.EVENT_WRITE) as events:
            while written < len(view):
                if target in events(stall_timeout_s):
                    with contextlib.suppress(BlockingIOError):
                        written += os.write(target, view[written : written + _PIPE_BYTES])
                else:
                    self._take_log(events)

    def lines(self, *, timeout_s: float) -> Iterator[str]:
        """The lines of its log, as they come, until it has ended or `timeout_s` are over."""
        deadline = time.monotonic() + timeout_s
        with self._watching() as events:
            while not self._log_ended:
                left_s = deadline - time.monotonic()
                if left_s <= 0:  # also when there is always something to read
                    raise TimeoutError
                events(left_s)
                yield from self._take_log(events)

    def finish(self, *, timeout_s: float) -> int:
        """Ends its input, waits until it has ended and returns its exit status.

        Raises TimeoutError also when it was ended because its processor time was used up.
        """
        if self._process.stdin is not None:
            self._process.stdin.close()
        for _ in self.lines(timeout_s=timeout_s):
            pass
        try:
            status = self._process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        if status == -signal.SIGXCPU:
            raise TimeoutError
        return status

    def complaint(self, *hidden: Path) -> str:
        """What its log says was wrong, in one line without the names of files."""
        problems = [text for level, text in map(_parse, self._log) if level in ("error", "fatal", "panic") and text]
        causes = [text for text in problems if not text.startswith(_CONSEQUENCES)]
        text = (causes or problems or ["ffmpeg ended without saying why"])[-1]
        for path in hidden:
            text = text.replace(file_url(path), "the file").replace(os.path.abspath(path), "the file")
        return text[:200].rstrip(". ")

    def complained_about_sound(self) -> bool:
        """Whether its log has an error that no video decoder, and no stream the guards keep closed, is the reason of.

        ffmpeg tries every stream while it opens a file: cover art ends there in an error that says nothing about sound.
        """
        errors = (line for line in self._log if _parse(line)[0] in ("error", "fatal"))
        return any(_OFF_WHITELIST not in line and not line.startswith(_OF_VIDEO_DECODERS) for line in errors)

    def kill(self) -> None:
        """Kills whatever is left of its process group and reaps it. May be called twice."""
        if self._ending is not None:
            self._ending.forget(self._end_from_elsewhere)
            self._ending = None
        confined_process.end(self._process)

    def _end_from_elsewhere(self) -> None:
        confined_process.kill(self._process)

    @property
    def _stderr(self) -> int:
        assert self._process.stderr is not None
        return self._process.stderr.fileno()

    @contextlib.contextmanager
    def _watching(self, pipe: int | None = None, event: int = 0) -> Iterator[_Events]:
        with selectors.DefaultSelector() as selector:
            if pipe is not None:
                selector.register(pipe, event)
            if not self._log_ended:
                selector.register(self._stderr, selectors.EVENT_READ)
            yield _Events(selector, self._wait)

    def _wait(self, selector: selectors.BaseSelector, timeout_s: float) -> list[int]:
        started_s = time.monotonic()
        ready = selector.select(max(0.0, min(timeout_s, self._patience_s)))
        self._patience_s -= time.monotonic() - started_s
        if not ready or self._patience_s < 0:
            raise TimeoutError
        return [key.fd for key, _ in ready]

    def _take_log(self, events: _Events) -> list[str]:
        """Reads what is there of the log, keeps its last lines and returns the new ones."""
        chunk = os.read(self._stderr, _READ_BYTES)
        if not chunk:
            self._log_ended = True
            events.forget(self._stderr)
        *complete, rest = (self._unfinished_line + chunk).split(b"\n")
        if not chunk and rest:
            complete, rest = [rest], b""
        self._unfinished_line = rest[:_LINE_BYTES]
        lines = [line[:_LINE_BYTES].decode("utf-8", "replace") for line in complete]
        self._log.extend(lines)
        return lines


class _Events:
    """Which of some file descriptors can be read or written now."""

    def __init__(
        self, selector: selectors.BaseSelector, wait: Callable[[selectors.BaseSelector, float], list[int]]
    ) -> None:
        self._selector, self._wait = selector, wait

    def __call__(self, timeout_s: float) -> list[int]:
        return self._wait(self._selector, timeout_s)

    def forget(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)


def _parse(line: str) -> tuple[str, str]:
    match = _LOG_LINE.match(line)
    return (match["level"], match["text"].strip()) if match else ("", line)


def _widen(descriptor: int) -> None:
    """A wider pipe saves switching back and forth; a user's quota may not allow it."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
