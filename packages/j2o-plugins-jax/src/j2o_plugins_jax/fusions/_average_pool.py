"""AveragePool.

before: Div(Mul(AveragePool(x, count_include_pad=1), n), n)     and products with 1 / n
after:  AveragePool(x, count_include_pad=1)

A sum over windows is lowered as their mean times the number n of elements of a window; here it is divided again. One
rounding instead of three, and no overflow between. Declines for other divisors.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin


@plugin.rewrite("Div", "Mul", needs=("AveragePool",))
def _average_pool(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    number, factors = rw.product(node.outputs[0])
    pool = rw.producer(factors[0], "AveragePool") if len(factors) == 1 else None
    if pool is None or not rw.same_shape(factors[0], node.outputs[0]):
        return None
    size = math.prod(rw.attr(pool, "kernel_shape"))
    # A mean that is a product with 1 / n has rounded it to the dtype.
    rounded = size * float(np.asarray(1 / size, rw.dtype(factors[0])))
    return factors[0] if any(math.isclose(number, one, rel_tol=1e-12) for one in (1, rounded)) else None
