import dataclasses
import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from j2o_examples_dino import CheckpointError, from_state_dict, load, published_to_hf, save, state_dict, variant


def _same(first, second):
    assert first.keys() == second.keys()
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_safetensors_and_npz(tiny, weights, tmp_path):
    safetensors.numpy.save_file(weights, tmp_path / "x.safetensors")
    np.savez(tmp_path / "x.npz", **weights)
    for name in ("x.safetensors", "x.npz"):
        assert _same(state_dict(load(tmp_path / name, tiny)), weights)


def test_bfloat16_safetensors(tiny, weights, tmp_path):
    rounded = {name: array.astype(ml_dtypes.bfloat16) for name, array in weights.items()}
    safetensors.numpy.save_file(rounded, tmp_path / "x.safetensors")
    model = load(tmp_path / "x.safetensors", tiny)
    assert model.cls_token.dtype == np.float32
    np.testing.assert_array_equal(model.cls_token[None], rounded["cls_token"].astype(np.float32))
    assert load(tmp_path / "x.safetensors", tiny, dtype=None).cls_token.dtype == ml_dtypes.bfloat16


def test_save_and_load(tiny, weights, tmp_path):
    model = from_state_dict(weights, tiny)
    save(tmp_path / "published.safetensors", model)
    save(tmp_path / "hf.safetensors", model, layout="hf")
    assert _same(safetensors.numpy.load_file(tmp_path / "published.safetensors"), weights)
    assert _same(safetensors.numpy.load_file(tmp_path / "hf.safetensors"), published_to_hf(weights))
    for name in ("published", "hf"):
        assert _same(state_dict(load(tmp_path / f"{name}.safetensors", tiny)), weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf.safetensors", "published.safetensors"]


def test_save_replaces_only_when_complete(tiny, weights, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_text("old")
    weights["blocks.0.attn.qkv.bias_mask"] = np.ones(96, np.float32)
    weights["blocks.0.attn.qkv.bias"] = np.ones(96, np.float32)
    with pytest.raises(CheckpointError, match="bias of the keys"):
        save(path, from_state_dict(weights, tiny), layout="hf")
    assert path.read_text() == "old"
    with pytest.raises(CheckpointError, match=r"written as \.safetensors"):
        save(tmp_path / "x.npz", from_state_dict(weights, tiny))


@pytest.mark.parametrize("folder", [True, False], ids=["folder", "index"])
def test_sharded_hugging_face_checkpoint(tiny, weights, tmp_path, folder):
    theirs = published_to_hf(weights)
    names = sorted(theirs)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in shards.items():
        safetensors.numpy.save_file({name: np.ascontiguousarray(theirs[name]) for name in part}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, part in shards.items() for name in part}}))
    assert _same(state_dict(load(tmp_path if folder else index, tiny)), weights)


def test_hugging_face_folder_with_one_file(tiny, weights, tmp_path, image):
    config = dataclasses.replace(tiny, local_cls_norm=True)
    save(tmp_path / "model.safetensors", from_state_dict(weights, tiny), layout="hf")
    model = load(tmp_path, config)
    assert model.local_cls_norm is None
    np.testing.assert_array_equal(model(image), from_state_dict(weights, tiny)(image))


@pytest.mark.parametrize("file", ["../x.safetensors", "/etc/x.safetensors", "..", "sub/x.safetensors", 3])
def test_index_cannot_lead_outside_its_folder(tiny, tmp_path, file):
    inner = tmp_path / "inner"
    (inner / "sub").mkdir(parents=True)
    for path in (tmp_path, inner / "sub"):
        safetensors.numpy.save_file({"x": np.zeros(1, np.float32)}, path / "x.safetensors")
    index = inner / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": file}}))
    with pytest.raises(CheckpointError, match="only files beside it"):
        load(index, tiny)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as an index"),
        ("[]", "cannot be read as an index"),
        ('{"weight_map": 3}', "cannot be read as an index"),
        ('{"weight_map": {"x": "gone.safetensors"}}', "which is not there"),
        ('{"weight_map": {"y": "a.safetensors"}}', "1 tensors that its files do not hold, the first is y"),
        ('{"weight_map": {"": "a.safetensors"}}', "a tensor without a name"),
    ],
)
def test_broken_index(tiny, tmp_path, text, message):
    safetensors.numpy.save_file({"x": np.zeros(1, np.float32)}, tmp_path / "a.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path, tiny)


@pytest.mark.parametrize("name", ["x.safetensors", "x.npz", "x.pth", "x.tar.lz4"])
@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"PK\x03\x04 and then nothing", b"\xff" * 64])
def test_broken_files(tiny, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=str(path)):
        load(path, tiny)


def test_pickled_objects_in_npz_are_refused(tiny, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.array([print], dtype=object))
    with pytest.raises(CheckpointError, match="cannot be read as an"):
        load(tmp_path / "x.npz", tiny)


def test_paths_it_cannot_take(tiny, tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load(tmp_path / "gone.pth", tiny)
    with pytest.raises(CheckpointError, match="a folder without"):
        load(tmp_path, tiny)
    (tmp_path / "x.bin").touch()
    with pytest.raises(CheckpointError, match=r"but not '\.bin'"):
        load(tmp_path / "x.bin", tiny)


def test_configuration_is_needed(weights, tmp_path):
    np.savez(tmp_path / "x.npz", **weights)
    with pytest.raises(CheckpointError, match="does not say what model"):
        load(tmp_path / "x.npz")


def test_checkpoint_of_another_variant(weights, tmp_path):
    np.savez(tmp_path / "x.npz", **weights)
    with pytest.raises(CheckpointError, match=r"does not fit[\s\S]*missing[\s\S]*instead of \(1, 1, 384\)"):
        load(tmp_path / "x.npz", variant("vits16"))
