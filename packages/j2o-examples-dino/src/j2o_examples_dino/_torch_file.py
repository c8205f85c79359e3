"""Reading a `.pth` state dict without PyTorch, and without ever running what the file says.

Such a file is a zip archive: a pickle that describes the tensors, and the raw bytes of each storage. The unpickler here
knows a handful of names, all of them stand-ins that can do nothing but note down sizes; any other name is an error.
"""

import contextlib
import io
import math
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from ._damage import checkpoint_error, in_bytes, read_as, reading

_STORAGE_DTYPES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}


# The largest published one takes 0.1 MB.
_DESCRIPTION_BYTES = 1 << 25

_CHUNK_BYTES = 1 << 24

_DIRECTORY = "the directory of the archive, at its end"

_OPCODES = frozenset(
    """PROTO FRAME STOP MARK POP POP_MARK DUP GLOBAL STACK_GLOBAL REDUCE BUILD BINPERSID
    MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    BINUNICODE SHORT_BINUNICODE BINSTRING SHORT_BINSTRING SHORT_BINBYTES EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS""".split()  # noqa: SIM905 - forty lines otherwise
)


# A description of a tensor holds those of its storage, shape and strides: some dozen objects.
_LARGEST_TUPLE = 512
_TUPLES = frozenset({"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "REDUCE", "BINPERSID"})


class _Storage(NamedTuple):
    dtype: np.dtype[Any]
    key: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _stand_ins() -> dict[tuple[str, str], object]:
    """The objects of the few permitted names. Made anew for each file, so that no file can change them for the next."""

    class StateDict(dict[Any, Any]):
        """Stands in for the ordered dictionary of a state dict; its attributes are dropped with it."""

    def rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
        return _Tensor(storage, offset, tuple(size), tuple(stride))

    def rebuild_parameter(tensor: Any, *_: Any) -> Any:
        return tensor

    names: dict[tuple[str, str], object] = {
        ("collections", "OrderedDict"): StateDict,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    }
    # A storage type is only ever part of a description; a string cannot be called.
    names.update({("torch", name): name for name in _STORAGE_DTYPES})
    return names


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes]):
        super().__init__(file)
        self._names = _stand_ins()

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._names[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it refers to {module}.{name}, which no plain state dict does; it was not run"
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, type_name, key, _, length = pid
        known = kind == "storage" and isinstance(type_name, str) and isinstance(key, str)
        if not known or not isinstance(length, int) or length < 0:
            raise pickle.UnpicklingError("it has a storage that is not described as torch.save does")
        return _Storage(_STORAGE_DTYPES[type_name], key, length)


def _check_opcodes(description: bytes) -> None:
    """Refuse what no state dict needs, before anything of it is run: some codes allocate what they announce."""
    if len(description) > _DESCRIPTION_BYTES:
        raise pickle.UnpicklingError(f"its description takes more than {_DESCRIPTION_BYTES} bytes")
    for codes, (code, argument, _) in enumerate(pickletools.genops(description), 1):
        if code.name not in _OPCODES:
            raise pickle.UnpicklingError(f"its description has {code.name}, which no state dict needs; it was not run")
        if code.name in ("BINPUT", "LONG_BINPUT") and int(argument or 0) > codes:
            raise pickle.UnpicklingError(f"its description numbers {codes} parts up to {argument}")


def _check_tuples(description: bytes) -> None:
    """Refuse large tuples, before any is made. Each may hold the one before twice, and to hash the last takes for ever.

    The stack and the memo of the unpickler, with the number of objects inside each object in its place.
    """
    stack: list[int | None] = []  # None is a mark
    memo: dict[int, int | None] = {}
    for code, argument, _ in pickletools.genops(description):
        if code.name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else int(argument)] = stack[-1]
        elif code.name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif code.name == "MARK":
            stack.append(None)
        else:
            inside, left = 1, len(code.stack_before)
            if pickletools.markobject in code.stack_before:
                while (size := stack.pop()) is not None:
                    inside += size
                left -= 2
            for _ in range(left):
                inside += stack.pop() or 0
            if code.name in _TUPLES and inside > _LARGEST_TUPLE:
                raise pickle.UnpicklingError(f"its description has a tuple of {inside} objects; it was not run")
            stack += [inside] * len(code.stack_after)


def _describe(archive: zipfile.ZipFile, prefix: str) -> dict[str, _Tensor]:
    with archive.open(f"{prefix}data.pkl") as file:
        description = file.read(_DESCRIPTION_BYTES + 1)
    _check_opcodes(description)
    _check_tuples(description)
    content = _Unpickler(io.BytesIO(description)).load()
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, _Tensor) for name, value in content.items()
    ):
        raise pickle.UnpicklingError(
            "it is not a plain state dict of tensors by name; save `model.state_dict()` on its own"
        )
    return dict(content)


