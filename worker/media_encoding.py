"""The result: frames as a video at an exact rate, with the sound of the driving clip where the format holds it.

The picture is encoded first, while frames come in; the sound is added by a second run that copies the picture. So the
sound can be cut to the number of frames that really came, and a broken sound track can never cost the picture.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from worker.errors import EncodingFailed, MediaRejected
from worker.media_encoders import ENCODERS, Encoder
from worker.media_formats import DEMUXERS
from worker.media_guard import file_url, guarded_input, raw_input
from worker.media_header import decodes_audio, video_media_type
from worker.media_process import Ffmpeg
from worker.media_provenance import append_xmp, tag_arguments
from worker.media_stills import StillsWriter
from worker.provenance import Provenance
from worker.result_formats import RESULT_FORMATS, FormatName, format_warnings
from worker.settings import UNLIMITED

_AUDIO_FORMAT = "aformat=sample_rates=44100|48000:channel_layouts=mono|stereo"
_STALL_TIMEOUT_S = 120.0
_MUX_TIMEOUT_S = 600.0
_FIRST_FRAME_TIMEOUT_S = 30.0
_PICTURE_MAX_BYTES = 64 << 30  # far above any result; what it keeps from happening is a full disk
_AUDIO_MAX_BYTES_PER_S = 80_000  # the largest AAC frames that exist, in stereo at 48 kHz; Opus has smaller ones
_PCM_MAX_BYTES_PER_S = 48_000 * 2 * 4
_INDEX_MAX_BYTES = 16 << 20
_FIRST_PTS = re.compile(r"\] n: *0 pts: *-?\d+ pts_time:(-?[\d.]+)")

_NO_AUDIO = "The sound of the driving video could not be decoded and was left out."
_DAMAGED_AUDIO = "The sound of the driving video is damaged; it was kept as far as it could be decoded."


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenVideo:
    """What was written."""

    frames: int
    width: int
    height: int
    """In MP4 and WebM even: an odd side got one more line."""
    duration_s: float
    has_audio: bool
    warnings: tuple[str, ...] = ()


class VideoWriter:
    """Takes frames one by one and writes `path`; use it in a `with` block, and end it with `finish`.

    `audio_from` is the (untrusted) driving clip whose sound is kept, in step with its first picture and cut at the
    end of ours. `provenance` is written into the file. The file appears under its name only when it is complete;
    without `finish` nothing is left behind. For `png`, `path` may be a folder: then the frames are in it, and not in an
    archive.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: Fraction,
        width: int,
        height: int,
        video_format: FormatName = "mp4",
        audio_from: Path | None = None,
        provenance: Provenance | None = None,
    ) -> None:
        self._path, self._fps, self._audio_from = path, fps, audio_from
        self._provenance = provenance
        self._format: FormatName = video_format
        self._size = width, height
        self._count = 0
        stem = path.with_name(f".{path.name[:64]}.{secrets.token_hex(4)}")
        self._picture, self._complete = Path(f"{stem}.picture"), Path(f"{stem}.complete")
        encoder = ENCODERS.get(video_format)
        even = encoder is not None and encoder.even
        self._written_size = (width + width % 2, height + height % 2) if even else self._size
        self._stills = None if encoder else StillsWriter(path, provenance)
        self._ffmpeg = encoder and self._encoding(encoder)

    def __enter__(self) -> Self:
        (self._ffmpeg or self._stills).__enter__()  # pyright: ignore[reportOptionalMemberAccess]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            (self._ffmpeg or self._stills).__exit__(kind, error, trace)  # pyright: ignore[reportOptionalMemberAccess]
        finally:
            self._picture.unlink(missing_ok=True)
            self._complete.unlink(missing_ok=True)

    def write(self, frame_HWC: np.ndarray) -> None:
        """Take one frame, `uint8_HWC` RGB. Raises EncodingFailed."""
        width, height = self._size
        if frame_HWC.shape != (height, width, 3) or frame_HWC.dtype != np.uint8:
            raise EncodingFailed(
                f"A frame is {frame_HWC.shape} {frame_HWC.dtype}, not {(height, width, 3)}.", retryable=False
            )
        if self._written_size != self._size:
            odd = ((0, self._written_size[1] - height), (0, self._written_size[0] - width), (0, 0))
            frame_HWC = np.pad(frame_HWC, odd, mode="edge")
        if self._stills:
            self._stills.write(frame_HWC)
        elif self._ffmpeg:
            try:
                self._ffmpeg.feed(np.ascontiguousarray(frame_HWC).data.cast("B"), stall_timeout_s=_STALL_TIMEOUT_S)
            except BrokenPipeError:
                self._end_encoding(gone=True)
            except TimeoutError:
                raise EncodingFailed("The encoder stopped taking frames.") from None
        self._count += 1

    def finish(self) -> WrittenVideo:
        """Complete the file under its name. Raises EncodingFailed."""
        if self._count == 0:
            raise EncodingFailed("There are no frames to encode.", retryable=False)
        duration_s = self._count / self._fps
        has_audio, warnings = False, ()
        if self._stills:
            self._stills.finish()
        else:
            self._end_encoding()
            if self._audio_from is not None and RESULT_FORMATS[self._format].holds_sound:
                has_audio, warnings = self._add_audio(self._audio_from, duration_s)
            written = self._complete if has_audio else self._picture
            append_xmp(written, self._format, self._provenance)
            os.replace(written, self._path)
        lost = format_warnings(self._format, self._fps, has_sound=self._audio_from is not None)
        warnings = (*warnings, *lost)
        return WrittenVideo(
            frames=self._count,
            width=self._written_size[0],
            height=self._written_size[1],
            duration_s=round(float(duration_s), 6),
            has_audio=has_audio,
            warnings=warnings,
        )

    def _encoding(self, encoder: Encoder) -> Ffmpeg:
        arguments = [
            *raw_input(*self._written_size, self._fps),
            *("-vf", encoder.filters, *encoder.picture, "-fps_mode", "passthrough"),
            *(*encoder.container, *tag_arguments(self._format, self._provenance), "-y", file_url(self._picture)),
        ]
        return Ffmpeg(arguments, feeds=True, writes_bytes=_PICTURE_MAX_BYTES)

    def _add_audio(self, audio_from: Path, duration_s: Fraction) -> tuple[bool, tuple[str, ...]]:
        """Whether the complete file now is the picture with sound, and what went wrong."""
        try:
            media_type = video_media_type(audio_from)
        except MediaRejected:
            return False, (_NO_AUDIO,)
        if not decodes_audio(audio_from, media_type, UNLIMITED):
            return False, (_NO_AUDIO,)
        container, encoder = RESULT_FORMATS[self._format], ENCODERS[self._format]
        guarded = guarded_input(audio_from, media_type, max_pixels=UNLIMITED.video_max_pixels)
        sound = _in_step(guarded, duration_s)
        arguments = [
            *("-protocol_whitelist", "file", "-f", DEMUXERS[container.media_type], "-i", file_url(self._picture)),
            *("-vn", "-sn", "-dn", *guarded),
            *("-map", "0:v:0", "-map", "1:a:0", "-c:v", "copy", "-af", sound, *encoder.sound),
            *("-max_error_rate", "1", *encoder.container, *tag_arguments(self._format, self._provenance)),
            *("-y", file_url(self._complete)),
        ]
        largest = self._picture.stat().st_size + round(duration_s * _AUDIO_MAX_BYTES_PER_S) + _INDEX_MAX_BYTES
        return _sound_written(arguments, duration_s, largest)

    def _end_encoding(self, *, gone: bool = False) -> None:
        assert self._ffmpeg is not None
        try:
            status = self._ffmpeg.finish(timeout_s=_STALL_TIMEOUT_S)
        except BrokenPipeError:
            gone, status = True, self._ffmpeg.finish(timeout_s=_STALL_TIMEOUT_S)
        except TimeoutError:
            raise EncodingFailed("The encoder stopped taking frames.") from None
        if gone or status != 0:
            raise EncodingFailed(f"The result could not be encoded ({self._ffmpeg.complaint(self._picture)}).")


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    fps: Fraction,
    width: int,
    height: int,
    video_format: FormatName = "mp4",
    audio_from: Path | None = None,
    provenance: Provenance | None = None,
) -> WrittenVideo:
    """Writes `frames` (`uint8_HWC` or batches `uint8_THWC`, RGB) with exactly as many frames at `fps`.

    The rest is that of `VideoWriter`. An error, also one raised by `frames`, leaves nothing behind.
    """
    with VideoWriter(
        path,
        fps=fps,
        width=width,
        height=height,
        video_format=video_format,
        audio_from=audio_from,
        provenance=provenance,
    ) as writer:
        for batch in frames:
            for frame_HWC in batch if batch.ndim == 4 else batch[None]:
                writer.write(frame_HWC)
        return writer.finish()


