import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import SpecError, TraceError
from j2o_core.testing import Spec

SIZES = (1, 2, 5, 8)


@pytest.mark.parametrize(
    ("shapes", "fn"),
    [
        ([("B", 3)], lambda x: x * 2 + 1),
        ([("B", 3), ("B", 3)], lambda x, y: x + y),
        ([("B", "T", 4)], lambda x: x.reshape(x.shape[0] * x.shape[1], 4)),
        ([("B", "T", 4)], lambda x: x.reshape(x.shape[0], -1)),
        ([("B", "T")], lambda x: x.T.sum(0)),
        ([("B", "T")], lambda x: jnp.concatenate([x, x * 2], 1)),
        ([("B", "T"), ("B", "S")], lambda x, y: jnp.concatenate([x, y], 1)),
        ([("B", 3)], lambda x: jnp.broadcast_to(x[None], (2, *x.shape))),
        ([("B", 3)], lambda x: x + jnp.arange(3)),
        ([("B",)], lambda x: x + jnp.arange(x.shape[0])),
        ([("B", "B")], lambda x: x + x.T),
        ([("H", "W", 3)], lambda x: x.reshape(-1, 3).sum(0)),
        ([("B", 3), (3, 4)], lambda x, w: x @ w),
    ],
    ids=range(13),
)
def test_one_file_for_every_size(check, shapes, fn):
    program = check(fn, *[Spec(shape) for shape in shapes], sizes=SIZES)
    assert any(isinstance(d, str) or not isinstance(d, int) for d in program.model.graph.inputs[0].shape)


@pytest.mark.parametrize(
    "shape",
    [
        ("2*T",),
        ("2*T + 1",),
        ("T + 3",),
        ("T", "2*T"),
        ("2*T", "T"),
        ("T", "T*T"),
        ("T", "U", "T*U + 2"),
        ("T", "T//2"),
    ],
    ids=str,
)
def test_expressions_in_shapes(check, shape):
    """`T` is solved for where it can be read, and every expression over it is arithmetic in the graph."""

    def fn(x):
        rows = x.shape[0]
        return x + 1, jnp.zeros(rows) + rows, x.reshape(-1)

    check(fn, Spec(shape), sizes=(1, 2, 5))


@pytest.mark.parametrize(
    "size",
    [
        lambda t: t // 2 + 1,
        lambda t: (t + 1) // 3 + 1,
        lambda t: t % 3 + 1,
        lambda t: t * t + 1,
        lambda t: 7 * t,
        lambda t: -(-t // 2) + 1,
    ],
    ids=range(6),
)
def test_arithmetic_on_sizes(check, size):
    """The result's shape is computed in the graph as JAX computes it, division rounding down included."""

    def fn(x):
        return jnp.zeros(size(x.shape[0])) + x.sum()

    check(fn, Spec(("T",)), sizes=(1, 2, 3, 4, 7), opsets=[21])


def test_a_size_is_a_value(check):
    check(lambda x: x.sum() / x.shape[0], Spec(("B",)), opsets=[21])
    check(lambda x: x * x.shape[0], Spec(("B", 2), np.int32), opsets=[21])


def test_names_are_in_the_model(export):
    program = export(lambda x: jnp.concatenate([x, x], 1), [("batch", "time", 4)])
    (value,) = program.model.graph.outputs
    assert [d if isinstance(d, int) else d.value for d in value.shape] == ["batch", "2*time", 4]


def test_size_one_is_not_special(check):
    program = check(lambda x, y: x + y, Spec(("B", 3)), Spec(("B", 1)), sizes=(1, 3, 4))
    x = np.ones((1, 3), np.float32)
    assert program(x, np.ones((1, 1), np.float32)).shape == (1, 3)


def test_jax_refuses_what_would_only_work_at_size_one(export):
    """`B` and `C` might be 1, but nobody said so."""
    with pytest.raises(TraceError):
        export(lambda x, y: x + y, [("B", 3), ("C", 3)])


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_zero_sizes(check, shape):
    check(lambda x: (x + 1, x.T, x.reshape(-1), x.sum(), jnp.concatenate([x, x])), np.zeros(shape, np.float32))


def test_a_symbolic_size_of_zero(export):
    program = export(lambda x: (x + 1, x.sum(0)), [("B", 3)])
    first, total = program(np.zeros((0, 3), np.float32))
    assert first.shape == (0, 3)
    np.testing.assert_array_equal(total, np.zeros(3))


def test_constraints_decide_what_tracing_needs_to_know(export, check):
    def fn(x):
        return x + 1 if x.shape[0] >= 4 else x

    with pytest.raises(TraceError, match="InconclusiveDimensionOperation"):
        export(fn, [("T",)])
    program = check(fn, Spec(("T",)), constraints=["T >= 4"], sizes=(1, 4, 9), opsets=[21])
    assert [node.op_type for node in program.model.graph] == ["Add"]
    result = program.verify(sizes=(1, 4, 9))
    assert result.runs == ({"T": 4}, {"T": 9})


def test_equal_by_constraint(check):
    check(lambda x, y: x + y, Spec(("T",)), Spec(("S",)), constraints=["S == T"], opsets=[21])


def test_a_symbol_that_cannot_be_read_is_refused(export):
    with pytest.raises(SpecError, match="The symbolic dimensions H, W cannot be computed from the inputs' shapes"):
        export(lambda x: x + 1, [("H*W",)])
    with pytest.raises(SpecError, match='Give at least one input an axis of that size alone, such as "T"'):
        export(lambda x: x + 1, [("T*T",)])


def test_batches_of_vmap(check):
    check(jax.vmap(lambda x: jnp.sin(x) * 2), Spec(("B", "T", 3)))
