"""DINOv3-7B is exported from files in a few hundred megabytes of memory, and a slice of the file runs.

A model of its kind with 4 narrower blocks; with `J2O_LARGE=1` 6 of its blocks (4 GB), with `J2O_LARGE=7B` all 40, which
takes 27 GB of disk.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import onnx
import onnxruntime
import pytest

from j2o_examples_dino import build, variant
from j2o_examples_dino._rope import rope_periods

LARGE = os.environ.get("J2O_LARGE")
FULL = variant("vit7b16")
CONFIG = {
    "7B": FULL,
    None: dataclasses.replace(FULL, dim=1024, depth=4, heads=8),
}.get(LARGE, dataclasses.replace(FULL, depth=6))
# Bytes of memory beyond those before the export.
LIMIT = 400_000_000 if LARGE else 60_000_000
STORE = (1 << 28) + (1 << 24) if LARGE else 1 << 24

_RUN = """if True:
    import resource, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import dataclasses, jax, j2o_core
    import test_large as test

    folder, limit = Path(sys.argv[2]), int(sys.argv[3])
    def export(config, name):
        program = j2o_core.to_onnx(jax.vmap(test.mapped(config, folder)), [("B", 3, 64, 64)], opset=23)
        return program.save(folder / name, external_data=True)

    export(dataclasses.replace(test.CONFIG, dim=128, depth=1, heads=1), "small.onnx")  # everything is loaded
    with open("/proc/self/status") as status:
        data = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (data + limit, resource.RLIM_INFINITY))
    print(export(test.CONFIG, "large.onnx")[1])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
"""


def mapped(config, folder):
    """A model whose weights lie in one mapped file, each somewhere else."""
    shapes = eqx.filter_eval_shape(lambda key: build(config, key=key), jax.random.key(0))

    def leaf(path, struct):
        if not isinstance(struct, jax.ShapeDtypeStruct):
            return struct
        name = jax.tree_util.keystr(path)
        if name.endswith("periods"):
            return jax.numpy.asarray(rope_periods(config))
        size = 4 * int(np.prod(struct.shape))
        first = zlib.crc32(name.encode()) % (STORE - size) // 4 * 4
        return np.memmap(folder / "store", np.float32, "r", first, struct.shape)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def first_block(path):
    """The model of a file with its first block alone."""
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
    norms[-1].input[0] = norms[2].input[0]  # the final norm reads what the second block reads
    needed, nodes = {value.name for value in graph.output}, []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            nodes.insert(0, node)
            needed.update(node.input)
    weights = [weight for weight in graph.initializer if weight.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
    return model


@pytest.fixture
def folder(tmp_path):
    """A folder that is removed at once: pytest would keep 27 GB for a while."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
def test_all_of_it_is_exported_in_little_memory(folder):
    random = np.random.default_rng(0)
    with open(folder / "store", "wb") as file:
        for _ in range(STORE >> 24):
            file.write((0.02 * random.standard_normal(1 << 22, np.float32)).tobytes())
    arguments = [sys.executable, "-c", _RUN, os.path.dirname(__file__), str(folder), str(LIMIT)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data, resident = done.stdout.split()[-2:]
    assert Path(data).stat().st_size > 2 * LIMIT
    print(f"resident {int(resident) >> 20} MiB, {Path(data).stat().st_size} bytes")
    assert int(resident) < 1_000_000_000
    onnx.checker.check_model(folder / "large.onnx")
    (folder / "slice.onnx").write_bytes(first_block(folder / "large.onnx").SerializeToString())
    x = random.standard_normal((1, 3, 64, 64), np.float32)
    session = onnxruntime.InferenceSession(folder / "slice.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    wanted = jax.jit(jax.vmap(jax.tree.map(jax.numpy.asarray, mapped(dataclasses.replace(CONFIG, depth=1), folder))))
    np.testing.assert_allclose(found, wanted(x), rtol=1e-4, atol=1e-5)
