"""Verify tries what hides keys of attention: a model that is wrong there does not pass, and notes are told."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest

import j2o_core
from j2o_core import VerifyError

QKV = [(2, 4, 2, 8)] * 3
HIDDEN_KEYS = "Attention: NaN or infinity in a key that the mask hides reaches queries"


def attend(q, k, v, bias):
    return jax.nn.dot_product_attention(q, k, v, bias=bias)


@pytest.mark.parametrize("opset", [21, 23])
def test_a_bias_is_tried_with_what_hides(opset):
    result = j2o_core.to_onnx(attend, [*QKV, (2, 1, 4, 4)], opset=opset).verify()
    assert result.notes == ()
    assert len(result.runs) == 1


@pytest.mark.parametrize(
    ("skipped", "text"), [("Mul", "the lowest number everywhere"), ("Add", "minus infinity everywhere")]
)
def test_a_model_that_gives_zeros_for_hidden_rows_does_not_pass(skipped, text):
    program = j2o_core.to_onnx(attend, [*QKV, (2, 1, 4, 4)], opset=23)
    node = next(node for node in program.model.graph if node.op_type == skipped)
    node.outputs[0].replace_all_uses_with(node.inputs[0])
    with pytest.raises(VerifyError, match=f"with {text} in 'bias'"):
        program.verify()


def test_what_differs_for_nan_is_told():
    def causal(q, k, v):
        return jax.nn.dot_product_attention(q, k, v, is_causal=True)

    result = j2o_core.to_onnx(causal, QKV, opset=23).verify()
    (note,) = result.notes
    assert note.startswith(HIDDEN_KEYS)
    assert "test_verify.py:" in note
    assert note in str(result)
    assert j2o_core.to_onnx(causal, QKV, opset=23, nonfinite="exact").verify().notes == ()
    assert j2o_core.to_onnx(causal, QKV, opset=21).verify().notes == ()


def test_masks_and_lengths_are_tried():
    def fn(q, k, v, mask, lengths):
        return jax.nn.dot_product_attention(q, k, v, mask=mask, key_value_seq_lengths=lengths)

    specs = [*QKV, jax.ShapeDtypeStruct((2, 1, 4, 4), bool), jax.ShapeDtypeStruct((2,), np.int32)]
    program = j2o_core.to_onnx(fn, specs, opset=24)
    assert all(note.startswith(HIDDEN_KEYS) for note in program.verify().notes)
    where = next(node for node in program.model.graph if node.op_type == "Where")
    number = next(value for value in where.inputs if value.const_value is not None and value.const_value.numpy() < 0)
    number.const_value = ir.Tensor(np.float32(-np.inf), name=number.name)
    del program.session  # of the model before
    with pytest.raises(VerifyError, match="Output 'output' differs from JAX"):
        program.verify()


def test_attention_in_half_precision_is_compared_without_the_algorithm_that_the_cpu_lacks():
    specs = [jax.ShapeDtypeStruct(shape, jnp.float16) for shape in QKV]
    result = j2o_core.to_onnx(jax.nn.dot_product_attention, specs, opset=23).verify()
    assert [note.partition(" (")[0] for note in result.notes] == ["XLA cannot compile the function for the CPU"]
    assert result.relative < 1e-3
