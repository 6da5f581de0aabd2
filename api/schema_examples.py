"""An animation as the OpenAPI document shows one."""

from __future__ import annotations

from pydantic.config import JsonDict

ANIMATION_EXAMPLE: JsonDict = {
    "id": "anm_01kar5x8m2q7v9w3e6z0h4t1yc",
    "object": "animation",
    "status": "processing",
    "progress": {"percent": 42, "frames_done": 63, "frames_total": 150},
    "queue_position": None,
    "eta_s": 4,
    "attempt": 1,
    "retry_of": None,
    "cancel_requested": False,
    "created_at": "2026-11-23T01:09:01.123000Z",
    "started_at": "2026-11-23T01:09:02.004000Z",
    "finished_at": None,
    "expires_at": None,
    "input": {
        "source_image": {
            "media_type": "image/png",
            "width": 512,
            "height": 512,
            "size_bytes": 204_812,
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        },
        "driving_video": {
            "media_type": "video/mp4",
            "codec": "h264",
            "width": 640,
            "height": 360,
            "fps": "25/1",
            "frames": 150,
            "duration_s": 6.0,
            "rotation_deg": 0,
            "variable_frame_rate": False,
            "has_audio": True,
            "has_alpha": False,
            "size_bytes": 456_112,
            "sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
        },
    },
    "options": {
        "model": "avatars-256",
        "motion_transfer": "relative",
        "relative_jacobian": True,
        "adapt_scale": False,
        "audio": True,
        "format": "mp4",
        "views": "comparison,flow",
    },
    "result": None,
    "views": {},
    "error": None,
    "links": {
        "self": "/animations/anm_01kar5x8m2q7v9w3e6z0h4t1yc",
        "events": "/animations/anm_01kar5x8m2q7v9w3e6z0h4t1yc/events",
        "result": None,
        "cancel": "/animations/anm_01kar5x8m2q7v9w3e6z0h4t1yc/cancel",
    },
}
