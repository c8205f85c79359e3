"""The context of lowering rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np
import onnx_ir as ir

from .._errors import LoweringError, warn
from ..graph._builder import Builder
from ..graph._dims import Dimensions
from ..graph._kept import is_kept
from ..graph._layout import expand, reshape
from ..graph._nonfinite import only_finite
from ..graph._ranges import BOUNDS, Range, value_range
from ..graph._values import numpy_dtype, shape_of, stamp
from ..target import Target


class Lowering(Protocol):
    """The interface of the loop over equations that a context uses."""

    builder: Builder
    dims: Dimensions

    def trace_function(self, fn: Callable[..., Any], structs: Sequence[Any], static: dict[str, Any]) -> tuple[Any, Any]:
        """The jaxpr of ordinary JAX code and the structure of what it returns."""

    def inline(self, jaxpr: Any, operands: Sequence[ir.Value]) -> list[ir.Value]:
        """Lower a closed jaxpr in place."""

    def subgraph(
        self,
        params: dict[str, Any],
        jaxpr: Any,
        inputs: Sequence[Any],
        build: Callable[..., Sequence[ir.Value]] | None,
        name: str,
        avals_out: Sequence[Any] | None,
    ) -> ir.Graph:
        """A nested graph."""


@dataclass(frozen=True, eq=False)
class LoweringContext:
    """One equation being lowered.

    Attributes:
        avals_in: abstract values of the operands (`.shape`, `.dtype`).
        avals_out: abstract values of the results.
        params: the equation's parameters.
        batch_ndim: for composites under `vmap`: how many extra leading axes the results have.
        batched: for composites under `vmap`: for each array operand, whether it has these axes too.
    """

    _lowering: Lowering
    avals_in: tuple[Any, ...]
    avals_out: tuple[Any, ...]
    params: dict[str, Any]
    batch_ndim: int = 0
    batched: tuple[bool, ...] = ()

    @property
    def op(self) -> Builder:
        """Adds nodes.

        `ctx.op.Add(x, y)`, `ctx.op("Add", x, y)`, `ctx.op.Split(x, sizes, axis=0, outputs=2)`, and
        `ctx.op("com.microsoft::Gelu", x)` for an operator of another domain.
        """
        return self._lowering.builder

    @property
    def target(self) -> Target:
        """Where the program is to run; `ctx.target.runs("Conv", ir.DataType.DOUBLE)`."""
        return self.op.target

    @property
    def opset(self) -> int:
        """The target's opset."""
        return self.op.target.opset

    @property
    def exact_nonfinite(self) -> bool:
        """Whether `to_onnx` got `nonfinite="exact"`."""
        return self.op.target.exact_nonfinite

    @property
    def unroll(self) -> bool | str:
        """The option `unroll` of `to_onnx`."""
        return self.op.target.unroll

    def const(self, value: Any, dtype: Any = None) -> ir.Value:
        """A constant. `dtype` is a dtype, or a value whose dtype is taken; equal constants are stored once."""
        return self.op.const(value, dtype)

    def constant_value(self, value: ir.Value) -> np.ndarray[Any, Any] | None:
        """The array of an operand that is a constant, else None."""
        return self.op.constant_value(value)

    def is_weight(self, value: ir.Value) -> bool:
        """Whether an operand is a constant, or a weight that is kept: its transposes and slices are stored as such."""
        return self.constant_value(value) is not None or is_kept(value)

    def constant_part(self, value: ir.Value, index: tuple[int | slice, ...]) -> ir.Value | None:
        """`value[index]` as a constant that shares the memory of a constant; None if the value is none."""
        array = self.op.constant_value(value)
        if array is None:
            return None
        hint = self.op.constants.hint(value)
        places = ", ".join(f"{one.start}:{one.stop}" if isinstance(one, slice) else str(one) for one in index)
        return self.op.constants.get(array[index], f"{hint}[{places}]" if hint else None)

    def range(self, value: ir.Value) -> Range:
        """How low and high the numbers in a value may be, and whether NaN or -0 may be among them."""
        return value_range(value, self.op.constant_value)

    def bound(self, value: ir.Value, low: int, high: int) -> None:
        """Say how low and high integers may be, such as those of an input of a nested graph in any turn of a loop."""
        value.meta[BOUNDS] = (low, high)

    def dim(self, dimension: Any) -> ir.Value:
        """A dimension, symbolic or not, as an int64 scalar."""
        return self._lowering.dims.scalar(dimension)

    def shape(self, shape: Sequence[Any]) -> ir.Value:
        """A shape, symbolic or not, as an int64 vector: what Reshape, Expand and ConstantOfShape take."""
        return self._lowering.dims.vector(shape)

    def reshape(self, x: ir.Value, shape: Sequence[Any]) -> ir.Value:
        """`x` with another shape of the same number of elements."""
        return reshape(self.op, self._lowering.dims, x, shape)

    def expand(self, x: ir.Value, shape: Sequence[Any]) -> ir.Value:
        """`x` broadcast to a shape that it can be broadcast to."""
        return expand(self.op, self._lowering.dims, x, shape)

    def shaped(self, x: ir.Value, shape: Sequence[Any], dtype: Any = None) -> ir.Value:
        """`x` itself, after saying its shape, and its dtype: for operators whose result core cannot infer.

        That is the shape of Conv, for instance, and both for operators of other domains.
        """
        stamp(x, dtype if x.dtype is None else None, shape if shape_of(x) is None else None)
        return x

    def cast(self, x: ir.Value, dtype: Any) -> ir.Value:
        """`x` as another dtype, by ONNX's Cast (see `onnxruntime` for what that does out of range).

        What is too large for a float8 becomes infinity or NaN as in XLA, not the largest number, and float8_e8m0fnu is
        rounded to nearest.
        """
        return self.op.cast(x, ir.DataType.from_numpy(np.dtype(dtype)))

    def only_finite(self, value: ir.Value, difference: str) -> ir.Value:
        """The value, with a note that the operator which makes it differs from JAX for NaN or infinities.

        For the default of `nonfinite`, where the exact form costs more than a tenth of the operator. `report()` and
        the model's metadata list the operators.

        Args:
            value: the result of an operator.
            difference: how it differs, such as `"NaN in a window is lost"`.
        """
        return only_finite(value, difference)

    def warn(self, message: str) -> None:
        """Say what the graph does not do, as a UserWarning at the line that called the export."""
        warn(message)

    def dtype(self, value: ir.Value) -> np.dtype[Any]:
        """The dtype of a value."""
        return numpy_dtype(value)

    def lower_fun(self, fn: Callable[..., Any], *operands: ir.Value, **static: Any) -> Any:
        """Lower ordinary JAX code on these operands, control flow included.

        Args:
            fn: a function of arrays.
            *operands: values whose dtype and shape are known (operands, and results of operators that core can infer).
            **static: keywords for `fn` that are not traced.

        Returns:
            What `fn` returns, with values in place of arrays.
        """
        structs = []
        for position, value in enumerate(operands):
            shape = shape_of(value)
            if shape is None:
                raise LoweringError(f"lower_fun: the shape of operand {position} ({value}) is not known.")
            structs.append(jax.ShapeDtypeStruct(shape, numpy_dtype(value)))
        jaxpr, out = self._lowering.trace_function(fn, structs, static)
        return jax.tree.unflatten(jax.tree.structure(out), self.lower_jaxpr(jaxpr, *operands))

    def lower_jaxpr(self, jaxpr: Any, *operands: ir.Value) -> list[ir.Value]:
        """Lower a closed jaxpr in place on these operands."""
        return self._lowering.inline(jaxpr, operands)

    def subgraph(
        self,
        jaxpr: Any,
        inputs: Sequence[Any],
        build: Callable[..., Sequence[ir.Value]] | None = None,
        name: str = "body",
        outputs: Sequence[Any] | None = None,
    ) -> ir.Graph:
        """A nested graph for If, Loop and Scan. It may read outer values; constants are stored outside.

        Args:
            jaxpr: closed jaxpr of the body, or None if `build` does it all.
            inputs: abstract values (or (dtype, shape) pairs) of the graph's inputs.
            build: `build(inner_ctx, *inputs) -> outputs`; by default the jaxpr on the inputs.
            name: the graph's name.
            outputs: abstract values of the graph's outputs, where core cannot infer them (a nested If, say).
        """
        return self._lowering.subgraph(self.params, jaxpr, inputs, build, name, outputs)
