"""ONNX Runtime on a model in memory, with JAX's dtypes in and out."""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from .._compat import is_key_dtype
from .._errors import RunError
from ..graph._kept import check_values
from ..graph._walk import model_graphs
from ..trace._source import source_of
from ._model_file import write_model
from ._save import EMBED_LIMIT_BYTES, save, weight_bytes

NEEDS_RUNTIME = 'ONNX Runtime is not installed. Install it with pip install "j2o-core[onnxruntime]" to {what} programs.'
_EMPTY = """
The argument {names} has no elements. Where a symbolic size may be 0, say so: constraints=["N >= 0"].
With that, too, an index into an axis without elements fails."""

_UNREGISTERED = """
The operator is of a domain that this runtime does not have by itself. Run the saved file where its kernels are
(onnxruntime.SessionOptions.register_custom_ops_library), or leave out the plugin that writes it: plugins=[...]."""


class Session:
    """Runs a model on NumPy or JAX arrays, in the order of its inputs.

    Complex arrays travel as a trailing real/imag pair, typed keys as their data.

    Args:
        model: the model.
        threads: how many threads a kernel may use, 0 for the runtime's choice.
        profile: how the file begins into which the runtime writes the times of kernels, None for no such file.

    Raises:
        RunError: if ONNX Runtime is missing, refuses the model, or fails on the inputs.
    """

    def __init__(self, model: ir.Model, *, threads: int = 0, profile: str | None = None):
        try:
            import onnxruntime
        except ImportError as error:
            raise RunError(NEEDS_RUNTIME.format(what="run or verify")) from error
        check_values(model, "The program cannot run", RunError)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, profile
        self._runtime = onnxruntime
        self._model = model
        self._outputs = [_numpy_output(value) for value in model.graph.outputs]
        try:
            if weight_bytes(model) < EMBED_LIMIT_BYTES:
                content = io.BytesIO()
                write_model(content, model, digests=False)
                self.session = onnxruntime.InferenceSession(
                    content.getvalue(), options, providers=["CPUExecutionProvider"]
                )
            else:
                with tempfile.TemporaryDirectory() as folder:
                    path = os.path.join(folder, "model.onnx")
                    save(model, path)
                    self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            if isinstance(error, RunError):
                raise
            advice = _UNREGISTERED if "is not a registered function/op" in str(error) else ""
            raise RunError(f"ONNX Runtime {onnxruntime.__version__} refuses the model: {error}{advice}") from error
        self._names = [value.name for value in self.session.get_inputs()]
        self._shapes = [list(value.shape or ()) for value in model.graph.inputs]

    def run(self, arrays: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
        """Results for arrays in the order of the inputs."""
        feed = {name: self._feed(array) for name, array in zip(self._names, arrays, strict=True)}
        self._check_sizes(feed)
        names = [value.name for value in self.session.get_outputs()]
        try:
            results = self.session.run_with_ort_values(names, feed)
        except Exception as error:
            empty = [name for name, value in feed.items() if 0 in value.shape()]
            advice = _EMPTY.format(names=", ".join(empty)) if empty else ""
            raise RunError(f"ONNX Runtime failed{self._line(str(error))}: {error}{advice}") from error
        return [_to_numpy(result, dtype) for result, dtype in zip(results, self._outputs, strict=True)]

    def _check_sizes(self, feed: dict[str, Any]) -> None:
        """Refuse sizes that differ where the model has one name for them: the runtime would broadcast some of them."""
        known: dict[str, tuple[int, str]] = {}
        for (name, value), shape in zip(feed.items(), self._shapes, strict=True):
            for dimension, size in zip(shape, value.shape(), strict=False):
                if not isinstance(dimension, ir.SymbolicDim) or dimension.value is None:
                    continue
                first, where = known.setdefault(dimension.value, (size, name))
                if size != first:
                    raise RunError(
                        f"The input {name!r} has size {size} where the model has {dimension.value}, which is {first} "
                        f"in {where!r}."
                    )

    def _line(self, message: str) -> str:
        """The line of the user's code that the node comes from at which the runtime failed, if it names one of ours."""
        name = re.search(r"Name:'([^']+)'", message)
        for graph in model_graphs(self._model) if name is not None else ():
            for node in graph:
                if name is not None and node.name == name[1] and (line := source_of(node)):
                    return f" in {node.op_type} of {line}"
        return ""

    def _feed(self, array: Any) -> Any:
        array = as_fed(array)
        make = self._runtime.OrtValue
        if not is_extension(array.dtype):
            return make.ortvalue_from_numpy(np.asarray(array, order="C"))
        element = ir.DataType.from_numpy(array.dtype)
        carrier = np.uint16 if array.dtype.itemsize == 2 else np.uint8
        data = np.asarray(array, order="C").view(carrier)
        if element.bitwidth < 8:
            # The runtime takes the shape from the array and the elements from its first bytes, several to a byte.
            packed = _pack(data, element.bitwidth)
            data = np.zeros(data.shape, np.uint8)
            data.reshape(-1)[: packed.size] = packed
        return make.ortvalue_from_numpy_with_onnx_type(data, int(element))


def as_fed(array: Any) -> np.ndarray[Any, Any]:
    """An array as the graph takes it: complex numbers as a trailing real/imag pair, keys as their data."""
    import jax

    if isinstance(array, jax.Array) and is_key_dtype(array.dtype):
        array = jax.random.key_data(array)
    plain: np.ndarray[Any, Any] = np.asarray(array)
    if plain.dtype.kind == "c":
        plain = np.stack([plain.real, plain.imag], -1)
    return plain


def is_extension(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is of ml_dtypes, such as bfloat16. NumPy's own have 1 here, and 0 where a pickle holds them."""
    return dtype.isbuiltin == 2


def _numpy_output(value: ir.Value) -> np.dtype[Any]:
    assert value.dtype is not None
    return value.dtype.numpy()


def _to_numpy(result: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if not is_extension(dtype):
        plain: np.ndarray[Any, Any] = result.numpy()
        return plain
    # ONNX Runtime gives narrow floats to NumPy only as raw bytes.
    import ctypes

    shape = result.shape()
    count = int(np.prod(shape))
    if count == 0:
        return np.empty(shape, dtype)
    bits = ir.DataType.from_numpy(dtype).bitwidth
    raw = bytes((ctypes.c_char * -(-count * bits // 8)).from_address(result.data_ptr()))
    if bits < 8:
        elements = _unpack(np.frombuffer(raw, np.uint8), bits, count)
        return elements.astype(np.int8).view(dtype).reshape(shape)
    return np.frombuffer(raw, dtype).reshape(shape)


def _pack(elements: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    """Elements of a few bits, one in each byte, as several to a byte, the first one lowest."""
    count = 8 // bits
    flat = elements.reshape(-1) & ((1 << bits) - 1)
    places = np.pad(flat, (0, -flat.size % count)).reshape(-1, count)
    packed: np.ndarray[Any, Any] = (places << np.arange(0, 8, bits, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
    return packed


def _unpack(packed: np.ndarray[Any, Any], bits: int, count: int) -> np.ndarray[Any, Any]:
    """The reverse of `_pack`, each element as the lowest bits of a byte."""
    places = packed[:, None] >> np.arange(0, 8, bits, dtype=np.uint8)
    return (places & ((1 << bits) - 1)).reshape(-1)[:count]
