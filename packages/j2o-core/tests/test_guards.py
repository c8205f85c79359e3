"""Conditions of the export, of the target, and of what is particular to releases of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core import SpecError
from j2o_core._compat import without_dot_algorithms
from j2o_core._lazy_sympy import _Finder
from j2o_core.target import WORKAROUNDS, Target

X = np.ones((2, 2), np.float32)


@pytest.mark.parametrize("option", ["unroll", "weights", "dtype", "progress"])
def test_options_are_checked(export, option):
    with pytest.raises(SpecError, match=f"{option} is 3"):
        export(jnp.sin, [(3,)], **{option: 3})


def test_products_ask_for_no_algorithm():
    def product(x):
        return lax.dot(x, x, precision=lax.DotAlgorithmPreset.F32_F32_F32)

    (eqn,) = without_dot_algorithms(jax.make_jaxpr(product)(X)).eqns
    assert eqn.params["precision"] is None


def test_only_onnx_ir_is_found_without_sympy():
    assert _Finder().find_spec("json", None) is None


@pytest.mark.parametrize("row", [row for row in WORKAROUNDS if row.unusable], ids=lambda row: row.name)
def test_kernels_that_are_of_no_use_do_not_run(row):
    target = Target("onnxruntime", 26)
    for op_type in row.op_types:
        for dtype in row.dtypes:
            types = {variable: dtype for variable in target.signature(op_type).allowed}
            assert not target.runs_types(op_type, types, lambda name, default: default)
