"""When a result of a primitive is right.

Nearly always: when it equals JAX's, floats up to a tolerance. Where it does not, JAX computes in float64, and a result
that is as near to that as JAX's own is right: one of the two was rounded or overflowed on its way.

A few primitives promise less than one result: vectors up to their sign or phase, eigenvalues in any order, equal keys
in any order. `GRADES` names these, with the reason, and checks what they do promise from the arguments, as a test of
NumPy's would. QR and LU are not among them: their signs and pivots are LAPACK's in JAX and in the exported graph.

Every check reads all results, so that a wrong one is caught (`tests-integration/test_primitives_grades.py` shows it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = Sequence[Any]

# (relative, absolute) tolerances by dtype: the harnesses feed ordinary numbers, sums may be ordered otherwise.
TOLERANCES = {
    "float64": (1e-6, 1e-6),
    "float32": (2e-3, 2e-4),
    "float16": (2e-2, 2e-2),
    "bfloat16": (5e-2, 5e-2),
}
NARROW = (5e-2, 5e-2)  # float8 and smaller; integers and booleans have to be equal


@dataclass(frozen=True)
class Grade:
    """The promise of a primitive about its results.

    Attributes:
        reason: why its results need not be JAX's.
        check: (parameters, arguments, results, JAX's results) to what is wrong with the results, or "".
        determined: indices of the results that are JAX's nevertheless; only their gradients can be compared.
    """

    reason: str
    check: Callable[[Mapping[str, Any], Arrays, Arrays, Arrays], str]
    determined: tuple[int, ...]


def complaint(group: str, params: Mapping[str, Any], arguments: Arrays, results: Arrays, expected: Arrays) -> str:
    """The complaint about the results of a harness of a group, or "" if they are right."""
    if group in GRADES:
        return GRADES[group].check(params, arguments, results, expected)
    return unequal(results, expected)


def determined_outputs(group: str, outputs: Arrays) -> Arrays:
    """The outputs whose values a primitive determines."""
    return [outputs[k] for k in GRADES[group].determined] if group in GRADES else outputs


def unequal(results: Arrays, expected: Arrays) -> str:
    """Where results are not JAX's, or ""."""
    for index, (got, want) in enumerate(zip(results, expected, strict=True)):
        if want.dtype.kind == "c":
            got, want = (np.stack([array.real, array.imag], -1) for array in (got, want))
        exact = want.dtype.kind in "biu" or "int" in want.dtype.name
        relative, absolute = (0, 0) if exact else TOLERANCES.get(want.dtype.name, NARROW)
        if not exact:
            got, want = got.astype(np.float64), want.astype(np.float64)
        try:
            np.testing.assert_allclose(got, want, rtol=relative, atol=absolute, equal_nan=True)
        except AssertionError as error:
            return f"output {index}: " + " ".join(str(error).split())
    return ""


def as_near(results: Arrays, expected: Arrays, wide: Arrays) -> bool:
    """Whether results are as near to those in float64 as JAX's are; integers and truth values have to be equal.

    Each element is within the tolerance of JAX's or of that in float64, or else no farther from the latter than JAX's
    are: of such elements the greatest distances are compared.
    """
    return len(wide) == len(expected) and all(map(_as_near, results, expected, wide))


def _as_near(got: Any, want: Any, true: Any) -> bool:
    if want.dtype.kind == "c":
        got, want, true = (np.stack([array.real, array.imag], -1) for array in (got, want, true))
    exact = want.dtype.kind in "biu" or "int" in want.dtype.name
    if exact or true.dtype.itemsize <= want.dtype.itemsize or true.shape != want.shape:
        return bool(np.array_equal(got, want))
    relative, absolute = TOLERANCES.get(want.dtype.name, NARROW)
    with np.errstate(all="ignore"):
        rounded = true.astype(want.dtype)
        got, want, true, rounded = (array.astype(np.float64) for array in (got, want, true, rounded))
        near = [np.isclose(got, one, rtol=relative, atol=absolute, equal_nan=True) for one in (want, rounded)]
        rest = ~(near[0] | near[1])
        ours, theirs = (np.abs(array - true)[rest] for array in (got, want))
    return not rest.any() or bool(np.isfinite(theirs).all() and ours.max() <= theirs.max())  # NaN is more


# -- Decompositions ----------------------------------------------------------------------------------------------------


def _adjoint(x: Any) -> Any:
    return np.swapaxes(x.conj(), -1, -2)


def _differs(what: str, got: Any, want: Any, scale: Any = 1.0) -> str:
    """A complaint unless two arrays agree up to the rounding of an algorithm on matrices of this size."""
    if not got.size:
        return ""
    bound = 30 * np.finfo(got.dtype).eps * max(got.shape[-2:]) * np.max(scale)
    error = np.max(np.abs(got - want))
    return "" if error <= bound else f"{what}: differ by {error:.3g}, more than {bound:.3g}"  # NaN is more


def _cholesky(params: Mapping[str, Any], arguments: Arrays, results: Arrays, expected: Arrays) -> str:
    del params
    (a,), (factor,) = arguments, results
    lower, diagonal = np.tril(factor), np.diagonal(factor, axis1=-2, axis2=-1)
    return (
        unequal([np.triu(factor, 1)], [np.triu(expected[0], 1)])
        or ("" if np.all((diagonal.real > 0) & (diagonal.imag == 0)) else "the diagonal is not positive")
        or _differs("L L^H and A", lower @ _adjoint(lower), a, np.abs(a))
    )


def _svd(params: Mapping[str, Any], arguments: Arrays, results: Arrays, expected: Arrays) -> str:
    del params
    (a,) = arguments
    wrong = unequal(results[:1], expected[:1])
    if wrong or len(results) == 1:
        return wrong
    s, u, vh = results
    k = s.shape[-1]
    return (
        _differs("U^H U and 1", _adjoint(u) @ u, np.eye(u.shape[-1]))
        or _differs("V^H V and 1", vh @ _adjoint(vh), np.eye(vh.shape[-2]))
        or _differs("U S V^H and A", (u[..., :k] * s[..., None, :]) @ vh[..., :k, :], a, s)
    )


def _eigh(params: Mapping[str, Any], arguments: Arrays, results: Arrays, expected: Arrays) -> str:
    (a,), (v, w) = arguments, results
    half = np.tril(a, -1) if params["lower"] else np.triu(a, 1)
    a = half + _adjoint(half) + np.eye(a.shape[-1]) * a.real
    return (
        unequal([w], expected[1:])
        or _differs("V^H V and 1", _adjoint(v) @ v, np.eye(v.shape[-1]))
        or _differs("A V and V W", (a @ v).astype(v.dtype), v * w[..., None, :], np.abs(w))
    )


def _eig(params: Mapping[str, Any], arguments: Arrays, results: Arrays, expected: Arrays) -> str:
    (a,), (w, *vectors) = arguments, results
    if not w.size:
        return ""
    wrong = unequal([_in_order_of(w, expected[0])], expected[:1])
    sides = [name for name in ("left", "right") if params[f"compute_{name}_eigenvectors"]]
    for side, v in zip(sides, vectors, strict=True):
        matrix, values = (a, w) if side == "right" else (_adjoint(a), w.conj())
        lengths = np.sqrt(np.sum(np.abs(v) ** 2, -2))
        wrong = wrong or _differs(f"lengths of {side} eigenvectors and 1", lengths, 1.0)
        residual = (matrix @ v).astype(v.dtype)
        wrong = wrong or _differs(f"A V and V W, {side}", residual, v * values[..., None, :], np.abs(w))
    return wrong


def _eig_jvp(params: Mapping[str, Any], arguments: Arrays, results: Arrays, expected: Arrays) -> str:
    """Eigenvalues and their tangents, which come in the order of the eigenvalues."""
    del params, arguments
    if not results[0].size:
        return ""
    order = _order_like(results[0], expected[0])
    return unequal([np.take_along_axis(x, order, -1) for x in results], expected)


def _in_order_of(values: Any, wanted: Any) -> Any:
    """Values of the last axis, each moved to where the nearest of the wanted ones is, one to one."""
    return np.take_along_axis(values, _order_like(values, wanted), -1)


def _order_like(values: Any, wanted: Any) -> Any:
    """The places of the values that go where the wanted ones are; those of others than numbers stay."""
    from scipy.optimize import linear_sum_assignment

    order = np.broadcast_to(np.arange(values.shape[-1]), values.shape).copy()
    if not np.isfinite(values).all():
        return order  # they then differ, unless JAX's are the same
    for index in np.ndindex(values.shape[:-1]):
        _, order[index] = linear_sum_assignment(np.abs(wanted[index][:, None] - values[index][None]))
    return order


# -- Equal keys --------------------------------------------------------------------------------------------------------


def _sort(params: Mapping[str, Any], arguments: Arrays, results: Arrays, expected: Arrays) -> str:
    keys = params["num_keys"]
    if params["is_stable"] or keys == len(results):
        return unequal(results, expected)
    wrong = unequal(results[:keys], expected[:keys])
    if wrong:
        return wrong
    return _not_among(arguments, results, params["dimension"])


def _not_among(before: Arrays, after: Arrays, axis: int = -1) -> str:
    """A complaint unless the rows of `after` along an axis, of one number of each array, are among those of `before`.

    Each as often as there: of as many rows, a permutation.
    """
    had, got = (np.stack([np.moveaxis(x, axis, -1).astype(np.float64) for x in group], -1) for group in (before, after))
    for index in np.ndindex(had.shape[:-2]):
        if Counter(map(tuple, got[index].tolist())) - Counter(map(tuple, had[index].tolist())):
            return f"the rows of results at {index} are not among those that are right"
    return ""


def _approx_top_k(params: Mapping[str, Any], arguments: Arrays, results: Arrays, expected: Arrays) -> str:
    del params  # along the last axis in all harnesses
    (x,), (values, indices) = arguments, results
    wrong = unequal([values], expected[:1])
    if wrong:
        return wrong
    if indices.size and not 0 <= indices.min() <= indices.max() < x.shape[-1]:
        return "indices are out of range"
    if (np.diff(np.sort(indices, -1), axis=-1) == 0).any():
        return "indices occur twice"
    # Elements are moved, not computed: to the bit.
    same = np.take_along_axis(x, indices.astype(np.int64), -1).tobytes() == values.tobytes()
    return "" if same else "the elements at the indices are not the values"


def _approx_top_k_jvp(params: Mapping[str, Any], arguments: Arrays, results: Arrays, expected: Arrays) -> str:
    """Values and their tangents, each of which comes with an element of that value."""
    del params
    return unequal(results[:1], expected[:1]) or _not_among(arguments, results)


def _approx_top_k_grad(params: Mapping[str, Any], arguments: Arrays, results: Arrays, expected: Arrays) -> str:
    """The gradient, which goes to elements of the values that JAX chose."""
    del params
    return _not_among([*arguments, *expected], [*arguments, *results])


def _top_k(params: Mapping[str, Any], arguments: Arrays, results: Arrays, expected: Arrays) -> str:
    wrong = unequal(results, expected)
    (x,) = arguments
    if not wrong or not np.isnan(x.astype(np.float64)).any():
        return wrong
    # With each NaN positive, and thus in front: by falling values, then by NaN or not; both sorts are stable.
    order = np.argsort(-x, -1, kind="stable")
    order = np.take_along_axis(order, np.argsort(~np.isnan(np.take_along_axis(x, order, -1)), -1, kind="stable"), -1)
    order = order[..., : params["k"]]
    return unequal(results, [np.take_along_axis(x, order, -1), order])


_SIGNS = "Vectors are determined up to a sign or phase, and those of equal values up to a rotation."
_ORDER = "LAPACK's order of eigenvalues is no order by value."
_TIES = "Which of equal elements comes first is open."
GRADES = {
    "cholesky": Grade(
        "Of a matrix of condition 1e7, float32 knows hardly a digit of the last elements: LAPACK is no nearer to the "
        "factor in float64.",
        _cholesky,
        (0,),
    ),
    "svd": Grade(_SIGNS, _svd, (0,)),
    "eigh": Grade(_SIGNS, _eigh, (1,)),
    "eig": Grade(_SIGNS + f" {_ORDER}", _eig, (0,)),
    "eig, jvp": Grade(_ORDER, _eig_jvp, ()),
    "approx_top_k": Grade(_TIES, _approx_top_k, (0,)),
    "approx_top_k, jvp": Grade(_TIES, _approx_top_k_jvp, ()),
    "approx_top_k, grad": Grade(_TIES, _approx_top_k_grad, ()),
    "top_k": Grade(
        "XLA orders NaN by its sign, which no arithmetic tells: ONNX reads it since BitCast, in opset 26. Before, each "
        "NaN is as if positive.",
        _top_k,
        (0,),
    ),
    "sort": Grade("Where is_stable is False, rows with equal keys come in any order.", _sort, (0,)),
}
