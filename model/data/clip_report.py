"""What `check_data_set` reports: for programs as JSON, for people as text and as a contact sheet."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from model.data.clip_sheet import SheetEntry, draw_sheet

Severity = Literal["error", "warning", "note"]
Verdict = Literal["ready", "doubtful", "unusable"]

_LISTED = 10
HINTS = {
    "unreadable": "Export it again, for instance as H.264 in MP4, or remove it.",
    "too_short": "Remove it.",
    "few_frames": "It adds little: a longer clip shows more motion.",
    "ends_early": "It may be truncated: download or export it again.",
    "sizes_differ_inside": "Export the frames in one size: the square in the middle moves with the size.",
    "not_square": "Only the square in the middle is used: crop it around the subject if that is elsewhere.",
    "smaller_than_frame_size": "It is enlarged, and the model learns its blur: choose a smaller frame size.",
    "scene_cut": "Cut the clip there: a pair across a cut teaches nothing.",
    "still": "Nothing moves in it: remove it.",
    "blank_frames": "Cut them away.",
    "near_duplicate": "Remove one of them, unless they only look alike.",
    "duplicate_across_splits": "Remove one: the test would measure what was trained on.",
    "identity_in_both_splits": "Move all clips of an identity to one side.",
    "frames_uneven": "Pairs are drawn by clip, so a long clip is not seen more often: nothing to do.",
    "identity_dominates": "Train with identity sampling, so that every identity is seen equally often.",
    "no_test": "Make a folder `test` with clips of other identities, so that the result can be measured.",
    "no_train": "Make a folder `train`.",
    "one_identity": "The model will know this one only. That may be what you want.",
    "not_a_clip": "It is ignored.",
    "no_identities": "Name clips `identity#clip.mp4` if several show the same person.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong, doubtful or worth knowing."""

    code: str
    severity: Severity
    clip: str
    """The clip's name; empty for what concerns the set."""
    detail: str
    frames: tuple[int, ...] = ()
    """Numbers of the frames concerned; the first of a clip is 0."""

    @property
    def hint(self) -> str:
        """Return what to do about it."""
        return HINTS[self.code]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipFacts:
    """A clip that can be read."""

    name: str
    identity: str
    split: str
    width: int
    height: int
    num_frames: int


@dataclass(frozen=True, kw_only=True, slots=True)
class IdentityFacts:
    """How much there is of an identity, in all splits together."""

    identity: str
    num_clips: int
    num_frames: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """The first, middle and last frame of a clip side by side; empty if it cannot be read."""

    clip: str
    num_frames: int
    jpeg: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class DataReport:
    """What `check_data_set` found. `to_json` for programs, `text` for people."""

    folder: str
    frame_size: int
    verdict: Verdict
    """`unusable`: there is nothing to train on; `doubtful`: there is, but see errors and warnings."""
    clips: tuple[ClipFacts, ...]
    identities: tuple[IdentityFacts, ...]
    """The largest first."""
    findings: tuple[Finding, ...]
    """Errors first."""
    cache_bytes: int
    """What the decoded clips will take on disk."""
    strips: tuple[Strip, ...] = field(default=(), repr=False, compare=False)
    """For the contact sheet; not a part of the JSON."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON, each finding with its hint."""
        document = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "strips"}
        document["clips"] = [asdict(clip) for clip in self.clips]
        document["identities"] = [asdict(identity) for identity in self.identities]
        document["findings"] = [{**asdict(finding), "hint": finding.hint} for finding in self.findings]
        return json.loads(json.dumps(document))

    def write_contact_sheet(self, path: Path, *, max_clips: int = 300) -> None:
        """Draw the clips as a PNG; those with errors and warnings first when there are more than `max_clips`."""
        marks: dict[str, dict[str, None]] = {}
        for finding in self.findings:
            if finding.severity != "note" and finding.clip:
                marks.setdefault(finding.clip, {})[finding.code.replace("_", " ")] = None
        chosen = sorted(self.strips, key=lambda strip: strip.clip not in marks)[:max_clips]
        entries = [
            SheetEntry(strip.clip, strip.jpeg, strip.num_frames, tuple(marks.get(strip.clip, ())))
            for strip in sorted(chosen, key=lambda strip: strip.clip)
        ]
        draw_sheet(entries, left_out=len(self.strips) - len(entries)).save(path, "PNG")

    def text(self) -> str:
        """Return the report in lines: counts, findings grouped by kind, verdict."""
        sizes = Counter(f"{clip.width} × {clip.height}" for clip in self.clips).most_common(4)
        num_frames = sum(clip.num_frames for clip in self.clips)
        splits = Counter(clip.split for clip in self.clips)
        total = f"{len(self.clips)} clips of {len(self.identities)} identities, {num_frames} frames"
        lines = [
            f"{total}; train {splits['train']}, test {splits['test']} clips",
            "sizes: " + ", ".join(f"{size} ({count})" for size, count in sizes),
            f"decoded at {self.frame_size} px: {self.cache_bytes / 1e9:.2f} GB on disk",
        ]
        for code in dict.fromkeys(finding.code for finding in self.findings):
            group = [finding for finding in self.findings if finding.code == code]
            lines.append(f"{group[0].severity}: {code.replace('_', ' ')} ({len(group)}). {group[0].hint}")
            lines += [f"    {finding.clip or self.folder}: {finding.detail}" for finding in group[:_LISTED]]
            lines += [f"    and {len(group) - _LISTED} more"] if len(group) > _LISTED else []
        return "\n".join([*lines, f"verdict: {self.verdict}"])
