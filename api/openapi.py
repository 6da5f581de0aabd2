"""The parts of the OpenAPI document that the framework cannot derive: the upload form and the problems of a route."""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from typing import Any

from fastapi import FastAPI

from api.file_parts import DRIVING_VIDEO, FILE_PARTS, IN_PLACE_OF, MOTION, SOURCE_IMAGE, URL_FIELDS
from api.problem_answers import MEDIA_TYPE
from api.problem_catalog import title_of, type_of
from api.schemas import Problem, ProgressEvent
from api.webhook_form import EVENTS, WEBHOOK_EVENTS, WEBHOOK_FIELDS, WEBHOOK_URL
from worker.jobs import AnimationOptions

OPEN_PATHS = {"/healthz", "/readyz", "/", "/web/{version}/{name}", "/samples", "/samples/{name}"}
"""What needs no key, beside this document itself."""
_AT_THE_DOOR = (
    *((401, "unauthorized"), (403, "anonymous_not_allowed"), (403, "cross_origin_refused")),
    *((429, "rate_limited"), (503, "queue_unavailable")),
)
"""How every other route can answer before it is reached."""
FORM_PROBLEMS = (
    *((400, "malformed_multipart"), (400, "missing_part"), (400, "unknown_part"), (400, "duplicate_part")),
    *((400, "too_many_parts"), (408, "upload_too_slow"), (413, "body_too_large"), (413, "part_too_large")),
    *((413, "field_too_large"), (415, "not_multipart"), (415, "unsupported_media_type"), (422, "invalid_options")),
    *((422, "webhooks_disabled"), (422, "webhook_url_refused"), (422, "crop_impossible")),
    *((422, "reference_frame_missing"), (422, "unknown_model"), (422, "model_unavailable"), (422, "media_rejected")),
    *((422, "media_too_small"), (422, "media_too_large"), (422, "media_too_long"), (422, "frame_rate_too_high")),
    *((422, "no_video_stream"), (422, "not_an_animation"), (422, "media_timeout"), (503, "storage_unavailable")),
    *((503, "disk_full"), (503, "too_many_uploads")),
    *((422, "input_urls_disabled"), (422, "input_url_refused"), (422, "input_url_failed")),
    *((502, "input_url_unreachable"), (504, "input_url_too_slow")),
)
"""What can be wrong with a form, its options and its files, or keep it from being received."""
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `Authorization: Bearer ank_...`."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key in another header."},
}
_EVENT = "|".join(EVENTS).replace(".", r"\.")
_PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}
_HEADERS = {"X-Request-ID": {"description": "Also in the log of the service.", "schema": {"type": "string"}}}


