"""Numbers for each channel behind a product, inside its weights: layer scale, batch normalisation at inference.

before: y = Mul(Add(MatMul(x, W), b), g)                  y = Add(Mul(Sub(Conv(x, W, b), m), g), c)
after:  y = Add(MatMul(x, W * g), b * g)                  y = Conv(x, W * g, (b - m) * g + c)

before: y = Add(Sub(Add(MatMul(x, W), b), m), c)          y = Mul(Div(x, s), g)
after:  y = Add(MatMul(x, W), b - m + c)                  y = Mul(x, g / s)

before: y = Add(Reshape(Conv(x, W), [channels, ...]), b)  of one example
after:  y = Reshape(Add(Conv(x, W), b), [channels, ...])

before: y = Add(Transpose(Conv(x, W)), b)                 with the channels elsewhere
after:  y = Transpose(Add(Conv(x, W), b))

with constants W, b, g, m, c, s. The result differs by rounding. In half precision the new constants are computed from
what theirs were rounded from (`dtype="float16"`), and rounded once. Declines where that is not known, where the product
or the weight is read elsewhere, where a number of the new weight would be lost to underflow or overflow, and for a
single number, which the operators behind may take. A large weight is computed when it is written. Without a product
Sub(x, m) stays: x * g - m * g would cancel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter, traits
from j2o_core.graph._infer import same_shape
from j2o_core.simplify import FOLD_LIMIT_BYTES

from ..._plugin import plugin

_PRODUCTS = ("MatMul", *traits.CONVOLUTIONS)
_DTYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
# Scales for channels, not masks and tables.
_MOST_NUMBERS = 2**16


@plugin.rewrite("Mul", "Div", needs=_PRODUCTS)
def _scale(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for value, scale in _with_constant(rw, node):
        with np.errstate(all="ignore"):
            factor = scale if node.op_type == "Mul" else 1 / scale
        result = _scaled_matmul(rw, value, factor) or _scaled_convolution(rw, value, factor)
        if result is not None:
            return result
    return None


def _scaled_matmul(rw: Rewriter, value: ir.Value, factor: Any) -> ir.Value | None:
    columns = _per_column(rw, value, factor)
    if columns is None:
        return None
    product, bias = rw.producer(value, "MatMul"), None
    if product is None:
        for matmul, other in rw.operands(rw.producer(value, "Add"), "MatMul"):
            if rw.constant(other) is not None and rw.same_shape(matmul.outputs[0], value):
                product, bias = matmul, other
                break
    if product is None or (bias is not None and not rw.only_use(product.outputs[0])):
        return None
    weight = _times(rw, product.inputs[1], columns)
    if weight is None:
        return None
    result = rw.op.MatMul(product.inputs[0], weight)
    if bias is None:
        return result
    scaled = _times(rw, bias, columns, is_bias=True)
    return None if scaled is None else rw.op.Add(result, scaled)


def _scaled_convolution(rw: Rewriter, value: ir.Value, factor: Any) -> ir.Value | None:
    conv = rw.producer(value, *traits.CONVOLUTIONS)
    channels = _per_channel(rw, value, factor) if conv is not None else None
    if conv is None or channels is None:
        return None
    weight_rank = len(rw.shape(conv.inputs[1]) or ())
    attrs = rw.attrs(conv)
    if conv.op_type == "ConvTranspose" and attrs.get("group", 1) != 1:
        return None
    axis = 0 if conv.op_type == "Conv" else 1
    shaped = channels.reshape([-1 if place == axis else 1 for place in range(weight_rank)])
    weight = _times(rw, conv.inputs[1], shaped)
    bias = conv.inputs[2] if len(conv.inputs) > 2 else None
    scaled = _times(rw, bias, channels, is_bias=True) if bias is not None else None
    if weight is None or (bias is not None and scaled is None):
        return None
    return rw.op(conv.op_type, conv.inputs[0], weight, scaled, **attrs)  # type: ignore[no-any-return]


@plugin.rewrite("Add", "Sub", needs=_PRODUCTS)
def _shift(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """A constant for each channel behind a convolution goes into its bias, as does one behind a sum with a bias."""
    for value, constant in _with_constant(rw, node):
        shift = -constant if node.op_type == "Sub" else constant
        result = _shifted_matmul(rw, value, shift) or _shifted_convolution(rw, value, shift)
        if result is not None:
            return result
    return None


def _shifted_matmul(rw: Rewriter, value: ir.Value, shift: Any) -> ir.Value | None:
    columns = _per_column(rw, value, shift)
    if columns is None:
        return None
    for product, bias in rw.operands(rw.producer(value, "Add"), "MatMul"):
        array = rw.wide(bias)
        if array is not None and array.shape[-1:] == columns.shape and rw.same_shape(product.outputs[0], value):
            moved = array + columns
            if _fits(moved, rw.dtype(value)):
                constant = _constant(rw, moved, value, rw.op.constants.hint(bias))
                return rw.op.Add(product.outputs[0], constant)
    return None


def _shifted_convolution(rw: Rewriter, value: ir.Value, shift: Any) -> ir.Value | None:
    conv = rw.producer(value, *traits.CONVOLUTIONS)
    channels = _per_channel(rw, value, shift) if conv is not None else None
    if conv is None or channels is None:
        return None
    bias = rw.wide(conv.inputs[2]) if len(conv.inputs) > 2 else np.zeros_like(channels)
    if bias is None or not _fits(bias + channels, rw.dtype(value)):
        return None
    moved = _constant(rw, bias + channels, value)
    return rw.op(conv.op_type, *conv.inputs[:2], moved, **rw.attrs(conv))  # type: ignore[no-any-return]


@plugin.rewrite("Mul", "Div")
def _two_scales(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for value, scale in _with_constant(rw, node):
        inner = rw.producer(value, "Mul", "Div")
        if inner is None:
            continue
        for x, first in _with_constant(rw, inner, only_reader=False):
            factor = _quotient(scale, first, node.op_type == "Div", inner.op_type == "Div", rw.dtype(x))
            if factor is not None:
                return rw.op.Mul(x, _constant(rw, factor, x))
    return None


def _quotient(outer: Any, inner: Any, divides_outer: bool, divides_inner: bool, dtype: Any) -> Any:
    """The factor that two scales for many channels are together, None if a number of it would be lost."""
    if outer.size == 1 or inner.size == 1 or outer.size > _MOST_NUMBERS or inner.size > _MOST_NUMBERS:
        return None
    with np.errstate(all="ignore"):
        factors = [
            1 / array if divides else array for array, divides in ((outer, divides_outer), (inner, divides_inner))
        ]
        product = outer / inner if divides_inner and not divides_outer else factors[0] * factors[1]
    there = (factors[0] != 0) & (factors[1] != 0)
    lost = ~_is_finite(product, dtype) | (there & (np.abs(product) < float(jnp.finfo(dtype).tiny)))
    same = product.dtype == outer.dtype and product.size <= max(outer.size, inner.size)
    return product if same and not lost.any() else None


@plugin.rewrite("Add", "Sub", "Mul", "Div", needs=traits.CONVOLUTIONS)
def _before_reshape(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """An operator with one number for each channel moves in front of the Reshape that removes a batch of one."""
    for value, constant in _with_constant(rw, node):
        conv = rw.producer(rw.operand_of(value, "Reshape", "Squeeze"), *traits.CONVOLUTIONS)
        if conv is None or not same_shape(rw.shape(conv.outputs[0]), (1, *(rw.shape(value) or ()))):
            continue
        if _per_channel(rw, conv.outputs[0], constant) is None:
            continue
        inputs = [conv.outputs[0] if operand is value else operand for operand in node.inputs]
        return rw.reshape(rw.op(node.op_type, *inputs), rw.shape(value))
    return None


@plugin.rewrite("Add", "Sub", "Mul", "Div", needs=traits.CONVOLUTIONS)
def _before_transpose(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """An operator with one number for each channel moves in front of the Transpose that moves the channels."""
    for value, constant in _with_constant(rw, node):
        layout = rw.producer(value, "Transpose")
        conv = rw.producer(layout.inputs[0], *traits.CONVOLUTIONS) if layout is not None else None
        if layout is None or conv is None:
            continue
        if constant.size == 1:  # cost: the operators behind may take a single number
            continue
        if not np.isfinite(constant).all() or (node.op_type == "Div" and not constant.all()):
            continue  # ONNX Runtime would take it into the weights, where it meets zeros
        order = [int(axis) for axis in rw.attr(layout, "perm")]
        full = constant.reshape((1,) * (len(order) - constant.ndim) + constant.shape)
        moved = np.transpose(full, np.argsort(order))
        if _per_channel(rw, conv.outputs[0], moved) is not None:
            inputs = [conv.outputs[0] if operand is value else _constant(rw, moved, value) for operand in node.inputs]
            return rw.op.Transpose(rw.op(node.op_type, *inputs), perm=order)
    return None


def _with_constant(rw: Rewriter, node: ir.Node, *, only_reader: bool = True) -> Iterator[tuple[ir.Value, Any]]:
    """An operand of the result's shape with the other one where that is constant; the first one of Sub and Div."""
    for place in (0, 1) if node.op_type in ("Add", "Mul") else (0,):
        value, constant = node.inputs[place], rw.wide(node.inputs[1 - place])
        if value is None or constant is None or value.dtype not in _DTYPES or not rw.same_shape(value, node.outputs[0]):
            continue
        if rw.only_use(value) or not only_reader:
            yield value, constant


