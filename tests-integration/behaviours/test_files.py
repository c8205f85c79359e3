"""Files that are written, and files that may be read."""

import json
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import onnx
import onnxruntime
import pytest

import j2o_core

WAYS = [{}, {"external_data": True}, {"weights": "safetensors"}]


def model(seed: int = 0) -> eqx.nn.MLP:
    return eqx.nn.MLP(4, 3, 128, 2, key=jax.random.key(seed))


def exported(seed: int = 0) -> j2o_core.OnnxProgram:
    return j2o_core.to_onnx(jax.vmap(model(seed)), [("B", 4)])


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_saving_again_gives_the_same_bytes(way: dict[str, object], tmp_path: Path) -> None:
    """Also when the program is exported anew, and in another process: nothing grows, nothing is left over."""
    exported().save(tmp_path / "m.onnx", **way)
    first = content(tmp_path)
    program = exported()
    for _ in range(2):
        program.save(tmp_path / "m.onnx", **way)
    assert content(tmp_path) == first
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = f"""
import equinox as eqx, jax, j2o_core
net = eqx.nn.MLP(4, 3, 128, 2, key=jax.random.key(0))
j2o_core.to_onnx(jax.vmap(net), [("B", 4)]).save({str(elsewhere / "m.onnx")!r}, **{way!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    other = content(elsewhere)
    assert {name: len(data) for name, data in other.items()} == {name: len(data) for name, data in first.items()}
    run = [onnxruntime.InferenceSession(str(folder / "m.onnx")) for folder in (tmp_path, elsewhere)]
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(*(session.run(None, {session.get_inputs()[0].name: x})[0] for session in run))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_killed_process_leaves_the_old_file_whole(way: dict[str, object], tmp_path: Path) -> None:
    """Killed in the middle of writing: the old model still runs, and the next save works."""
    path = tmp_path / "m.onnx"
    exported(0).save(path, **way)
    x = np.ones((2, 4), np.float32)
    wanted = exported(0)(x)
    code = f"""
import os, equinox as eqx, jax, j2o_core
from j2o_core.program import _weights_file
written = 0
real = _weights_file._Digesting.write
def write(self, data):
    global written
    real(self, data)
    written += 1
    if written == 3:
        os.kill(os.getpid(), 9)
