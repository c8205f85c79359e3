"""Batches: a run in pieces along the first size of the inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ._errors import ArgumentError
from ._sizes import names_in
from ._trees import Array, Signature

_ELSEWHERE = """{what} {name!r} is {array}: the batch {symbol} must be its first size and appear nowhere else in it.
Run the program without pieces, or export it so."""


def in_pieces(
    signature: Signature,
    feed: Mapping[str, Any],
    rows: int,
    run: Callable[[Mapping[str, Any]], list[Any]],
) -> list[Any]:
    """The results of a run, in the order of the graph's outputs, concatenated from runs on so many rows at a time."""
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise ArgumentError(f"batch is {rows!r}. Expected the number of rows of a piece, 1 or more.")
    symbol = _symbol(signature)
    split = [array.name for array in signature.inputs if _is_first(array, symbol, "The input", must=False)]
    for array in signature.outputs:
        _is_first(array, symbol, "The result", must=True)
    total = int(feed[split[0]].shape[0])
    pieces = [
        run({name: array[begin : begin + rows] if name in split else array for name, array in feed.items()})
        for begin in range(0, max(total, 1), rows)
    ]
    return pieces[0] if len(pieces) == 1 else [np.concatenate(parts) for parts in zip(*pieces, strict=True)]


def _symbol(signature: Signature) -> str:
    """The name that inputs have as their first size."""
    found = {size for array in signature.inputs for size in array.shape[:1] if isinstance(size, str)}
    plain = {size for size in found if size.isidentifier()}
    if len(plain) != 1:
        described = ", ".join(sorted(found)) or "none"
        raise ArgumentError(
            f"{signature.function} has no batch: one name must be the first size of inputs; these are {described}."
        )
    return plain.pop()


def _is_first(array: Array, symbol: str, what: str, *, must: bool) -> bool:
    first = array.shape[:1] == (symbol,)
    rest = array.shape[1:] if first else array.shape
    elsewhere = any(isinstance(size, str) and symbol in names_in(size) for size in rest)
    if elsewhere or (must and not first):
        raise ArgumentError(_ELSEWHERE.format(what=what, name=array.name, array=array, symbol=symbol))
    return first
