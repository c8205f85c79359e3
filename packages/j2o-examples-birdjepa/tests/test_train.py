"""Steps, checkpoints and whole runs: losses do not depend on how a run was interrupted or spread."""

import csv
import dataclasses
import json
import sys
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_examples_birdjepa import (
    CheckpointError,
    ConfigError,
    DataConfig,
    FolderSource,
    GaussianNoise,
    LeJepaConfig,
    OptimizerConfig,
    PixioConfig,
    Roll,
    StepConfig,
    SupervisedConfig,
    TrainConfig,
    TransformerConfig,
    WandbLogger,
    load_encoder,
    make_data,
    top1,
    train,
    transform,
)
from j2o_examples_birdjepa._checkpoints import checkpoints, load_checkpoint, save_checkpoint
from j2o_examples_birdjepa._demo import configurations
from j2o_examples_birdjepa._logging import CsvLogger
from j2o_examples_birdjepa._songs import CLASSES, song
from j2o_examples_birdjepa._step import half, train_step
from j2o_examples_birdjepa._train import first_state

from .conftest import encode

TINY = TransformerConfig(patch_h=64, patch_w=32, embed_dim=16, depth=2, n_heads=2, n_cls_tokens=2)


def run_config(objective=SupervisedConfig(8), n_views=0, **fields):  # noqa: B008
    defaults = {
        "optimizer": OptimizerConfig(lr=1e-3, n_steps=6),
        "data": DataConfig(8, augmentations=(GaussianNoise(0.1),), n_views=n_views),
        "save_every": 2,
        "eval_every": 4,
    }
    return TrainConfig(TINY, objective, 8, **defaults | fields)


def batch(n=4, n_views=0):
    rng = np.random.default_rng(0)
    name, shape = ("views", (n, n_views, 512, 128)) if n_views else ("data", (n, 512, 128))
    data = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    return {name: data, "target": jnp.arange(n) % 8, "index": jnp.arange(n)}


@eqx.filter_jit
def one_step(state, batch, config):
    return train_step(state, batch, config.optimizer, config.step)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("songs")
    make_data(path, per_class=4, held_out=0.5)
    return path


def losses(run):
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    timed = ("sec_per_batch", "sec_per_step")
    return {(int(r["step"]), r["name"]): r["value"] for r in rows if not r["name"].endswith(timed)}


OBJECTIVES = {
    "supervised": (SupervisedConfig(8, n_sources=9, source_rank=4, source_weight=0.1), 0),
    "lejepa": (LeJepaConfig(n_views=2, hidden=32), 2),
    "pixio": (PixioConfig(0.5, decoder_depth=1, decoder_dim=16, decoder_heads=2), 0),
}


# Tests of a step have these in common, so that it is compiled once an objective.
STEP = {"optimizer": OptimizerConfig(lr=1e-2, n_steps=40), "step": StepConfig(ema=0.75)}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_fall_on_one_batch(name):
    objective, n_views = OBJECTIVES[name]
    config = run_config(objective, n_views, **STEP)
    if name != "supervised":  # stacked blocks that are computed again for the gradient take long to compile: once
        plain = dataclasses.replace(TINY, depth=1, use_scan=False, grad_ckpt=False)
        config = dataclasses.replace(config, encoder=plain)
    state, given = first_state(config), batch(n_views=n_views)
    found = []
    for _ in range(10):
        state, metrics = one_step(state, given, config)
        found.append(
            sum(float(metrics[f"train/{loss}"]) for loss in ("ce", "inv", "mse") if f"train/{loss}" in metrics)
        )
    assert found[-1] < 0.9 * found[0]
    assert int(state.step) == 10
    expected = {
        "probe",
        "grad_norm",
        "enc_grad",
        "obj_grad",
        "probe_grad",
        "update_norm",
        "param_norm",
        "param_norm_pre",
        "opt_state_norm",
        "tgt_entropy",
        "tgt_entropy_frac",
    }
    assert {f"train/{one}" for one in expected} | {"lr"} < metrics.keys()
    # Four recordings, each of a class of its own.
    np.testing.assert_allclose([metrics["train/tgt_entropy"], metrics["train/tgt_entropy_frac"]], [np.log(4), 1], 1e-6)


