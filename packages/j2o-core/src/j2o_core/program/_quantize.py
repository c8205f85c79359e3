"""Products in 8 bits, by the quantizers of ONNX Runtime.

They are called with what our graphs need: a scale for each column of a weight, and products with weights only. A
product of two activations, as in attention, loses more than it gains, and `Attention` itself they would take for an
operator of the same name in another domain.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import onnx_ir as ir

from .._errors import RunError, SpecError
from ..graph._kept import LEAVES
from ..trace._modules import MODULE
from ._model_view import model_view
from ._read_model import take_weights
from ._save import EMBED_LIMIT_BYTES, save, weight_bytes
from ._session import NEEDS_RUNTIME

# Operators that are computed in 8 bits with the range of each run, and with ranges that were taken from examples.
_BY_RUN = ("Gather", "Gemm", "MatMul")
_BY_EXAMPLES = ("Conv", "Gather", "Gemm", "MatMul")
# Says that shapes are known, which they are: the quantizers would ask for it by a warning through the root logger.
_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}


def quantized(
    model: ir.Model, examples: Iterable[Mapping[str, Any]] | None = None, keep: Sequence[str] = ()
) -> ir.Model:
    """The model with weights of products in 8 bits; the model itself stays as it is.

    Args:
        model: the model.
        examples: inputs by name, from which the ranges of activations are taken; without them each run takes its own.
        keep: patterns of the modules and nodes that stay in floats, such as `"blocks.*.mlp.fc2"`.

    Raises:
        SpecError: if a pattern fits no product, there are no examples, or the program has functions.
        RunError: if ONNX Runtime is missing or its quantizer fails.
    """
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise RunError(NEEDS_RUNTIME.format(what="quantize")) from error
    if model.functions:
        names = ", ".join(name for _, name, _ in model.functions)
        raise SpecError(
            f"The program has functions ({names}), whose products the quantizers do not see. Quantize one that is "
            f"exported without functions=."
        )
    kinds = _BY_RUN if examples is None else _BY_EXAMPLES
    options: dict[str, Any] = {
        "op_types_to_quantize": list(kinds),
        "nodes_to_exclude": _kept(model, keep, kinds),
        "per_channel": True,
        "use_external_data_format": weight_bytes(model) >= EMBED_LIMIT_BYTES,
        "extra_options": {"MatMulConstBOnly": True},
    }
    # The digests of weights that can be replaced are of floats.
    metadata = {key: value for key, value in model.metadata_props.items() if key != LEAVES} | _PREPARED
    with tempfile.TemporaryDirectory() as folder, _no_handler():
        source, target = os.path.join(folder, "floats.onnx"), os.path.join(folder, "bytes.onnx")
        save(model_view(model, metadata=metadata), source)
        try:
            if examples is None:
                quantization.quantize_dynamic(source, target, **options)
            else:
                # Of signed bytes ONNX Runtime makes unsigned ones where these are faster, and then refuses the model if
                # it moved a QuantizeLinear of opset 21 before that.
                options["activation_type"] = quantization.QuantType.QUInt8
                quantization.quantize_static(source, target, _Examples(examples), **options)
        except SpecError:
            raise
        except Exception as error:
            raise RunError(f"The quantizer of ONNX Runtime fails: {type(error).__name__}: {error}") from error
        result = ir.load(target)
        ir.external_data.load_to_model(result)
    take_weights(result)
    for key in _PREPARED:
        result.metadata_props.pop(key, None)
    return result


@contextlib.contextmanager
def _no_handler() -> Iterator[None]:
    """The quantizers write to the root logger, which would set up a handler for good if it had none."""
    root, nothing = logging.getLogger(), logging.NullHandler()
    root.addHandler(nothing)
    try:
        yield
    finally:
        root.removeHandler(nothing)


class _Examples:
    """Examples as the quantizer asks for them."""

    def __init__(self, examples: Iterable[Mapping[str, Any]]):
        self._examples = iter(examples)
        self._count = 0

    def get_next(self) -> Mapping[str, Any] | None:
        """The next one, or None at the end."""
        example = next(self._examples, None)
        if example is None and self._count == 0:
            raise SpecError("There are no examples. Give some inputs that are like those to come, 100 for instance.")
        self._count += 1
        return example


def _kept(model: ir.Model, patterns: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """The names of the nodes that stay."""
    if isinstance(patterns, str):
        raise SpecError(f'keep is {patterns!r}. Expected a list of patterns, such as keep=["{patterns}"].')
    products = [node for node in model.graph if node.op_type in kinds]
    kept = []
    for pattern in patterns:
        found = [node.name for node in products if any(fnmatchcase(name, pattern) for name in _names(node))]
        if not found:
            modules = sorted({name for node in products if (name := _names(node)[-1])})
            raise SpecError(
                f"keep has {pattern!r}, which fits no product of the program. Its products are in the modules "
                f"{', '.join(modules[:8])}{', ...' if len(modules) > 8 else ''}."
            )
        kept += [name for name in found if name is not None]
    return kept


def _names(node: ir.Node) -> list[str]:
    """Names that a pattern may fit: the node, its place in its name, and its module."""
    name, module = node.name or "", node.metadata_props.get(MODULE)
    return [name, name.rpartition("/")[0], *([module] if module else [])]
