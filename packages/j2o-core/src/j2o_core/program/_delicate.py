"""The products that have to stay in floats so that results keep an accuracy, by measuring each product alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from .._errors import SpecError


def delicate(
    losses: Callable[[Collection[str]], np.ndarray[Any, Any]], sizes: Mapping[str, int], accepted: float
) -> list[str]:
    """The names of products to keep, few of them and small ones.

    Losses of single products about add up, since their roundings know nothing of one another. So the products are put
    in an order: each time the one that costs the row that is worst so far the most, for its size. How many of that
    order have to stay is then measured, by halving.

    Args:
        losses: one minus the cosine of each row of results while these products stay in floats, float64[rows].
        sizes: the bytes of each product's weight.
        accepted: the largest loss that a row may have.

    Raises:
        SpecError: if there are no rows.
    """
    first = losses([])
    if not len(first):
        raise SpecError("cosine is of arrays of floats, and the program gives none.")
    if first.max() <= accepted:
        return []
    alone = {name: losses(sizes.keys() - {name}) for name in sizes}
    order: list[str] = []
    total = np.sum(list(alone.values()), 0)
    while len(order) < len(sizes):
        worst = int(np.argmax(total))
        name = max(sizes.keys() - set(order), key=lambda name: (alone[name][worst] / sizes[name], name))
        order.append(name)
        total = total - alone[name]
    low, high = 0, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if losses(order[:middle]).max() <= accepted else (middle, high)
    return order[:high]


def row_losses(expected: Sequence[np.ndarray[Any, Any]], found: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """One minus the cosine along the last axis of results of floats, float64[rows]; 2 where a number is not finite."""
    rows = [np.zeros(0)]
    for want, got in zip(expected, found, strict=True):
        if want.dtype.kind != "f" or want.ndim == 0:
            continue
        lhs, rhs = (array.astype(np.float64).reshape(-1, array.shape[-1]) for array in (want, got))
        lengths = np.linalg.norm(lhs, axis=-1) * np.linalg.norm(rhs, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            loss = 1 - np.sum(lhs * rhs, -1) / lengths
        rows.append(np.where(np.all(lhs == rhs, -1), 0, np.nan_to_num(loss, nan=2, posinf=2, neginf=2)))
    return np.concatenate(rows)
