"""Models small enough to run in a test, with weights that a formula gives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_examples_birdjepa import BirdMae, BirdMaeConfig, Transformer, TransformerConfig

from .parity.cases import formula_array

SMALL = {"input_h": 32, "input_w": 48, "embed_dim": 32, "depth": 2, "n_heads": 2, "n_cls_tokens": 2, "use_scan": False}
MODERN = {"use_rope": True, "use_qk_norm": True, "use_swiglu": True, "use_layerscale": True}
TINY_MAE = BirdMaeConfig(embed_dim=32, depth=2, n_heads=2, input_h=32, input_w=48)


def formula_weights(model: eqx.Module) -> eqx.Module:
    """The model with every array replaced by the one that the formula gives for its path."""
    leaves = jax.tree_util.tree_leaves_with_path(model)
    arrays = [
        jnp.asarray(formula_array(jax.tree_util.keystr(path, simple=True, separator="."), leaf.shape))
        for path, leaf in leaves
    ]
    return jax.tree.unflatten(jax.tree.structure(model), arrays)


def formula_encoder(**fields) -> Transformer:
    skeleton = eqx.filter_eval_shape(Transformer, TransformerConfig(**SMALL | fields), key=jax.random.key(0))
    return formula_weights(skeleton)


@eqx.filter_jit
def encode(model, spectrograms, key=None):
    """All that an encoder gives for whole spectrograms, compiled: operation by operation takes ten times as long."""
    return model.encode(spectrograms, key=key) if isinstance(model, Transformer) else model(spectrograms)


def formula_spectrograms() -> np.ndarray:
    return np.cos(0.05 * np.arange(2 * 32 * 48)).reshape(2, 32, 48).astype(np.float32)


@pytest.fixture
def spectrograms() -> np.ndarray:
    """Two spectrograms of 2 x 3 patches."""
    return formula_spectrograms()


@pytest.fixture(scope="session")
def tiny_mae() -> BirdMae:
    return formula_weights(eqx.filter_eval_shape(BirdMae, TINY_MAE, key=jax.random.key(0)))
