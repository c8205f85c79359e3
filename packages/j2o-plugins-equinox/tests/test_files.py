"""Models whose weights lie in files: `.eqx` and safetensors, read while the program is written."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import SpecError, to_onnx
from j2o_plugins_equinox import read_leaves


class Net(eqx.Module):
    """A model with a leaf of each kind."""

    mlp: eqx.nn.MLP
    half: jax.Array
    table: np.ndarray
    empty: jax.Array
    scale: jax.Array
    eps: float
    name: str

    def __init__(self, key, dtype=jnp.bfloat16):
        one, two = jax.random.split(key)
        self.mlp = eqx.nn.MLP(4, 3, 8, 1, key=one)
        self.half = jax.random.normal(two, (3,), dtype)
        self.table = np.arange(3, dtype=np.int32)
        self.empty = jnp.zeros((0, 3))
        self.scale = jnp.asarray(2.5)
        self.eps, self.name = 0.125, "net"

    def __call__(self, x):
        return self.mlp(x) * self.half.astype(x.dtype) + self.table * self.scale + self.eps + self.empty.sum()


def key():
    return jax.random.key(0)


def in_memory(array):
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is None


@pytest.mark.parametrize("abstract", [True, False])
def test_an_eqx_file_is_the_model(tmp_path, abstract):
    net = Net(key())
    eqx.tree_serialise_leaves(tmp_path / "net.eqx", net)
    like = eqx.filter_eval_shape(Net, key()) if abstract else Net(jax.random.key(1))
    read = read_leaves(tmp_path / "net.eqx", like)
    assert jax.tree.structure(read) == jax.tree.structure(net)
    for got, want in zip(jax.tree.leaves(read), jax.tree.leaves(net), strict=True):
        assert not isinstance(got, jax.Array)
        assert np.asarray(got).tobytes() == np.asarray(want).tobytes()
        assert type(got) is type(want) or (got.dtype == want.dtype and got.shape == want.shape)
    assert not any(in_memory(layer.weight) for layer in read.mlp.layers)
    program = to_onnx(jax.vmap(read), [("B", 4)])
    np.testing.assert_allclose(program(np.ones((2, 4))), jax.vmap(net)(jnp.ones((2, 4))), rtol=1e-5)


def test_shapes_and_a_file_are_an_export(tmp_path):
    """No weight is ever made: the graph comes from shapes, the numbers from the file."""
    net = Net(key(), jnp.float32)
    eqx.tree_serialise_leaves(tmp_path / "net.eqx", net)
    shapes = eqx.filter_eval_shape(Net, key(), jnp.float32)
    program = to_onnx(jax.vmap(shapes), [("B", 4)])
    filled = program.with_weights(read_leaves(tmp_path / "net.eqx", shapes))
    np.testing.assert_allclose(filled(np.ones((2, 4))), jax.vmap(net)(jnp.ones((2, 4))), rtol=1e-5)


def files(net):
    stream = io.BytesIO()
    eqx.tree_serialise_leaves(stream, net)
    whole = stream.getvalue()
    yield whole[:-4], "ends within the array of|has no array for"
    yield whole[:40], "has no array for"
    yield whole + b"more", "holds more than the model"
    yield b"", "has no array for"
    yield whole.replace(b"NUMPY\x01", b"NUMPY\x09", 1), "has no array for"


@pytest.mark.parametrize("number", range(5))
def test_a_damaged_file_is_an_error_that_names_the_leaf(tmp_path, number):
    content, message = list(files(eqx.nn.Linear(2, 3, key=key())))[number]
    (tmp_path / "net.eqx").write_bytes(content)
    with pytest.raises(SpecError, match=message):
        read_leaves(tmp_path / "net.eqx", eqx.nn.Linear(2, 3, key=key()))


def test_another_model_s_file_is_an_error(tmp_path):
    eqx.tree_serialise_leaves(tmp_path / "net.eqx", eqx.nn.Linear(2, 3, key=key()))
    with pytest.raises(SpecError, match=r"has float32\[3, 2\] where the model has \.weight: float32\[3, 4\]"):
        read_leaves(tmp_path / "net.eqx", eqx.nn.Linear(4, 3, key=key()))
    with pytest.raises(SpecError, match=r"none\.eqx cannot be read"):
        read_leaves(tmp_path / "none.eqx", eqx.nn.Linear(4, 3, key=key()))


# 4 GB under a limit of 1.5 GB in `nox -s nightly`; a fortieth of it otherwise.
LARGE = "J2O_LARGE" in os.environ
WIDTH, BLOCKS, LIMIT = (11_000, 8, 1_500_000_000) if LARGE else (1_800, 8, 40_000_000)

_RUN = """if True:
    import resource, sys
    import equinox as eqx, jax, numpy as np, onnxruntime
    import j2o_core

    folder, width, blocks, limit = sys.argv[1], *map(int, sys.argv[2:])
    def export(width, arrays):
        shapes = eqx.filter_eval_shape(eqx.nn.MLP, width, width, width, blocks - 1, key=jax.random.key(0))
        return j2o_core.to_onnx(jax.vmap(shapes), [("B", width)]).with_weights(arrays())

    small = {f"layers.{i}.{name}": np.zeros((4, 4)[: 2 - (name == "bias")], np.float32)
             for i in range(blocks) for name in ("weight", "bias")}
    export(4, lambda: small).save(folder + "/small.onnx", external_data=True)  # everything is loaded and compiled
    with open("/proc/self/status") as status:
        data = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (data + limit, resource.RLIM_INFINITY))
    files = export(width, lambda: j2o_core.read_safetensors(folder)).save(folder + "/large.onnx", external_data=True)
    print(files[1])
