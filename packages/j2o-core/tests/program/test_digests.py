import hashlib
import random
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from j2o_core.cli.__main__ import main
from j2o_core.program import _digests, _pieces
from j2o_core.program._save import save

WEIGHT = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
BIAS = np.random.default_rng(1).standard_normal(64).astype(np.float32)
PACKED = np.arange(-8, 8)
WAYS = [{}, {"weights": "data"}, {"weights": "safetensors"}]


@pytest.fixture
def program(export):
    """Weights that are streamed to the file, and one that is left to protobuf."""
    weight, bias = jnp.asarray(WEIGHT), jnp.asarray(BIAS)
    return export(lambda x: x @ weight + bias, [("B", 64)])


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_flipped_bit_of_a_weight_is_noticed(program, tmp_path, capsys, way):
    path = tmp_path / "m.onnx"
    file = program.save(path, **way)[-1]
    assert main(["check", str(path)]) == 0
    with open(file, "r+b") as handle:
        content = handle.read()
        chance = random.Random(13)
        for array in (WEIGHT, BIAS):
            begin = content.index(array.tobytes())
            for _ in range(10):
                place = begin + chance.randrange(array.nbytes)
                handle.seek(place)
                handle.write(bytes([content[place] ^ 1 << chance.randrange(8)]))
                handle.flush()
                capsys.readouterr()
                assert main(["check", str(path)]) == 2
                assert "is not the one that was saved: its SHA-256 begins with" in capsys.readouterr().err
                handle.seek(place)
                handle.write(content[place : place + 1])
                handle.flush()
    assert main(["check", str(path)]) == 0


def test_verify_refuses_a_damaged_weight(program, tmp_path, capsys):
    path = tmp_path / "m.onnx"
    program.save(path)
    content = path.read_bytes()
    place = content.index(WEIGHT.tobytes()) + 1000
    path.write_bytes(content[:place] + b"?" + content[place + 1 :])
    assert main(["verify", f"{__name__}:WEIGHT", str(path)]) == 2
    assert "(float[64, 64], 16384 bytes in the model's file) is not the one that was saved" in capsys.readouterr().err


@pytest.mark.parametrize("way", WAYS[:2], ids=str)
def test_narrow_rearranged_and_empty_weights_have_digests(export, tmp_path, way):
    weights = [jnp.asarray(PACKED, jnp.int4), jnp.zeros((0, 3)), jnp.asarray(WEIGHT, jnp.bfloat16), WEIGHT.T]
    program = export(lambda: weights, [])
    path = program.save(tmp_path / "m.onnx", **way)[0]
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    assert all([entry.key for entry in tensor.metadata_props] == ["j2o.sha256"] for tensor in tensors)
    assert main(["check", path]) == 0


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_large_and_small_weights_in_turn_have_their_own_digests(export, tmp_path, monkeypatch, way):
    """Large pieces are hashed by another thread, while other weights are written."""
    monkeypatch.setattr(_digests, "_PARALLEL_BYTES", 1 << 12)
    monkeypatch.setattr(_pieces, "_CHUNK_BYTES", 5000)
    monkeypatch.setattr(_pieces, "_BLOCK_BYTES", 1 << 14)
    path = tmp_path / "mapped.npy"
    chance = np.random.default_rng(0)
    np.save(path, chance.standard_normal((70, 50), np.float32))
    mapped = np.load(path, mmap_mode="r")
    large = chance.standard_normal((300, 50), np.float32)
    turned = chance.standard_normal((50, 300), np.float32).T
    narrow = jnp.asarray(large, jnp.bfloat16)
    weights = [large, BIAS, mapped, turned, mapped.T, narrow, np.arange(2000, dtype=np.int32)]
    program = export(lambda: weights, [])
    files = program.save(tmp_path / "m.onnx", **way)
    tensors = [value.const_value for value in ir.load(files[0]).graph.initializers.values()]
    digests = {tensor.metadata_props["j2o.sha256"] for tensor in tensors}
    wanted = {hashlib.sha256(np.ascontiguousarray(weight).tobytes()).hexdigest()[:32] for weight in weights}
    assert digests == wanted
    assert main(["check", files[0]]) == 0


def test_weights_that_another_program_replaced_pass(program, tmp_path):
    """Such programs make new tensors, which have no digest of the old ones."""
    path = tmp_path / "m.onnx"
    program.save(path)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 2, tensor.name))
    onnx.save(model, path)
    assert main(["check", str(path)]) == 0


def test_reading_and_writing_with_onnx_ir_keeps_digests_right(program, tmp_path):
    program.save(tmp_path / "m.onnx", weights="data")
    ir.save(ir.load(tmp_path / "m.onnx"), tmp_path / "n.onnx")
    assert main(["check", str(tmp_path / "n.onnx")]) == 0


def test_large_weights_are_saved_while_the_process_ends(tmp_path):
    """No thread can be started there: the hash is taken in the one that writes."""
    code = f"""
import atexit, numpy as np, onnx_ir as ir
from j2o_core.program._save import save
weight = ir.Tensor(np.ones((300, 300), np.float32), name="w")
value = ir.Value(name="w", const_value=weight, shape=weight.shape, type=ir.TensorType(weight.dtype))
node = ir.Node("", "Identity", [value])
node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = "y", value.shape, value.type
graph = ir.Graph([], node.outputs, nodes=[node], initializers=[value], opset_imports={{"": 21}}, name="g")
atexit.register(save, ir.Model(graph, ir_version=10), {str(tmp_path / "m.onnx")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert main(["check", str(tmp_path / "m.onnx")]) == 0


def test_a_model_that_was_read_and_saved_again_has_each_digest_once(export, tmp_path):
    bias = jnp.asarray(BIAS)
    path = export(lambda x: x + bias, [("B", 64)]).save(tmp_path / "m.onnx")[0]
    save(ir.load(path), tmp_path / "n.onnx")
    (tensor,) = onnx.load(tmp_path / "n.onnx").graph.initializer
    assert len({entry.value for entry in tensor.metadata_props}) == 1
    assert main(["check", str(tmp_path / "n.onnx")]) == 0
