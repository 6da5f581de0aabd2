"""Driving videos in, animated videos out: the one door to ffmpeg for the rest of the program.

    sniff               first bytes → media type                                   media_formats
    probe_video         file → VideoFacts, by decoding all of it once              media_header, media_probe
    probe_frames_folder folder of pictures → VideoFacts                            media_folder
    read_frames         file or folder → batches of uint8_THWC, exactly as many    media_frames
    write_video         frames, exact rate, sound of the driving clip → a file     media_encoding
    VideoWriter         the same, frame by frame

ffmpeg always runs as a confined child process (`media_process`), every untrusted file is opened under guard
(`media_guard`), and timestamps become one constant rate (`media_timing`).
Refused on purpose: containers other than MP4/MOV/3GP, WebM/MKV, MPEG-PS, GIF and animated WebP; codecs outside the
list in `media_formats`; still pictures; files that a decoding error would cut short.
"""

from __future__ import annotations

from worker.media_encoding import VideoWriter, WrittenVideo, extract_audio, write_video
from worker.media_folder import FOLDER_MEDIA_TYPE, probe_frames_folder
from worker.media_formats import DRIVING_MEDIA_TYPES, SNIFF_BYTES, SOURCE_MEDIA_TYPES, sniff
from worker.media_frames import read_frames
from worker.media_probe import probe_video

__all__ = [
    "DRIVING_MEDIA_TYPES",
    "FOLDER_MEDIA_TYPE",
    "SNIFF_BYTES",
    "SOURCE_MEDIA_TYPES",
    "VideoWriter",
    "WrittenVideo",
    "extract_audio",
    "probe_frames_folder",
    "probe_video",
    "read_frames",
    "sniff",
    "write_video",
]
