"""The flow of pretrained weights: convert, reference, compare, export, find.

The tests make small weights in every format. With real ones at hand the same tests run on those:

    J2O_DINO_WEIGHTS   a checkpoint in any format
    J2O_DINO_VARIANT   what it is of, for instance vits16
    J2O_DINO_IMAGE     a photo
    J2O_DINO_EXPECTED  reference activations of that photo, which `j2o-dino reference` wrote elsewhere
"""

import dataclasses
import json
import os
import re
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import onnxruntime
import pytest
import safetensors.numpy

import j2o_core
from j2o_examples_dino import (
    CheckpointError,
    ConvNext,
    ConvNextConfig,
    DinoConfig,
    DinoV2,
    DinoV2Config,
    PathError,
    _cli,
    _state_dict,
    _variants,
    build,
    find_pretrained,
    from_state_dict,
    load,
    load_pretrained,
    published_to_hf,
    save,
    state_dict,
    variant,
)
from j2o_examples_dino._features import FeatureExtractor
from j2o_examples_dino._layers import weights_digest
from j2o_examples_dino._reference import read_reference
from j2o_examples_dino._scratch import Scratch

from .conftest import formula_weights
from .torch_files import write_torch_file

REAL = os.environ.get("J2O_DINO_WEIGHTS")
TINY = DinoConfig(dim=32, depth=2, heads=2, ffn="swiglu", ffn_ratio=6.0, local_cls_norm=True, layer_scale_init=1.0)
INPUTS = ["pth", "hf", "hf-sharded", "equimo", "safetensors"]
OUTPUTS = ["safetensors", "eqx", "tar.lz4", "folder"]


