import dataclasses

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from j2o_examples_dino import CheckpointError, from_state_dict, state_dict


def test_round_trip_is_bit_exact(tiny, weights):
    written = state_dict(from_state_dict(weights, tiny))
    assert written.keys() == weights.keys()
    for name, array in weights.items():
        assert written[name].dtype == array.dtype
        np.testing.assert_array_equal(written[name], array, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_stored_dtype_is_kept_on_request(tiny, weights, dtype):
    stored = {name: array.astype(dtype) for name, array in weights.items()}
    written = state_dict(from_state_dict(stored, tiny, dtype=None))
    for name, array in stored.items():
        expected = array.astype(np.float32) if name == "rope_embed.periods" else array
        assert written[name].dtype == expected.dtype
        np.testing.assert_array_equal(written[name], expected, err_msg=name)


def _qkv_bias(weights, tiny):
    return np.asarray(from_state_dict(weights, tiny).blocks[0].attn.qkv.bias)


def test_mask_applies_to_the_bias(tiny, weights):
    weights["blocks.0.attn.qkv.bias"] = np.arange(1, 97, dtype=np.float32)
    weights["blocks.0.attn.qkv.bias_mask"] = np.zeros(96, np.float32)
    np.testing.assert_array_equal(_qkv_bias(weights, tiny), 0)


@pytest.mark.parametrize("nans", [slice(None), slice(32, 64)])
def test_mask_of_nan_means_the_usual_pattern(tiny, weights, nans):
    bias = np.arange(1, 97, dtype=np.float32)
    weights["blocks.0.attn.qkv.bias"] = bias
    mask = np.ones(96, np.float32)
    mask[nans] = np.nan
    weights["blocks.0.attn.qkv.bias_mask"] = mask
    expected = bias * np.repeat([1, 0, 1], 32)
    np.testing.assert_array_equal(_qkv_bias(weights, tiny), expected)


def test_masked_nan_in_the_bias_is_zero(tiny, weights):
    weights["blocks.0.attn.qkv.bias"][32:64] = np.nan
    np.testing.assert_array_equal(_qkv_bias(weights, tiny)[32:64], 0)


def test_bias_without_mask_is_taken_as_it_is(tiny, weights):
    bias = np.arange(1, 97, dtype=np.float32)
    weights["blocks.0.attn.qkv.bias"] = bias
    del weights["blocks.0.attn.qkv.bias_mask"]
    np.testing.assert_array_equal(_qkv_bias(weights, tiny), bias)
    # ... and survives being written and read again.
    np.testing.assert_array_equal(_qkv_bias(state_dict(from_state_dict(weights, tiny)), tiny), bias)


def test_zero_bias_is_dropped_on_request(tiny, weights, image):
    for name in weights:
        if name.endswith("qkv.bias"):
            weights[name] = np.zeros_like(weights[name])
    kept = from_state_dict(weights, tiny)
    dropped = from_state_dict(weights, tiny, drop_zero_bias=True)
    assert kept.blocks[0].attn.qkv.bias is not None
    assert all(block.attn.qkv.bias is None for block in dropped.blocks)
    assert not dropped.config.qkv_bias
    np.testing.assert_array_equal(dropped(image), kept(image))


def test_other_biases_are_never_dropped(tiny, weights):
    assert from_state_dict(weights, tiny, drop_zero_bias=True).blocks[0].attn.qkv.bias is not None


def test_model_without_qkv_bias(tiny, weights):
    config = dataclasses.replace(tiny, qkv_bias=False)
    without = {name: array for name, array in weights.items() if ".qkv.bias" not in name}
    assert state_dict(from_state_dict(without, config)).keys() == without.keys()
    with pytest.raises(CheckpointError, match=r"4 unknown: blocks\.0\.attn\.qkv\.bias"):
        from_state_dict(weights, config)
    with pytest.raises(CheckpointError, match=r"2 missing: blocks\.0\.attn\.qkv\.bias"):
        from_state_dict(without, tiny)


def test_every_misfit_is_named_at_once(tiny, weights):
    del weights["norm.bias"]
    weights["head.weight"] = np.zeros(3, np.float32)
    weights["cls_token"] = np.zeros((1, 32), np.float32)
    weights["norm.weight"] = np.zeros(32, np.int32)
    with pytest.raises(CheckpointError) as caught:
        from_state_dict(weights, tiny, source="photo.npz")
    message = str(caught.value)
    assert message.startswith("photo.npz does not fit")
    assert "1 missing: norm.bias" in message
    assert "1 unknown: head.weight" in message
    assert "1 of another shape: cls_token is (1, 32) instead of (1, 1, 32)" in message
    assert "1 not floating point: norm.weight is int32" in message
    assert "dim=32" in message


def test_long_lists_are_cut(tiny, weights):
    few = {name: array for name, array in weights.items() if not name.startswith("blocks.")}
    with pytest.raises(CheckpointError, match=r"\d+ missing: .* and \d+ more"):
        from_state_dict(few, tiny)


@pytest.mark.parametrize("shape", [(3,), (96, 1)])
def test_mask_of_another_shape(tiny, weights, shape):
    weights["blocks.0.attn.qkv.bias_mask"] = np.ones(shape, np.float32)
    with pytest.raises(CheckpointError, match=r"1 of another shape: blocks\.0\.attn\.qkv\.bias_mask"):
        from_state_dict(weights, tiny)


def test_mask_without_bias(tiny, weights):
    del weights["blocks.1.attn.qkv.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: blocks\.1\.attn\.qkv\.bias"):
        from_state_dict(weights, tiny)


def test_jax_arrays_are_welcome(tiny, weights, image):
    model = from_state_dict({name: jnp.asarray(array) for name, array in weights.items()}, tiny)
    np.testing.assert_array_equal(model(image), from_state_dict(weights, tiny)(image))


def test_model_does_not_share_memory_with_the_state_dict(tiny, weights):
    model = from_state_dict(weights, tiny)
    before = np.array(model.norm.weight)
    weights["norm.weight"][:] = 9
    np.testing.assert_array_equal(model.norm.weight, before)
