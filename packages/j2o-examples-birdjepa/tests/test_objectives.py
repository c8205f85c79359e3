"""Supervised, LeJEPA and Pixio; SIGReg; what reaches the encoder and what does not."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_examples_birdjepa import (
    ConfigError,
    LeJepa,
    LeJepaConfig,
    Pixio,
    PixioConfig,
    Supervised,
    SupervisedConfig,
    online_probe,
    online_probe_loss,
    patchify,
    sigreg,
)
from j2o_examples_birdjepa._losses import random_directions
from j2o_examples_birdjepa._masks import visible_patches
from j2o_examples_birdjepa._objectives import view_major

from .conftest import formula_encoder


@pytest.fixture(scope="module")
def encoder():
    return formula_encoder()


@pytest.fixture
def batch(spectrograms):
    data = jnp.asarray(spectrograms)
    return {"data": data, "target": jnp.asarray([1, 0]), "index": jnp.asarray([6, 3])}


run = eqx.filter_jit(lambda objective, batch, encoder, key: objective(batch, encoder, key=key))


def test_sigreg_golden_numbers():
    directions = random_directions(jax.random.key(0), 16)
    np.testing.assert_allclose(jnp.linalg.norm(directions, axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(sigreg(jnp.zeros((1, 4, 16)), directions), 1.608190, atol=1e-5)
    directions = random_directions(jax.random.key(2), 64)
    z = jax.random.normal(jax.random.key(1), (2, 2048, 64))
    # Of normal numbers the mean is the sum of weights times 1 - phi^2: 0.91.
    np.testing.assert_allclose(sigreg(z, directions), 0.91, rtol=0.25)
    np.testing.assert_allclose(sigreg(3 * z, directions), 1.05e3, rtol=0.05)
    both = sigreg(jnp.concatenate([z, 3 * z]), directions)
    np.testing.assert_allclose(both, (sigreg(z, directions) + sigreg(3 * z, directions)) / 2, rtol=1e-5)


def test_views_are_exchanged_with_samples():
    """Joining the axes as they are would pull different recordings together, and give them each other's labels."""
    samples, views = 4, 2
    ids = jnp.broadcast_to(jnp.arange(samples)[:, None], (samples, views))
    joined = view_major(ids[..., None])[:, 0].reshape(views, samples)
    np.testing.assert_array_equal(joined, [[0, 1, 2, 3], [0, 1, 2, 3]])


def test_equal_views_agree(encoder, batch):
    objective = LeJepa(LeJepaConfig(n_views=3, hidden=64), encoder, key=jax.random.key(0))
    views = jnp.repeat(batch["data"][:, None], 3, axis=1)
    outcome = run(objective, {**batch, "views": views}, encoder, jax.random.key(1))
    assert outcome.losses["inv"] < 1e-9
    np.testing.assert_array_equal(outcome.target, [1, 0, 1, 0, 1, 0])
    cls = np.asarray(outcome.output.cls).reshape(3, 2, 2, 32)
    np.testing.assert_allclose(cls[0], cls[2], atol=1e-5)
    other = jnp.stack([views[:, 0], views[::-1, 0], views[:, 0]], axis=1)
    assert run(objective, {**batch, "views": other}, encoder, jax.random.key(1)).losses["inv"] > 1e-3


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_lejepa_by_hand(encoder, batch, norm):
    objective = LeJepa(LeJepaConfig(n_views=2, hidden=8, proj_dim=4, norm=norm), encoder, key=jax.random.key(2))
    views = jnp.stack([batch["data"], batch["data"] + 1], axis=1)
    outcome = run(objective, {**batch, "views": views}, encoder, None)
    x = np.asarray(outcome.output.cls).mean(axis=1)
    axis = 0 if norm == "batch" else 1
    for index, linear in enumerate(objective.projector.linears):
        x = x @ np.asarray(linear.weight).T + np.asarray(linear.bias)
        if index < 2:
            x = np.maximum((x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5), 0)
    z = x.reshape(2, 2, 4)
    np.testing.assert_allclose(outcome.losses["inv"], 0.98 * np.mean((z.mean(0) - z) ** 2), rtol=1e-3)
    directions = random_directions(jax.random.key(0), 4)
    np.testing.assert_allclose(outcome.losses["sigreg"], 0.02 * sigreg(jnp.asarray(z), directions), rtol=1e-3)


def test_supervised(encoder, batch):
    objective = Supervised(SupervisedConfig(3), encoder, key=jax.random.key(3))
    outcome = run(objective, batch, encoder, None)
    logits = np.asarray(outcome.output.cls).mean(1) @ np.asarray(objective.head.weight).T + np.asarray(
        objective.head.bias
    )
    likelihood = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(outcome.losses["ce"], -np.log(likelihood[[0, 1], [1, 0]]).mean(), rtol=1e-5)
    assert outcome.losses.keys() == {"ce"}


