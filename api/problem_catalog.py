"""Every `code` a client can meet, with its title. Codes are public: they never change their meaning.

`docs/api.md` has the same codes in its table, and tests compare this list with the table and with the code.
"""

from __future__ import annotations

TITLES: dict[str, str] = {
    # The request
    "malformed_multipart": "The form cannot be read",
    "missing_part": "A part of the form is missing",
    "unknown_part": "The form has a part that does not exist",
    "duplicate_part": "A part of the form occurs twice",
    "too_many_parts": "The form has too many parts",
    "invalid_cursor": "The cursor is not one of ours",
    "unauthorized": "An API key is needed",
    "anonymous_not_allowed": "Callers without a key are not let in",
    "cross_origin_refused": "Pages of other places are not let in",
    "link_invalid": "The link is not one of ours",
    "link_expired": "The link has expired",
    "not_found": "There is nothing here",
    "animation_not_found": "There is no such animation",
    "method_not_allowed": "The method does not exist here",
    "upload_too_slow": "The upload was too slow",
    "not_finished": "The animation is not finished",
    "animation_failed": "The animation failed",
    "animation_canceled": "The animation was canceled",
    "already_terminal": "The animation has already ended",
    "animation_expired": "The animation is no longer stored",
    "idempotency_in_progress": "The same request is being worked on",
    "idempotency_key_reused": "The key was used for another request",
    "invalid_idempotency_key": "The idempotency key cannot be used",
    "view_not_found": "The animation has no such view",
    "result_gone": "The result is no longer stored",
    "body_too_large": "The request is too large",
    "field_too_large": "A field of the form is too large",
    "part_too_large": "A file is too large",
    "not_multipart": "The request is not a form with files",
    "range_not_satisfiable": "The range lies outside the result",
    "invalid_request": "A parameter cannot be used",
    "invalid_options": "An option cannot be used",
    "webhooks_disabled": "No webhooks are sent here",
    "webhook_url_refused": "The webhook's URL cannot be used",
    "input_urls_disabled": "No inputs are fetched here",
    "input_url_refused": "The input's URL cannot be used",
    "input_url_failed": "The input's host does not give it",
    "input_url_unreachable": "The input's host cannot be reached",
    "input_url_too_slow": "The input's host was too slow",
    "crop_impossible": "The crop is no usable part of the picture",
    "motion_not_found": "There is no such motion",
    "unknown_motion": "There is no such motion",
    "motion_expired": "The motion is no longer stored",
    "motion_not_ready": "The motion is not extracted yet",
    "motion_failed": "The motion could not be extracted",
    "motion_other_model": "The motion belongs to another model",
    "motion_damaged": "The motion cannot be used",
    "motion_version_unsupported": "The motion has another format version",
    "subject_not_found": "There is no such face",
    "reference_frame_missing": "The video has no such frame",
    "unknown_model": "There is no such model",
    "model_unavailable": "The model cannot be used",
    # The files
    "unsupported_media_type": "The format of the file is not supported",
    "media_rejected": "The file cannot be read",
    "media_too_small": "The picture is too small",
    "media_too_large": "The picture is too large",
    "media_too_long": "The video is too long",
    "frame_rate_too_high": "The frame rate is too high",
    "no_video_stream": "The file has no picture",
    "not_an_animation": "The file does not move",
    "media_timeout": "The file takes too long to read",
    # How much and how often
    "rate_limited": "Too many requests",
    "queue_full": "Too many animations under way",
    # The service
    "internal_error": "Something broke on our side",
    "not_ready": "The service is not ready",
    "queue_unavailable": "The queue does not answer",
    "storage_unavailable": "The storage is not available",
    "overloaded": "The service is busy",
    "preflight_unavailable": "There is no preflight now",
    "disk_full": "The disk is full",
    "too_many_uploads": "Too many uploads at once",
    # Only in the `error` of an animation that failed while it ran
    "inference_failed": "The network failed",
    "out_of_memory": "The device has too little memory",
    "ffmpeg_unusable": "The ffmpeg of this installation will not do",
    "device_error": "The device failed",
    "encoding_failed": "The result could not be written",
    "worker_crashed": "The worker was lost",
    "deadline_exceeded": "The animation took too long",
    "input_missing": "The input is no longer stored",
}


def title_of(code: str) -> str:
    """The title of a problem; a code without one reads as itself."""
    return TITLES.get(code) or code.replace("_", " ").capitalize()


def type_of(code: str) -> str:
    """The `type` of a problem: a name that is the same on every installation, not an address."""
    return f"urn:animato:problem:{code}"
