"""The frames of a driving video as batches of `uint8_THWC`, exactly as many as its facts say.

Memory holds one batch, however long the clip is: ffmpeg waits while nobody takes its output. Frames are upright, have
square pixels, are converted by the colour matrix the file names (BT.709 for HD and BT.601 for smaller pictures where
it names none, as players do) and lie over white where they are transparent.
"""

from __future__ import annotations

from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import numpy as np

from worker.errors import MediaRejected
from worker.jobs import VideoFacts
from worker.media_folder import FOLDER_MEDIA_TYPE, read_folder
from worker.media_guard import guarded_input
from worker.media_header import Header, decoding_timeout, read_header
from worker.media_process import Ffmpeg
from worker.pictures import reflected
from worker.settings import UNLIMITED, MediaLimits
from worker.squares import Framing, centre_square, scaled_visible

_CONVERTER = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
_SCALER = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"  # at half the speed: only where the size changes
_HD_PIXELS = 1280 * 720
_SPARE_FRAMES = 3  # the last picture of a resampled clip may be held so long to fill the rounding at its end
_EXIT_TIMEOUT_S = 20.0


def read_frames(
    path: Path,
    facts: VideoFacts,
    *,
    batch_frames: int,
    square_px: int | None = None,
    framing: Framing | None = None,
    limits: MediaLimits = UNLIMITED,
) -> Generator[np.ndarray]:
    """Batches of up to `batch_frames` frames, RGB; with `square_px`, of the centre square at that size.

    `framing` asks for another part and size. Where its square reaches outside, the picture is reflected.

    `facts` must come from `probe_video` or `probe_frames_folder` of the same file. A decoding error, or another number
    of frames than the probe counted, raises `MediaRejected`: nothing is dropped or repeated in silence. Closing the
    iterator early ends ffmpeg. In the places of `facts.damaged_frames` is the frame before, or what is left of theirs.
    """
    if square_px:
        framing = Framing(centre_square(facts.width, facts.height), square_px, square_px)
    if facts.media_type == FOLDER_MEDIA_TYPE:
        yield from read_folder(path, facts, batch_frames=batch_frames, framing=framing)
        return
    header = read_header(path, limits)
    width, height = _decoded_size(facts, framing)
    channels = 4 if facts.has_alpha else 3
    opened = guarded_input(
        path,
        header.media_type,
        max_pixels=limits.video_max_pixels,
        video_decoder=header.alpha_decoder,
        damaged=bool(facts.damaged_frames),
    )
    arguments = [
        *(*opened, *(() if facts.damaged_frames else ("-xerror",)), "-map", "0:V:0"),
        *("-vf", _filters(facts, header, framing)),
        *(("-frames:v", str(facts.frames)) if _resampled(facts) else ()),
        *("-fps_mode", "passthrough", "-f", "rawvideo", "-"),
    ]
    with Ffmpeg(arguments, timeout_s=limits.decode_timeout_s, yields=True) as ffmpeg:
        try:
            done = 0
            while done < facts.frames:
                batch = np.empty((min(batch_frames, facts.frames - done), height, width, channels), np.uint8)
                filled = ffmpeg.read_into(batch.data.cast("B"), stall_timeout_s=limits.decode_stall_timeout_s)
                if filled < batch.nbytes:
                    ffmpeg.finish(timeout_s=_EXIT_TIMEOUT_S)
                    decoded = done + filled // (height * width * channels)
                    raise _damaged(decoded, facts.frames, ffmpeg.complaint(path))
                done += len(batch)
                yield _framed(_over_white(batch) if facts.has_alpha else batch, facts, framing)
            surplus = ffmpeg.read_into(memoryview(bytearray(1)), stall_timeout_s=limits.decode_stall_timeout_s)
            if surplus or ffmpeg.finish(timeout_s=_EXIT_TIMEOUT_S) != 0:
                raise _damaged(done + surplus, facts.frames, "it has more frames now" if surplus else "at its end")
        except TimeoutError:
            raise decoding_timeout() from None


def _resampled(facts: VideoFacts) -> bool:
    """Whether frames are repeated or left out so that each is at its time."""
    return facts.variable_frame_rate or bool(facts.damaged_frames)


def _damaged(decoded: int, expected: int, reason: str) -> MediaRejected:
    return MediaRejected(f"The video could be decoded up to frame {decoded} of {expected} only ({reason}).")


def _decoded_size(facts: VideoFacts, framing: Framing | None) -> tuple[int, int]:
    """Width and height of the frames that ffmpeg writes: of the visible part of what is wanted."""
    if framing is None:
        return facts.width, facts.height
    if framing.square is None:
        return framing.width, framing.height
    x0, y0, x1, y1 = scaled_visible(framing.square, facts.width, facts.height, framing.width)
    return x1 - x0, y1 - y0


def _framed(frames_THWC: np.ndarray, facts: VideoFacts, framing: Framing | None) -> np.ndarray:
    if framing is None or framing.square is None:
        return frames_THWC
    return reflected(frames_THWC, framing.square, facts.width, facts.height, framing.width)


def _filters(facts: VideoFacts, header: Header, framing: Framing | None) -> str:
    chain = []
    if _resampled(facts):
        fps = Fraction(facts.fps)
        chain += [
            "setpts=PTS-STARTPTS",
            f"fps=fps={fps.numerator}/{fps.denominator}:round=near",
            f"tpad=stop={_SPARE_FRAMES}:stop_mode=clone",
        ]
    if framing and framing.square:
        # Cropped in stored pixels, which may not be square, so that only what is shown gets scaled.
        x0, y0, x1, y1 = framing.square.visible(facts.width, facts.height)
        across, down = f"iw/{facts.width}", f"ih/{facts.height}"
        chain.append(f"crop=w={x1 - x0}*{across}:h={y1 - y0}*{down}:x={x0}*{across}:y={y0}*{down}")
    width, height = _decoded_size(facts, framing)
    size = f"{width}:{height}"
    matrix = "" if header.tells_colour_matrix else f":in_color_matrix={_usual_matrix(header)}"
    if facts.has_alpha:
        # Premultiplied before it is scaled, or the colours of invisible pixels would bleed into the edges.
        chain += [f"scale=flags={_CONVERTER}{matrix}", "format=gbrap", "premultiply=inplace=1"]
        chain += [f"scale={size}:flags={_SCALER}", "format=gbrap", "format=rgba"]
    else:
        chain += [f"scale={size}:flags={_SCALER if framing else _CONVERTER}{matrix}", "format=rgb24"]
    return ",".join(chain)


def _usual_matrix(header: Header) -> str:
    return "bt709" if header.pixels >= _HD_PIXELS else "smpte170m"


def _over_white(premultiplied_THWC: np.ndarray) -> np.ndarray:
    """Premultiplied RGBA over white: what is missing of the opacity is white."""
    colour, missing = premultiplied_THWC[..., :3], 255 - premultiplied_THWC[..., 3:]
    return colour + np.minimum(missing, 255 - colour)  # rounding may have put a colour above its opacity