def _storage_reader(path: Path, archive: zipfile.ZipFile, prefix: str) -> Callable[[_Storage], np.ndarray]:
    """A function that maps a storage's bytes into memory, without reading them yet."""
    cache: dict[str, np.ndarray] = {}

    def read(storage: _Storage) -> np.ndarray:
        if storage.key not in cache:
            info = archive.getinfo(f"{prefix}data/{storage.key}")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise pickle.UnpicklingError(f"storage {storage.key} is compressed, which torch.save never does")
            with path.open("rb") as file:
                file.seek(info.header_offset + 26)  # lengths of the name and of the extra field, before the data
                name_length, extra_length = struct.unpack("<HH", file.read(4))
            start = info.header_offset + 30 + name_length + extra_length
            cache[storage.key] = (
                np.memmap(path, np.uint8, "r", offset=start, shape=(info.file_size,))
                if info.file_size
                else np.empty(0, np.uint8)
            )
            _check_sum(path, start, info)
        raw = cache[storage.key]
        if raw.size != storage.length * storage.dtype.itemsize:
            raise pickle.UnpicklingError(
                f"storage {storage.key} has {raw.size} bytes, but {storage.length} x {storage.dtype} are announced"
            )
        return raw.view(storage.dtype)

    return read


def _check_sum(path: Path, start: int, info: zipfile.ZipInfo) -> None:
    """Compare with the checksum in the archive. Read in pieces: a mapping would fill the memory with the whole file."""
    found, left = 0, info.file_size
    with path.open("rb") as file:
        file.seek(start)
        while left and (piece := file.read(min(_CHUNK_BYTES, left))):
            found, left = zlib.crc32(piece, found), left - len(piece)
    if found != info.CRC:
        raise zipfile.BadZipFile(f"storage {info.filename} has the checksum {found:08x} instead of {info.CRC:08x}")


def _tensor(tensor: _Tensor, flat: np.ndarray) -> np.ndarray:
    """A view of the storage; checked first, because strides are not checked by what makes the view."""
    numbers = (tensor.offset, *tensor.shape, *tensor.strides)
    sound = all(isinstance(number, int) and number >= 0 for number in numbers) and len(tensor.shape) == len(
        tensor.strides
    )
    if not sound:
        raise pickle.UnpicklingError("its offset, shape and strides are not numbers, or not as many")
    if math.prod(tensor.shape) == 0:
        return np.empty(tensor.shape, flat.dtype)
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if last >= flat.size or math.prod(tensor.shape) > flat.size:
        raise pickle.UnpicklingError(
            f"a tensor of shape {tensor.shape}, strides {tensor.strides}, offset {tensor.offset} does not lie inside "
            f"its storage of {flat.size} elements"
        )
    strides = tuple(stride * flat.itemsize for stride in tensor.strides)
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict that `torch.save` wrote.

    Args:
        path: A `.pth` or `.pt` file in the zip format of PyTorch 1.6 and later.

    Returns:
        Read-only arrays by name. They are backed by the file, and read from it when they are used.

    Raises:
        CheckpointError: If the file is damaged, in the older format, or anything but a plain state dict.
    """
    with read_as(path, "a PyTorch state dict"):
        archived = zipfile.is_zipfile(path)
    if not archived:
        raise checkpoint_error(
            f"{path} is not a zip archive: it lacks {_DIRECTORY}. So it is either damaged or from before PyTorch 1.6.",
            path,
            _DIRECTORY,
            "Copy or download it again; one from before 1.6 is loaded with torch.load(path, weights_only=True) and "
            "saved again.",
        )
    with read_as(path, "a PyTorch state dict"), contextlib.ExitStack() as stack:
        with reading(_DIRECTORY):
            archive = stack.enter_context(zipfile.ZipFile(path))
            pickles = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            if len(pickles) != 1:
                raise pickle.UnpicklingError(f"it lists {len(pickles)} files data.pkl instead of one")
        prefix = pickles[0].removesuffix("data.pkl")
        if f"{prefix}byteorder" in archive.namelist():
            with reading(_entry(archive, f"{prefix}byteorder")), archive.open(f"{prefix}byteorder") as file:
                if file.read(16) != b"little":
                    raise pickle.UnpicklingError("it was written on a big-endian machine")
        read_storage = _storage_reader(path, archive, prefix)
        with reading(_entry(archive, f"{prefix}data.pkl")):
            described = _describe(archive, prefix)
        tensors = {}
        for name, tensor in described.items():
            with reading(f"tensor {name!r}"):
                storage = f"{prefix}data/{tensor.storage.key}"
                with reading(f"tensor {name!r} in {_entry(archive, storage)}"):
                    tensors[name] = _tensor(tensor, read_storage(tensor.storage))
        return tensors


def _entry(archive: zipfile.ZipFile, name: str) -> str:
    """An entry with its bytes in the file; the description of the entry is among them."""
    info = archive.getinfo(name)
    return in_bytes(f"the entry {name!r}", info.header_offset, info.header_offset + info.compress_size)
