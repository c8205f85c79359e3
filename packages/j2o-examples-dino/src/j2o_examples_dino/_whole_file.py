"""Files that appear when they are complete."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ._errors import PathError
from ._paths import is_special


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` if all that follows succeeds and vanishes otherwise.

    Raises:
        PathError: If it cannot be written.
    """
    if is_special(path):  # it would be gone
        raise PathError(f"Cannot write {path}: it is a device or a pipe. Give the file to write.")
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise PathError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