def _write(folder, kind, weights):
    """The same weights in one of the formats that they are published in."""
    folder.mkdir()
    if kind == "pth":
        write_torch_file(folder / "weights.pth", weights)
        return folder / "weights.pth"
    if kind == "safetensors":
        safetensors.numpy.save_file(weights, folder / "weights.safetensors")
        return folder / "weights.safetensors"
    if kind == "equimo":
        save(folder / "weights.tar.lz4", from_state_dict(weights, TINY))
        return folder / "weights.tar.lz4"
    theirs = {name: np.ascontiguousarray(array) for name, array in published_to_hf(weights).items()}
    if kind == "hf":
        safetensors.numpy.save_file(theirs, folder / "model.safetensors")
        return folder
    names = sorted(theirs)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        safetensors.numpy.save_file({name: theirs[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def tiny_variant(monkeypatch):
    """A tiny model among the published ones, so that the command can be asked for it."""
    monkeypatch.setattr(_variants, "VARIANTS", {**_variants.VARIANTS, "tiny": TINY})
    monkeypatch.setattr(_cli, "VARIANTS", _variants.VARIANTS)
    return "tiny"


def _same_bits(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == second[name].dtype, name
        assert array.tobytes() == second[name].tobytes(), name
    return True


@pytest.mark.parametrize("target", OUTPUTS)
@pytest.mark.parametrize("source", INPUTS)
def test_convert_and_back(tmp_path, tiny_variant, source, target, capsys):
    weights = formula_weights(TINY)
    if source.startswith("hf"):  # no place for the norm for local crops there
        weights = {name: array for name, array in weights.items() if not name.startswith("local_cls_norm")}
    path = _write(tmp_path / "in", source, weights)
    output = tmp_path / ("out" if target == "folder" else f"out.{target}")
    assert _cli.main(["convert", str(path), "-o", str(output), "--variant", tiny_variant]) == 0
    back = tmp_path / "back.safetensors"
    again = [] if target != "safetensors" else ["--variant", tiny_variant]
    if target == "safetensors" and source.startswith("hf"):
        # A file of ours in Meta's layout does not say that the norm for local crops is missing.
        config = dataclasses.replace(TINY, local_cls_norm=False)
        assert _same_bits(state_dict(load(output, config, dtype=None)), weights)
        return
    assert _cli.main(["convert", str(output), "-o", str(back), *again]) == 0
    assert _same_bits(safetensors.numpy.load_file(back), weights)
    digests = set(re.findall("[0-9a-f]{64}", capsys.readouterr().out))
    assert len(digests) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["in", output.name, "back.safetensors"])


def test_convert_to_hugging_face_and_back(tmp_path, tiny_variant):
    weights = formula_weights(TINY)
    path = _write(tmp_path / "in", "pth", weights)
    output = tmp_path / "hf.safetensors"
    assert _cli.main(["convert", str(path), "-o", str(output), "--variant", tiny_variant, "--layout", "hf"]) == 0
    assert _same_bits(safetensors.numpy.load_file(output), published_to_hf(weights))
    kept = {name: array for name, array in weights.items() if not name.startswith("local_cls_norm")}
    assert _same_bits(state_dict(load(output, TINY, dtype=None)), kept)


@pytest.mark.parametrize("target", OUTPUTS)
@pytest.mark.parametrize(
    "config",
    [
        DinoV2Config(dim=32, depth=1, heads=2, image_size=42, registers=2, ffn="swiglu_fused"),
        DinoV2Config(dim=32, depth=2, heads=2, image_size=28),
        ConvNextConfig(depths=(1, 1), dims=(8, 12)),
        dataclasses.replace(TINY, registers=0, qkv_bias=False),
    ],
    ids=["registers", "plain", "convnext", "dinov3-without-registers"],
)
def test_other_families(tmp_path, config, target):
    model = build(config, key=jax.random.key(0))
    path = tmp_path / ("out" if target == "folder" else f"out.{target}")
    if isinstance(model, ConvNext) and target in ("tar.lz4", "folder"):
        with pytest.raises(CheckpointError, match="vision transformers only"):
            save(path, model)
        assert not any(tmp_path.iterdir())
        return
    save(path, model)
    again = load(path, config)
    assert _same_bits(state_dict(again), state_dict(model))
    assert again.config == config


def test_equimo_loads_what_is_written(tmp_path):
    equimo_io = pytest.importorskip("equimo.io")
    models = [
        from_state_dict(formula_weights(TINY), TINY),
        DinoV2(DinoV2Config(dim=32, depth=1, heads=2, image_size=28, registers=2), key=jax.random.key(1)),
    ]
    for place, model in enumerate(models):
        path = tmp_path / f"{place}.tar.lz4"
        save(path, model)
        theirs = equimo_io.load_model("vit", path=path)
        size = 4 * model.config.patch_size
        image = np.random.default_rng(0).standard_normal((3, size, size)).astype(np.float32)
        expected = theirs.features(image, key=jax.random.PRNGKey(0), inference=True)
        actual = model.forward_features(image)["x_prenorm"]
        np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())


def test_bfloat16_stays_bfloat16(tmp_path):
    weights = {name: array.astype(ml_dtypes.bfloat16) for name, array in formula_weights(TINY).items()}
    safetensors.numpy.save_file(weights, tmp_path / "in.safetensors")
    model = load(tmp_path / "in.safetensors", TINY, dtype=None, scratch=tmp_path)
    for name in ("a.eqx", "a.tar.lz4", "a.safetensors"):
        save(tmp_path / name, model)
        again = state_dict(load(tmp_path / name, TINY, dtype=None))
        assert _same_bits(again, state_dict(model))
        assert again["blocks.0.attn.qkv.weight"].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("kind", ["pth", "hf-sharded", "safetensors"])
def test_weights_may_stay_on_the_disk(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(_state_dict, "SMALL_BYTES", 1000)
    weights = {name: array.astype(ml_dtypes.bfloat16) for name, array in formula_weights(TINY).items()}
    path = _write(tmp_path / "in", kind, weights)
    config = dataclasses.replace(TINY, local_cls_norm=kind != "hf-sharded")
    mapped, in_memory = load(path, config, scratch=tmp_path), load(path, config)
    assert _same_bits(state_dict(mapped), state_dict(in_memory))
    weight = mapped.blocks[1].attn.qkv.weight
    assert isinstance(weight, np.ndarray)
    assert not weight.flags.owndata
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    program = j2o_core.to_onnx(FeatureExtractor(mapped), [("B", 3, 32, 32)], opset=23)
    for actual, expected in zip(program(images), FeatureExtractor(in_memory)(images), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    # Weights keep the names that they have in the model.
    assert "backbone.blocks.1.mlp.w3.weight" in program.model.graph.initializers


def test_scratch():
    scratch = Scratch(Path())
    parts = [np.arange(12, dtype=np.float32).reshape(3, 4), np.ones((2, 4), np.float32)]
    joined = scratch.join(parts)
    np.testing.assert_array_equal(joined, np.concatenate(parts))
    np.testing.assert_array_equal(scratch.cast(parts[0], np.float16), parts[0].astype(np.float16))
    assert scratch.cast(parts[0], np.float32) is parts[0]
    assert scratch.cast(np.float32(3).reshape(()), np.float16) == 3


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"[]\n", b'{"family": "DinoConfig", "dim": 3, "x": 1}\n', b"\xff\n"])
def test_damaged_eqx_files(tmp_path, damage):
    path = tmp_path / "x.eqx"
    path.write_bytes(damage)
    with pytest.raises(CheckpointError, match=r"x\.eqx cannot be read as an \.eqx file"):
        load(path)
    save(path, from_state_dict(formula_weights(TINY), TINY))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"x\.eqx cannot be read as an \.eqx file"):
        load(path)


def test_what_cannot_be_written(tmp_path):
    model = from_state_dict(formula_weights(TINY), TINY)
    with pytest.raises(CheckpointError, match=r"as \.safetensors, \.eqx, \.tar\.lz4 or a folder, but not as '\.bin'"):
        save(tmp_path / "x.bin", model)
    with pytest.raises(PathError, match="No such file"):
        save(tmp_path / "gone" / "x.safetensors", model)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").touch()
    with pytest.raises(CheckpointError, match="not a folder of weights"):
        save(tmp_path / "mine", model)
    with pytest.raises(CheckpointError, match=r"Hugging Face's layout is written as \.safetensors"):
        save(tmp_path / "x.eqx", model, layout="hf")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


# Small weights that are made here, or real ones.
@pytest.fixture
def checkpoint(tmp_path, tiny_variant):
    """A path and the name of its variant."""
    if REAL:
        return REAL, os.environ["J2O_DINO_VARIANT"]
    return str(_write(tmp_path / "in", "pth", formula_weights(TINY))), tiny_variant


@pytest.fixture
def looking():
    """Options that choose the image, with a size that keeps small weights quick."""
    photo = os.environ.get("J2O_DINO_IMAGE")
    return ["--image", photo] if photo else ["--size", "64"]


def _run(*arguments):
    return _cli.main(list(map(str, arguments)))


def test_reference_and_compare(tmp_path, checkpoint, looking, capsys):
    weights, name = checkpoint
    reference = tmp_path / "reference.npz"
    assert _run("reference", "--weights", weights, "--variant", name, *looking, "-o", reference) == 0
    content = read_reference(reference)
    config = variant(name)
    assert content.digest == weights_digest(load(weights, config))
    assert content.versions["jax"] == jax.__version__
    depth = config.depth
    assert list(content.outputs) == [*(f"layer.{i}" for i in range(depth)), "cls", "registers", "patches"]
    assert content.images.shape[0] == 1

    capsys.readouterr()
    assert _run("compare", reference, weights, "--variant", name) == 0
    text = capsys.readouterr().out
    assert all(f"layer.{index} " in text for index in range(depth))
    assert "all within 1e-05" in text

    # Other weights: every layer is over, and it is said that they are others.
    other = tmp_path / "other.safetensors"
    model = load(weights, config)
    tensors = state_dict(model)
    tensors["patch_embed.proj.weight"] = tensors["patch_embed.proj.weight"] * 1.5
    save(other, from_state_dict(tensors, model.config))
    assert _run("compare", reference, other, "--variant", name) == 1
    text = capsys.readouterr().out
    assert "The weights are not the same." in text
    assert re.search(r"[1-9]\d* of \d+ over 1e-05", text)
    assert _run("compare", reference, other, "--variant", name, "--tolerance", "10") == 0


@pytest.mark.skipif(not REAL or "J2O_DINO_EXPECTED" not in os.environ, reason="needs real weights and a reference")
def test_expected_activations(checkpoint):
    weights, name = checkpoint
    assert _run("compare", os.environ["J2O_DINO_EXPECTED"], weights, "--variant", name, "--tolerance", "1e-4") == 0


def test_compare_with_equimo(checkpoint, looking, capsys):
    pytest.importorskip("equimo")
    weights, name = checkpoint
    assert _run("compare", weights, f"equimo:{weights}", "--variant", name, *looking) == 0
    assert "layer.1 " in capsys.readouterr().out


def test_compare_with_an_exported_file(tmp_path, checkpoint, looking, capsys):
    weights, name = checkpoint
    graph = tmp_path / "dino.onnx"
    options = ["--weights", weights, "--variant", name, *looking, "--rounds", 0, "--layers", "--any-size"]
    assert _run("export", *options, "-o", graph) == 0
    names = [output.name for output in onnxruntime.InferenceSession(graph).get_outputs()]
    assert names == ["cls", "patches", *(f"layer.{i}" for i in range(variant(name).depth))]
    capsys.readouterr()
    assert _run("compare", weights, graph, "--variant", name, *looking) == 0
    # A size that was not seen at export.
    assert _run("compare", graph, weights, "--variant", name, "--size", 96) == 0
    assert _run("compare", graph, weights, "--variant", name, "--size", 96, "--tolerance", 0) == 1


def test_what_cannot_be_compared(tmp_path, checkpoint, capsys):
    weights, name = checkpoint
    references = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for reference, size in zip(references, (64, 32), strict=True):
        assert _run("reference", "--weights", weights, "--variant", name, "--size", size, "-o", reference) == 0
    (tmp_path / "broken.npz").write_bytes(b"PK")
    (tmp_path / "broken.onnx").write_bytes(b"no")
    for arguments, message in (
        ([*references], "different images"),
        ([tmp_path / "gone.pth", weights], "does not exist"),
        ([tmp_path / "broken.npz", weights], "cannot be read"),
        ([tmp_path / "broken.onnx", weights], "cannot be read by ONNX Runtime"),
        ([weights, weights, "--size", 30], "multiple of the patch size"),
    ):
        capsys.readouterr()
        assert _run("compare", "--variant", name, *arguments) == 2
        assert re.search(message, capsys.readouterr().err)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with nothing in it."""
    for name in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    return tmp_path / "home"


def test_nothing_is_there(home, tmp_path):
    with pytest.raises(CheckpointError) as caught:
        load_pretrained("vits16", tmp_path)
    message = str(caught.value)
    for part in (
        f"  {tmp_path}\n",
        str(home / ".cache" / "torch" / "hub" / "checkpoints"),
        "dinov3_vits16_pretrain_lvd1689m-08c60483.pth",
        "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/",
        "facebook/dinov3-vits16-pretrain-lvd1689m",
        "/dinov3/dinov3_vits16_pretrain_lvd1689m.tar.lz4",
    ):
        assert part in message
    with pytest.raises(CheckpointError, match=r"dinov2/dinov2_vitb14/dinov2_vitb14_reg4_pretrain\.pth"):
        load_pretrained("dinov2_vitb14_reg")
    with pytest.raises(CheckpointError, match=r"hf download facebook/dinov2-with-registers-giant\n"):
        load_pretrained("dinov2_vitg14_reg")
    with pytest.raises(CheckpointError, match=r"dinov3_convnext_tiny_pretrain_lvd1689m-21b726bb\.pth"):
        find_pretrained("convnext_tiny")
    with pytest.raises(CheckpointError, match="facebook/dinov3-convnext-tiny-pretrain-lvd1689m"):
        find_pretrained("convnext_tiny")
    with pytest.raises(CheckpointError, match="facebook/dinov3-vitl16-pretrain-sat493m"):
        find_pretrained("vitl16_sat493m")
    assert not home.exists()


@pytest.mark.parametrize(
    "place",
    [
        "given/dinov3_vits16_pretrain_lvd1689m-08c60483.pth",
        "given/vits16.safetensors",
        "given/model.safetensors",
        "home/.cache/torch/hub/checkpoints/dinov3_vits16_pretrain_lvd1689m-08c60483.pth",
        "home/.cache/torch/hub/dinov3/weights/dinov3_vits16_pretrain_lvd1689m-08c60483.pth",
        "home/.cache/equimo/dinov3/dinov3_vits16_pretrain_lvd1689m.tar.lz4",
        "home/.cache/equimo/dinov3/dinov3_vits16_pretrain_lvd1689m/weights.eqx",
        "home/.cache/huggingface/hub/models--facebook--dinov3-vits16-pretrain-lvd1689m/snapshots/1a/model.safetensors",
    ],
)
def test_where_people_keep_weights(home, tmp_path, place):
    del home
    (tmp_path / "given").mkdir()
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    folders = ("model.safetensors", "weights.eqx")
    assert find_pretrained("vits16", tmp_path / "given") == (path.parent if path.name in folders else path)
    with pytest.raises(CheckpointError, match="no weights of vitb16"):
        find_pretrained("vitb16", tmp_path)


def test_load_pretrained(home, monkeypatch):
    monkeypatch.setattr(_variants, "VARIANTS", {**_variants.VARIANTS, "vits16": TINY})
    folder = home / ".cache" / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    weights = formula_weights(TINY)
    write_torch_file(folder / "dinov3_vits16_pretrain_lvd1689m-08c60483.pth", weights)
    assert _same_bits(state_dict(load_pretrained("vits16")), weights)
