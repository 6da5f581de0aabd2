"""The files of the page and of the sample pairs, as they are served: read once, hashed, compressed.

The page's scripts import each other by relative paths, so one version in the path of the first stands for all of them:
what lies under it never changes, and a browser keeps it for good. A new version has a new path.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WEB, SAMPLES = HERE / "web", HERE / "samples"
_VERSION_MARK = b"web/0/"
"""How index.html, as it lies in the folder, names the version."""
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".mp4": "video/mp4",
}
_COMPRESSIBLE = {".css", ".html", ".js", ".svg"}


@dataclass(frozen=True)
class WebFile:
    """One file, ready to be sent."""

    body: bytes
    media_type: str
    is_compressible: bool

    @cached_property
    def etag(self) -> str:
        """The SHA-256 of its bytes, weak as the compressed ones have it too."""
        return f'W/"{hashlib.sha256(self.body).hexdigest()[:32]}"'

    @cached_property
    def compressed(self) -> bytes:
        """Its bytes under gzip."""
        return gzip.compress(self.body, mtime=0)


class WebFiles:
    """The page and the samples. Raises OSError when the package is not whole."""

    def __init__(self, web: Path = WEB, samples: Path = SAMPLES) -> None:
        assets = {path.name: _read(path) for path in sorted(web.iterdir()) if path.suffix in _MEDIA_TYPES}
        page = assets.pop("index.html")
        digest = hashlib.sha256()
        for name, asset in assets.items():
            digest.update(f"{name}\0{len(asset.body)}\0".encode() + asset.body)
        self.version = digest.hexdigest()[:16]
        """Of all assets together."""
        self.assets = assets
        body = page.body.replace(_VERSION_MARK, f"web/{self.version}/".encode())
        self.page = WebFile(body, page.media_type, page.is_compressible)
        self.pairs: Sequence[dict[str, Any]] = json.loads((samples / "pairs.json").read_bytes())
        """The sample pairs: id, title, and the names of their files."""
        names = {pair[part] for pair in self.pairs for part in ("source_image", "driving_video")}
        self.samples = {name: _read(samples / name) for name in sorted(names)}


def _read(path: Path) -> WebFile:
    return WebFile(path.read_bytes(), _MEDIA_TYPES[path.suffix], path.suffix in _COMPRESSIBLE)
