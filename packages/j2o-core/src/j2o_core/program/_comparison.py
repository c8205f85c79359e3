"""How far results may be from JAX's, by dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

# dtype -> (relative tolerance, absolute tolerance as a fraction of the output's largest magnitude).
# Two correct float32 programs differ by a few rounding errors per accumulation; anything else must be equal.
TOLERANCES: dict[str, tuple[float, float]] = {
    "float64": (1e-9, 1e-9),
    "float32": (1e-4, 1e-5),
    "float16": (1e-2, 1e-2),
    "bfloat16": (4e-2, 4e-2),
}
_NARROW = (1.3e-1, 1.3e-1)  # float8 and smaller: one rounding step


@dataclass(frozen=True)
class OutputDifference:
    """How far ONNX Runtime is from JAX on one output.

    Attributes:
        name: the output.
        max_abs: largest absolute difference.
        relative: `max_abs` over JAX's largest magnitude.
        max_rel: largest difference of an element over its own magnitude in JAX.
        ulps: largest difference in units in the last place of JAX's element.
        cosine: of the two outputs as vectors.
    """

    name: str
    max_abs: float
    relative: float
    max_rel: float = 0.0
    ulps: float = 0.0
    cosine: float = 1.0

    def worse(self, other: OutputDifference) -> OutputDifference:
        """The worse of two in each respect."""
        return OutputDifference(
            self.name,
            max(self.max_abs, other.max_abs),
            max(self.relative, other.relative),
            max(self.max_rel, other.max_rel),
            max(self.ulps, other.ulps),
            min(self.cosine, other.cosine),
        )


def compare(
    name: str, want: Any, got: Any, rtol: float | None = None, atol: float | None = None, *, scale: float = 0.0
) -> tuple[str, OutputDifference]:
    """The complaint about `got` ("" if it is right), and its distance from `want`.

    Args:
        name: the output's name, for the message.
        want: what JAX gives.
        got: what ONNX Runtime gives.
        rtol: relative tolerance instead of the dtype's.
        atol: tolerance relative to the largest magnitude, instead of the dtype's.
        scale: a largest magnitude to go by where the output's own is smaller.
    """
    want, got = np.asarray(want), np.asarray(got)
    none = OutputDifference(name, 0.0, 0.0)
    if want.dtype != got.dtype or want.shape != got.shape:
        return f"Output {name!r} is {got.dtype}{list(got.shape)}, JAX gives {want.dtype}{list(want.shape)}", none
    if want.size == 0:
        return "", none
    if want.dtype.kind in "biu" or want.dtype.name in ("int4", "uint4", "int2", "uint2"):
        wrong = int((want != got).sum())
        return (f"Output {name!r} differs from JAX in {wrong} of {want.size} elements" if wrong else ""), none
    wide, other = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(wide)
    if not np.array_equal(wide[~finite], other[~finite], equal_nan=True) or not np.isfinite(other[finite]).all():
        return f"Output {name!r} has NaN or infinity at other places than JAX", none
    if not finite.any():
        return "", none
    with np.errstate(over="ignore"):  # float64 of opposite signs near its limit: an infinite difference is right
        difference = np.abs(wide[finite] - other[finite])
    largest = float(np.abs(wide[finite]).max())
    relative, fraction = TOLERANCES.get(want.dtype.name, _NARROW)
    relative, fraction = rtol if rtol is not None else relative, atol if atol is not None else fraction
    tiny = float(ml_dtypes.finfo(want.dtype).tiny)
    result = _measured(name, wide[finite], other[finite], difference, largest, want.dtype)
    if (difference > relative * np.abs(wide[finite]) + fraction * max(largest, scale) + tiny).any():
        return (
            f"Output {name!r} differs from JAX by up to {result.max_abs:.3g} "
            f"({result.relative:.3g} of the largest magnitude {largest:.3g})"
        ), result
    return "", result


def _measured(
    name: str, want: Any, got: Any, difference: Any, largest: float, dtype: np.dtype[Any]
) -> OutputDifference:
    """How far finite values are apart; elements below the smallest normal number count as that."""
    info = ml_dtypes.finfo(dtype)
    magnitude = np.maximum(np.abs(want), float(info.tiny))
    with np.errstate(over="ignore"):
        ulp = np.exp2(np.floor(np.log2(magnitude))) * float(info.eps)
        lengths = float(np.linalg.norm(want)) * float(np.linalg.norm(got))
        cosine = float(want.reshape(-1) @ got.reshape(-1)) / lengths if 0 < lengths < np.inf else 1.0
    return OutputDifference(
        name,
        float(difference.max()),
        float(difference.max()) / largest if largest else 0.0,
        float((difference / magnitude).max()),
        float((difference / ulp).max()),
        min(cosine, 1.0),
    )
