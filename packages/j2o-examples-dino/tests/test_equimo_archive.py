import io
import json
import shutil
import tarfile
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import lz4.frame
import numpy as np
import pytest

from j2o_examples_dino import CheckpointError, DinoConfig, load

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import equimo.io
    import equimo.models
    from equimo.models.vit import VisionTransformer

ARGUMENTS = {
    "img_size": 32,
    "in_channels": 3,
    "patch_size": 16,
    "num_classes": 0,
    "use_mask_token": True,
    "use_global_pos_embed": False,
    "use_local_pos_embed": True,
    "reg_tokens": 4,
    # Every branch counts: the usual 1e-5 would hide what is wrong inside a block.
    "init_values": 0.8,
    "eps": 1e-5,
    "dynamic_img_size": True,
    "act_layer": "exactgelu",
    "dim": 32,
    "num_heads": 2,
    "depths": [2],
}
SECOND = {
    "img_size": 56,
    "patch_size": 14,
    "use_global_pos_embed": True,
    "use_local_pos_embed": False,
    "eps": 1e-6,
}
SWIGLU = {"mlp_ratio": 6.0, "ffn_layer": "swiglu", "ffn_kwargs": {"align_to": 64}}
CASES = {
    "mlp": {},
    "swiglu": SWIGLU,
    "satellite": {"untie_global_and_local_cls_norm": True},
    "no_qkv_bias": SWIGLU | {"qkv_bias": False, "untie_global_and_local_cls_norm": True},
    "two_chunks": {"depths": [1, 2]},
    "no_mask_token": {"use_mask_token": False},
    "no_registers": {"reg_tokens": 0},
    "max": {"local_pos_embed_config_patch": {"strategy": "period", "base": 50.0, "normalize_coords": "max"}},
    "dinov2": SECOND | {"reg_tokens": 0},
    "dinov2_registers": SECOND | {"interpolate_antialias": True, "ffn_layer": "swiglufused"},
    "dinov2_positions_of_patches": SECOND | {"global_pos_embed_cls": False},
    "dinov2_positions_of_all": SECOND | {"global_pos_embed_reg": True, "interpolate_antialias": True},
}


def _perturbed(model: eqx.Module) -> eqx.Module:
    """Every weight moved a little, so that none is left at one, zero or its layer's usual value."""
    leaves, treedef = jax.tree.flatten(model)
    rng = np.random.default_rng(0)
    leaves = [
        leaf + 0.05 * rng.standard_normal(leaf.shape).astype(np.float32) if eqx.is_inexact_array(leaf) else leaf
        for leaf in leaves
    ]
    moved = jax.tree.unflatten(treedef, leaves)
    if model.local_pos_embed is None:
        return moved
    # Periods are a geometric series; keep them positive.
    return eqx.tree_at(lambda m: m.local_pos_embed.patch_rope.freqs, moved, model.local_pos_embed.patch_rope.freqs)


def _write(path, case, *, compression=True, dtype=None):
    arguments = ARGUMENTS | CASES[case]
    model = _perturbed(VisionTransformer(**arguments, key=jax.random.PRNGKey(1)))
    if dtype is not None:
        model = jax.tree.map(lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, model)
    equimo.io.save_model(path, model, arguments, compression=compression)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("compression", [True, False], ids=["archive", "folder"])
@pytest.mark.parametrize("case", CASES)
def test_features_are_equimos(tmp_path, case, compression):
    path = tmp_path / ("model.tar.lz4" if compression else "model")
    theirs = _write(path, case, compression=compression)
    ours = load(path)
    patch = ours.config.patch_size
    # The second is the size that positions are learned for, where they are.
    for height, width in ((2 * patch, 2 * patch), (4 * patch, 4 * patch), (4 * patch, 3 * patch), (patch, 7 * patch)):
        image = np.random.default_rng(2).standard_normal((3, height, width)).astype(np.float32)
        expected = theirs.features(image, key=jax.random.PRNGKey(0), inference=True)
        features = ours.forward_features(image)["x_prenorm"]
        np.testing.assert_allclose(features, expected, atol=1e-5 * np.abs(expected).max())
        outputs = theirs.forward_features(image, key=jax.random.PRNGKey(0), inference=True)
        np.testing.assert_allclose(ours(image), outputs["x_norm_cls_token"], atol=2e-5)
        np.testing.assert_allclose(ours.patch_features(image), outputs["x_norm_patchtokens"], atol=2e-5)


def test_configuration_comes_from_the_archive(tmp_path):
    _write(tmp_path / "model.tar.lz4", "no_qkv_bias")
    expected = DinoConfig(
        dim=32,
        depth=2,
        heads=2,
        ffn="swiglu",
        ffn_ratio=6.0,
        ffn_align=64,
        qkv_bias=False,
        local_cls_norm=True,
        layer_scale_init=0.8,
    )
    assert load(tmp_path / "model.tar.lz4").config == expected
    assert load(tmp_path / "model.tar.lz4", expected).config == expected