"""


def _sparse_weights(folder):
    """Files of safetensors, one a layer, of zeros but for a diagonal in its first rows."""
    weight_map = {}
    for number in range(BLOCKS):
        size = 4 * WIDTH * WIDTH
        header = {
            f"layers.{number}.weight": {"dtype": "F32", "shape": [WIDTH, WIDTH], "data_offsets": [0, size]},
            f"layers.{number}.bias": {"dtype": "F32", "shape": [WIDTH], "data_offsets": [size, size + 4 * WIDTH]},
        }
        text = json.dumps(header).encode()
        with open(folder / f"{number}.safetensors", "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for row in range(3):
                file.seek(8 + len(text) + 4 * row * (WIDTH + 1))
                file.write(np.float32(number + 2).tobytes())
            file.truncate(8 + len(text) + size + 4 * WIDTH)
        weight_map |= dict.fromkeys(header, f"{number}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
def test_a_model_of_gigabytes_is_exported_under_a_limit_and_a_slice_of_it_runs(tmp_path):
    import onnx
    import onnxruntime

    _sparse_weights(tmp_path)
    arguments = [sys.executable, "-c", _RUN, str(tmp_path), *map(str, (WIDTH, BLOCKS, LIMIT))]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data = Path(done.stdout.strip())
    assert data.stat().st_size > 2.5 * LIMIT > 4 * WIDTH * WIDTH
    model = onnx.load(tmp_path / "large.onnx", load_external_data=False)
    graph, kinds = model.graph, [node.op_type for node in model.graph.node]
    first = kinds.index("Relu")
    del graph.node[first + 1 :]
    weights = [one for one in graph.initializer if one.name.startswith("layers.0")]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(weights)
    graph.output[0].name = graph.node[first].output[0]
    (tmp_path / "slice.onnx").write_bytes(model.SerializeToString())
    x = np.zeros((1, WIDTH), np.float32)
    x[0, :4] = 1, 2, 3, 4
    (y,) = onnxruntime.InferenceSession(tmp_path / "slice.onnx").run(None, {"x": x})
    np.testing.assert_array_equal(y[0, :5], [2, 4, 6, 0, 0])
