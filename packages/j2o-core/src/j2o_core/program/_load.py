"""Load: a program from its file, with the trees, state and symbolic sizes that the file describes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import jax
import numpy as np
import onnx_ir as ir

from .. import _compat
from .._errors import SpecError, VerifyError
from ..graph._sizes import dimension_text
from ..plugin._discover import discover
from ..trace._inputs import InputLeaf, Inputs
from ..trace._specs import parse_inputs
from ..trace._trace import Traced, trace
from ..trace._trees import SIGNATURE, Array, Record, Signature, TreeError, build, fields_of, name_of_node, read
from ._read_model import read_model, take_weights
from ._record import Exported

_NOT_OURS = """{path} is no program that j2o can load. {problem}
onnxruntime.InferenceSession runs any ONNX file."""
_NO_FUNCTION = """The program was read from a file, which has no function to compare with.
Give it: OnnxProgram.load(path, fn)."""


@dataclass(frozen=True)
class FileInputs(Inputs):
    """The arguments that a file describes; values of classes that it only names are taken by their children."""

    described: Signature = field(kw_only=True, repr=False)

    def rebuild(self, arrays: Iterable[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional arguments and keywords with arrays in place of the leaves."""
        rest = iter(arrays)
        built = {name: build(tree, lambda _: next(rest)) for name, tree in self.described.arguments.items()}
        return tuple(built.pop(name) for name in self.described.positional), built

    def flatten(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> list[Any]:
        """The array leaves of a call.

        Raises:
            SpecError: if an argument is missing, too many, or of another structure.
        """
        try:
            return self.described.flatten(args, kwargs or {})
        except TreeError as error:
            raise SpecError(str(error)) from error


def load(path: str | os.PathLike[str], fn: Callable[..., Any] | None = None, inputs: Any = None) -> Exported:
    """The program in a file; see `OnnxProgram.load`."""
    model = read_model(path)
    try:
        signature = read(model.metadata_props.get(SIGNATURE))
        _check_names(signature, model)
    except TreeError as error:
        raise SpecError(_NOT_OURS.format(path=os.fspath(path), problem=error)) from error
    take_weights(model)
    known = _inputs(signature)
    if fn is not None:
        parsed = known if inputs is None else _given(fn, inputs, signature, known)
        traced = _traced(trace(fn, parsed), signature)
    else:
        if inputs is not None:
            raise SpecError("inputs are specs of the arguments of fn: OnnxProgram.load(path, fn, inputs).")
        fn, traced = _NoFunction(signature.function), _described(known, signature)
    return Exported(model, fn, traced, None, discover([]))


def _check_names(signature: Signature, model: ir.Model) -> None:
    for what, described, values in (
        ("inputs", signature.inputs, model.graph.inputs),
        ("outputs", signature.outputs, model.graph.outputs),
    ):
        names = [value.name for value in values]
        if [array.name for array in described] != names:
            raise TreeError(f"Its graph has the {what} {names}, its signature others: it was changed after the export.")


def _inputs(signature: Signature) -> FileInputs:
    arrays = signature.inputs
    dtypes = list(map(_dtype, arrays))
    shapes = {
        array.name: array.shape[: len(array.shape) - _axes_of_elements(array, dtype)]
        for array, dtype in zip(arrays, dtypes, strict=True)
    }
    parsed = parse_inputs(_takes_all, shapes, constraints=signature.constraints)
    by_name = {leaf.name: leaf for leaf in parsed.leaves}
    leaves = [
        InputLeaf(array.name, by_name[array.name].shape, dtype, array.weak, (array.name,))
        for array, dtype in zip(arrays, dtypes, strict=True)
    ]
    keywords = tuple(name for name in signature.arguments if name not in signature.positional)
    return FileInputs(tuple(leaves), None, {}, (), signature.positional, keywords, described=signature)


def _takes_all(**_: Any) -> None:
    pass


def _dtype(array: Array) -> Any:
    """The dtype that an input has for JAX, whether its 64-bit types are on or not."""
    try:
        if array.of.startswith("key<"):
            return jax.random.key(0, impl=array.of[4:-1]).dtype
        return np.dtype(array.of or array.dtype)
    except (TypeError, ValueError) as error:
        raise SpecError(f"The input {array.name!r} is of the unknown dtype {array.of or array.dtype}.") from error


def _axes_of_elements(array: Array, dtype: Any) -> int:
    """How many axes of the graph's array belong to one element."""
    if not array.of:
        return 0
    return len(_compat.key_shape(dtype)) if _compat.is_key_dtype(dtype) else 1


def _given(fn: Callable[..., Any], inputs: Any, signature: Signature, known: FileInputs) -> Inputs:
    """The specs of a user, who has the classes of the arguments."""
    names = [array.name for array in signature.inputs]
    parsed = parse_inputs(fn, inputs, constraints=signature.constraints)
    given, wanted = list(map(_text, parsed.leaves)), list(map(_text, known.leaves))
    if given != wanted:
        raise SpecError(f"The specs are {', '.join(given)}; the program in the file takes {', '.join(wanted)}.")
    leaves = [dataclasses.replace(leaf, name=name) for leaf, name in zip(parsed.leaves, names, strict=True)]
    return dataclasses.replace(parsed, leaves=tuple(leaves))


def _text(leaf: InputLeaf) -> str:
    sizes = (dimension_text(size) if _compat.is_symbolic(size) else str(size) for size in leaf.shape)
    return f"{leaf.dtype}[{', '.join(sizes)}]"


def _traced(traced: Traced, signature: Signature) -> Traced:
    names = [array.name for array in signature.outputs]
    if len(names) != len(traced.output_names):
        raise SpecError(
            f"The function returns {len(traced.output_names)} arrays, the program in the file {len(names)}: "
            f"{', '.join(names)}."
        )
    return dataclasses.replace(traced, output_names=tuple(names), state=_state(signature))


def _described(inputs: Inputs, signature: Signature) -> Traced:
    def results(values: Sequence[Any]) -> Any:
        rest = iter(values)
        return build(signature.results, lambda _: next(rest))

    names = tuple(array.name for array in signature.outputs)
    return Traced(None, inputs, names, results, {}, _state(signature))


def _state(signature: Signature) -> dict[int, int]:
    inputs = {array.name: index for index, array in enumerate(signature.inputs)}
    outputs = {array.name: index for index, array in enumerate(signature.outputs)}
    return {outputs[after]: inputs[before] for after, before in signature.state.items()}


class _NoFunction:
    """In the place of the function of a program that was read without it."""

    def __init__(self, name: str):
        self.__qualname__ = name

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        raise VerifyError(_NO_FUNCTION)


jax.tree_util.register_pytree_with_keys(
    Record,
    lambda record: (
        [(jax.tree_util.GetAttrKey(name), child) for name, child in fields_of(record).items()],
        (name_of_node(record), tuple(fields_of(record))),
    ),
    lambda known, children: Record(known[0], dict(zip(known[1], children, strict=True))),
)
