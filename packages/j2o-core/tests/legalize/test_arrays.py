"""Inputs and outputs of element types that browsers have no arrays of."""

import re

import jax
import jax.numpy as jnp
import pytest

import j2o_core


def test_browsers_have_no_arrays_of_narrow_floats(export):
    def both(weight, x):
        return weight * 2, x.astype(jnp.float8_e4m3fn)

    inputs = [jax.ShapeDtypeStruct((2,), jnp.bfloat16), (3,)]
    said = "no arrays of bfloat16, float8_e4m3fn: input 'weight', output 0, output 1.\nJavaScript has none."
    with pytest.raises(j2o_core.LegalizeError, match=re.escape(said)):
        export(both, inputs, target="onnxruntime-web")
    assert export(both, inputs, target="onnxruntime-1.32").input_names == ["weight", "x"]


def test_narrow_floats_inside_are_exported_for_browsers(export):
    program = export(lambda x: (x.astype(jnp.bfloat16) * 3).astype(x.dtype), [(3,)], target="onnxruntime-web")
    program.verify()
