"""Functions of numbers, vectors or matrices, for all the axes in front of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def mapped(fn: Callable[..., Any], *arrays: Any, rank: int = 2) -> Any:
    """`fn` for all leading axes of arrays; `rank` is that of what `fn` takes first."""
    for _ in range(arrays[0].ndim - rank):
        fn = jax.vmap(fn)
    return fn(*arrays)
