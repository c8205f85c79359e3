"""Arithmetic that broadcasts over few numbers is done on copies; over many numbers, or of few in all, it is not."""

import operator

import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

ARITHMETIC = {"Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": operator.truediv}

NUMBERS = {
    "column": ((512, 1), (512, 3)),
    "column on the right": ((512, 3), (512, 1)),
    "column of many axes": ((8, 64, 1), (8, 64, 8)),
    "column of symbolic rows": (("B", 4, 1), ("B", 4, 3)),
    "number of a matrix": ((64, 3, 1, 1), (64, 3, 1, 8)),
}
SPANS = {
    "vector": ((8,), (512, 8)),
    "row": ((128, 1, 3), (128, 3, 3)),
    "row of a long axis": ((8, 1, 16), (8, 100, 16)),
    "matrix": ((64, 1, 4, 4), (64, 2, 4, 4)),
    "row of symbolic rows": (("B", 1, 3), ("B", 4, 3)),
}
OTHERS = {
    "few": ((64, 1), (64, 3)),
    "many copies": ((512, 1), (512, 9)),
    "long spans": ((64, 1, 17), (64, 3, 17)),
    "leading axis": ((1, 64, 32), (4, 64, 32)),
    "two axes": ((64, 1, 1), (64, 4, 8)),
    "scalar": ((), (512, 3)),
    "same shape": ((512, 3), (512, 3)),
    "symbolic axis": ((512, 1), (512, "N")),
    "symbolic span": ((512, 1, "N"), (512, 3, "N")),
}


def everything(x, y):
    return [one(x, y) for one in ARITHMETIC.values()]


@pytest.mark.parametrize("name", [*NUMBERS, *SPANS])
def test_on_copies(name):
    shapes = NUMBERS.get(name) or SPANS[name]
    program = check(everything, *map(Spec, shapes), opsets=(21,), contains=ARITHMETIC)
    copies = [node.op_type for node in program.model.graph if node.op_type in ("Concat", "Tile")]
    assert copies == ["Concat" if name in NUMBERS else "Tile"]  # made once


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_broadcast(name):
    check(operator.mul, *map(Spec, OTHERS[name]), opsets=(21,), absent=["Concat", "Tile"])


def test_constants_are_broadcast():
    x = np.arange(512, dtype=np.float32)[:, None]
    check(lambda y: x * y, Spec((512, 3)), opsets=(21,), absent=["Concat", "Tile"])


@pytest.mark.parametrize("dtype", [np.float64, np.float16, jnp.bfloat16, np.int8, np.int32, np.uint32, np.int64])
@pytest.mark.usefixtures("x64")
def test_other_types(dtype):
    for name in ("column", "row"):
        specs = [Spec(shape, dtype) for shape in (NUMBERS.get(name) or SPANS[name])]
        check(lambda x, y: x * y - x, *specs, opsets=(21,))


@pytest.mark.parametrize("name", ["column", "matrix"])
def test_nan_infinity_and_zero(name):
    random = np.random.default_rng(0)
    values = np.array([0, -0.0, 1, -2, np.nan, np.inf, -np.inf, 3e38, 1e-45], np.float32)
    x, y = (random.choice(values, shape) for shape in NUMBERS.get(name) or SPANS[name])
    program = check(everything, Spec(x.shape), Spec(y.shape), opsets=(21,))
    with np.errstate(all="ignore"):
        for got, want in zip(program(x, y), everything(x, y), strict=True):
            np.testing.assert_array_equal(got, want)
            np.testing.assert_array_equal(np.signbit(got), np.signbit(want) | (np.isnan(want) & np.signbit(got)))


def test_copies_of_a_vector_for_arrays_of_other_ranks():
    def fn(x, y, z):
        return jnp.sin(x) * y, jnp.sin(x) * z

    program = check(fn, Spec((8,)), Spec((128, 8)), Spec((128, 1, 8)), opsets=(21,))
    assert [node.op_type for node in program.model.graph].count("Tile") == 2
