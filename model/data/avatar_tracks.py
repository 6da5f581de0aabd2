"""Movement: pose tracks that look alive.

A track is a function of time made of few random numbers, so it can be read at any two moments without drawing what is
between: heads sway and nod in slow waves, mouths speak in phrases of syllables, eyes jump and rest, lids blink.

Shapes: N clips, T moments (T is 2 for the pairs of training), W waves, E events. Times in seconds, frequencies in Hz.
"""

import math

import torch
from torch import Tensor

from model.data.avatar_poses import AvatarPoses

_SWAY_HZ = (0.06, 0.55)
_NUM_WAVES = 4
_BLINK_EVERY_S, _BLINK_LASTS_S = 3.2, (0.16, 0.32)
_GAZE_HOLDS_S, _SACCADE_LASTS_S = (0.35, 1.9), 0.05
_SYLLABLE_HZ = (3.2, 5.5)
# How far clips go, on average; some are calm, some lively. Limits of drawing are wider: `POSE_RANGES`.
_TRAVEL_X, _TRAVEL_Y, _ROLL_RAD, _YAW_RAD, _PITCH_RAD, _ZOOM = 0.11, 0.06, 0.16, 0.34, 0.17, 0.07


def sample_tracks(count: int, frames: int, fps: float, generator: torch.Generator) -> AvatarPoses:
    """Draw pose tracks; each field is (count, frames). `.flat()` gives them clip after clip, as `draw` takes them."""
    times_NT = (torch.arange(frames) / fps).expand(count, frames)
    return poses_at(times_NT, frames / fps, generator)


def sample_moments(count: int, moments: int, generator: torch.Generator, clip_s: float = 20.0) -> AvatarPoses:
    """Draw some moments of one track each, far apart in it; each field is (count, moments)."""
    times_NT = clip_s * torch.rand(count, moments, generator=generator)
    return poses_at(times_NT, clip_s, generator)


def poses_at(times_NT: Tensor, clip_s: float, generator: torch.Generator) -> AvatarPoses:
    """Draw a track for each clip and return its poses at these times."""
    count = len(times_NT)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, generator=generator)

    def wave(fast: float = 1.0) -> Tensor:
        return _smooth_wave(times_NT, fast, generator)

    lively = uniform(0.45, 1.5)
    lean = 0.12 * wave()
    yaw_NT = 0.2 * uniform(-1, 1) + _YAW_RAD * lively * wave()
    pitch_NT = 0.08 * uniform(-1, 1) + _PITCH_RAD * lively * wave() + 0.05 * wave(4.0)
    roll_NT = 0.06 * uniform(-1, 1) + _ROLL_RAD * lively * wave() + 0.15 * yaw_NT * uniform(-1, 1)
    speech_NT = _speech(times_NT, generator)
    mood_NT = (0.25 + 0.45 * uniform(-1, 1) + 0.6 * wave()).clamp(-1.0, 1.0)
    laugh_NT = (wave(0.7) - 0.9).clamp(0.0, 0.6) / 0.6
    both_NT, wink_NT = _blinks(times_NT, clip_s, generator)
    left = (uniform(0, 1) < 0.5).float()
    gaze_x_NT, gaze_y_NT = _gaze(times_NT, clip_s, generator)
    return AvatarPoses(
        translation_x=0.08 * uniform(-1, 1) + _TRAVEL_X * lively * wave() + 0.1 * yaw_NT + lean,
        translation_y=0.04 * uniform(-1, 1) + _TRAVEL_Y * lively * wave() + 0.06 * pitch_NT,
        scale=torch.exp(0.08 * uniform(-1, 1) + _ZOOM * lively * wave()),
        roll_rad=roll_NT,
        yaw_rad=yaw_NT,
        pitch_rad=pitch_NT,
        mouth_open=torch.maximum(speech_NT, laugh_NT * (0.7 + 0.3 * wave(6.0))).clamp(0.0, 1.0),
        mouth_width=(0.45 * wave(3.0) * (0.3 + speech_NT) + 0.4 * laugh_NT).clamp(-1.0, 1.0),
        smile=(mood_NT + 0.8 * laugh_NT).clamp(-1.0, 1.0),
        # Eyes stay with the viewer for a part of the turn of the head.
        gaze_x=(gaze_x_NT - 0.7 * yaw_NT).clamp(-1.0, 1.0),
        gaze_y=(gaze_y_NT - 0.7 * pitch_NT).clamp(-1.0, 1.0),
        blink_left=torch.maximum(both_NT, wink_NT * left).clamp(0.0, 1.0),
        blink_right=torch.maximum(both_NT, wink_NT * (1.0 - left)).clamp(0.0, 1.0),
        brow_raise=(0.5 * wave(1.5) + 0.35 * speech_NT * wave(3.0)).clamp(-1.0, 1.0),
        brow_tilt=(0.5 * uniform(-1, 1) + 0.5 * wave() - 0.3 * mood_NT).clamp(-1.0, 1.0),
    ).limited()


