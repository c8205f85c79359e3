"""Numbers and masks that are broadcast to sizes only the run knows, and axes of size 1 that move."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import Spec


@pytest.fixture
def checked(plugin, check):
    """Operators of a function of `Spec`s, which agrees with JAX."""
    for primitive, op_type in {"and": "And", "or": "Or"}.items():
        plugin.lowering(primitive)(lambda ctx, x, y, op_type=op_type: ctx.op(op_type, x, y))

    def run(fn, *specs, **options):
        program = check(fn, *specs, opsets=[21], **options)
        return [node.op_type for node in program.model.graph]

    return run


def written(number, shape, dtype=None):
    """A number broadcast to a shape, with an axis added behind that."""
    return jnp.expand_dims(lax.full(shape, jnp.asarray(number, dtype)), 0)


def numbers(x, number=-3.0):
    return jnp.where(x > 0, x, written(number, x.shape[1:]))


@pytest.mark.parametrize("number", [-3.0, -0.0, np.inf, np.nan])
def test_a_number_written_out_is_broadcast_by_its_reader(checked, number):
    assert checked(lambda x: numbers(x, number), Spec((1, "B", "T"))) == ["Greater", "Where"]


def test_a_number_whatever_was_done_to_it(checked):
    def fn(x):
        table = lax.full((x.shape[1], x.shape[0]), 2.0)
        return x + table.T.reshape(x.shape)

    assert checked(fn, Spec(("B", "T"))) == ["Add"]


def test_nan_and_inf_in_the_other_operand_stay(checked):
    x = np.array([[np.nan, np.inf, -np.inf, -0.0, 1]], np.float32)
    assert checked(numbers, Spec((1, "T")), args=[(x,), (x[:, :1],)]) == ["Greater", "Where"]


def test_a_number_that_gives_the_result_its_size_stays(checked):
    assert "Expand" in checked(lambda x: lax.full((x.shape[0], 3), 2.0) + x[:, :1], Spec(("B", 1)))


def test_several_numbers_stay(checked):
    def fn(x):
        row = jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0]), (x.shape[1], 3))
        return jnp.where(x > 0, x, row[None] * row[None])

    assert "Expand" in checked(fn, Spec((1, "B", 3)))


WIDE = Spec((1, "B", "T"))
THIN = Spec((1, "B", 1))


def test_what_is_computed_of_few_numbers_is_not_computed_of_many(checked):
    found = checked(lambda x, z: jnp.exp(jnp.broadcast_to(jnp.sin(z), x.shape) * 2 + 1.0), WIDE, THIN)
    assert found.index("Exp") < found.index("Expand")
    assert checked(lambda x, z: jnp.sin(jnp.broadcast_to(z, x.shape)) * 2 + x, WIDE, THIN) == ["Sin", "Mul", "Add"]


def test_nan_and_inf_are_written_out_as_they_are(checked):
    z = np.array([[[np.nan], [np.inf], [-np.inf], [-0.0]]], np.float32)
    checked(lambda z: jnp.exp(-jnp.broadcast_to(z, (1, 4, 3))) * 0.0, z)


def test_what_other_numbers_make_larger_stays_behind(checked):
    table = np.array([1.0, 2.0, 3.0], np.float32)
    found = checked(lambda z: jnp.exp(jnp.broadcast_to(z, (*z.shape[:2], 3)) * table), THIN)
    assert found == ["Mul", "Exp"]
    found = checked(lambda z: jnp.exp(jnp.broadcast_to(z, (4, *z.shape[1:])) * table), THIN)
    assert found[-1] == "Exp"


def test_of_two_values_written_out_each_stays(checked):
    found = checked(lambda x, y: jnp.broadcast_to(x, (3, 4)) * jnp.broadcast_to(y, (3, 4)), Spec((3, 1)), Spec((1, 4)))
    assert found[-1] == "Mul"


def masked(x, mask, combine, neutral):
    kept = combine(written(neutral, x.shape[1:], bool), mask)
    return jnp.exp(jnp.where(kept, x, written(-1.0, x.shape[1:])))


@pytest.mark.parametrize(("combine", "neutral"), [(jnp.logical_and, True), (jnp.logical_or, False)])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_mask_is_not_written_out(checked, combine, neutral, swapped):
    def fn(x, mask):
        both = (lambda a, b: combine(b, a)) if swapped else combine
        return masked(x, mask, both, neutral)

    assert checked(fn, Spec((1, "B", "T")), Spec((1, 1, "T"), np.bool_)) == ["Where", "Exp"]


@pytest.mark.parametrize(("combine", "absorbing"), [(jnp.logical_and, False), (jnp.logical_or, True)])
def test_what_does_not_pass_the_mask_on_stays(checked, combine, absorbing):
    def fn(x, mask):
        return masked(x, mask, combine, absorbing)

    found = checked(fn, Spec((1, "B", "T")), Spec((1, 1, "T"), np.bool_))
    assert ("And" if combine is jnp.logical_and else "Or") in found


def test_true_and_a_mask_of_the_whole_shape_is_the_mask(checked):
    def fn(mask):
        return jnp.logical_and(written(True, mask.shape[1:], bool), mask)

    assert checked(fn, Spec((1, "B", "T"), np.bool_)) == ["Identity"]


def test_true_and_a_smaller_mask_is_as_large_as_the_result(checked):
    def fn(mask, x):
        return jnp.logical_and(written(True, x.shape, bool), mask)

    assert "And" in checked(fn, Spec((1, "T"), np.bool_), Spec(("B", "T")))


def test_an_axis_of_one_moves_without_a_copy(checked):
    def fn(x):
        return jnp.sin(x).reshape(x.shape[0], x.shape[1], 1, x.shape[2]).transpose(2, 0, 1, 3)

    assert checked(fn, Spec(("B", "T", "C"))) == ["Sin", "Unsqueeze"]


def test_an_axis_of_one_moves_between_others(checked):
    assert checked(lambda x: jnp.sin(x).transpose(1, 2, 0), Spec((1, "B", "T"))) == ["Sin", "Squeeze", "Unsqueeze"]


@pytest.mark.parametrize("perm", [(1, 2, 0, 3), (2, 1, 0, 3), (2, 0, 3, 1)])
def test_axes_that_may_be_larger_are_transposed(checked, perm):
    def fn(x):
        return jnp.sin(x).reshape(x.shape[0], x.shape[1], 1, x.shape[2]).transpose(perm)

    assert "Transpose" in checked(fn, Spec(("B", "T", "C")))


def test_axes_of_size_1_in_front_are_added_by_the_operator(checked):
    def added(x, c):
        return x + jnp.expand_dims(jnp.sin(c), (0, 1))

    assert checked(added, Spec((2, 3, "N")), Spec(("N",))) == ["Sin", "Add"]
    assert checked(added, Spec((2, 3, 4)), Spec(())) == ["Sin", "Add"]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, c: x + jnp.expand_dims(jnp.sin(c), 1),
        lambda x, c: x + jnp.expand_dims(c, (0, 1)),
        lambda x, c: jnp.expand_dims(jnp.sin(c), (0, 1)) + jnp.expand_dims(jnp.cos(c), (0, 1)),
    ],
)
def test_axes_that_the_operator_does_not_add(checked, fn):
    assert {"Unsqueeze", "Reshape"} & {*checked(fn, Spec((1, 3, 3)), Spec((3,)))}
