"""Models larger than memory: what streams from the checkpoint is what is exported otherwise, in little memory."""

import dataclasses
import json
import os
import re
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from j2o_examples_dino import DinoConfig, _cli, _state_dict, _variants, from_state_dict, published_to_hf, variant
from j2o_examples_dino._features import FeatureExtractor

from .conftest import formula_weights
from .test_flow import TINY, _write

# As the largest variant, in small: 2.2 GB.
LARGE = DinoConfig(dim=2048, depth=13, heads=16, ffn="swiglu", ffn_ratio=3.0, ffn_align=64, qkv_bias=False)


@pytest.mark.parametrize("kind", ["pth", "hf-sharded"])
def test_what_streams_is_what_is_exported(tmp_path, monkeypatch, capsys, kind):
    monkeypatch.setattr(_variants, "VARIANTS", {**_variants.VARIANTS, "tiny": TINY})
    monkeypatch.setattr(_cli, "VARIANTS", _variants.VARIANTS)
    monkeypatch.setattr(_state_dict, "SMALL_BYTES", 1000)
    weights = formula_weights(TINY)
    path = _write(tmp_path / "in", kind, weights)
    output = tmp_path / "dino.onnx"
    options = ["--weights", str(path), "--variant", "tiny", "--size", "32", "--any-size", "--batch", "B"]
    assert _cli.main(["export", "--stream", *options, "-o", str(output)]) == 0
    text = capsys.readouterr().out
    assert "Streamed: neither run nor compared" in text
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).standard_normal((2, 3, 48, 32)).astype(np.float32)
    model = FeatureExtractor(from_state_dict(weights, TINY))
    for actual, expected in zip(session.run(None, {"images": images}), model(images), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert [path.name for path in sorted(tmp_path.iterdir()) if not path.name.startswith("dino.onnx")] == ["in"]


def test_there_must_be_something_to_stream(tmp_path, capsys):
    assert _cli.main(["export", "--stream", "-o", str(tmp_path / "x.onnx")]) == 2
    assert "give a checkpoint" in capsys.readouterr().err


def _sparse_checkpoint(folder, config, shards):
    """A sharded checkpoint in Hugging Face's layout. Files are mostly holes; each tensor begins with a number."""
    shapes = {name: leaf.shape for name, leaf in _state_dict._named_leaves(_state_dict.skeleton(config))}
    shapes = {name: _state_dict.file_shape(name, shape) for name, shape in shapes.items()}
    described = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    names = {name: array.shape for name, array in published_to_hf(described).items()}
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        header, position = {}, 0
        for name in list(names)[shard::shards]:
            end = position + 4 * int(np.prod(names[name]))
            header[name] = {"dtype": "F32", "shape": names[name], "data_offsets": [position, end]}
            position = end
            weight_map[name] = file
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(folder / file, "wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            out.truncate(8 + len(text) + position)
            for number, name in enumerate(header):
                out.seek(8 + len(text) + header[name]["data_offsets"][0])
                out.write(np.float32(number + 1).tobytes())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


_RUN = """if True:
    import resource, sys
    import jax
    import j2o_core, onnxruntime
    from j2o_examples_dino import DinoConfig, _cli, _variants
    from j2o_examples_dino._stream import peak_resident_bytes

    jax.jit(lambda x: x + 1)(1.0).block_until_ready()
    with open("/proc/self/status") as status:
        data = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))
    base = peak_resident_bytes()
    # Memory that is not the page cache of a mapped file cannot grow by more than 1 GB.
    resource.setrlimit(resource.RLIMIT_DATA, (data + (1 << 30), resource.RLIM_INFINITY))
    config = DinoConfig(**{config!r})
    _variants.VARIANTS = {{**_variants.VARIANTS, "large": config}}
    _cli.VARIANTS = _variants.VARIANTS
    assert _cli.main(["export", "--variant", "large", "--weights", sys.argv[1], "-o", sys.argv[2]]) == 0
    print("base", base)
    print("peak", peak_resident_bytes())
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="resident memory is read from /proc")
def test_more_than_two_gigabytes_in_less_than_one(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    _sparse_checkpoint(folder, LARGE, shards=4)
    output = tmp_path / "large.onnx"
    code = _RUN.format(config=dataclasses.asdict(LARGE))
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(output)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    base, peak = (int(re.search(rf"^{name} (\d+)$", done.stdout, re.MULTILINE)[1]) for name in ("base", "peak"))
    size = sum(path.stat().st_size for path in tmp_path.glob("large.onnx*"))
    assert size > 2.1e9
    assert peak - base < 1 << 30
    # Two things grow with the model: its largest weight, in memory twice at most, and the description of a block.
    seven = variant("vit7b16")
    largest, larger = 4 * 3 * LARGE.dim**2, 4 * 3 * seven.dim**2
    projection = peak - base + 2 * (larger - largest) + (seven.depth - LARGE.depth) * (1 << 20)
    print(f"\n{size / 1e9:.2f} GB with {(peak - base) / 1e6:.0f} MB; projected for 7B: {projection / 1e6:.0f} MB")
    assert projection < 1 << 30