def test_bfloat16(tmp_path):
    theirs = _write(tmp_path / "model.tar.lz4", "mlp", dtype=jnp.bfloat16)
    ours = load(tmp_path / "model.tar.lz4", dtype=None)
    assert ours.cls_token.dtype == jnp.bfloat16
    np.testing.assert_array_equal(ours.blocks[1].attn.qkv.weight, theirs.blocks[0].blocks[1].attn.qkv.weight)
    assert load(tmp_path / "model.tar.lz4").cls_token.dtype == jnp.float32


def test_other_configuration_than_asked_for(tmp_path):
    _write(tmp_path / "model.tar.lz4", "mlp")
    with pytest.raises(CheckpointError, match=r"another model than asked for: depth is 2 instead of 3; heads is 2"):
        load(tmp_path / "model.tar.lz4", DinoConfig(dim=32, depth=3, heads=4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 10}, "classification head"),
        ({"use_global_pos_embed": True}, "both or neither"),
        ({"use_local_pos_embed": False}, "both or neither"),
        ({"qk_norm": True}, "qk_norm=True"),
        ({"act_layer": "gelu"}, "activation is 'gelu'"),
        ({"init_values": None}, "no layer scale"),
        ({"ffn_layer": "convmlp"}, "ffn must be one of"),
        ({"windows": 3}, "arguments that DINO does not have: windows"),
        ({"depths": [3]}, r"has 62 records, but the model in metadata.json has another number"),
        ({"dim": 64}, r"of another shape"),
        ({"dim": "64"}, "cannot be read"),
        ({"num_heads": 5}, "whole number of channels"),
        ({"local_pos_embed_config_patch": {"strategy": "mode"}}, "strategy 'mode'"),
    ],
)
def test_other_models_are_refused(tmp_path, change, message):
    _write(tmp_path / "model", "mlp", compression=False)
    file = tmp_path / "model" / "metadata.json"
    metadata = json.loads(file.read_text())
    metadata["model_config"] |= change
    file.write_text(json.dumps(metadata))
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "model")


@pytest.mark.parametrize("damage", ["truncated weights", "no weights", "no metadata", "no config", "object array"])
def test_damaged_folder(tmp_path, damage):
    folder = tmp_path / "model"
    _write(folder, "mlp", compression=False)
    if damage == "truncated weights":
        content = (folder / "weights.eqx").read_bytes()
        (folder / "weights.eqx").write_bytes(content[:-7])
    elif damage == "no weights":
        (folder / "weights.eqx").unlink()
    elif damage == "no metadata":
        (folder / "metadata.json").unlink()
    elif damage == "no config":
        (folder / "metadata.json").write_text("{}")
    else:
        buffer = io.BytesIO()
        np.save(buffer, np.array([print], dtype=object), allow_pickle=True)
        (folder / "weights.eqx").write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match=str(folder)):
        load(folder)


def test_damaged_archives(tmp_path):
    path = tmp_path / "model.tar.lz4"
    _write(path, "mlp")
    whole = path.read_bytes()
    for content in (b"", b"not lz4 at all", whole[: len(whole) // 2], whole[:-40], lz4.frame.compress(b"not tar")):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read as an Equimo archive of DINO"):
            load(path)


def test_no_file_is_ever_extracted(tmp_path):
    folder = tmp_path / "model"
    _write(folder, "mlp", compression=False)
    path = tmp_path / "inner" / "evil.tar.lz4"
    path.parent.mkdir()
    with lz4.frame.open(path, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(folder / "metadata.json", "metadata.json")
        for name in ("../evil", str(tmp_path / "evil"), "weights.eqx/../../evil"):
            archive.add(folder / "metadata.json", name)
        link = tarfile.TarInfo("weights.eqx")
        link.type, link.linkname = tarfile.SYMTYPE, str(folder / "weights.eqx")
        archive.addfile(link)
    shutil.copytree(tmp_path, tmp_path.parent / "before")
    with pytest.raises(CheckpointError, match=r"does not hold both metadata\.json and weights\.eqx"):
        load(path)
    names = [
        sorted(p.relative_to(root).as_posix() for p in root.rglob("*"))
        for root in (tmp_path, tmp_path.parent / "before")
    ]
    assert names[0] == names[1]


def test_without_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "model.tar.lz4"
    _write(path, "mlp")
    monkeypatch.setitem(__import__("sys").modules, "lz4.frame", None)
    with pytest.raises(CheckpointError, match=r"j2o-examples-dino\[equimo\]"):
        load(path)
