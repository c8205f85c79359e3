"""Weights of products take over differences between the columns of activations, before both become bytes.

    z = MatMul(x, w)    ->    z = MatMul(Mul(x, 1 / s), s * w),  s of shape [K, 1] in the second product

One range has to hold all columns of x, and a few large ones, as norms and activation functions in transformers give
them, leave few steps to the others. The weight has a scale for each of its own columns. The numbers in floats stay.

Source: SmoothQuant (Xiao et al., 2022, arXiv 2211.10438), section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ._model_view import model_view
from ._session import Session

# The part of the differences that weights take over; the paper has 0.5 to 0.9, the more the larger they are.
_SHARE = 0.8
# A column that the examples hardly use counts as a hundredth of the largest: other inputs may use it.
_LEAST = 0.01


def balanced(model: ir.Model, products: Sequence[ir.Node], examples: Sequence[Mapping[str, Any]]) -> ir.Model:
    """A copy in which the columns of the activations of these products are about even on the examples.

    Args:
        model: the model; it stays as it is.
        products: products with constant weights; only MatMul and Gemm with matrices take part.
        examples: inputs by name; without any, the model itself comes back.

    Raises:
        RunError: if ONNX Runtime fails on an example.
    """
    activations = list(dict.fromkeys(x for node in products if (x := _activation(node)) is not None))
    if not activations or not examples:
        return model
    largest = dict(zip((value.name for value in activations), _largest(model, activations, examples), strict=True))
    names = {node.name for node in products if _activation(node) is not None}
    copy = model.clone()
    readers: dict[ir.Value, list[ir.Node]] = {}
    for node in copy.graph:
        if node.name in names and node.inputs[0] is not None:
            readers.setdefault(node.inputs[0], []).append(node)
    for x, nodes in readers.items():
        _balance(copy.graph, x, nodes, largest[x.name])
    return copy


def _activation(node: ir.Node) -> ir.Value | None:
    """The activation [..., K] of a product with a matrix that nothing else reads."""
    if node.op_type not in ("MatMul", "Gemm") or node.attributes.get_int("transA", False):
        return None
    x, weight = node.inputs[:2]
    assert x is not None
    assert weight is not None
    alone = (
        len(weight.uses()) == 1 and weight.shape is not None and len(weight.shape) == 2 and not weight.is_graph_output()
    )
    return x if alone and weight.dtype == ir.DataType.FLOAT else None


def _largest(
    model: ir.Model, values: Sequence[ir.Value], examples: Sequence[Mapping[str, Any]]
) -> list[np.ndarray[Any, Any]]:
    """The largest absolute number in each column of the values, float32[K]."""
    session = Session(model_view(model, outputs=values))
    largest: list[Any] = [np.float32(0)] * len(values)
    for example in examples:
        found = session.run([example[str(value.name)] for value in model.graph.inputs])
        for index, array in enumerate(found):
            columns = np.abs(array.reshape(-1, array.shape[-1])).max(0, initial=0)
            largest[index] = np.maximum(largest[index], columns)
    return largest


def _balance(graph: ir.Graph, x: ir.Value, nodes: Sequence[ir.Node], columns: np.ndarray[Any, Any]) -> None:
    rows = np.max([_rows(node) for node in nodes], 0)
    if not (0 < columns.max(initial=0) < np.inf and 0 < rows.max(initial=0) < np.inf):
        return
    columns, rows = (np.maximum(sizes, _LEAST * sizes.max()) for sizes in (columns, rows))
    scale = (columns**_SHARE / rows ** (1 - _SHARE)).astype(np.float32)
    inverse = ir.Value(
        name=f"{x.name}/balance",
        type=ir.TensorType(ir.DataType.FLOAT),
        shape=ir.Shape(scale.shape),
        const_value=ir.Tensor(1 / scale, name=f"{x.name}/balance"),
    )
    graph.register_initializer(inverse)
    even = ir.Value(name=f"{x.name}/balanced", type=x.type, shape=x.shape)
    product = ir.Node("", "Mul", [x, inverse], outputs=[even], name=f"{x.name}/Mul")
    product.metadata_props.update(nodes[0].metadata_props)
    graph.insert_before(nodes[0], product)
    for node in nodes:
        node.replace_input_with(0, even)
        weight = node.inputs[1]
        assert weight is not None
        weight.const_value = _scaled(weight, scale if _transposed(node) else scale[:, None])


def _transposed(node: ir.Node) -> bool:
    return bool(node.attributes.get_int("transB", False))


def _rows(node: ir.Node) -> np.ndarray[Any, Any]:
    """The largest absolute number in each row of the weight, float32[K]."""
    weight = node.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    largest: np.ndarray[Any, Any] = np.abs(weight.const_value.numpy()).max(int(not _transposed(node)), initial=0)
    return largest


def _scaled(weight: ir.Value, scale: np.ndarray[Any, Any]) -> ir.TensorProtocol:
    """The weight times the scale, computed while it is written."""
    before = weight.const_value
    assert before is not None
    assert weight.shape is not None
    return ir.LazyTensor(
        lambda: ir.Tensor(before.numpy() * scale), dtype=ir.DataType.FLOAT, shape=weight.shape, name=weight.name
    )
