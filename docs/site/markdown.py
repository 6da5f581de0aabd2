"""From the Markdown of the repository (CommonMark with tables) to that of the site's generator (Python-Markdown).

Three things differ: what belongs to an item of a list is indented by four columns there, a list needs a blank line
before it, and equations come as MathML, so that no page needs a script or a font for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from latex2mathml.converter import convert

from docs.site.errors import DocumentError

_FENCE = re.compile(r"^( *)(```+|~~~+)([\w-]*)")
_ITEM = re.compile(r"^( *)([-*]|\d+\.)( +)")
_EQUATION = re.compile(r"\$`([^`]+)`\$")
_INDENT = 4


def lines_with_kind(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each line, and whether it is code: of a fence, or within one."""
    fence = ""
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if fence:
            yield line, True
            if match and match[2].startswith(fence) and not match[3]:
                fence = ""
        else:
            fence = match[2] if match else ""
            yield line, bool(fence)


def map_prose(text: str, change: Callable[[str], str]) -> str:
    """Return `text` with `change` applied to every line that is not code."""
    return "\n".join(line if code else change(line) for line, code in lines_with_kind(text))


def with_equations(text: str) -> str:
    """Return `text` with LaTeX (blocks of ```` ```math ````, inline ``$`...`$``) as MathML."""
    written: list[str] = []
    latex: list[str] | None = None
    for line, code in lines_with_kind(text):
        if code and line.strip() == "```math":
            latex = []
        elif latex is not None and line.strip() == "```":
            written.append(f'<div class="equation" tabindex="0">{_mathml(" ".join(latex), "block")}</div>')
            latex = None
        elif latex is not None:
            latex.append(line.strip())
        else:
            written.append(line if code else _EQUATION.sub(_inline, line))
    return "\n".join(written)


def with_indented_lists(text: str) -> str:
    """Return `text` with everything that belongs to an item of a list indented by four columns for each level."""
    written: list[str] = []
    contents: list[int] = []  # for each open item, the column at which its text begins
    for line, code in lines_with_kind(text):
        if not line.strip():
            written.append("")
            continue
        indent, in_list = len(line) - len(line.lstrip(" ")), bool(contents)
        item = None if code else _ITEM.match(line)
        if not code or _FENCE.match(line):
            while contents and indent < contents[-1]:
                contents.pop()
        if item:
            if not in_list and written and written[-1].strip():
                written.append("")
            rest = line[item.end() :]
            written.append(" " * (_INDENT * len(contents)) + f"{item[2]} {rest}")
            contents.append(item.end())
        else:
            level, at = len(contents), contents[-1] if contents else 0
            written.append(" " * (_INDENT * level) + (line[at:] if line[:at].strip() == "" else line.lstrip()))
    return "\n".join(written)


def _inline(equation: re.Match[str]) -> str:
    # Bare, at the beginning of a line, it would be taken for a block of HTML.
    return f"<span>{_mathml(equation[1], 'inline')}</span>"


def _mathml(latex: str, display: str) -> str:
    try:
        return convert(latex, display=display)
    except Exception as error:
        raise DocumentError(f"this equation is not understood: {latex} ({error!r})") from error
