"""Pages that a tool writes: put in their place, or compared with what lies there."""

import sys
from pathlib import Path


def settle(page: Path, text: str, *, check: bool) -> None:
    """Write a page; with `check` write nothing, and exit with what to run if the page is not this text."""
    if not check:
        page.write_text(text, encoding="utf-8")
    elif not page.exists() or page.read_text(encoding="utf-8") != text:
        sys.exit(f"{page} is not what the plugins say. Run: nox -s docs -- --write")
