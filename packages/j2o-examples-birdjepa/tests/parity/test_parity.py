"""Ours in float64 against the numbers that PyTorch gave for the same weights and inputs; see `write_goldens.py`.

Two libraries agree in float64 to some 1e-12. A tolerance beyond 1e-7 has its reason beside it.
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from j2o_examples_birdjepa import (
    LeJepa,
    LeJepaConfig,
    OptimizerConfig,
    Pixio,
    PixioConfig,
    Supervised,
    SupervisedConfig,
    Transformer,
    TransformerConfig,
    asymmetric_loss,
    fbank,
    filter_audio,
    jax_fbank,
    patchify,
    stack,
    unstack,
)
from j2o_examples_birdjepa import _objectives as objectives
from j2o_examples_birdjepa._filter_audio import istft, stft
from j2o_examples_birdjepa._optimizer import make_optimizer

from . import cases

KINDS = {
    "supervised": (Supervised, SupervisedConfig),
    "lejepa": (LeJepa, LeJepaConfig),
    "pixio": (Pixio, PixioConfig),
}


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def formula(make, prefix=""):
    """A module in float64 with the weights that the formula gives for their paths."""
    skeleton = eqx.filter_eval_shape(make)
    leaves, structure = jax.tree.flatten_with_path(skeleton)
    arrays = [jnp.asarray(cases.formula_array(prefix + name(path), leaf.shape), jnp.float64) for path, leaf in leaves]
    return jax.tree.unflatten(structure, arrays)


def name(path):
    return jax.tree_util.keystr(path, simple=True, separator=".")


def by_path(tree, prefix):
    return {f"{prefix}.{name(path)}": leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def kept(file, case):
    with np.load(Path(__file__).parent / "goldens" / f"{file}.npz") as numbers:
        return {key.removeprefix(f"{case}/"): numbers[key] for key in numbers if key.startswith(f"{case}/")}


def compare(found, expected, tolerance, count):
    """Each array to a share of the largest number of it, and of nothing below 1e-3: some gradients are zero."""
    assert found.keys() == expected.keys()
    for key, value in found.items():
        wanted = expected[key].reshape(-1)
        some = cases.sample(np.asarray(value), count)
        atol = tolerance * max(1e-3, np.abs(wanted).max())
        np.testing.assert_allclose(some, wanted, rtol=0, atol=atol, err_msg=key)


def encoder_of(fields, prefix=""):
    return formula(lambda: Transformer(TransformerConfig(**fields), key=jax.random.key(0)), prefix)


@pytest.mark.parametrize(
    ("which", "scan"), [("absolute", False), ("tanh", False), ("modern", False), ("absolute", True), ("modern", True)]
)
def test_encoder_and_its_gradients(which, scan):
    model = encoder_of(cases.ENCODERS[which])
    model = stack(model) if scan else model
    patches, grid = patchify(jnp.asarray(cases.spectrograms()), model.config.patch_h, model.config.patch_w)
    places = cases.VISIBLE if which not in cases.WHOLE else np.tile(np.arange(12), (4, 1))
    places = jnp.asarray(places)[..., None]

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def run(both):
        model, patches = both
        output = model(jnp.take_along_axis(patches, places, axis=1), jnp.take_along_axis(grid, places, axis=1))
        outputs = {part: x for part, x in output._asdict().items() if x is not None}
        return sum(jnp.sum(x * cases.cotangent(x.shape)) for x in outputs.values()), outputs

    (_, outputs), (for_model, for_patches) = run((model, patches))
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(outputs))
    found = outputs | {"gradient.input": for_patches} | by_path(unstack(for_model) if scan else for_model, "gradient")
    # JAX's attention takes its softmax in float32 whatever it is given, and so are our tables of rotary positions.
    compare(found, kept("transformer", which), 1e-5, 64)


@pytest.mark.parametrize("which", cases.OBJECTIVES)
def test_objectives_and_their_gradients(which, monkeypatch):
    kind, config = KINDS[which.split("-")[0]]
    encoder = encoder_of(cases.SHALLOW, "encoder.")
    objective = formula(
        lambda: kind(config(**cases.OBJECTIVES[which]), encoder, key=jax.random.key(0)), prefix="objective."
    )
    batch = {"target": cases.TARGET, "index": cases.INDEX, "data": cases.spectrograms(), "views": cases.views()}
    hidden = np.ones((4, 12), bool)
    np.put_along_axis(hidden, cases.VISIBLE, False, axis=1)
    monkeypatch.setattr(Pixio, "mask", lambda self, encoder, batch, *, key: jnp.asarray(hidden))
    monkeypatch.setattr(objectives, "random_directions", lambda key, dim: jnp.asarray(cases.directions(dim)))

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def run(models):
        encoder, objective = models
        losses = objective(jax.tree.map(jnp.asarray, batch), encoder, key=jax.random.key(0)).losses
        return sum(losses.values()), losses

    (_, losses), (for_encoder, for_objective) = run((encoder, objective))
    expected = kept("objectives", which)
    gradients = by_path(for_encoder, "gradient.encoder") | by_path(for_objective, "gradient.objective")
    compare(losses, {key: expected.pop(key) for key in losses}, 1e-7, 16)
    # The softmax of JAX's attention is float32: losses hardly show it, gradients do.
    compare(gradients, expected, 1e-5, 16)


def test_asymmetric_loss():
    logits, target = (jnp.asarray(x) for x in (4 * cases.spectrograms()[0], cases.spectrograms()[1] > 0))
    loss, gradient = jax.value_and_grad(asymmetric_loss)(logits, target.astype(jnp.float64))
    compare({"loss": loss, "gradient": gradient}, kept("objectives", "asymmetric"), 1e-9, 64)


@pytest.mark.parametrize("which", cases.OPTIMIZERS)
@pytest.mark.parametrize("scan", [False, True], ids=["loop", "scan"])
def test_steps_of_the_optimizer(which, scan):
    model = encoder_of(cases.ENCODERS["modern"])
    model = stack(model) if scan else model
    transform = make_optimizer(OptimizerConfig(**cases.OPTIMIZERS[which]))

    @eqx.filter_jit
    def change(model, state, step):
        gradients = jax.tree.map(lambda leaf: jnp.sin(7 * leaf + step), model)
        updates, state = transform.update(gradients, state, model)
        return optax.apply_updates(model, updates), state

    state = transform.init(model)
    for step in range(cases.STEPS):
        model, state = change(model, state, jnp.asarray(step, jnp.float64))
    found = {name(path): leaf for path, leaf in jax.tree.leaves_with_path(unstack(model) if scan else model)}
    compare(found, kept("optimizer", which), 1e-7, 16)


@pytest.mark.parametrize("which", cases.waves())
def test_audio(which):
    wave, expected = cases.waves()[which], kept("audio", which)
    # Results are float32: 16 has a rounding of 1e-6.
    np.testing.assert_allclose(cases.sample(fbank(wave), 500), expected["fbank"], atol=1e-6)
    spectrum = stft(wave)
    parts = np.stack([spectrum.real, spectrum.imag], axis=-1)
    np.testing.assert_allclose(cases.sample(parts, 500), expected["stft"], atol=1e-9)
    damped = spectrum * np.linspace(1, 0, 513)[:, None]
    np.testing.assert_allclose(cases.sample(istft(damped), 500), expected["istft"], atol=1e-11)
    # Clips are float32 before they are filtered, and after.
    heard = filter_audio(wave, cases.patches_to_hear())
    np.testing.assert_allclose(cases.sample(heard, 500), expected["heard"], atol=1e-6)
    # The exported form is float32: in a filter that is next to empty, the logarithm amplifies its rounding.
    energies = cases.sample(np.asarray(jax_fbank(jnp.asarray(wave[None], jnp.float32))[0]), 500)
    np.testing.assert_allclose(energies, expected["fbank"], atol=1e-2)
    np.testing.assert_allclose(np.abs(energies - expected["fbank"]).mean(), 0, atol=1e-4)