_weights_file._Digesting.write = write
fsync = os.fsync
os.fsync = lambda fd: os.kill(os.getpid(), 9)
net = eqx.nn.MLP(4, 3, 128, 2, key=jax.random.key(1))
j2o_core.to_onnx(jax.vmap(net), [("B", 4)]).save({str(path)!r}, **{way!r})
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -9
    session = onnxruntime.InferenceSession(str(path))
    np.testing.assert_array_equal(session.run(None, {session.get_inputs()[0].name: x})[0], wanted)
    exported(1).save(path, **way)
    session = onnxruntime.InferenceSession(str(path))
    np.testing.assert_allclose(session.run(None, {session.get_inputs()[0].name: x})[0], exported(1)(x), rtol=1e-6)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_working_directory_plays_no_role(
    way: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved by a relative path from one folder, moved, and read from another."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    program = exported()
    program.save("m.onnx", **way)
    monkeypatch.chdir(tmp_path / "b")
    program.save("../a/m.onnx", **way)
    assert content(tmp_path / "b") == {}
    for path in (tmp_path / "a").iterdir():
        path.rename(tmp_path / "b" / path.name)
    monkeypatch.chdir("/")
    session = onnxruntime.InferenceSession(str(tmp_path / "b" / "m.onnx"))
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(session.run(None, {session.get_inputs()[0].name: x})[0], program(x))


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(mask: int, tmp_path: Path) -> None:
    """The process's umask decides, for the model and for its weights."""
    old = os.umask(mask)
    try:
        exported().save(tmp_path / "m.onnx", external_data=True)
    finally:
        os.umask(old)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


# Each process measures its own peak: the export's on top of what JAX needs for the weights themselves.
PEAK = """
import resource, sys, threading, time
import jax, jax.numpy as jnp, numpy as np
import j2o_core, onnxruntime

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

count, size = {count}, {size}
warm = j2o_core.to_onnx(lambda x: x @ jnp.ones((4, 4)), [("B", 4)])
warm.save({path!r} + ".warm", external_data=True)
weights = [jnp.full((size, size), i + 1.0) for i in range(count)]
jax.block_until_ready(weights)
def forward(weights, x):
    for weight in weights:
        x = x @ weight
    return x
before = resident()
peak, done = before, False
def watch():
    global peak
    while not done:
        peak = max(peak, resident())
        time.sleep(0.001)
thread = threading.Thread(target=watch)
thread.start()
program = j2o_core.to_onnx(lambda x: forward(weights, x), [("B", size)])
files = program.save({path!r})
done = True
thread.join()
total = sum(weight.nbytes for weight in weights)
print(total, peak - before, len(files))
"""


def measured(path: Path, count: int, size: int) -> list[int]:
    code = PEAK.format(path=str(path), count=count, size=size)
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return list(map(int, result.stdout.split()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") < 8e9, reason="needs 8 GB of memory")
def test_above_2_gb_it_simply_works(tmp_path: Path) -> None:
    """2.4 GB of weights: two files, less than 5% more memory, and ONNX Runtime reads them."""
    path = tmp_path / "m.onnx"
    total, above, files = measured(path, 6, 10_000)
    assert total == 2_400_000_000
    assert files == 2
    assert above < 0.05 * total, f"{above / total:.1%} of the weights"
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 1.01 * total
    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path))
    x = np.zeros((1, 10_000), np.float32)
    x[0, 0] = 1e-16
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(y, np.full((1, 10_000), 1e-16 * 720 * 1e20), rtol=1e-4)


LAZY = """
import json, os, threading, time
import jax, numpy as np
import j2o_core

def own():
    with open("/proc/self/status") as file:  # without the pages of mapped files, which the system may drop
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

def lazily(path):
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    data = np.memmap(path, np.uint8, "r", 8 + length)
    places = {{name: entry["data_offsets"] for name, entry in header.items()}}
    return {{n: data[a:b].view(np.float32).reshape(header[n]["shape"]) for n, (a, b) in places.items()}}

warm = j2o_core.to_onnx(lambda x: x @ np.ones((4, 4), np.float32), [("B", 4)])
warm.save({path!r} + ".warm", **{way!r})
before = own()
peak, done = before, False
def watch():
    global peak
    while not done:
        peak = max(peak, own())
        time.sleep(0.001)
thread = threading.Thread(target=watch)
thread.start()
weights = lazily({source!r})
def forward(x):
    for name in sorted(weights):
        x = weights[name] @ x if name.endswith("turned") else x @ weights[name]
    return x
program = j2o_core.to_onnx(jax.vmap(forward), [("B", 4096)])
program.save({path!r}, **{way!r})
done = True
thread.join()
names = set(program.model.graph.initializers)
assert len(names) == len(weights), names
print(sum(weight.nbytes for weight in weights.values()), peak - before)
"""


@pytest.fixture(scope="module")
def large_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A safetensors file of 537 MB, eight square matrices, each twice a rotation of the rows."""
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    size, count = 4096, 8
    names = [f"layers.{i}.{'turned' if i % 2 else 'straight'}" for i in range(count)]
    nbytes = 4 * size**2
    header = {
        name: {"dtype": "F32", "shape": [size, size], "data_offsets": [i * nbytes, (i + 1) * nbytes]}
        for i, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shift in range(count):
            file.write(2 * np.roll(np.eye(size, dtype=np.float32), shift, 1))
    yield path
    path.unlink()  # pytest keeps the folders of the last runs


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_weights_that_are_read_lazily_stay_on_the_disk(
    way: dict[str, object], large_weights: Path, tmp_path: Path
) -> None:
    """Mapped from a safetensors file, used straight and transposed: less than 256 MB, whatever the weights take."""
    path = tmp_path / "m.onnx"
    code = LAZY.format(path=str(path), source=str(large_weights), way=way)
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    total, above = map(int, result.stdout.split())
    assert total > 5e8
    assert above < 256e6, f"{above / 1e6:.0f} MB"
    session = onnxruntime.InferenceSession(str(path))
    x = np.arange(4096, dtype=np.float32)[None]
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    turned = [(-shift if shift % 2 else shift) for shift in range(8)]
    np.testing.assert_array_equal(y, 2**8 * np.roll(x, sum(turned), 1))
    for file in tmp_path.iterdir():
        file.unlink()


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "a/../../secret"])
def test_a_path_in_a_model_cannot_lead_outside_its_folder(location: str, tmp_path: Path) -> None:
    """A model that asks for weights elsewhere is refused, and the file is not read."""
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(64 * 4))
    weight = onnx.TensorProto(name="w", data_type=1, dims=[64], data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    node = onnx.NodeProto(op_type="Identity", input=["w"], output=["y"])
    kind = onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor(elem_type=1))
    kind.tensor_type.shape.dim.add(dim_value=64)
    graph = onnx.GraphProto(
        name="g", node=[node], initializer=[weight], output=[onnx.ValueInfoProto(name="y", type=kind)]
    )
    proto = onnx.ModelProto(ir_version=10, graph=graph, opset_import=[onnx.OperatorSetIdProto(version=21)])
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    result = subprocess.run(
        [sys.executable, "-m", "j2o_core.cli", "check", str(path)],
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert location in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    """Nor is a file of weights that would run code when it is unpickled."""
    from j2o_examples_dino import DinoError, load

    done = tmp_path / "done"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(done),)

    plain = tmp_path / "weights.pth"
    plain.write_bytes(pickle.dumps({"weight": Trap()}))
    archive = tmp_path / "archive.pth"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"weight": Trap()}))
        file.writestr("archive/version", "3")
    for path in (plain, archive):
        with pytest.raises(DinoError):
            load(path)
    assert not done.exists()


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="resident memory is read from /proc")
def test_mapped_weights_do_not_stay_in_memory(tmp_path):
    code = """if True:
        import sys
        import numpy as np, jax
        import j2o_core

        def resident(key):
            return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) << 10

        count, shape = 24, (1024, 4096)
        with open(sys.argv[1] + ".weights", "wb") as file:
            file.truncate(count * 4 * shape[0] * shape[1])
        weights = np.memmap(sys.argv[1] + ".weights", np.float32, "r", shape=(count, *shape))

        def program(x):
            for index in range(count):
                x = jax.numpy.tanh(x @ weights[index] @ weights[index].T)
            return x

        exported = j2o_core.to_onnx(program, [(1, shape[0])])
        before = resident("VmRSS")
        exported.save(sys.argv[1], external_data=True)
        print((resident("VmHWM") - before) >> 20)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.onnx")], capture_output=True, text=True, check=True
    )
    # 402 MB of weights; one takes 17 MB.
    assert int(done.stdout) < 100
