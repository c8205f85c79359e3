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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import onnx_ir as ir

from .._errors import RunError, SpecError
from ..graph._kept import LEAVES
from ..trace._modules import MODULE
from ._balance import balanced
from ._delicate import delicate, row_losses
from ._model_view import model_view
from ._read_model import take_weights
from ._save import EMBED_LIMIT_BYTES, save, weight_bytes
from ._session import NEEDS_RUNTIME, Session

# Operators that are computed in 8 bits with the range of each run, and with ranges that were taken from examples.
_BY_RUN = ("Gather", "Gemm", "MatMul")
_BY_EXAMPLES = ("Conv", "Gather", "Gemm", "MatMul")
# Says that shapes are known, which they are: the quantizers would ask for it by a warning through the root logger.
_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}


def quantized(
    model: ir.Model,
    examples: Iterable[Mapping[str, Any]] | None = None,
    keep: Sequence[str] = (),
    *,
    ranges: str = "examples",
    cosine: float | None = None,
    weight_bits: int = 7,
) -> ir.Model:
    """The model with weights of products in bytes; the model itself stays as it is.

    Args:
        model: the model.
        examples: inputs by name, with which the columns of activations are balanced.
        keep: patterns of the modules and nodes that stay in floats, such as `"blocks.*.mlp.fc2"`.
        ranges: whether the ranges of activations are those of the `"examples"`, or each `"run"` takes its own. Without
            examples it does.
        cosine: the least cosine of each row of results on the examples to that in floats; further products stay in
            floats for it.
        weight_bits: how many bits of a byte weights use, 7 or 8. With 8, x86 without VNNI adds two products of bytes in
            16 bits, which saturate.

    Raises:
        SpecError: if a pattern fits no product, there are no examples, weights have other bits, or the program has
            functions.
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
    if weight_bits not in (7, 8):
        raise SpecError(f"weight_bits is {weight_bits!r}. Expected 7 (right on every CPU) or 8 (x86 with VNNI, ARM).")
    given = _given(examples, ranges, cosine)
    fixed = bool(given) and ranges == "examples"
    kinds = _BY_EXAMPLES if fixed else _BY_RUN
    kept = _kept(model, keep, kinds)
    weights = _weights(model, kinds, kept)
    floats, model = model, balanced(model, list(weights), given)
    options: dict[str, Any] = {
        "op_types_to_quantize": list(kinds),
        "per_channel": True,
        "reduce_range": weight_bits == 7,
        "use_external_data_format": weight_bytes(model) >= EMBED_LIMIT_BYTES,
        "extra_options": {"MatMulConstBOnly": True},
    }
    # The digests of weights that can be replaced are of floats.
    metadata = {key: value for key, value in model.metadata_props.items() if key != LEAVES} | _PREPARED
    with tempfile.TemporaryDirectory() as folder, _no_handler():
        source, target = os.path.join(folder, "floats.onnx"), os.path.join(folder, "bytes.onnx")
        save(model_view(model, metadata=metadata), source)

        def write(more: Collection[str]) -> ir.Model:
            excluded = {"nodes_to_exclude": [*kept, *more]}
            try:
                if not fixed:
                    quantization.quantize_dynamic(source, target, **options, **excluded)
                else:
                    # Of signed bytes ONNX Runtime makes unsigned ones where these are faster, and then refuses the
                    # model if it moved a QuantizeLinear of opset 21 before that.
                    activations = {"activation_type": quantization.QuantType.QUInt8}
                    quantization.quantize_static(source, target, _Examples(given), **options, **activations, **excluded)
            except Exception as error:
                raise RunError(f"The quantizer of ONNX Runtime fails: {type(error).__name__}: {error}") from error
            return ir.load(target)

        further: list[str] = []
        if cosine is not None:
            sizes = {str(node.name): weight.nbytes for node, weight in weights.items()}
            expected = _results(floats, given)
            further = delicate(lambda more: row_losses(expected, _results(write(more), given)), sizes, 1 - cosine)
        result = write(further)
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

    def get_next(self) -> Mapping[str, Any] | None:
        """The next one, or None at the end."""
        return next(self._examples, None)


def arguments_of(example: Any) -> Sequence[Any]:
    """The arguments of a call that an example holds.

    Raises:
        SpecError: if it is something else, such as an array.
    """
    if not isinstance(example, (tuple, list)):
        raise SpecError(
            f"examples holds a {type(example).__name__}. Expected a tuple of the arguments of a call in each place: "
            f"examples=[(x,), (y,)]."
        )
    return example


def _given(
    examples: Iterable[Mapping[str, Any]] | None, ranges: str, cosine: float | None
) -> Sequence[Mapping[str, Any]]:
    """The examples, in memory since they are read more than once."""
    given = [] if examples is None else list(examples)
    if ranges not in ("examples", "run"):
        raise SpecError(f'ranges is {ranges!r}. Expected "examples" or "run".')
    if examples is not None and not given:
        raise SpecError("There are no examples. Give some inputs that are like those to come, 100 for instance.")
    if cosine is not None and not 0 < cosine < 1:
        raise SpecError(f"cosine is {cosine!r}. Expected a number between 0 and 1, such as 0.99.")
    if cosine is not None and not given:
        raise SpecError(
            "cosine is measured on examples. Give some inputs that are like those to come (--example in a command)."
        )
    return given


def _results(model: ir.Model, examples: Sequence[Mapping[str, Any]]) -> list[np.ndarray[Any, Any]]:
    """The results of all examples, one after another."""
    session, names = Session(model), [str(value.name) for value in model.graph.inputs]
    return [result for example in examples for result in session.run([example[name] for name in names])]


def _kept(model: ir.Model, patterns: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """The names of the nodes that stay."""
    if isinstance(patterns, str):
        raise SpecError(f'keep is {patterns!r}. Expected a list of patterns, such as keep=["{patterns}"].')
    products = [node for node in model.graph if node.op_type in kinds]
    kept: list[str] = []
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


def _weights(model: ir.Model, kinds: Sequence[str], kept: Sequence[str]) -> dict[ir.Node, ir.TensorProtocol]:
    """The products that become bytes, with their weights: the table of a look-up, the second operand of others."""
    weights = {}
    for node in model.graph:
        if node.op_type in kinds and node.name not in kept:
            weight = node.inputs[0 if node.op_type == "Gather" else 1]
            if weight is not None and weight.const_value is not None and weight.dtype == ir.DataType.FLOAT:
                weights[node] = weight.const_value
    return weights


def _names(node: ir.Node) -> list[str]:
    """Names that a pattern may fit: the node, its place in its name, and its module."""
    name, module = node.name or "", node.metadata_props.get(MODULE)
    return [name, name.rpartition("/")[0], *([module] if module else [])]
