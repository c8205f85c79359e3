import collections
import io
import pickle
import sys
import types
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from j2o_examples_dino import CheckpointError
from j2o_examples_dino._torch_file import read_torch_file


@pytest.fixture
def torch(monkeypatch):
    """As much of PyTorch's names as its pickles refer to."""
    module, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "BFloat16Storage", "LongStorage", "BoolStorage", "DoubleStorage", "HalfStorage"):
        setattr(module, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_):
        raise AssertionError("only its name is wanted")

    def _rebuild_parameter(*_):
        raise AssertionError("only its name is wanted")

    for function in (_rebuild_tensor_v2, _rebuild_parameter):
        function.__module__, function.__qualname__ = "torch._utils", function.__name__
        setattr(utils, function.__name__, function)
    module._utils = utils
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return module


class Storage:
    def __init__(self, type_, key, length):
        self.description = ("storage", type_, key, "cpu", length)


class Reduced:
    """Pickles as a call of `function` on `arguments`."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.description if isinstance(obj, Storage) else None


def write(path, content, storages, *, compression=zipfile.ZIP_STORED, byteorder=b"little", pickles=("data.pkl",)):
    """Write a file as torch.save does: protocol 2, one entry a storage, under the folder "archive"."""
    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(content)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in pickles:
            archive.writestr(f"archive/{name}", buffer.getvalue())
        archive.writestr("archive/byteorder", byteorder)
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
    return path


def tensor(torch, type_name, key, length, offset, shape, strides):
    storage = Storage(getattr(torch, type_name), key, length)
    return Reduced(torch._utils._rebuild_tensor_v2, storage, offset, shape, strides, False, collections.OrderedDict())


def test_tensors_of_each_kind(torch, tmp_path):
    flat = np.arange(24, dtype=np.float32)
    half = np.arange(6).astype(ml_dtypes.bfloat16)
    state = collections.OrderedDict(
        weight=tensor(torch, "FloatStorage", "0", 24, 0, (2, 3, 4), (12, 4, 1)),
        slice=tensor(torch, "FloatStorage", "0", 24, 12, (3, 4), (4, 1)),
        transposed=tensor(torch, "FloatStorage", "0", 24, 0, (4, 6), (1, 4)),
        scalar=tensor(torch, "FloatStorage", "0", 24, 5, (), ()),
        empty=tensor(torch, "FloatStorage", "1", 0, 0, (0, 3), (3, 1)),
        half=tensor(torch, "BFloat16Storage", "2", 6, 0, (2, 3), (3, 1)),
        parameter=Reduced(
            torch._utils._rebuild_parameter,
            tensor(torch, "LongStorage", "3", 2, 0, (2,), (1,)),
            True,
            collections.OrderedDict(),
        ),
    )
    state._metadata = {"": {"version": 1}}
    path = write(tmp_path / "x.pth", state, {"0": flat, "1": flat[:0], "2": half, "3": np.array([7, -8])})
    read = read_torch_file(path)
    expected = {
        "weight": flat.reshape(2, 3, 4),
        "slice": flat[12:].reshape(3, 4),
        "transposed": flat.reshape(6, 4).T,
        "scalar": flat[5],
        "empty": np.empty((0, 3), np.float32),
        "half": half.reshape(2, 3),
        "parameter": np.array([7, -8]),
    }
    assert read.keys() == expected.keys()
    for name, array in expected.items():
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array)


def test_file_that_pytorch_wrote():
    # Made with PyTorch 2.15: torch.save of a module's state_dict() with a float32, a bfloat16 and an int64 tensor.
    read = read_torch_file(Path(__file__).parent / "data" / "pytorch.pth")
    assert read.keys() == {"linear.weight", "linear.bias", "coarse", "steps"}
    np.testing.assert_array_equal(read["linear.weight"], np.arange(6, dtype=np.float32).reshape(2, 3) / 4)
    np.testing.assert_array_equal(read["linear.bias"], np.array([-1, 1], np.float32))
    np.testing.assert_array_equal(read["coarse"], np.array([0.5, -2], ml_dtypes.bfloat16))
    np.testing.assert_array_equal(read["steps"], 41)


def test_no_code_in_the_file_is_ever_run(tmp_path):
    target = tmp_path / "touched"
    for content in (
        Reduced(Path.touch, target),
        {"weight": Reduced(exec, f"open({str(target)!r}, 'w')")},
        collections.OrderedDict(weight=Reduced(getattr, "x", "upper")),
    ):
        path = write(tmp_path / "x.pth", content, {})
        with pytest.raises(CheckpointError, match="it was not run"):
            read_torch_file(path)
    assert not target.exists()


def test_one_file_cannot_change_what_names_mean_in_the_next(torch, tmp_path):
    # The pickle instruction BUILD sets attributes of whatever lies on the stack: here of a permitted function.
    evil = b"ctorch._utils\n_rebuild_tensor_v2\n(N}X\x0c\x00\x00\x00__defaults__K\x01stb."
    with zipfile.ZipFile(tmp_path / "evil.pth", "w") as archive:
        archive.writestr("archive/data.pkl", evil)
    with pytest.raises(CheckpointError):
        read_torch_file(tmp_path / "evil.pth")
    state = {"x": tensor(torch, "FloatStorage", "0", 3, 0, (3,), (1,))}
    path = write(tmp_path / "x.pth", state, {"0": np.ones(3, np.float32)})
    np.testing.assert_array_equal(read_torch_file(path)["x"], 1)


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "length"),
    [
        ((4,), (1,), 0, 3),
        ((3,), (1,), 1, 3),
        ((2, 2), (2, 1), 0, 3),
        ((3,), (-1,), 2, 3),
        ((3,), (1,), -1, 3),
        ((-3,), (1,), 0, 3),
        ((3,), (1, 1), 0, 3),
        ((3,), (), 0, 3),
        ((1000, 1000, 1000), (0, 0, 0), 0, 3),
        ((2, 2), (1, 1), 0, 3),
        ((3,), (1.0,), 0, 3),
        ((3,), (1,), 0, 4),
        ((3,), (1,), 0, -3),
    ],
)
def test_tensors_outside_their_storage_are_refused(torch, tmp_path, shape, strides, offset, length):
    state = {"x": tensor(torch, "FloatStorage", "0", length, offset, shape, strides)}
    path = write(tmp_path / "x.pth", state, {"0": np.ones(3, np.float32)})
    with pytest.raises(CheckpointError, match=r"x\.pth cannot be read as a PyTorch state dict"):
        read_torch_file(path)


def test_storage_that_is_not_there(torch, tmp_path):
    state = {"x": tensor(torch, "FloatStorage", "../x", 3, 0, (3,), (1,))}
    with pytest.raises(CheckpointError, match=r"archive/data/\.\./x"):
        read_torch_file(write(tmp_path / "x.pth", state, {}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"byteorder": b"big"}, "big-endian"),
        ({"compression": zipfile.ZIP_DEFLATED}, "compressed"),
        ({"pickles": ()}, r"0 files data\.pkl"),
        ({"pickles": ("data.pkl", "other/data.pkl")}, r"2 files data\.pkl"),
    ],
)
def test_containers_that_torch_save_does_not_write(torch, tmp_path, options, message):
    state = {"x": tensor(torch, "FloatStorage", "0", 300, 0, (300,), (1,))}
    path = write(tmp_path / "x.pth", state, {"0": np.ones(300, np.float32)}, **options)
    with pytest.raises(CheckpointError, match=message):
        read_torch_file(path)


@pytest.mark.parametrize("content", [[1, 2], {"model": {"x": 1}}, {"epoch": 3}, {3: 4}, "text"])
def test_other_contents_are_refused(tmp_path, content):
    with pytest.raises(CheckpointError, match="not a plain state dict"):
        read_torch_file(write(tmp_path / "x.pth", content, {}))


def test_older_format(tmp_path):
    path = tmp_path / "old.pth"
    path.write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(CheckpointError, match=r"before PyTorch 1\.6"):
        read_torch_file(path)


def test_damage_is_reported_never_anything_else(torch, tmp_path):
    state = {"x": tensor(torch, "FloatStorage", "0", 3, 0, (3,), (1,))}
    path = write(tmp_path / "x.pth", state, {"0": np.ones(3, np.float32)})
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            read = read_torch_file(path)
        except CheckpointError:
            refused += 1
        else:
            assert all(isinstance(array, np.ndarray) for array in read.values())
    assert refused > len(whole) / 9
    for end in range(0, len(whole), 25):
        path.write_bytes(whole[:end])
        with pytest.raises(CheckpointError):
            read_torch_file(path)
