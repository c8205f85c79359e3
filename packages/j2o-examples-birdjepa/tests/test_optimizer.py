"""Schedules, and which weights Muon takes for matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_examples_birdjepa import ConfigError, OptimizerConfig, Transformer, TransformerConfig, stack, unstack
from j2o_examples_birdjepa._optimizer import make_optimizer, muon_dimensions, schedule

from .conftest import MODERN, SMALL


def rates(**fields):
    config = OptimizerConfig(lr=2.0, **fields)
    rate = schedule(config, config.lr)
    return np.array([float(rate(step)) for step in range(config.n_steps + 1)])


def test_cosine():
    found = rates(n_steps=10, warmup_steps=4)
    np.testing.assert_allclose(found[:5], [0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(found[4:], 1 + np.cos(np.pi * np.arange(7) / 6), atol=1e-6)
    np.testing.assert_allclose(rates(n_steps=10)[0], 2)


@pytest.mark.parametrize(
    ("warmup", "decay", "expected"),
    [
        (2, 3, [0, 1, 2, 2, 2, 2, 4 / 3, 2 / 3, 0]),
        (0, 2, [2, 2, 2, 2, 2, 2, 2, 1, 0]),
        (2, 0, [0, 1, 2, 2, 2, 2, 2, 2, 2]),
        (0, 0, [2, 2, 2, 2, 2, 2, 2, 2, 2]),
        (4, 4, [0, 0.5, 1, 1.5, 2, 1.5, 1, 0.5, 0]),
    ],
)
def test_wsd_with_parts_of_no_steps(warmup, decay, expected):
    found = rates(schedule="wsd", n_steps=8, warmup_steps=warmup, decay_steps=decay)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.fixture(scope="module")
def looped():
    return Transformer(TransformerConfig(**SMALL | MODERN), key=jax.random.key(0))


def labels(model):
    paths = jax.tree_util.tree_leaves_with_path(muon_dimensions(model), is_leaf=lambda x: hasattr(x, "output_axis"))
    return {jax.tree_util.keystr(path, simple=True, separator="."): numbers for path, numbers in paths}


def test_matrices_of_stacked_blocks_are_matrices(looped):
    """By the number of axes alone stacked matrices would go to Adam, stacked biases and scales to Muon."""
    found = labels(stack(looped))
    linears = ("attn.qkv", "attn.proj", "mlp.w1", "mlp.w2", "mlp.w3")
    assert found.keys() == {"patch_embed.proj.weight", *(f"blocks.{name}.weight" for name in linears)}
    assert (found["blocks.attn.qkv.weight"].reduction_axis, found["blocks.attn.qkv.weight"].output_axis) == (2, 1)
    assert (found["patch_embed.proj.weight"].reduction_axis, found["patch_embed.proj.weight"].output_axis) == (1, 0)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_stacked_and_looped_blocks_change_alike(looped, optimizer):
    config = OptimizerConfig(lr=0.1, adam_lr=0.01, optimizer=optimizer, n_steps=10)
    transform = make_optimizer(config)

    results = []
    for model in (looped, stack(looped)):
        leaves, treedef = jax.tree.flatten(model)

        @jax.jit
        def change(leaves, treedef=treedef):
            model = jax.tree.unflatten(treedef, leaves)
            gradients = jax.tree.map(lambda leaf: jnp.sin(7 * leaf + 1), model)
            return jax.tree.leaves(transform.update(gradients, transform.init(model), model)[0])

        results.append(jax.tree.leaves(unstack(jax.tree.unflatten(treedef, change(leaves)))))
    for one, other in zip(*results, strict=True):
        # Adam divides a gradient by its own size: one near 0, where sin has few digits, keeps few.
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_muon_makes_orthogonal_steps_of_its_own_rate(looped):
    """Weight decay and the rate of Adam beside Muon are passed on."""
    model = stack(looped)
    leaves, treedef = jax.tree.flatten(model)
    gradients = [jnp.sin(7 * leaf + 1) for leaf in leaves]

    def updates(**fields):
        fields = {"adam_lr": 0.5, "weight_decay": 0.0} | fields
        config = OptimizerConfig(lr=1.0, optimizer="muon", n_steps=10, grad_clip=0, **fields)
        transform = make_optimizer(config)

        @jax.jit
        def change(g, m):
            g, m = jax.tree.unflatten(treedef, g), jax.tree.unflatten(treedef, m)
            return jax.tree.leaves(transform.update(g, transform.init(m), m)[0])

        return jax.tree.unflatten(treedef, change(gradients, leaves))

    plain, decayed, slower = updates(), updates(weight_decay=0.5), updates(adam_lr=0.25)
    singular = np.linalg.svd(plain.blocks.attn.proj.weight[1], compute_uv=False)
    assert 0.6 < singular.min() < singular.max() < 1.3
    np.testing.assert_allclose(plain.blocks.gamma1, 2 * slower.blocks.gamma1, rtol=1e-5)
    np.testing.assert_array_equal(plain.blocks.mlp.w1.weight, slower.blocks.mlp.w1.weight)
    weight = model.blocks.attn.qkv.weight
    moved = plain.blocks.attn.qkv.weight - decayed.blocks.attn.qkv.weight
    np.testing.assert_allclose(moved, 0.5 * weight, atol=1e-5)


def test_gradients_are_clipped():
    """Adam's step does not depend on the size of a gradient, but its memory does."""
    gradients = {"a": jnp.full(4, 100.0)}
    for limit, norm in ((1.0, 1.0), (0.0, 200.0)):
        transform = make_optimizer(OptimizerConfig(grad_clip=limit))
        state = transform.update(gradients, transform.init(gradients), gradients)[1]
        first_moment = jax.tree.leaves(state)[1]
        np.testing.assert_allclose(np.linalg.norm(first_moment), 0.1 * norm, rtol=1e-5)


def test_impossible_schedules_are_errors():
    with pytest.raises(ConfigError, match="6 steps of warm-up and 5 of decay do not fit into 10"):
        OptimizerConfig(schedule="wsd", n_steps=10, warmup_steps=6, decay_steps=5)
    with pytest.raises(ConfigError, match="must be 'adamw' or 'muon', not 'sgd'"):
        OptimizerConfig(optimizer="sgd")
    with pytest.raises(ConfigError, match="must be 'cosine' or 'wsd', not 'linear'"):
        OptimizerConfig(schedule="linear")
