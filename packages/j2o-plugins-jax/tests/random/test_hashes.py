"""Hashes by the rows of one array of keys are one hash; those that depend on one another are not."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from j2o_core import to_onnx
from j2o_core.testing import Spec, check

KEY = jax.random.PRNGKey(7)


def bits(key, *shape):
    return jax.random.bits(key, shape, np.uint32)


def rows(fn):
    return lambda key: [fn(row) for row in jax.random.split(key, 3)]


def chain(key):
    return bits(jax.random.fold_in(jax.random.fold_in(key, 1), 2), 3)


def several(key):
    one, two, three = jax.random.split(key, 3)
    return bits(one, 3), bits(two), bits(three, 2, 2), bits(one, 2), jax.random.split(two)


def branch(key):
    one, two = jax.random.split(key)
    return jax.lax.cond(bits(one) % 2 == 0, lambda: bits(two, 2), lambda: bits(one, 2)), bits(two, 2)


def mapped(key):
    keys = jax.random.split(key, 4)
    return jax.vmap(lambda key: bits(key, 2))(keys[:2]), bits(keys[2], 3), bits(keys[3], 3)


# Programs, and how many hashes they are. Of those that are too many for one, the last ones are.
PROGRAMS = {
    "equal shapes": (rows(lambda key: bits(key, 3)), 2),
    "integers": (lambda key: jax.random.randint(key, (5,), 0, 9), 2),
    "several shapes": (several, 2),
    "one after the other": (chain, 3),
    "no elements": (lambda key: [bits(row, size) for row, size in zip(jax.random.split(key), (0, 3), strict=True)], 2),
    "many": (rows(lambda key: bits(key, 400)), 3),
    "very different": (
        lambda key: [bits(row, n) for row, n in zip(jax.random.split(key, 9), [900] + 8 * [1], strict=True)],
        3,
    ),
    "branches": (branch, 3),
    "under vmap": (mapped, 3),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_hashes_of_a_program(name):
    fn, hashes = PROGRAMS[name]
    program = check(fn, KEY, opsets=(18, 23))
    shifts = [node.op_type for node in program.model.graph.all_nodes()].count("BitShift")
    assert shifts // 20 == hashes + (name == "branches")


def test_keys_of_several_arrays():
    keys = np.arange(8, dtype=np.uint32).reshape(2, 2, 2)
    check(lambda a, b: [bits(key, 3) for key in (a[0, 1], b[1, 0], a[1, 1], b[0, 0])], keys, keys + 1, opsets=(21,))


def test_symbolic_sizes():
    key = np.array(KEY)

    def fn(key, x):
        one, two = jax.random.split(key)
        return bits(one, *x.shape), bits(two, 2)

    check(fn, key, Spec(("N",)), opsets=(21,))


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_tree_of_keys(data):
    """Keys are split, folded and drawn from in any order; every bit is JAX's."""
    steps = data.draw(
        st.lists(st.tuples(st.sampled_from(["split", "fold", "bits", "normal"]), st.integers(0, 9)), max_size=7)
    )

    def fn(key):
        keys, drawn = [key], []
        for step, number in steps:
            one = keys[number % len(keys)]
            if step == "split":
                keys += list(jax.random.split(one, 1 + number % 3))
            elif step == "fold":
                keys.append(jax.random.fold_in(one, number))
            elif step == "bits":
                drawn.append(bits(one, number))
            else:
                drawn.append(jax.random.normal(one, (number % 3, 2)))
        return drawn, keys[-1]

    with jax.debug_key_reuse(False):
        check(fn, KEY, opsets=(21,))


def test_equal_counters_are_one_number():
    program = to_onnx(lambda key: jax.random.bits(key, (5000,)), [KEY])
    sizes = [value.const_value.size for value in program.model.graph.initializers.values()]
    assert [size for size in sizes if size >= 5000] == [5000]
    np.testing.assert_array_equal(program(KEY), jax.random.bits(KEY, (5000,)))
