import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from j2o_core import VerifyError
from j2o_core.testing import DTYPES, Spec


def test_every_dtype_of_the_lists_is_checked_with_its_own_values(check):
    for dtype in DTYPES.all:
        program = check(lambda x: x, Spec((3,), dtype), opsets=[21])
        assert program.model.graph.inputs[0].dtype.numpy() == np.dtype(dtype)


def test_arrays_are_both_specs_and_values(check):
    x = np.array([np.nan, np.inf, -0.0, 1.0], np.float32)
    program = check(lambda x: x + 1, x)
    np.testing.assert_array_equal(program(x), x + 1)


def test_operators_that_are_missing_or_unwanted_are_named(check):
    with pytest.raises(AssertionError, match=r"operators \['Gelu'\] are missing; the graph has \{'Add': 1\}"):
        check(lambda x: x + 1, Spec((2,)), contains=["Gelu"])
    with pytest.raises(AssertionError, match=r"operators \['Add'\] should not be there"):
        check(lambda x: x + 1, Spec((2,)), absent=["Add"])


def test_opsets_are_those_that_were_asked_for(check):
    assert check(lambda x: x + 1, Spec((2,)), opsets=[19]).opset == 19


def test_wrong_numbers_fail(check, plugin):
    plugin.lowerings["sin"].clear()
    plugin.lowering("sin")(lambda ctx, x, **_: ctx.op.Mul(x, ctx.const(1.1, x)))
    with pytest.raises(VerifyError, match="differs from JAX"):
        check(jnp.sin, Spec((4,)))


def test_a_tolerance_is_a_choice_of_the_test(check, plugin):
    plugin.lowerings["sin"].clear()
    plugin.lowering("sin")(lambda ctx, x, **_: ctx.op.Mul(ctx.op.Sin(x), ctx.const(1.001, x)))
    with pytest.raises(VerifyError, match="differs from JAX"):
        check(jnp.sin, Spec((4,)))
    check(jnp.sin, Spec((4,)), rtol=1e-2)  # the rule above is off by a thousandth on purpose


def test_narrow_floats_are_compared_in_their_own_precision(check):
    check(lambda x: x + 1, Spec(("B", 3), ml_dtypes.bfloat16))