def _per_column(rw: Rewriter, value: ir.Value, array: Any) -> Any:
    """An array that has a number for each place of the last axis of a value and no more, as a vector."""
    size = (rw.shape(value) or (None,))[-1]
    return array.reshape(-1) if (array.size,) == array.shape[-1:] == (size,) else None


def _per_channel(rw: Rewriter, value: ir.Value, array: Any) -> Any:
    """An array that broadcasts to the result of a convolution and varies along its channels at most, as a vector."""
    shape = rw.shape(value)
    if shape is None:
        return None
    full = (1,) * (len(shape) - array.ndim) + array.shape
    if any(size != 1 for axis, size in enumerate(full) if axis != 1):
        return None
    return np.broadcast_to(array.reshape(-1), (shape[1],))


def _times(rw: Rewriter, value: ir.Value | None, factor: Any, *, is_bias: bool = False) -> ir.Value | None:
    """A constant times an array, None if that is no constant, numbers would be lost, or a weight is read elsewhere."""
    array = rw.wide(value)
    if array is None or value is None or (not is_bias and (len(value.uses()) != 1 or array.ndim < 2)):
        return None
    with np.errstate(all="ignore"):
        product = array * factor
    dtype = rw.dtype(value)
    if not _is_finite(product, dtype).all() or _is_lost(product, array, factor, dtype, is_bias=is_bias):
        return None
    if product.nbytes > FOLD_LIMIT_BYTES and product.dtype == dtype:
        return rw.op.Mul(value, rw.const(factor))  # computed when it is written
    return _constant(rw, product, value, _name(rw, value))


