"""The checks of tools/primitives_grades.py let pass what a primitive leaves open and nothing else."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent.parent / "tools"))

from primitives_grades import GRADES, as_near, complaint, unequal

RNG = np.random.default_rng(0)
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def _matrices(dtype, *shape):
    values = RNG.normal(size=shape) + 1j * RNG.normal(size=shape)
    return (values if np.issubdtype(dtype, np.complexfloating) else values.real).astype(dtype)


def _adjoint(x):
    return np.swapaxes(x.conj(), -1, -2)


def _svd(dtype):
    a = _matrices(dtype, 2, 4, 3)
    u, s, vh = np.linalg.svd(a)
    signs = np.array([1, -1, -1], u.dtype)
    return {}, [a], [s, u, vh], [s, np.concatenate([u[..., :3] * signs, -u[..., 3:]], -1), vh * signs[:, None]]


def _eigh(dtype):
    a = _matrices(dtype, 2, 4, 4)
    w, v = np.linalg.eigh(a + _adjoint(a))
    return {"lower": True}, [np.tril(a + _adjoint(a))], [v, w], [v * np.array([1, -1, -1, 1], v.dtype), w]


def _eig(dtype):
    a = _matrices(dtype, 2, 4, 4)
    w, v = (x.astype(np.result_type(dtype, np.complex64)) for x in np.linalg.eig(a))
    left = _adjoint(np.linalg.inv(v))
    left /= np.linalg.norm(left, axis=-2, keepdims=True)
    params = {"compute_left_eigenvectors": True, "compute_right_eigenvectors": True}
    phase = np.exp(2j).astype(w.dtype)
    return params, [a], [w, left, v], [x[..., ::-1] for x in (w, phase * left, phase * v)]


def _eig_jvp(dtype):
    _, a, (w, _, v), _ = _eig(dtype)
    tangents = np.einsum("...ij,...jk,...ki->...i", np.linalg.inv(v), _matrices(dtype, 2, 4, 4)[::-1], v)
    results = [w, tangents.astype(w.dtype)]
    return {}, a, results, [x[..., ::-1] for x in results]


def _sort(dtype):
    keys, values = np.array([1, 0, 1, 0]), np.arange(4).astype(dtype).real
    params = {"num_keys": 1, "is_stable": False, "dimension": 0}
    return (
        params,
        [keys, values],
        [keys[[1, 3, 0, 2]], values[[1, 3, 0, 2]]],
        [keys[[1, 3, 0, 2]], values[[3, 1, 0, 2]]],
    )


def _approx_top_k(dtype):
    x = np.array([3, 1, 3, 2]).astype(dtype).real
    return {}, [x], [x[[0, 2, 3]], np.array([0, 2, 3])], [x[[2, 0, 3]], np.array([2, 0, 3])]


def _approx_top_k_jvp(dtype):
    x, tangents = np.array([3, 1, 3, 2]).astype(dtype).real, np.arange(4).astype(dtype).real
    return {}, [x, tangents], [x[[0, 2, 3]], tangents[[0, 2, 3]]], [x[[0, 2, 3]], tangents[[2, 0, 3]]]


def _approx_top_k_grad(dtype):
    x, gradient = np.array([2, 1, 3, 2]).astype(dtype).real, np.array([1, 0, 1, 0]).astype(dtype).real
    return {}, [x], [gradient], [gradient[[1, 3, 2, 0]]]


def _cholesky(dtype):
    """Of a matrix that is nearly singular, two factors that no rounding tells apart."""
    half = _matrices(dtype, 2, 60, 60)
    a = half @ _adjoint(half)
    wide = np.result_type(dtype, np.float64)
    factors = [np.linalg.cholesky((a + change).astype(wide)).astype(dtype) for change in (0, 4 * np.finfo(dtype).eps)]
    return {}, [a], factors[:1], factors[1:]


def _top_k(dtype):
    x = np.array([-np.nan, 1, 2]).astype(dtype).real
    return {"k": 3}, [x], [x[[2, 1, 0]], np.array([2, 1, 0])], [x[[0, 2, 1]], np.array([0, 2, 1])]


CASES = {
    "top_k": _top_k,
    "cholesky": _cholesky,
    "svd": _svd,
    "eigh": _eigh,
    "eig": _eig,
    "eig, jvp": _eig_jvp,
    "sort": _sort,
    "approx_top_k": _approx_top_k,
    "approx_top_k, jvp": _approx_top_k_jvp,
    "approx_top_k, grad": _approx_top_k_grad,
}


@pytest.fixture(
    params=[(group, dtype) for group in GRADES for dtype in DTYPES], ids=lambda p: f"{p[0]}-{p[1].__name__}"
)
def case(request):
    group, dtype = request.param
    return group, *CASES[group](dtype)


def test_jaxs_result_passes(case):
    group, params, arguments, results, _ = case
    assert complaint(group, params, arguments, results, results) == ""


def test_what_is_left_open_passes(case):
    group, params, arguments, results, others = case
    assert any((got != want).any() for got, want in zip(others, results, strict=True))
    assert complaint(group, params, arguments, others, results) == ""


def test_a_wrong_number_in_any_result_is_caught(case):
    group, params, arguments, results, others = case
    for index, result in enumerate(others):
        wrong = result.copy()
        wrong.flat[1] += 1 if result.dtype.kind == "i" else 0.05
        assert complaint(group, params, arguments, [*others[:index], wrong, *others[index + 1 :]], results)


def test_a_result_of_other_arguments_is_caught(case):
    group, params, arguments, results, _ = case
    arguments = [argument + (1 if argument.dtype.kind == "i" else 0.05) for argument in arguments]
    if len(results) > 1 and group not in ("top_k", "eig, jvp"):  # which are compared with JAX's results
        assert complaint(group, params, arguments, results, results)


def test_nan_is_caught(case):
    group, params, arguments, results, others = case
    for index, result in enumerate(others):
        if result.dtype.kind != "i":
            wrong = np.full_like(result, np.nan)
            assert complaint(group, params, arguments, [*others[:index], wrong, *others[index + 1 :]], results)


def test_swapped_vectors_are_caught(case):
    group, params, arguments, results, _ = case
    index = {"svd": 2, "eigh": 0, "eig": 2, "eig, jvp": 1}.get(group)
    if index is None:
        return
    swapped = results[index][..., ::-1, :] if group == "svd" else results[index][..., ::-1]
    assert complaint(group, params, arguments, [*results[:index], swapped, *results[index + 1 :]], results)


def test_results_that_are_nearer_to_float64_pass():
    """Where JAX overflows inside, and where both lost digits: also as parts of complex numbers."""
    true = np.array([-42200.0, 1e6, 3.0, 2.0])
    jax, ours = (np.array(row, np.float16) for row in ([-np.inf, np.inf, 2.5, 2.0], [-42200.0, np.inf, 2.8, 2.0]))
    assert as_near([ours], [jax], [true])
    assert not as_near([jax], [ours], [true])
    wide = true[2:] + 1j
    assert as_near([(ours[2:] + 1j).astype(np.complex64)], [(jax[2:] + 1j).astype(np.complex64)], [wide])


def test_results_that_are_farther_from_float64_do_not_pass():
    true, jax = np.array([158.75, 1e10, 1.0]), np.array([158.749, 1.1e10, 1.0], np.float32)
    assert not as_near([np.array([-6.6e5, 1.1e10, 1.0], np.float32)], [jax], [true])
    assert not as_near([np.array([np.nan, 1.1e10, 1.0], np.float32)], [jax], [true])
    assert not as_near([np.array([np.inf, 1.1e10, 1.0], np.float32)], [jax], [true])
    numbers = np.array([1, 2, 3])
    assert not as_near([numbers + 1], [numbers], [numbers])
    assert not as_near([jax + 1], [jax], [jax])  # which is no wider
    assert not as_near([jax + 1], [jax], [])


def test_a_stable_sort_keeps_the_order():
    params, arguments, results, others = _sort(np.float32)
    assert complaint("sort", {**params, "is_stable": True}, arguments, others, results)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "bool"])
def test_other_numbers_are_unequal(dtype):
    want = np.array([0, 1, 1]).astype(dtype)
    assert unequal([want], [want]) == ""
    assert unequal([np.roll(want, 1)], [want])