def _smooth_wave(times_NT: Tensor, fast: float, generator: torch.Generator) -> Tensor:
    """Return a band-limited wander around 0 of standard deviation about 0.7, at most about 1.6."""
    low, high = (math.log(fast * hz) for hz in _SWAY_HZ)
    shape = (len(times_NT), _NUM_WAVES)
    frequency_NW = torch.exp(low + (high - low) * torch.rand(*shape, generator=generator))
    phase_NW = 2.0 * math.pi * torch.rand(*shape, generator=generator)
    # Slow waves are large and quick ones small, as of things that have mass.
    weight_NW = (frequency_NW / (fast * _SWAY_HZ[1])).rsqrt()
    weight_NW = weight_NW / weight_NW.norm(dim=1, keepdim=True)
    angle_NTW = 2.0 * math.pi * frequency_NW[:, None] * times_NT[:, :, None] + phase_NW[:, None]
    return (weight_NW[:, None] * torch.sin(angle_NTW)).sum(-1)


def _speech(times_NT: Tensor, generator: torch.Generator) -> Tensor:
    """Return how far a speaking mouth is open: syllables, in phrases with rests between. Some clips are silent."""
    count = len(times_NT)
    phrase_NT = (_smooth_wave(times_NT, 1.6, generator) * 3.0 + 1.2).clamp(0.0, 1.0)
    low, high = _SYLLABLE_HZ
    rate_N1 = low + (high - low) * torch.rand(count, 1, generator=generator)
    phase_NT = 2.0 * math.pi * (rate_N1 * times_NT + torch.rand(count, 1, generator=generator))
    beat_NT = 0.5 + 0.5 * torch.sin(phase_NT + 1.5 * _smooth_wave(times_NT, 3.0, generator))
    loud_NT = 0.5 + 0.3 * _smooth_wave(times_NT, 3.0, generator)
    speaks_N1 = (torch.rand(count, 1, generator=generator) < 0.75).float()
    return (beat_NT * loud_NT * phrase_NT * speaks_N1).clamp(0.0, 1.0)


def _blinks(times_NT: Tensor, clip_s: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return closure of both lids, and of one in a rare wink: one event in each stretch of time, at random in it."""
    count, events = len(times_NT), int(clip_s / _BLINK_EVERY_S) + 2
    start_NE = (torch.arange(events) - 0.5 + 0.85 * torch.rand(count, events, generator=generator)) * _BLINK_EVERY_S
    shortest, longest = _BLINK_LASTS_S
    lasts_NE = shortest + (longest - shortest) * torch.rand(count, events, generator=generator)
    is_wink_NE = torch.rand(count, events, generator=generator) < 0.08
    lasts_NE = torch.where(is_wink_NE, 2.5 * lasts_NE, lasts_NE)
    along_NTE = (times_NT[:, :, None] - start_NE[:, None]) / lasts_NE[:, None]
    # Lids fall faster than they rise.
    fall_NTE, rise_NTE = along_NTE / 0.35, (1.0 - along_NTE) / 0.45
    closed_NTE = torch.minimum(fall_NTE, rise_NTE).clamp(0.0, 1.0)
    closed_NTE = closed_NTE * closed_NTE * (3.0 - 2.0 * closed_NTE)
    wink_NT = torch.where(is_wink_NE[:, None], closed_NTE, 0.0).amax(-1)
    return torch.where(is_wink_NE[:, None], 0.0, closed_NTE).amax(-1), wink_NT


def _gaze(times_NT: Tensor, clip_s: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return gaze x and y: the eyes rest on a place, then jump to another; half of the time they look ahead."""
    shortest, longest = _GAZE_HOLDS_S
    count, events = len(times_NT), int(clip_s / shortest) + 3
    holds_NE = shortest + (longest - shortest) * torch.rand(count, events, generator=generator)
    ends_NE = holds_NE.cumsum(-1) - 0.5 * longest
    away_NE = (torch.rand(count, events, generator=generator) < 0.5).float()
    event_NT = torch.searchsorted(ends_NE, times_NT.contiguous(), right=True).clamp(1, events - 1)
    since_NT = times_NT - ends_NE.gather(1, event_NT - 1)
    jump_NT = (since_NT / _SACCADE_LASTS_S).clamp(0.0, 1.0)
    places = []
    for spread in (0.85, 0.55):
        place_NE = spread * (2.0 * torch.rand(count, events, generator=generator) - 1.0) * away_NE
        places.append(torch.lerp(place_NE.gather(1, event_NT - 1), place_NE.gather(1, event_NT), jump_NT))
    return places[0], places[1]
