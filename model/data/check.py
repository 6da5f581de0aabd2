"""Look at a data set before training on it: what cannot be used, and what will spoil the result.

Every clip is decoded once, at a small size, as the training will see it: cropped to the square in the middle.
`DataReport.write_contact_sheet` then draws the first, middle and last frame of each.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.data.clip_decode import ClipHeader, ClipReader
from model.data.clip_files import ClipFile, DataError, Listing, list_clips
from model.data.clip_measures import MEASURE_SIZE, Measures, looks_distance, measure
from model.data.clip_report import ClipFacts, DataReport, Finding, IdentityFacts, Severity, Strip, Verdict

MIN_FRAMES = 16
"""A clip with fewer frames hardly moves; it is reported, and used if it has two."""

# Of 0 to 1: noise, light and another frame rate make less than 0.07; two clips of one person in one room, 0.14.
_DUPLICATE_DISTANCE = 0.09
_ENDS_EARLY_SHARE = 0.8
_DOMINATING_SHARE = 0.2
_DOMINATING_FACTOR = 3.0


class _Look(NamedTuple):
    clip: ClipFile
    facts: ClipFacts | None
    measures: Measures | None
    findings: tuple[Finding, ...]


def check_data_set(
    folder: Path, frame_size: int, on_progress: Callable[[int, int, str], None] | None = None
) -> DataReport:
    """Decode and examine every clip of a data set; nothing is written.

    `on_progress` is told the clips done, all clips and the name of the last, in the thread of the caller.

    Raises `DataError` with code `data_folder_missing` or `data_empty`; what is wrong with clips is in the report.
    """
    listing = list_clips(folder)
    looks: list[_Look] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for look in pool.map(lambda clip: _look_at(clip, frame_size), listing.clips):
                looks.append(look)
                if on_progress is not None:
                    on_progress(len(looks), len(listing.clips), look.clip.name)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    clips = tuple(look.facts for look in looks if look.facts is not None)
    identities = _identities(clips)
    findings = [finding for look in looks for finding in look.findings]
    findings += _duplicates(looks)
    findings += _about_identities(clips, identities, listing)
    findings += _about_splits(clips, listing)
    order: list[Severity] = ["error", "warning", "note"]
    findings.sort(key=lambda finding: order.index(finding.severity))
    return DataReport(
        folder=str(folder),
        frame_size=frame_size,
        verdict=_verdict(clips, findings),
        clips=clips,
        identities=identities,
        findings=tuple(findings),
        cache_bytes=sum(clip.num_frames for clip in clips) * frame_size * frame_size * 3,
        strips=tuple(
            Strip(clip=clip.name, num_frames=seen.num_frames if seen else 0, jpeg=seen.strip_jpeg if seen else b"")
            for clip, _, seen, _ in looks
        ),
    )


def _look_at(clip: ClipFile, frame_size: int) -> _Look:
    try:
        with ClipReader(clip, MEASURE_SIZE) as reader:
            measures = measure(reader.frames())
            if measures is None:
                raise DataError("clip_unreadable", "It has no frame that can be decoded.")
    except DataError as error:
        return _Look(clip, None, None, (_finding("unreadable", "error", clip, f"{error}"),))
    header = reader.header
    facts = ClipFacts(
        name=clip.name,
        identity=clip.identity,
        split=clip.split,
        width=header.width,
        height=header.height,
        num_frames=measures.num_frames,
    )
    findings = (*_about_size(clip, header, reader.other_sizes, frame_size), *_about_frames(clip, header, measures))
    return _Look(clip, facts, measures, findings)


def _about_size(
    clip: ClipFile, header: ClipHeader, other_sizes: set[tuple[int, int]], frame_size: int
) -> Iterator[Finding]:
    width, height = header.width, header.height
    if other_sizes:
        others = ", ".join(f"{w} × {h}" for w, h in sorted(other_sizes)[:3])
        yield _finding("sizes_differ_inside", "warning", clip, f"{width} × {height}, later {others}")
    if width != height:
        lost = 1 - min(width, height) / max(width, height)
        # A little less than square costs a little of the edge.
        yield _finding(
            "not_square", "warning" if lost > 0.1 else "note", clip, f"{width} × {height}: {lost:.0%} is cut off"
        )
    if min(width, height) < frame_size:
        yield _finding("smaller_than_frame_size", "warning", clip, f"{min(width, height)} px, enlarged to {frame_size}")


def _about_frames(clip: ClipFile, header: ClipHeader, measures: Measures) -> Iterator[Finding]:
    count = measures.num_frames
    if count < 2:
        yield _finding("too_short", "error", clip, "one frame; a pair needs two")
        return
    if count < MIN_FRAMES:
        yield _finding("few_frames", "warning", clip, f"{count} frames")
    if count < _ENDS_EARLY_SHARE * header.announced_frames:
        yield _finding(
            "ends_early", "warning", clip, f"{count} frames of about {header.announced_frames:.0f} announced"
        )
    if measures.cuts:
        detail = f"another scene begins with frame {_list(measures.cuts)}"
        yield _finding("scene_cut", "warning", clip, detail, measures.cuts)
    if measures.blank_frames:
        detail = f"{len(measures.blank_frames)} of {count}: {_list(measures.blank_frames)}"
        yield _finding("blank_frames", "warning", clip, detail, measures.blank_frames)
    if measures.is_still:
        yield _finding("still", "warning", clip, f"nothing changes by more than {measures.largest_motion:.1f} levels")


def _duplicates(looks: Sequence[_Look]) -> Iterator[Finding]:
    """Compare every clip with those after it, at the same five moments of each."""
    hashed = [
        (clip, seen) for clip, _, seen, _ in looks if seen is not None and len(seen.blank_frames) < seen.num_frames / 2
    ]
    if not hashed:
        return
    hashes = np.stack([seen.looks for _, seen in hashed])
    told: set[tuple[str, bool]] = set()
    for row, (clip, _) in enumerate(hashed[:-1]):
        distances = looks_distance(hashes[row + 1 :], hashes[row])
        for found in np.flatnonzero(distances < _DUPLICATE_DISTANCE):
            other = hashed[row + 1 + int(found)][0]
            across = other.split != clip.split
            # Of five copies, four are reported: not each with each other.
            if (other.name, across) in told:
                continue
            told.add((other.name, across))
            detail = f"looks like {clip.name} ({1 - distances[found]:.0%} of the pattern)"
            if across:
                yield _finding("duplicate_across_splits", "error", other, detail)
            else:
                yield _finding("near_duplicate", "warning", other, detail)


def _about_identities(
    clips: Sequence[ClipFacts], identities: Sequence[IdentityFacts], listing: Listing
) -> Iterator[Finding]:
    if len(identities) == 1:
        yield _finding("one_identity", "note", None, f"all clips show {identities[0].identity}")
    # Of few identities each has a large share.
    too_large = max(_DOMINATING_SHARE, _DOMINATING_FACTOR / max(1, len(identities)))
    num_frames = sum(clip.num_frames for clip in clips)
    for identity in identities:
        share, frame_share = identity.num_clips / len(clips), identity.num_frames / num_frames
        if share > too_large:
            yield _finding("identity_dominates", "warning", None, f"{identity.identity} has {share:.0%} of the clips")
        elif frame_share > too_large:
            detail = f"{identity.identity} has {frame_share:.0%} of the frames in {share:.0%} of the clips"
            yield _finding("frames_uneven", "note", None, detail)
    if len(identities) == len(clips) > 1 and not any("#" in clip.name for clip in clips):
        yield _finding("no_identities", "note", None, "each clip counts as an identity of its own")
    if listing.has_split_folders:
        train, test = ({clip.identity for clip in clips if clip.split == split} for split in ("train", "test"))
        for name in sorted(train & test):
            yield _finding("identity_in_both_splits", "error", None, f"{name} is in train and in test")


def _about_splits(clips: Sequence[ClipFacts], listing: Listing) -> Iterator[Finding]:
    usable = Counter(clip.split for clip in clips if clip.num_frames > 1)
    if not usable["train"]:
        yield _finding("no_train", "error", None, "no clip for training can be used")
    if not usable["test"]:
        yield _finding("no_test", "warning", None, "no clip for the test can be used")
    for name in listing.strangers:
        yield Finding(code="not_a_clip", severity="note", clip=name, detail="neither a video nor a folder of frames")


def _identities(clips: Sequence[ClipFacts]) -> tuple[IdentityFacts, ...]:
    num_clips = Counter(clip.identity for clip in clips)
    num_frames: Counter[str] = Counter()
    for clip in clips:
        num_frames[clip.identity] += clip.num_frames
    return tuple(
        IdentityFacts(identity=name, num_clips=num_clips[name], num_frames=num_frames[name])
        for name in sorted(num_clips, key=lambda name: (-num_frames[name], name))
    )


def _verdict(clips: Sequence[ClipFacts], findings: Sequence[Finding]) -> Verdict:
    if not any(clip.split == "train" and clip.num_frames > 1 for clip in clips):
        return "unusable"
    return "doubtful" if any(finding.severity != "note" for finding in findings) else "ready"


def _finding(
    code: str, severity: Severity, clip: ClipFile | None, detail: str, frames: tuple[int, ...] = ()
) -> Finding:
    return Finding(code=code, severity=severity, clip=clip.name if clip else "", detail=detail, frames=frames)


def _list(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return f"{shown} and {len(numbers) - 8} more" if len(numbers) > 8 else shown