def test_the_source_head_counts(encoder, batch):
    config = SupervisedConfig(3, n_sources=8, source_rank=4, source_weight=0.5)
    objective = Supervised(config, encoder, key=jax.random.key(4))
    outcome = run(objective, batch, encoder, None)
    head = objective.source_head
    hidden = np.asarray(outcome.output.cls).reshape(2, 64) @ np.asarray(head.down.weight).T + np.asarray(head.down.bias)
    logits = np.maximum(hidden, 0) @ np.asarray(head.up.weight).T + np.asarray(head.up.bias)
    likelihood = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(outcome.losses["source"], -0.5 * np.log(likelihood[[0, 1], [6, 3]]).mean(), rtol=1e-5)
    with pytest.raises(ConfigError, match="a source head needs n_sources, source_rank and source_weight"):
        SupervisedConfig(3, source_weight=0.5)


@pytest.mark.parametrize("variance", ["unbiased", "biased"])
def test_pixio_by_hand(encoder, batch, variance):
    config = PixioConfig(0.5, decoder_depth=1, decoder_dim=16, decoder_heads=2, variance=variance)
    objective = Pixio(config, encoder, key=jax.random.key(5))
    outcome = run(objective, batch, encoder, None)
    patches, grid = patchify(batch["data"], 16, 16)
    mask = np.asarray(objective.mask(encoder, 2, key=jax.random.key(0)))
    visible = visible_patches(mask, 0.5)
    encode, decode = eqx.filter_jit(encoder), eqx.filter_jit(objective.decoder.blocks[0])
    decoder, total = jax.tree.map(np.asarray, objective.decoder), 0.0
    for sample in range(2):
        output = encode(patches[sample : sample + 1, visible[sample]], grid[sample : sample + 1, visible[sample]])
        tokens = np.broadcast_to(objective.mask_token[0], (6, 32)).copy()
        for place, index in enumerate(visible[sample]):
            tokens[index] = np.asarray(output.patches)[0, place]
        embedded = tokens @ decoder.embed.weight.T + decoder.embed.bias + decoder.pos_embed[0]
        cls = np.asarray(output.cls)[0].mean(axis=0) @ decoder.embed.weight.T + decoder.embed.bias
        x = np.asarray(decode(np.concatenate([cls[None], embedded])))
        x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        predicted = (x @ decoder.head.weight.T + decoder.head.bias)[1:]
        for index in np.flatnonzero(mask[sample]):
            patch = np.asarray(patches[sample, index], np.float64)
            deviation = patch.var(ddof=1 if variance == "unbiased" else 0)
            total += np.mean((predicted[index] - (patch - patch.mean()) / np.sqrt(deviation + 1e-6)) ** 2) / 6
    np.testing.assert_allclose(outcome.losses["mse"], total, rtol=1e-4)


def test_pixio_embeds_whole_spectrograms_in_evaluation(encoder, batch):
    config = PixioConfig(0.5, decoder_depth=1, decoder_dim=16, decoder_heads=2)
    objective = Pixio(config, encoder, key=jax.random.key(6))
    assert run(objective, batch, encoder, None).output.patches.shape == (2, 6, 32)
    assert run(objective, batch, encoder, jax.random.key(7)).output.patches.shape == (2, 3, 32)


def test_hidden_patches_do_not_reach_the_encoder(encoder, batch):
    objective = Pixio(
        PixioConfig(0.5, decoder_depth=1, decoder_dim=16, decoder_heads=2), encoder, key=jax.random.key(8)
    )
    mask = objective.mask(encoder, 2, key=jax.random.key(9))
    predict = eqx.filter_jit(lambda data: objective.predict(encoder, data, mask))
    hidden = np.repeat(np.repeat(np.asarray(mask).reshape(2, 2, 3), 16, axis=1), 16, axis=2)
    np.testing.assert_array_equal(predict(batch["data"]), predict(jnp.where(hidden, 99.0, batch["data"])))


def test_labels_of_the_probe_do_not_train_the_encoder(encoder, batch):
    probe = online_probe(32, 3, key=jax.random.key(10))

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(both):
        encoder, probe = both
        return online_probe_loss(probe, jnp.mean(encoder.encode(batch["data"]).cls, axis=1), batch["target"])

    for_encoder, for_probe = gradient((encoder, probe))
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(for_encoder))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(for_probe.linear))


def test_impossible_objectives_are_errors():
    with pytest.raises(ConfigError, match="n_views must be at least 2"):
        LeJepaConfig(n_views=1)
    with pytest.raises(ConfigError, match=r"mask_ratio must lie in \(0, 1\)"):
        PixioConfig(mask_ratio=1.0)
    with pytest.raises(ConfigError, match="decoder_dim 10 is not a multiple of decoder_heads 8"):
        PixioConfig(decoder_dim=10)
    with pytest.raises(ConfigError, match="norm must be 'batch' or 'layer'"):
        dataclasses.replace(LeJepaConfig(), norm="group")