def extract_audio(driving: Path, duration_s: Fraction, target: Path) -> tuple[bool, tuple[str, ...]]:
    """Write the sound of a clip, in step with its first picture, to `target` without loss (FLAC in Matroska).

    Returns whether there is any, and what went wrong. `write_video` makes the same of this file as of the clip.
    """
    media_type = video_media_type(driving)
    if not decodes_audio(driving, media_type, UNLIMITED):
        return False, (_NO_AUDIO,)
    guarded = guarded_input(driving, media_type, max_pixels=UNLIMITED.video_max_pixels)
    arguments = [
        *("-vn", "-sn", "-dn", *guarded),
        *("-map", "0:a:0", "-af", _in_step(guarded, duration_s), "-c:a", "flac", "-max_error_rate", "1"),
        *("-map_metadata", "-1", "-fflags", "+bitexact", "-f", "matroska", "-y", file_url(target)),
    ]
    return _sound_written(arguments, duration_s, round(duration_s * _PCM_MAX_BYTES_PER_S) + _INDEX_MAX_BYTES)


def _in_step(guarded: list[str], duration_s: Fraction) -> str:
    """The filters that make the sound begin with the clip's first picture and end with its last."""
    filters = (
        f"asetpts=PTS-{_first_picture_s(guarded)}/TB",
        "aresample=async=1:first_pts=0",  # silence where the sound starts later or has a hole
        _AUDIO_FORMAT,
        f"atrim=end={float(duration_s):.6f}",
    )
    return ",".join(filters)


