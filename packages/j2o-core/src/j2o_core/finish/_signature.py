"""The signature of a program in its file: what reads it needs no JAX, and `OnnxProgram.load` not the function."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
from jax.tree_util import DictKey, GetAttrKey

from .. import _compat
from ..trace._inputs import InputLeaf
from ..trace._names import path_part
from ..trace._trace import Traced
from ..trace._trees import SIGNATURE, Array, Signature


def write_signature(model: ir.Model, function: str, traced: Traced) -> None:
    """Write the trees of arguments and results, state and constraints into the metadata of a model.

    Args:
        model: a finished model.
        function: name of the function.
        traced: its specs and structure.
    """
    inputs, outputs = traced.inputs, model.graph.outputs
    leaves, avals = inputs.leaves, traced.jaxpr.out_avals
    given = (_array(value, leaf.dtype, leaf.weak_type) for value, leaf in zip(model.graph.inputs, leaves, strict=True))
    arguments = [
        (path, inputs.static[index] if index in inputs.static else next(given))
        for index, path in enumerate(inputs.paths)
    ]
    by_position, by_name = _described(inputs.treedef, arguments)["tuple"]
    named = zip(inputs.parameters, by_position["tuple"], strict=True)
    returned = [_array(value, aval.dtype) for value, aval in zip(outputs, avals, strict=True)]
    signature = Signature(
        function,
        dict([*named, *by_name["dict"]]),
        inputs.positional,
        _described(traced.output_tree.treedef, traced.output_tree.leaves(returned)),
        {str(outputs[after].name): leaves[before].name for after, before in traced.state.items()},
        _constraints(leaves),
    )
    model.metadata_props[SIGNATURE] = signature.text()


def _array(value: ir.Value, dtype: Any, weak: bool = False) -> Array:
    assert value.shape is not None
    assert value.dtype is not None
    plain = not _compat.is_extended_dtype(dtype) and dtype.kind != "c"
    shape = tuple(size if isinstance(size, int) else str(size.value) for size in value.shape)
    return Array(str(value.name), value.dtype.numpy().name, shape, "" if plain else _name(dtype), weak)


def _name(dtype: Any) -> str:
    return f"key<{_compat.key_generator(dtype).name}>" if _compat.is_key_dtype(dtype) else str(dtype)


def _constraints(leaves: Sequence[InputLeaf]) -> tuple[str, ...]:
    """The constraints that were given with symbolic sizes; all have one scope."""
    symbolic = next((size for leaf in leaves for size in leaf.shape if _compat.is_symbolic(size)), None)
    return () if symbolic is None else tuple(_compat.constraint_texts(symbolic))


def _described(treedef: Any, leaves: Sequence[tuple[Any, Any]], depth: int = 0) -> Any:
    """A pytree as a file has it. No node is made anew: its class may want more of its children than there is.

    Args:
        treedef: its structure.
        leaves: its leaves, the arrays described, with their paths.
        depth: how many steps of these paths lead to the tree.
    """
    node = treedef.node_data()
    if node is None:
        leaf = leaves[0][1]
        known = leaf if isinstance(leaf, (bool, int, float, str)) else None
        return leaf if isinstance(leaf, Array) else {"fixed": known}
    kind, rest = node
    if kind is type(None):
        return None
    keys, children, begin = [], [], 0
    for child in treedef.children():
        below = leaves[begin : begin + child.num_leaves]
        keys.append(below[0][0][depth] if below else None)
        children.append(_described(child, below, depth + 1))
        begin += child.num_leaves
    if kind in (list, tuple):
        return {kind.__name__: children}
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return {"namedtuple": kind.__name__, "fields": list(zip(kind._fields, children, strict=True))}
    if issubclass(kind, dict):
        names = rest[1] if kind is collections.defaultdict else rest
        return {"dict": [(_key(name), child) for name, child in zip(names, children, strict=True)]}
    found = [(key, child) for key, child in zip(keys, children, strict=True) if key is not None]
    if found and all(isinstance(key, DictKey) for key, _ in found):
        return {"dict": [(_key(key.key), child) for key, child in found]}
    if all(isinstance(key, GetAttrKey) for key, _ in found):
        return {"node": kind.__name__, "fields": [(path_part(key), child) for key, child in found]}
    return {"tuple": children}


def _key(key: Any) -> Any:
    return key if isinstance(key, (bool, int, float, str)) else path_part(key)
