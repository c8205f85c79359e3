"""Checks at run time are dropped with a warning that names them; boundaries of Equinox's own leave no trace."""

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core
from j2o_core import to_onnx
from j2o_core.testing import Spec, check


def _checked(x):
    return eqx.error_if(x, jnp.any(x > 100), "x is too large") * 2


def test_checks_are_dropped_with_a_warning():
    with pytest.warns(UserWarning, match="x is too large") as warned:
        program = to_onnx(_checked, [("B", 3)])
    assert [one.filename for one in warned] == [__file__]
    assert [node.op_type for node in program.model.graph] == ["Mul"]


def test_a_check_that_changes_results_is_not_dropped():
    for x in (np.float32([1, 2, 300]), np.float32([1, 2, 3])):
        check(lambda x: eqx.error_if(x, jnp.any(x > 100), "too large", on_error="nan"), x, contains=["If"])


@pytest.mark.filterwarnings("ignore:The run-time check")
@pytest.mark.parametrize(
    "fn",
    [
        _checked,
        jax.jit(_checked),
        jax.vmap(_checked),
        jax.grad(lambda x: _checked(x).sum()),
        jax.vmap(lambda x: eqx.error_if(jnp.ones(2), x[0] > 100, "mapped condition") + x[0]),
        lambda x: eqx.error_if((x, {"a": x[0]}), x[0, 0] > 100, "a tree"),
    ],
)
def test_values_with_checks(fn):
    check(fn, Spec((4, 3)), opsets=(21,), absent=["If"])


def test_noinline():
    fn = lambda x: eqxi.noinline(lambda y: jnp.sin(y) * 2)(x)  # noqa: E731
    check(fn, Spec((3,)), opsets=(21,))
    check(jax.vmap(fn), Spec((2, 3)), opsets=(21,))
    check(jax.grad(lambda x: fn(x).sum()), Spec((3,)), opsets=(21,))


def test_markers():
    check(lambda x: eqxi.nondifferentiable_backward(x) + eqxi.unvmap_any(x > 0), Spec((3,)), opsets=(21,))


class _Scaled(eqx.Module):
    weight: jax.Array
    rate: float
    dropout: eqx.nn.Dropout

    def __call__(self, x):
        return self.dropout(x * self.weight * self.rate)


def test_numbers_of_modules_are_settings():
    """As `equinox.filter_jit` has them: in an argument, in a result, and as state."""
    model = _Scaled(jnp.arange(3.0), 0.5, eqx.nn.Dropout(0.3, inference=True))

    def step(model, x):
        model = eqx.tree_at(lambda m: m.weight, model, model.weight + model(x))
        return model, model(x)

    program = check(step, model, jnp.ones(3), state=["model"], opsets=(21,))
    assert program.input_names == ["model.weight", "x"]
    assert program.state == {"next.model.weight": "model.weight"}
    after, _ = program(model, jnp.ones(3))
    assert (after.rate, after.dropout.p, after.dropout.inference) == (0.5, 0.3, True)
    assert "setting        0.rate = 0.5, fixed in the graph" in program.report()
    with pytest.raises(j2o_core.SpecError, match=r"was 0\.5 at export"):
        program(eqx.tree_at(lambda m: m.rate, model, 2.0), jnp.ones(3))
