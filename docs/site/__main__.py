"""`python -m docs.site`: build the site, or say what is wrong with the documents; exits with 1 then."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from docs.site.build import build
from docs.site.errors import DocumentError

REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(prog="python -m docs.site", description="Build the documentation as a site.")
    parser.add_argument("-o", "--output", type=Path, default=REPOSITORY / "build" / "docs", help="[build/docs]")
    output = parser.parse_args().output
    try:
        pages = build(REPOSITORY, output)
    except DocumentError as error:
        sys.exit(f"docs: {error}")
    print(f"{pages} pages: {output / 'site' / 'index.html'}")


if __name__ == "__main__":
    main()
