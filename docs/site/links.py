"""Links as they are written, for a reader of the repository, turned into links of the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docs.site.errors import DocumentError
from docs.site.pages import ALIASES

_TARGET = re.compile(r"(?<=\]\()([^()\s]+)(?=\))")
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_PICTURES = {".png", ".jpg", ".svg", ".gif", ".webp", ".mp4"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """Where every file of the repository that may be linked to lies in the site."""

    repository: Path
    published: Mapping[str, str]
    """Of pages: path in the repository to path in the site."""
    pictures: dict[str, str] = field(default_factory=dict)
    """Those that were met: path in the repository to path in the site."""

    def rewrite(self, line: str, source: str) -> str:
        """Return a line of the document `source` with the targets of its links as they are in the site.

        Raises:
            DocumentError: A target is not there, or is a file that the site does not show.
        """
        code = [match.span() for match in _CODE.finditer(line)]

        def target(match: re.Match[str]) -> str:
            if any(start <= match.start() < end for start, end in code):
                return match[0]
            return self._target(match[0], source)

        return _TARGET.sub(target, line)

    def _target(self, target: str, source: str) -> str:
        if target.startswith(("https://", "mailto:", "#")):
            return target
        if "://" in target:
            raise DocumentError(f"{source}: {target} is neither https nor in this repository")
        path, _, anchor = target.partition("#")
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (self.repository / wanted).is_file():
            raise DocumentError(f"{source}: {target} leads nowhere")
        there = self.published.get(ALIASES.get(wanted, wanted)) or self._picture(wanted)
        if there is None:
            raise DocumentError(f"{source}: {target} is not shown by the site; name it as code, without a link")
        here = posixpath.dirname(self.published[source])
        return posixpath.relpath(there, here or ".") + (f"#{anchor}" if anchor else "")

    def _picture(self, wanted: str) -> str | None:
        if posixpath.splitext(wanted)[1] not in _PICTURES:
            return None
        there = wanted.removeprefix("docs/") if wanted.startswith("docs/") else f"pictures/{wanted.replace('/', '-')}"
        return self.pictures.setdefault(wanted, there)