@pytest.mark.slow
def test_the_demonstrations_optimizer_knows_songs_that_were_held_out():
    """AdamW at the rate that the demonstration once had, and at others, guessed: one of eight is right."""
    small = TransformerConfig(patch_h=32, patch_w=32, embed_dim=32, depth=1, n_heads=2, n_cls_tokens=2, use_scan=False)
    config = dataclasses.replace(configurations(steps=120, seed=0)["supervised"], encoder=small)
    drawn = [
        [transform(song(label, 2.0, np.random.default_rng((9, number, copy)))) for copy in range(14)]
        for number, label in enumerate(CLASSES)
    ]
    learnt, held_out = (np.concatenate([songs[part] for songs in drawn]) for part in (slice(10), slice(10, 14)))
    state, rng = first_state(config), np.random.default_rng(0)
    for _ in range(120):
        chosen = rng.permutation(80)[:32]
        turned = np.stack([Roll()(song, rng) for song in learnt[chosen]])
        given = {"data": jnp.asarray(turned), "target": jnp.asarray(chosen // 10), "index": jnp.asarray(chosen)}
        state, _ = one_step(state, given, config)
    cls = jnp.mean(encode(state.encoder, jnp.asarray(held_out)).cls, axis=1)
    logits = np.asarray(jax.vmap(state.objective.head)(cls))
    assert top1(logits, np.repeat(np.arange(8), 4)) > 0.5


def test_norms_are_of_before_and_after_the_update():
    """The norm that is logged must be that of what is saved."""
    config = run_config(OBJECTIVES["supervised"][0], **STEP)
    before = first_state(config)
    after, metrics = one_step(before, batch(), config)
    for state, name in ((before, "train/param_norm_pre"), (after, "train/param_norm")):
        leaves = jax.tree.leaves((state.encoder, state.objective, state.probe))
        norm = np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in leaves))
        np.testing.assert_allclose(metrics[name], norm, rtol=1e-5)
    assert metrics["train/param_norm"] != metrics["train/param_norm_pre"]


def test_mixed_precision():
    exactly = run_config(OBJECTIVES["supervised"][0], **STEP)
    config = dataclasses.replace(exactly, step=StepConfig(precision="bfloat16", ema=0.75))
    state = first_state(config)
    halved = half(state.encoder)
    assert halved.norm.weight.dtype == halved.blocks.norm1.weight.dtype == jnp.float32
    assert halved.blocks.attn.qkv.weight.dtype == jnp.bfloat16
    after, metrics = one_step(state, batch(), config)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((after.encoder, after.objective)))
    assert all(value.dtype == jnp.float32 for value in metrics.values())
    _, exact = one_step(state, batch(), exactly)
    np.testing.assert_allclose(metrics["train/ce"], exact["train/ce"], rtol=2e-2)
    assert metrics["train/ce"] != exact["train/ce"]


def test_moving_average():
    config = run_config(OBJECTIVES["supervised"][0], **STEP)
    before = first_state(config)
    after, _ = one_step(before, batch(), config)
    expected = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, before.encoder, after.encoder)
    for one, other in zip(jax.tree.leaves(after.ema), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)
    assert first_state(run_config()).ema is None


@pytest.mark.parametrize("orbax", [False, True])
def test_checkpoints_come_back_bit_for_bit(tmp_path, orbax):
    """Also from arrays on all devices: some have come back scaled by the square root of the number of devices."""
    config = run_config(step=StepConfig(ema=0.9))
    state = first_state(config)
    for step in (1, 2, 3):
        advanced = eqx.tree_at(lambda s: s.step, state, jnp.asarray(step, jnp.int32))
        save_checkpoint(tmp_path, advanced, config=config.as_json(), data=[f"data {step}"], keep=2, orbax=orbax)
    assert [path.name for path in checkpoints(tmp_path)] == ["step_00000002", "step_00000003"]
    back, data = load_checkpoint(checkpoints(tmp_path)[-1], state, config.as_json())
    assert data == ["data 3"]
    assert eqx.tree_equal(back, advanced)
    assert eqx.tree_equal(load_encoder(tmp_path), state.ema)
    assert eqx.tree_equal(load_encoder(checkpoints(tmp_path)[0]), state.ema)