def problems(*kinds: tuple[int, str]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: each status with an example of every code it can have."""
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for status, code in (*kinds, (500, "internal_error")):
        by_status[status].append(code)
    return {
        status: {
            "description": "; ".join(title_of(code) for code in codes),
            "headers": _HEADERS,
            "content": {
                MEDIA_TYPE: {
                    "schema": _PROBLEM_REF,
                    "examples": {code: {"value": _example(status, code)} for code in codes},
                }
            },
        }
        for status, codes in sorted(by_status.items())
    }


def upload_form() -> dict[str, Any]:
    """The request body of `POST /animations` and of its preflight: both files and every option."""
    options = AnimationOptions.model_json_schema()["properties"]
    url = {"type": "string", "format": "uri", "maxLength": 2048}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            SOURCE_IMAGE: {
                                "type": "string",
                                "format": "binary",
                                "description": "The picture that shall move. Its bytes decide, not its name.",
                            },
                            DRIVING_VIDEO: {
                                "type": "string",
                                "format": "binary",
                                "description": "The video (or moving GIF) that it shall move like.",
                            },
                            **{
                                field: {**url, "description": f"Fetched in the place of `{part}`, within its limits."}
                                for part, field in URL_FIELDS.items()
                            },
                            MOTION: {
                                "type": "string",
                                "pattern": "^mot_[0-9a-hjkmnp-tv-z]{26}$",
                                "description": "A motion template (`POST /motions`) in the place of the video.",
                            },
                            **{name: _form_field(schema) for name, schema in options.items()},
                            WEBHOOK_URL: {
                                **url,
                                "description": "Told of the end. Only in the document of installations with webhooks.",
                            },
                            WEBHOOK_EVENTS: {
                                "type": "string",
                                "pattern": f"^({_EVENT})(,({_EVENT}))*$",
                                "description": f"Of which ends, separated by commas; else of all: {', '.join(EVENTS)}.",
                            },
                        },
                    },
                    "encoding": {
                        SOURCE_IMAGE: {"contentType": "image/png, image/jpeg, image/webp, image/gif"},
                        DRIVING_VIDEO: {"contentType": "video/mp4, video/quicktime, video/webm, image/gif"},
                    },
                }
            },
        }
    }


def motion_form() -> dict[str, Any]:
    """The request body of `POST /motions`: the video and what is decided with it."""
    options = AnimationOptions.model_json_schema()["properties"]
    video = {"type": "string", "format": "binary", "description": "The video (or moving GIF) whose motion is wanted."}
    url = {"type": "string", "format": "uri", "maxLength": 2048, "description": "Fetched in the place of the video."}
    fields = {name: _form_field(options[name]) for name in ("model", "driving_crop", "driving_subject")}
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {DRIVING_VIDEO: video, URL_FIELDS[DRIVING_VIDEO]: url, **fields},
    }
    encoding = {DRIVING_VIDEO: {"contentType": "video/mp4, video/quicktime, video/webm, image/gif"}}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema, "encoding": encoding}}}
    }


def event_stream() -> dict[str, Any]:
    """The content of an event stream. For OpenAPI 3.1 the schema is that of one event, as parsed."""
    data = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Animation", "ProgressEvent")]}
    event = {
        "type": "object",
        "required": ["event", "id", "data"],
        "properties": {
            "event": {"type": "string", "enum": ["status", "progress", "end"]},
            "id": {"type": "string", "pattern": "^[0-9]+$", "description": "For `Last-Event-ID`."},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
        },
    }
    example = 'event: progress\ndata: {"percent": 42, "frames_done": 63, "frames_total": 150, "eta_s": 4}\nid: 7\n\n'
    return {"text/event-stream": {"schema": event, "examples": {"progress": {"value": example}}}}


def complete(app: FastAPI, *, webhooks: bool, input_urls: bool) -> None:
    """Let `app.openapi()` have our schemas in place of the framework's own error shape."""
    derive = app.openapi

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            # Parts of it belong to the routes, which all applications of a process share.
            document = app.openapi_schema = deepcopy(derive())
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            for operation in (operation for path in document["paths"].values() for operation in path.values()):
                if "application/json" in operation["responses"].get("422", {}).get("content", ()):
                    del operation["responses"]["422"]  # the framework's own, where no problem of ours has this status
                for parameter in operation.get("parameters", ()):
                    parameter["schema"] = _form_field(parameter["schema"])
            for path in ("/animations", "/animations/preflight", "/motions"):
                _fit_submission(document["paths"][path]["post"], webhooks=webhooks, input_urls=input_urls)
            document["components"]["securitySchemes"] = _SECURITY_SCHEMES
            for path, item in document["paths"].items():
                if path not in OPEN_PATHS:
                    for operation in item.values():
                        _behind_the_door(operation)
            for model in (Problem, ProgressEvent):
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(schema.pop("$defs", {}))
                schemas[model.__name__] = schema
        return app.openapi_schema or {}

    app.openapi = openapi


def _fit_submission(operation: dict[str, Any], *, webhooks: bool, input_urls: bool) -> None:
    """Describe the form as this installation takes it."""
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    for name in [*(() if webhooks else WEBHOOK_FIELDS), *(() if input_urls else URL_FIELDS.values())]:
        form["properties"].pop(name, None)
    # Each file, or one of the fields that can stand in its place.
    ways = [
        [part, *(field for field in IN_PLACE_OF[part] if field in form["properties"])]
        for part in FILE_PARTS
        if part in form["properties"]
    ]
    alone = [names[0] for names in ways if len(names) == 1]
    choices = [{"oneOf": [{"required": [name]} for name in names]} for names in ways if len(names) > 1]
    form |= {key: value for key, value in (("required", alone), ("allOf", choices)) if value}
    if not input_urls:
        for status in ("502", "504"):
            del operation["responses"][status]


def _behind_the_door(operation: dict[str, Any]) -> None:
    """Describe what the door adds to an operation: keys, and how it can refuse."""
    # An installation without keys takes requests without one: the empty choice.
    operation["security"] = [*({name: []} for name in _SECURITY_SCHEMES), {}]
    for status, answer in problems(*_AT_THE_DOOR).items():
        known = operation["responses"].setdefault(str(status), answer)
        known["content"][MEDIA_TYPE]["examples"] |= answer["content"][MEDIA_TYPE]["examples"]
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _form_field(schema: dict[str, Any]) -> dict[str, Any]:
    """An option or a parameter as it is sent: `null` cannot be sent, leaving it out says the same."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if not choices:
        return schema
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**rest, **choices[0]}


def _example(status: int, code: str) -> dict[str, Any]:
    return {
        "type": type_of(code),
        "title": title_of(code),
        "status": status,
        "detail": f"{title_of(code)}.",
        "code": code,
        "request_id": "req_5f2b8c0d9e1a47336b20c1de",
        "instance": "/animations",
    }
