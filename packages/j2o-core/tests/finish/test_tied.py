"""Constants that are transposes of others."""

from collections import Counter

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((11, 8)).astype(np.float32)


def _operators(program):
    return Counter(node.op_type for node in program.model.graph.all_nodes())


def _stored(program, size):
    return [name for name, value in program.model.graph.initializers.items() if value.const_value.size == size]


def test_a_matrix_and_its_transpose_are_stored_once(check):
    table = jnp.asarray(TABLE)
    program = check(lambda x: jnp.sin(x @ table) @ table.T, RNG.standard_normal((3, 11)).astype(np.float32))
    assert len(_stored(program, 88)) == 1
    assert _operators(program)["Transpose"] == 1
    assert next(iter(program.model.graph)).op_type == "Transpose"


def test_what_is_read_in_one_order_only_is_stored_in_that_one(check):
    table = jnp.asarray(TABLE)
    program = check(lambda x: jnp.sin(x @ table.T) @ jnp.ones((11, 2)), RNG.standard_normal((3, 8)).astype(np.float32))
    assert len(_stored(program, 88)) == 1
    assert _operators(program)["Transpose"] == 0


def test_the_one_that_lies_in_memory_as_in_the_file_is_kept(check):
    table = {"weight": TABLE.T}

    def fn(x):
        return jnp.sin(x @ table["weight"]) @ table["weight"].T

    program = check(fn, RNG.standard_normal((3, 8)).astype(np.float32))
    (name,) = _stored(program, 88)
    assert list(program.model.graph.initializers[name].shape) == [11, 8]
    assert _operators(program)["Transpose"] == 1


@pytest.mark.parametrize("perm", [(1, 0, 2), (2, 0, 1), (2, 1, 0), (0, 2, 1)])
def test_any_order_of_axes(check, perm):
    table = jnp.asarray(RNG.standard_normal((4, 5, 6)).astype(np.float32))
    turned = [table.shape[axis] for axis in perm]
    x, y = (RNG.standard_normal(shape).astype(np.float32) for shape in (table.shape, turned))
    program = check(lambda x, y: (x * table, y * table.transpose(perm)), x, y)
    assert len(_stored(program, 120)) == 1
    assert _operators(program)["Transpose"] == 1


def test_axes_of_equal_size_and_of_size_one(check):
    cube = jnp.asarray(RNG.standard_normal((5, 1, 5, 5)).astype(np.float32))
    x = RNG.standard_normal(cube.shape).astype(np.float32)

    def fn(x):
        return x * cube, x * cube.transpose(2, 1, 0, 3), x * cube.transpose(3, 1, 2, 0), x[:, 0] * cube[:, 0]

    program = check(fn, x)
    assert len(_stored(program, 125)) <= 2  # without the axis of size 1 it is no transpose
    assert _operators(program)["Transpose"] == 2


def test_not_a_number_and_infinity_are_moved_like_the_rest(check):
    table = TABLE.copy()
    table[0, :3] = np.nan, np.inf, -0.0
    table = jnp.asarray(table)
    program = check(lambda x, y: (x + table, y + table.T), np.zeros((11, 8), np.float32), np.zeros((8, 11), np.float32))
    assert len(_stored(program, 88)) == 1


def test_in_a_branch(check):
    table = jnp.asarray(TABLE)

    def fn(x, flag):
        return jax.lax.cond(flag, lambda: jnp.sin(x @ table) @ table.T, lambda: x + 1)

    x = RNG.standard_normal((3, 11)).astype(np.float32)
    program = check(fn, x, np.asarray(True))
    assert len(_stored(program, 88)) == 1
    np.testing.assert_allclose(program(x, np.asarray(False)), x + 1)


@pytest.mark.parametrize(
    "table",
    [
        jnp.arange(88, dtype=jnp.int32).reshape(11, 8),  # indices: their bounds are known as long as they are constants
        jnp.asarray(TABLE) > 0,
        jnp.asarray(TABLE[:6]),  # 192 bytes: no more than a node
    ],
)
def test_what_is_stored_twice(check, table):
    def combine(x, table):
        return jnp.where(table, x, x + 1) if table.dtype == bool else x + table

    dtype = np.float32 if table.dtype == bool else table.dtype
    x, y, z = (np.ones(shape, dtype) for shape in (table.shape, table.T.shape, 99))
    # Beside one that is large enough.
    large = jnp.arange(99, dtype=dtype)
    program = check(lambda x, y, z: (combine(x, table), combine(y, table.T), z + large), x, y, z)
    assert len(_stored(program, table.size)) == 2
    assert _operators(program)["Transpose"] == 0


def test_equal_numbers_elsewhere_in_memory_are_other_weights(check):
    one, other = jnp.asarray(TABLE), jnp.asarray(TABLE.T.copy())
    program = check(lambda x: jnp.sin(x @ one) @ other, RNG.standard_normal((3, 11)).astype(np.float32))
    assert len(_stored(program, 88)) == 2


def test_empty_arrays_are_not_compared(export):
    empty = jnp.zeros((0, 88))
    program = export(lambda x, y: (x + empty, y + empty.T), [(0, 88), (88, 0)])
    assert _operators(program)["Transpose"] == 0


def test_narrow_floats(check):
    table = jnp.asarray(TABLE.astype(ml_dtypes.bfloat16))
    x = np.ones((11, 8), ml_dtypes.bfloat16)
    program = check(lambda x: (x + table, x.T + table.T), x)
    assert len(_stored(program, 88)) == 2  # 176 bytes
    wide = jnp.concatenate([table, table])
    program = check(lambda x, y: (x + wide, y + wide.T), np.concatenate([x, x]), np.concatenate([x, x]).T.copy())
    assert len(_stored(program, 176)) == 1
