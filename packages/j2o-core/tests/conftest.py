"""A plugin of a few rules, so that core is tested without the packages that come above it."""

import functools

import jax
import numpy as np
import pytest

import j2o_core
from j2o_core import Plugin, testing

_OPERATORS = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "max": "Max",
    "neg": "Neg",
    "sin": "Sin",
    "cos": "Cos",
    "exp": "Exp",
    "gt": "Greater",
    "lt": "Less",
}


def make_plugin(name="fake", operators=_OPERATORS):
    """A new plugin with rules for elementwise operators, shapes, products, sums and `cond`."""
    plugin = Plugin(name)
    for primitive, op_type in operators.items():
        plugin.lowering(primitive)(functools.partial(_elementwise, op_type=op_type))
    for rule in (_convert, _square, _broadcast_in_dim, _reshape, _squeeze, _transpose, _concatenate):
        plugin.lowering(rule.__name__[1:].replace("convert", "convert_element_type"))(rule)
    for rule in (_reduce_sum, _dot_general, _iota, _select_n, _cond, _erf, _dim_as_value):
        plugin.lowering(rule.__name__[1:])(rule)
    return plugin


def _elementwise(ctx, *operands, op_type, **_):
    return ctx.op(op_type, *operands)


def _convert(ctx, x, *, new_dtype, **_):
    return ctx.cast(x, new_dtype)


def _square(ctx, x, **_):
    return ctx.op.Mul(x, x)


def _broadcast_in_dim(ctx, x, *_, shape, broadcast_dimensions, **__):
    aval = ctx.avals_in[0]
    sizes = [1] * len(shape)
    for axis, dimension in enumerate(broadcast_dimensions):
        sizes[dimension] = aval.shape[axis]
    return ctx.expand(ctx.reshape(x, sizes), shape)


def _reshape(ctx, x, *_, new_sizes, **__):
    return ctx.reshape(x, new_sizes)


def _squeeze(ctx, x, **_):
    return ctx.reshape(x, ctx.avals_out[0].shape)


def _transpose(ctx, x, *, permutation):
    return ctx.op.Transpose(x, perm=permutation)


def _concatenate(ctx, *operands, dimension):
    return ctx.op.Concat(*operands, axis=dimension)


def _reduce_sum(ctx, x, *, axes, **_):
    return ctx.op.ReduceSum(x, ctx.const(axes, np.int64), keepdims=0, noop_with_empty_axes=1)


def _dot_general(ctx, lhs, rhs, *, dimension_numbers, **_):
    assert dimension_numbers == (((1,), (0,)), ((), ())), dimension_numbers
    return ctx.op.MatMul(lhs, rhs)


def _iota(ctx, *_, dtype, shape, dimension, **__):
    size = ctx.dim(shape[dimension])
    line = ctx.op.Range(ctx.const(0, np.int64), size, ctx.const(1, np.int64))
    sizes = [1] * len(shape)
    sizes[dimension] = shape[dimension]
    return ctx.cast(ctx.expand(ctx.reshape(line, sizes), shape), dtype)


def _select_n(ctx, which, first, second):
    return ctx.op.Where(which, second, first)


def _cond(ctx, index, *operands, branches, **_):
    def branch(position):
        return ctx.subgraph(None, (), lambda inner: inner.lower_jaxpr(branches[position], *operands))

    condition = ctx.cast(index, np.bool_)
    results = ctx.op.If(condition, then_branch=branch(1), else_branch=branch(0), outputs=len(ctx.avals_out))
    return results


def _dim_as_value(ctx, *, dim):
    return ctx.cast(ctx.dim(dim), ctx.avals_out[0].dtype)


def _erf(ctx, x, **_):
    """Not erf's numbers but some ordinary JAX code."""
    return ctx.lower_fun(lambda x: jax.numpy.sin(x) * 2 + x, x)


@pytest.fixture
def plugin():
    return make_plugin()


@pytest.fixture
def export(plugin):
    """`to_onnx` with the fake plugin alone."""
    return functools.partial(j2o_core.to_onnx, plugins=[plugin])


@pytest.fixture
def check(plugin):
    """`testing.check` with the fake plugin alone."""
    return functools.partial(testing.check, plugins=[plugin])


@pytest.fixture
def new_plugin():
    """Makes plugins: `new_plugin(name, operators)`."""
    return make_plugin