def _is_lost(product: Any, array: Any, factor: Any, dtype: Any, *, is_bias: bool) -> bool:
    """Whether numbers of a weight or bias fall among the subnormal ones.

    In half precision that is where the small numbers of every weight are: those of a channel may not all be there.
    A bias may have such numbers, beside products that have none.
    """
    is_half = dtype.itemsize < 4
    if is_half and is_bias:
        return False
    there = (array != 0) & (factor != 0)
    sizes, least = np.where(there, np.abs(product), 0), float(jnp.finfo(dtype).tiny)
    if is_half:
        axes = tuple(axis for axis in range(-array.ndim, 0) if axis < -factor.ndim or factor.shape[axis] == 1)
        sizes, there = sizes.max(axes), there.any(axes)
    return bool((sizes[there] < least).any())


def _is_finite(array: Any, dtype: Any) -> Any:
    return np.abs(array) <= float(jnp.finfo(dtype).max)


def _fits(array: Any, dtype: Any) -> bool:
    """Whether numbers are as finite in a dtype, into which they are rounded."""
    return array.dtype == dtype or bool(_is_finite(array, dtype).all())


def _constant(rw: Rewriter, array: Any, like: ir.Value, name: str | None = None) -> ir.Value:
    """An array as a constant of the dtype of another value."""
    return rw.op.constants.get(array.astype(rw.dtype(like)), name, array)


def _name(rw: Rewriter, value: ir.Value) -> str | None:
    hint = rw.op.constants.hint(value)
    return f"{hint}[scaled]" if hint else None
