"""Many numbers of a vector come by GatherElements, with the indices and the shape that they had."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import DTYPES, Spec, check

RNG = np.random.default_rng(0)


def operators(program):
    return [node.op_type for node in program.model.graph]


def indices(*shape, low=-9, high=9, dtype=np.int32):
    return RNG.integers(low, high, shape).astype(dtype)


@pytest.mark.parametrize("shape", [(40,), (5, 8), (2, 3, 4, 5)])
@pytest.mark.parametrize("mode", ["clip", "wrap", "fill"])
def test_indices_of_any_shape(shape, mode):
    x, i = RNG.standard_normal(7).astype(np.float32), indices(*shape)
    program = check(lambda x, i: jnp.take(x, i, mode=mode), x, i, opsets=(18, 21))
    assert "GatherElements" in operators(program)


@pytest.mark.parametrize("dtype", DTYPES.numeric)
def test_element_types(dtype):
    i = indices(40, low=0, high=7)
    check(lambda x, i: x[i], Spec((7,), dtype), i, args=None, opsets=(21,))


@pytest.mark.parametrize("shape", [("B",), ("B", 3), (3, "B"), ("B", "T")])
def test_symbolic_sizes(shape):
    program = check(lambda x, i: x[jnp.abs(i)], ("N",), Spec(shape, np.int32), opsets=(21,))
    assert ("GatherElements" in operators(program)) == (shape != ("B", "T"))


def test_an_embedding_of_numbers():
    table = RNG.standard_normal(50).astype(np.float32)
    program = check(lambda i: jnp.asarray(table)[i], indices(4, 16), opsets=(21,))
    assert "GatherElements" in operators(program)


def test_few_numbers_and_rows_stay_gather():
    x, i = RNG.standard_normal(7).astype(np.float32), indices(16)
    assert "GatherElements" not in operators(check(lambda x, i: x[i], x, i, opsets=(21,)))
    x, i = RNG.standard_normal((7, 3)).astype(np.float32), indices(40)
    assert "GatherElements" not in operators(check(lambda x, i: x[i], x, i, opsets=(21,)))


@pytest.mark.parametrize("shape", [(40,), (5, 8), (2, 3, 4, 5)])
@pytest.mark.parametrize("rows", [(30,), (3, 10), (2, 1, 15)])
def test_indices_into_rows(rows, shape):
    x, i = RNG.standard_normal((*rows, 7)).astype(np.float32), indices(*shape)
    program = check(lambda x, i: jnp.take(x, i, axis=-1, mode="clip"), x, i, opsets=(18, 21))
    assert "GatherElements" in operators(program)
    program = check(lambda x, i: x[..., i] * 2, x, np.clip(i, -7, 6), opsets=(21,))
    assert "GatherElements" in operators(program)


@pytest.mark.parametrize("dtype", DTYPES.numeric)
def test_element_types_of_rows(dtype):
    check(lambda x, i: x[:, i], Spec((30, 7), dtype), indices(40, low=0, high=7), args=None, opsets=(21,))


ROWS = {
    "few numbers": (lambda x, i: x[:, i], (16, 7), indices(16)),
    "another axis": (lambda x, i: x[:, i], (30, 7, 2), indices(40)),
    "one place": (lambda x, i: x[:, i], (300, 7), indices()),
    "no rows": (lambda x, i: x[:, i], (0, 7), indices(400)),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_stay_gather(name):
    fn, shape, i = ROWS[name]
    assert "GatherElements" not in operators(check(fn, Spec(shape), i, opsets=(21,)))


@pytest.mark.parametrize("spec", [Spec(("B", 7)), Spec((30, "N"))])
def test_symbolic_rows(spec):
    program = check(lambda x, i: x[:, jnp.abs(i)], spec, indices(40), opsets=(21,))
    assert ("GatherElements" in operators(program)) == (spec.shape[0] == 30)


def test_permuted_columns_in_a_loop():
    def turn(x, i):
        return x[:, i] + 1, x[0, 0]

    orders = np.argsort(RNG.random((5, 20)), axis=1).astype(np.int32)
    check(lambda x, i: jax.lax.scan(turn, x, i), Spec((20, 20)), orders, opsets=(21,), unroll=False)


@pytest.mark.parametrize("side", ["left", "right"])
def test_sorted_tables_are_searched(side):
    table = np.sort(np.append(RNG.standard_normal(30), [0, -0.0, np.inf, -np.inf, np.nan])).astype(np.float32)
    queries = np.concatenate([table, RNG.standard_normal(60), [np.nan, np.inf, 0.0]]).astype(np.float32)
    check(lambda a, v: jnp.searchsorted(a, v, side=side), table, queries, opsets=(21,))


def test_interpolation_and_histograms():
    x = RNG.standard_normal(200).astype(np.float32)
    points = np.linspace(-2, 2, 40).astype(np.float32)
    check(lambda x: jnp.interp(x, points, jnp.sin(points)), x, opsets=(21,))
    check(lambda x: jnp.histogram(x, bins=20), x, opsets=(21,))


def test_no_indices_along_a_symbolic_axis():
    # A Reshape to -1 and 0 elements has no answer.
    check(lambda x, i: x[i], Spec((30,)), Spec(("N", 0, 2), np.int32), opsets=(21,))