def test_other_configurations_are_refused(tmp_path):
    config = run_config()
    state = first_state(config)
    path = save_checkpoint(tmp_path, state, config=config.as_json(), data=[])
    other = dataclasses.replace(config, optimizer=OptimizerConfig(lr=2e-3, n_steps=6))
    with pytest.raises(CheckpointError, match=r"optimizer\.lr is 0\.001 there and 0\.002 here"):
        load_checkpoint(path, state, other.as_json())
    load_checkpoint(path, state, dataclasses.replace(config, save_every=9).as_json())
    with pytest.raises(CheckpointError, match="neither a checkpoint nor a run with one"):
        load_encoder(tmp_path / "nowhere")
    (path / "state.eqx").write_bytes((path / "state.eqx").read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"state\.eqx cannot be read"):
        load_checkpoint(path, state, config.as_json())


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"encoder": 3}', '{"encoder": {"width": 3}}'])
def test_damaged_settings_name_the_file_and_what_to_do(tmp_path, text):
    config = run_config()
    path = save_checkpoint(tmp_path, first_state(config), config=config.as_json(), data=[])
    (path / "metadata.json").write_text(text)
    for read in (load_encoder, lambda path: load_checkpoint(path, first_state(config), config.as_json())):
        with pytest.raises(CheckpointError, match=r"metadata\.json .*copy it again, or go back to an earlier step"):
            read(path)


def test_what_a_dead_process_left_is_no_checkpoint(tmp_path):
    (tmp_path / ".step_00000009.123.part").mkdir()
    (tmp_path / "step_0000000x").mkdir()
    assert checkpoints(tmp_path) == []
    config = run_config()
    save_checkpoint(tmp_path, first_state(config), config=config.as_json(), data=[])
    assert not (tmp_path / ".step_00000009.123.part").exists()


def test_logs_are_cut_where_a_run_continues(tmp_path):
    log = CsvLogger(tmp_path / "m.csv")
    for step in range(4):
        log.log(step, {"a": step / 3})
    log.close()
    with (tmp_path / "m.csv").open("a") as file:
        file.write("4,a")  # cut off in the middle
    log = CsvLogger(tmp_path / "m.csv", first=2)
    log.log(2, {"a": 9})
    log.close()
    assert (tmp_path / "m.csv").read_text().split() == ["step,name,value", "0,a,0.0", f"1,a,{1 / 3!r}", "2,a,9.0"]


def test_weights_and_biases(tmp_path, monkeypatch):
    """Names and values go there as they are, under one project, resumed by the run's id."""
    calls = []
    run = types.SimpleNamespace(
        log=lambda metrics, step: calls.append((metrics, step)), finish=lambda: calls.append("finish")
    )
    fake = types.SimpleNamespace(init=lambda **settings: calls.append(settings) or run)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    logger = WandbLogger("run-7", run_config().as_json(), tmp_path)
    logger.log(3, {"train/ce": 0.5, "test/acc": 1.0, "lr": 1e-3})
    logger.close()
    settings, logged, end = calls
    assert (settings["project"], settings["id"], settings["resume"]) == ("birdjepa", "run-7", "allow")
    assert (settings["config"], settings["dir"]) == (run_config().as_json(), str(tmp_path))
    assert logged == ({"train/ce": 0.5, "test/acc": 1.0, "lr": 1e-3, "step": 3}, 3)
    assert end == "finish"
    monkeypatch.setitem(sys.modules, "wandb", None)  # not installed
    with pytest.raises(ConfigError, match=r"pip install 'j2o-examples-birdjepa\[wandb\]'"):
        WandbLogger("run-7", {}, tmp_path)


@pytest.mark.parametrize("name", ["supervised", pytest.param("lejepa", marks=pytest.mark.slow)])
def test_a_run_continues_as_if_it_had_not_stopped(folder, tmp_path, name):
    objective, n_views = OBJECTIVES[name]
    config = run_config(objective, n_views, data=DataConfig(4, augmentations=(GaussianNoise(0.1),), n_views=n_views))
    source, held_out = FolderSource(folder, split="train"), FolderSource(folder, split="test")
    whole = train(config, source, tmp_path / "whole", held_out=held_out, quiet=True)

    class Stop(Exception):
        pass

    class Stopper:
        def log(self, step, metrics):
            if step == 3 and "lr" in metrics:
                raise Stop

        def close(self):
            pass

    with pytest.raises(Stop):
        train(config, source, tmp_path / "parts", held_out=held_out, loggers=[Stopper()], quiet=True)
    assert [path.name for path in checkpoints(tmp_path / "parts")] == ["step_00000002"]
    resumed = train(config, source, tmp_path / "parts", held_out=held_out, quiet=True)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert eqx.tree_equal(resumed, whole)
    found = losses(tmp_path / "whole")
    assert {step for step, name in found if name == "test/acc"} == {3, 5}


def test_views_and_objective_must_fit():
    with pytest.raises(ConfigError, match=r"needs data\.n_views = 2, not 0"):
        run_config(LeJepaConfig(n_views=2))
    assert json.dumps(run_config().as_json())
