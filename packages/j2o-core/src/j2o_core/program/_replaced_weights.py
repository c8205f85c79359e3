"""Replace the weights of a model that was exported with `weights="keep"`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
import onnx_ir as ir

from .._errors import SpecError, VerifyError
from ..graph._kept import LEAVES, WEIGHT, digest, leaf_records, tensor_of, weight_of
from ..trace._constant_names import named_leaves
from ..trace._lazy import is_lazy, with_arrays
from ..trace._names import path_part
from ._model_view import model_view

_MOST = 8

_NOT_KEPT = """The model's weights cannot be replaced: parts of the graph may follow from their values.
Export with weights="keep" (j2o export --keep-weights)."""
_NOT_REPLACED = """These weights do not fit the model:
{problems}
Give those of a model of the same structure, or export the new one."""
_PATH = """The weights are {path!r}. Expected a model, or a mapping from paths to arrays.
Those of a safetensors file: with_weights(j2o_core.read_safetensors({path!r}))."""


def leaves_of(tree: Any) -> dict[str, Any]:
    """The arrays of a pytree by their paths; those that are not in memory as they are.

    Raises:
        SpecError: if it is the path of a file.
    """
    if isinstance(tree, (str, os.PathLike)):
        raise SpecError(_PATH.format(path=os.fspath(tree)))
    arrays: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = ".".join(path_part(key) for key in path)
        if isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
            arrays[name] = np.asarray(leaf)
        elif is_lazy(leaf):
            arrays[name] = leaf
    return arrays


def without_reference(*_: Any, **__: Any) -> NoReturn:
    """Stands for the function of a program whose weights were replaced by arrays that are no function."""
    raise VerifyError(
        "The program has other weights than the function it was exported from. Give with_weights the model itself, "
        "or compare the saved file: j2o verify MODULE:NAME FILE."
    )


class _Stored:
    """An array as a leaf that is not in memory: it becomes one of JAX where the function runs."""

    def __init__(self, array: np.ndarray[Any, Any]):
        self.shape, self.dtype = array.shape, array.dtype
        self._array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self._array, dtype, copy=copy)


def with_values(fn: Callable[..., Any], model: ir.Model, given: Mapping[str, Any]) -> Callable[..., Any]:
    """The function with these weights, if all that the model has were not in memory; else `without_reference`."""
    lazy = {name: leaf for name, leaf in named_leaves(fn, inner=True) if is_lazy(leaf)}
    read = {leaf["leaf"] for record in _records(model).values() for leaf in leaf_records(record)}
    if not read <= lazy.keys():
        return without_reference
    return with_arrays(fn, {id(leaf): _Stored(given[name]) for name, leaf in lazy.items() if name in given})


def replaced(model: ir.Model, given: Mapping[str, Any]) -> ir.Model:
    """The model with other weights; the model itself stays as it is.

    Args:
        model: a model that was exported with `weights="keep"`.
        given: all of its weights by their paths.

    Raises:
        SpecError: listing what is missing, unknown, or of another shape, dtype or fixed value.
    """
    if LEAVES not in model.metadata_props:
        raise SpecError(_NOT_KEPT)
    leaves = json.loads(model.metadata_props[LEAVES])
    wanted: dict[str, tuple[tuple[int, ...], Any]] = {}
    records = _records(model)
    for name, record in records.items():
        tensor = model.graph.initializers[name].const_value
        assert tensor is not None
        for leaf in leaf_records(record):
            shape = tuple(leaf["of"]) if "of" in leaf else tuple(tensor.shape.numpy())
            wanted[leaf["leaf"]] = shape, np.dtype(leaf.get("dtype", tensor.dtype.numpy()))
    problems = [*_misfits(wanted, given), *_other(leaves, wanted, given)]
    if problems:
        more = [f"  and {len(problems) - _MOST} more"] if len(problems) > _MOST else []
        lines = [*(f"  {one}" for one in problems[:_MOST]), *more]
        raise SpecError(_NOT_REPLACED.format(problems="\n".join(lines)))
    tensors = {name: _tensor(model, name, record, given) for name, record in records.items()}
    return model_view(model, tensors=tensors)


def _records(model: ir.Model) -> dict[str, dict[str, Any]]:
    """By name of the initializer, which leaf it is and how it lies in it."""
    tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
    return {
        name: json.loads(tensor.metadata_props[WEIGHT])
        for name, tensor in tensors.items()
        if tensor is not None and WEIGHT in tensor.metadata_props
    }


def _misfits(wanted: Mapping[str, tuple[tuple[int, ...], Any]], given: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, (shape, dtype) in wanted.items():
        array = given.get(name)
        if array is None:
            problems.append(f"{name} is missing: {_text(dtype, shape)}")
        elif tuple(array.shape) != shape or array.dtype != dtype:
            problems.append(f"{name} is {_text(array.dtype, array.shape)}, the model has {_text(dtype, shape)}")
    return problems


def _other(leaves: Any, wanted: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """The complaint about leaves that the model has no initializer of."""
    problems = []
    for name in given.keys() - wanted.keys():
        array, tied = given[name], leaves["tied"].get(name)
        if tied is not None:
            if tied in given and digest(given[tied]) != digest(array):
                problems.append(f"{name} differs from {tied}: in the model the two are one weight")
        elif name in leaves["fixed"]:
            if digest(array) != leaves["fixed"][name]:
                problems.append(f"{name} has another value than at export, and is fixed in the graph: export again")
        elif name not in leaves["unused"]:
            problems.append(f"{name} is none of the model's weights")
    return sorted(problems)


def _tensor(model: ir.Model, name: str, record: Mapping[str, Any], given: Mapping[str, Any]) -> ir.Tensor[Any]:
    old = model.graph.initializers[name].const_value
    assert old is not None
    weight = weight_of(record, given, old.dtype.numpy())
    return tensor_of(weight, name=name, metadata_props={WEIGHT: old.metadata_props[WEIGHT]})


def _text(dtype: Any, shape: tuple[int, ...]) -> str:
    return f"{np.dtype(dtype)}[{', '.join(map(str, shape))}]"
