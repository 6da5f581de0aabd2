"""The API reference: the OpenAPI document of the service as Markdown. Made at every build, so it is never stale."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from api.app import create_app
from api.settings import ApiSettings
from worker.settings import Settings

Node = Mapping[str, Any]

_METHODS = ("post", "get", "delete")
_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "multipleOf": "a multiple of {}",
}


def openapi_document() -> dict[str, Any]:
    """Return the document of a service that has everything switched on, whatever the environment says."""
    everything = ApiSettings.model_construct(webhooks_enabled=True, input_url_hosts="media.example.org")
    return create_app(Settings.model_construct(), everything).openapi()


def api_reference(document: Node) -> str:
    """Return the operations by tag, then the schemas, as Markdown without a heading of its own."""
    lines: list[str] = []
    for tag in document["tags"]:
        lines += ["", f"## {tag['name'].capitalize()}", "", tag["description"]]
        for path, item in sorted(document["paths"].items()):
            for method, operation in sorted(item.items(), key=lambda entry: _METHODS.index(entry[0])):
                if tag["name"] in operation["tags"]:
                    lines += _operation(method.upper(), path, operation)
    lines += ["", "## Schemas"]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += ["", f"### {name}", "", *_schema(schema)]
    return "\n".join(lines).strip() + "\n"


def _operation(method: str, path: str, operation: Node) -> Iterator[str]:
    about = _text(operation.get("description", ""))
    yield from ("", f"### {method} {path}", "", f"**{operation['summary'].rstrip('?.')}.** {about}", "")
    if "security" not in operation:
        yield from ("Needs no key.", "")
    if parameters := operation.get("parameters"):
        yield from ("| parameter | in | type | meaning |", "|---|---|---|---|")
        for parameter in parameters:
            needed = ", needed" if parameter.get("required") else ""
            meaning = _cell(parameter.get("description") or parameter["schema"].get("description", ""))
            yield f"| `{parameter['name']}` | {parameter['in']}{needed} | {_type(parameter['schema'])} | {meaning} |"
        yield ""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield from (f"Body: `{media_type}`", "", *_schema(content["schema"]), "")
    yield from ("| status | what | body |", "|---|---|---|")
    for status, answer in operation["responses"].items():
        yield f"| {status} | {_meaning(answer)} | {_bodies(answer)} |"


def _meaning(answer: Node) -> str:
    """What a status means; of a problem the codes that it can have."""
    codes = [code for content in answer.get("content", {}).values() for code in content.get("examples", {})]
    problem = "application/problem+json" in answer.get("content", {})
    return ", ".join(f"`{code}`" for code in codes) if problem else _cell(answer["description"])


def _bodies(answer: Node) -> str:
    """What an answer carries: each schema with the media types that it comes as."""
    media_types: dict[str, list[str]] = {}
    for media_type, content in answer.get("content", {}).items():
        schema = content.get("schema", {})
        named = "the file" if schema.get("format") == "binary" or not schema else _type(schema)
        media_types.setdefault(named, []).append(f"`{media_type}`")
    return "; ".join(f"{named}: {', '.join(types)}" for named, types in media_types.items()) or "–"


def _schema(schema: Node) -> Iterator[str]:
    if schema.get("description"):
        yield from (_text(schema["description"]), "")
    if "properties" not in schema:
        yield f"{_type(schema)}"
        return
    required = set(schema.get("required", ()))
    yield from ("| field | type | meaning |", "|---|---|---|")
    for name, field in schema["properties"].items():
        notes = [_cell(field.get("description", ""))]
        if name in required:
            notes.append("Always there." if "readOnly" in field else "Needed." if not _is_answer(schema) else "")
        elif field.get("default") is not None:
            notes.append(f"Default: `{json.dumps(field['default'], ensure_ascii=False)}`.")
        yield f"| `{name}` | {_type(field)} | {' '.join(note for note in notes if note)} |"
    yield from _alternatives(schema)


def _is_answer(schema: Node) -> bool:
    """Whether the service writes it: then everything is there, and "needed" would say nothing."""
    return "title" in schema


def _alternatives(schema: Node) -> Iterator[str]:
    """Of a form: each file, or one of the fields that can stand in its place."""
    for choice in schema.get("allOf", ()):
        names = [f"`{name}`" for way in choice.get("oneOf", ()) for name in way["required"]]
        yield from ("", f"One of {', '.join(names)} is needed, and not more than one.")


def _type(schema: Node) -> str:
    """A schema in a few words, as the cell of a table."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(choice) for choice in schema[several]))
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{value}`" for value in values)
    kind = schema.get("type", "any")
    if kind == "array":
        items = schema.get("prefixItems")
        return f"array of {len(items)} × {_type(items[0])}" if items else f"array of {_type(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return _plain_type(kind, schema)


def _plain_type(kind: str, schema: Node) -> str:
    details = [schema["format"]] if "format" in schema else []
    details += [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    details = ["not empty" if detail == "at least 1 characters" else detail for detail in details]
    details += [f"`{_code(schema['pattern'])}`"] if "pattern" in schema else []
    return f"{kind} ({', '.join(details)})" if details else kind


def _code(text: str) -> str:
    return text.replace("|", r"\|")


def _text(text: str) -> str:
    """A description as a paragraph: its pointers to this repository's files become links of the site."""
    return text.replace("docs/api.md", "[the HTTP interface](api.md#errors)")


def _cell(text: str) -> str:
    return _code(" ".join(_text(text).split()))
