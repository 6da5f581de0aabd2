"""What a file is, told from its first bytes, and which containers and codecs are let through to a decoder.

The name and the declared content type of an upload are never looked at.
"""

from __future__ import annotations

import struct

SNIFF_BYTES = 4096
"""How many of a file's first bytes `sniff` wants to see."""

HEADER_MIN_BYTES = 12
"""A shorter file has no room for the first bytes of any format: it is damaged, and not of an unsupported type."""

SOURCE_MEDIA_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "image/avif"})
"""What `probe_image` may accept."""

DEMUXERS = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/3gpp": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/mpeg": "mpeg",
    "image/gif": "gif",
    "image/webp": "webp_anim",
}
"""The one ffmpeg demuxer that may open a driving video of each type."""

DRIVING_MEDIA_TYPES = frozenset(DEMUXERS)
"""What `probe_video` may accept: videos, animated GIF and animated WebP."""

VIDEO_DECODERS = (
    "h264",
    "hevc",
    "vp8",
    "vp9",
    "libvpx",  # VP8 and VP9 with their alpha channel, which ffmpeg's own decoders leave out
    "libvpx-vp9",
    "libdav1d",
    "libaom-av1",
    "av1",
    "mpeg4",
    "mpeg1video",
    "mpeg2video",
    "gif",
    "webp",
    "webp_anim",
)
AUDIO_DECODERS = (
    "aac",
    "mp3",
    "mp3float",
    "mp2",
    "mp2float",
    "opus",
    "libopus",
    "vorbis",
    "libvorbis",
    "ac3",
    "eac3",
    "flac",  # screen recorders, in MKV
    "alac",  # iPhones, "lossless"
    "amrnb",  # older phones, in 3GP
    "pcm_s16le",  # cameras and editors, in MOV
    "pcm_s16be",
    "pcm_s24le",
    "pcm_s24be",
    "pcm_s32le",
    "pcm_s32be",
    "pcm_f32le",
    "pcm_f32be",
    "pcm_u8",
    "pcm_alaw",
    "pcm_mulaw",
)

_GIF_HEADER_BYTES = 13
_FTYP_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"qt  ": "video/quicktime",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "image/heic"),
    **dict.fromkeys((b"3gp4", b"3gp5", b"3gp6", b"3gp7", b"3g2a", b"3ge6", b"3gg6"), "video/3gpp"),
    **dict.fromkeys((b"jp2 ", b"jpx ", b"jpm "), "image/jp2"),
    **dict.fromkeys((b"M4A ", b"M4B "), "audio/mp4"),
    b"crx ": "image/x-canon-cr3",
}
_PREFIXES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"\x00\x00\x00\x0cjP  ", "image/jp2"),
    (b"\xff\x4f\xff\x51", "image/jp2"),
    (b"\xff\x0a", "image/jxl"),
    (b"\x00\x00\x00\x0cJXL ", "image/jxl"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"OggS", "application/ogg"),
    (b"FLV\x01", "video/x-flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
    (b"BM", "image/bmp"),
)
# Files written by QuickTime before it had `ftyp` begin with one of these boxes.
_OLD_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_RIFF_KINDS = {b"WEBP": "image/webp", b"AVI ": "video/x-msvideo", b"WAVE": "audio/wav"}


def sniff(head: bytes) -> str | None:
    """The media type that the first bytes (up to `SNIFF_BYTES`) tell, also of types that are refused; or None."""
    box = head[4:8]
    if box == b"ftyp":
        return _sniff_iso_media(head)
    if box in _OLD_QUICKTIME_BOXES:
        return "video/quicktime"
    if head.startswith(b"RIFF"):
        return _RIFF_KINDS.get(head[8:12])
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _sniff_matroska(head)
    return next((media_type for prefix, media_type in _PREFIXES if head.startswith(prefix)), None)


def is_animated_webp(head: bytes) -> bool:
    """Whether a WebP's extended header has the animation flag."""
    return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 0x02)


def claimed_canvas(head: bytes, media_type: str) -> tuple[int, int]:
    """The size that an animated picture's first bytes ask for; (0, 0) when they do not say."""
    if media_type == "image/gif" and len(head) >= _GIF_HEADER_BYTES:
        return _gif_canvas(head)
    if media_type == "image/webp" and is_animated_webp(head) and len(head) >= 30:
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    return 0, 0


def _gif_canvas(head: bytes) -> tuple[int, int]:
    """The screen, or more when the first picture lies partly outside of it: decoders then enlarge the screen."""
    width, height = struct.unpack_from("<HH", head, 6)
    flags = head[10]
    at = _GIF_HEADER_BYTES + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while head[at : at + 1] == b"!":  # an extension: blocks with their length in front, ended by an empty one
        at += 2
        while at < len(head) and head[at]:
            at += 1 + head[at]
        at += 1
    if head[at : at + 1] == b"," and len(head) >= at + 9:
        left, top, first_width, first_height = struct.unpack_from("<HHHH", head, at + 1)
        width, height = max(width, left + first_width), max(height, top + first_height)
    return width, height


def _sniff_iso_media(head: bytes) -> str:
    major = head[8:12]
    media_type = _FTYP_BRANDS.get(major, "video/mp4")
    if major in (b"mif1", b"msf1"):  # "some picture": the compatible brands tell which
        end = min(int.from_bytes(head[:4]), 256, len(head))
        compatible = {head[at : at + 4] for at in range(16, end, 4)}
        if compatible & {b"avif", b"avis"}:
            return "image/avif"
    return media_type


def _sniff_matroska(head: bytes) -> str | None:
    at = head.find(b"\x42\x82")  # the DocType element
    doc_type = head[at + 3 : at + 11] if at >= 0 else b""
    if doc_type.startswith(b"webm"):
        return "video/webm"
    return "video/x-matroska" if doc_type.startswith(b"matroska") else None
