import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import VerifyError
from j2o_core.testing import wrong_rewrite

X = np.linspace(-1, 1, 6, dtype=np.float32)


def model(x):
    for _ in range(5):
        x = jnp.sin(x) * 2 + 1
    return jnp.cos(x) + jnp.exp(x)  # here


def test_the_rewrite_that_changed_the_numbers_is_named(plugin):
    @plugin.rewrite("Sin")
    def _right(rw, node):
        return (
            rw.op.Neg(rw.op("Sin", rw.op.Neg(node.inputs[0]))) if rw.producer(node.inputs[0], "Neg") is None else None
        )

    @plugin.rewrite("Cos")
    def _wrong(rw, node):
        return rw.op.Sin(node.inputs[0])

    found = wrong_rewrite(model, X, plugins=[plugin])
    assert (found.name, found.plugin) == ("wrong", "fake")
    assert "test_wrong_rewrite.py" in found.source
    assert "differs from JAX" in found.difference
    assert str(found).startswith("wrong of plugin 'fake', step ")


def test_nothing_is_found_where_all_agree(plugin):
    assert wrong_rewrite(model, X, plugins=[plugin]) is None


def test_a_wrong_lowering_is_no_rewrite(plugin):
    plugin.lowerings["cos"].clear()
    plugin.lowering("cos")(lambda ctx, x, accuracy=None: ctx.op.Sin(x))
    with pytest.raises(VerifyError, match="cos"):
        wrong_rewrite(model, X, plugins=[plugin])
