"""Values that a scan computes from its items alone are computed for all items at once, with JAX's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest
from jax import lax

from j2o_core.testing import Spec, check


def operators(program):
    """Those in front of the first loop, and those of its body."""
    before = []
    for node in program.model.graph:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                return before, [one.op_type for one in attribute.as_graph()]
        before.append(node.op_type)
    raise AssertionError("no loop")


def recurrent(step, x, xs, reverse=False):
    def body(carry, item):
        carry = step(carry, item)
        return carry, carry * 2

    return lax.scan(body, x, xs, reverse=reverse)


def product(w, u, b):
    return lambda carry, item: jnp.tanh(item @ w + b + carry @ u)


WEIGHTS = Spec((3, 4)), Spec((4, 4)), Spec((4,))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [40, "T"])
@pytest.mark.parametrize("rows", [(), (5,), ("B",)])
def test_products_of_items(reverse, length, rows):
    def fn(x, xs, w, u, b):
        return recurrent(product(w, u, b), x, xs, reverse)

    program = check(fn, Spec((*rows, 4)), Spec((length, *rows, 3)), *WEIGHTS, opsets=(21,))
    if length == 40:
        before, body = operators(program)
        assert before.count("MatMul") == body.count("MatMul") == 1


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [40, "T"])
def test_layouts_of_items(reverse, length):
    def fn(x, xs, places):
        def step(carry, item):
            row, place = item
            return carry.at[place].set(row.reshape(2, 3) + carry[0])

        return recurrent(step, x, (xs, places), reverse)

    program = check(fn, Spec((4, 2, 3)), Spec((length, 6)), Spec((length,), np.int32), opsets=(21,))
    if length == 40:
        before, body = operators(program)
        assert "Reshape" in before
        assert "Unsqueeze" not in body


def test_items_without_elements_keep_their_layout():
    def fn(x, xs):
        return recurrent(lambda carry, item: carry + item.reshape(0, 3).sum(), x, xs)

    check(fn, Spec((4,)), Spec((40, 3, 0)), opsets=(21,))


def test_rows_written_in_turn():
    def fn(x, xs):
        def step(carry, item):
            i, row = item
            return carry.at[i].set(jnp.tanh(row + carry[i - 1])), None

        return lax.scan(step, x, (jnp.arange(40), xs))[0]

    _before, body = operators(check(fn, Spec((40, 6)), Spec((40, 6)), opsets=(21,)))
    assert "Reshape" not in body
    assert "ScatterND" in body


def test_chains_of_maps():
    def fn(x, xs, s):
        return recurrent(lambda carry, item: carry * 0.5 + jnp.exp(-abs(item) * s), x, xs)

    before, body = operators(check(fn, Spec((3,)), Spec((40, 3)), Spec(()), opsets=(21,)))
    assert "Exp" in before
    assert body == ["Mul", "Add", "Mul"]


def test_transposed_items():
    def fn(x, ws):
        return recurrent(lambda carry, w: jnp.sin(carry @ (w.T * 0.1)), x, ws)  # larger factors make it chaotic

    before, body = operators(check(fn, Spec((4, 3)), Spec((40, 3, 3)), opsets=(21,)))
    assert "Transpose" not in body
    assert "Transpose" in before


def test_two_sequences_and_one_that_is_read_itself():
    def fn(x, xs, ys):
        return recurrent(
            lambda carry, pair: carry * pair[0] + jnp.sin(pair[0] * pair[1]) * jnp.cos(pair[1]), x, (xs, ys)
        )

    before, body = operators(check(fn, Spec((3,)), *[Spec((40, 3))] * 2, opsets=(21,)))
    assert body == ["Mul", "Add", "Mul"]
    assert {"Sin", "Cos"} <= set(before)


STAY = {
    "one map of an item that is read itself": lambda carry, item: carry * item + jnp.sin(item),
    "broadcast along another axis": lambda carry, item: carry + jnp.exp(item[:, None] * jnp.ones((3, 50)))[:, 0],
    "a result of the scan": lambda carry, item: jnp.sin(item),
}


@pytest.mark.parametrize("name", STAY)
def test_stays(name):
    check(lambda x, xs: recurrent(STAY[name], x, xs), Spec((3,)), Spec((40, 3)), opsets=(21,))


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.int32])
def test_other_types(dtype):
    def fn(x, xs):
        return recurrent(lambda carry, item: carry // 2 + (item * 3 - 1) * item, x, xs)

    check(fn, Spec((3,), dtype), Spec((40, 3), dtype), opsets=(21,))


def test_nested_scans():
    def fn(x, xs, w):
        def outer(carry, items):
            return recurrent(lambda c, item: jnp.tanh(c + item @ w), carry, items)

        return lax.scan(outer, x, xs)

    before, _ = operators(check(fn, Spec((4,)), Spec((30, 40, 3)), Spec((3, 4)), opsets=(21,)))
    assert before == ["MatMul"]


def test_under_vmap_and_grad():
    def fn(x, xs, w, u, b):
        return recurrent(product(w, u, b), x, xs)[0].sum()

    specs = Spec((4,)), Spec((40, 3)), *WEIGHTS
    check(jax.vmap(fn, (0, 0, None, None, None)), Spec(("B", 4)), Spec(("B", 40, 3)), *WEIGHTS, opsets=(21,))
    check(jax.grad(fn, (1, 2)), *specs, opsets=(21,))
