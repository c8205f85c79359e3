"""Files as torch.save writes them, without PyTorch."""

import collections
import io
import pickle
import sys
import types
import zipfile
from pathlib import Path
from unittest import mock

import ml_dtypes
import numpy as np

_STORAGES = {np.dtype(np.float32): "FloatStorage", np.dtype(ml_dtypes.bfloat16): "BFloat16Storage"}


class _Storage:
    def __init__(self, type_, key, length):
        self.description = ("storage", type_, key, "cpu", length)


class _Tensor:
    def __init__(self, rebuild, *arguments):
        self.reduced = (rebuild, arguments)

    def __reduce__(self):
        return self.reduced


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.description if isinstance(obj, _Storage) else None


def _torch() -> dict[str, types.ModuleType]:
    """As much of PyTorch's names as its pickles refer to."""
    module, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in _STORAGES.values():
        setattr(module, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_):
        raise AssertionError("only its name is wanted")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    module._utils = utils
    return {"torch": module, "torch._utils": utils}


def write_torch_file(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write a state dict as torch.save does: protocol 2, one entry a storage, under the folder "archive"."""
    modules = _torch()
    torch, utils = modules["torch"], modules["torch._utils"]
    content = collections.OrderedDict()
    for key, (name, array) in enumerate(tensors.items()):
        storage = _Storage(getattr(torch, _STORAGES[array.dtype]), str(key), array.size)
        strides = tuple(stride // array.itemsize for stride in np.ascontiguousarray(array).strides)
        hooks = collections.OrderedDict()
        content[name] = _Tensor(utils._rebuild_tensor_v2, storage, 0, array.shape, strides, False, hooks)
    buffer = io.BytesIO()
    with mock.patch.dict(sys.modules, modules):
        _Pickler(buffer, protocol=2).dump(content)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        archive.writestr("archive/byteorder", b"little")
        for key, array in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{key}", np.ascontiguousarray(array).tobytes())