def _sound_written(arguments: list[str], duration_s: Fraction, largest: int) -> tuple[bool, tuple[str, ...]]:
    timeout_s = _MUX_TIMEOUT_S + float(duration_s)
    with Ffmpeg(arguments, timeout_s=timeout_s, writes_bytes=largest) as ffmpeg:
        try:
            status = ffmpeg.finish(timeout_s=timeout_s)
        except TimeoutError:
            return False, (_NO_AUDIO,)
        if status != 0:
            return False, (_NO_AUDIO,)
        return True, ((_DAMAGED_AUDIO,) if ffmpeg.complained_about_sound() else ())


def _first_picture_s(guarded: list[str]) -> str:
    """When the clip's first picture is shown: the moment at which its sound must begin in ours."""
    arguments = [*guarded, "-map", "0:V:0", "-frames:v", "1", "-vf", "showinfo=checksum=0", "-f", "null", "-"]
    with Ffmpeg(arguments, timeout_s=_FIRST_FRAME_TIMEOUT_S, log_level="info") as ffmpeg:
        try:
            for line in ffmpeg.lines(timeout_s=_FIRST_FRAME_TIMEOUT_S):
                if (match := _FIRST_PTS.search(line)) is not None:
                    return match[1]
        except TimeoutError:
            pass
    return "0"
