"""The loop over equations. Dtypes and shapes are stamped and checked from the avals here, not in the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir

from .. import _compat
from .._compat import Literal, literal_value
from .._errors import J2oError, LoweringError, UnknownParameter, UnsupportedError
from ..graph._builder import Builder
from ..graph._constants import Constants
from ..graph._dims import Dimensions
from ..graph._domains import FUNCTION_DOMAIN
from ..graph._infer import may_equal, same_shape
from ..graph._kept import is_kept
from ..graph._values import shape_of, stamp
from ..graph._walk import set_outputs
from ..plugin._budget import limited
from ..plugin._registry import Registry
from ..plugin._rule_mistakes import advice_for, defined_at
from ..simplify import ConstantTable, decompositions_of, function_p, simplify
from ..trace._failure import raised_at
from ..trace._functions import Callee
from ..trace._modules import MODULE, Place, place_of
from ..trace._source import SOURCE, user_line
from ..trace._trace import trace_code
from ._context import LoweringContext
from ._functions import FunctionTable, input_values
from ._lowered import Lowered, LoweredFunction
from ._supported import check_supported, element_type

# Counters, indices, sizes and keys.
_KNOWN_SIZE = 64

# Protobuf reads a hundred messages inside each other: three for each graph, and a few for the type of a value in it.
_DEEPEST = 31

_NOTHING = "None (without a return?)"

_TOO_DEEP = """Control flow is nested {depth} levels deep at {line}: no program can read such a file of ONNX.
Expected {deepest} levels at most: one loop that keeps its place in an array can do what many nested ones do."""

_RECURSION = """{name} at {line} holds functions that hold functions, deeper than Python calls each other.
Expected some dozens of levels: write what is repeated as a loop."""


class Lowerer:
    """The equation loop over one graph (the main one or a nested one)."""

    def __init__(
        self,
        registry: Registry,
        builder: Builder,
        dims: Dimensions,
        table: ConstantTable,
        functions: FunctionTable,
        depth: int = 0,
    ):
        self.registry = registry
        self.builder = builder
        self.dims = dims
        self.table = table
        self.functions = functions
        self.depth = depth
        self.values: list[tuple[ir.Value, ...]] = []
        self.place: Place | None = None

    def run(self, jaxpr: Any, operands: Sequence[ir.Value], *, record: bool = False) -> list[ir.Value]:
        """Lower a simplified closed jaxpr on values."""
        env: dict[Any, ir.Value] = dict(zip(jaxpr.jaxpr.invars, operands, strict=True))
        for var, value in zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True):
            env[var] = self.builder.constants.get(value, self.table.name(value), self.table.wide(value))

        def read(atom: Any) -> ir.Value:
            return self.builder.const(literal_value(atom)) if isinstance(atom, Literal) else env[atom]

        for eqn in jaxpr.jaxpr.eqns:
            results = self._equation(eqn, [read(atom) for atom in eqn.invars])
            if record:
                self.values.append(results)
            env.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.jaxpr.outvars]

    def inline(self, jaxpr: Any, operands: Sequence[ir.Value]) -> list[ir.Value]:
        """Lower a closed jaxpr in place, simplified before if it is not or if more is known of its operands."""
        jaxpr, operands = self._with_known(_compat.as_closed(jaxpr), operands)
        if not self.table.is_simplified(jaxpr):
            jaxpr = simplify(jaxpr, self.table, decompositions_of(self.registry))
            check_supported(jaxpr, self.registry, self.builder.opset)
        return self.run(jaxpr, operands)

    def _with_known(self, jaxpr: Any, operands: Sequence[ir.Value]) -> tuple[Any, list[ir.Value]]:
        """Small operands that are constants become the jaxpr's own: what follows from the turn of a loop folds."""
        known: dict[Any, Any] = {}
        rest: dict[Any, ir.Value] = {}
        for var, value in zip(jaxpr.jaxpr.invars, operands, strict=True):
            array = self.builder.constant_value(value)
            if array is not None and array.size <= _KNOWN_SIZE and _is_like(array, var.aval):
                known[var] = array
            else:
                rest[var] = value
        if not known:
            return jaxpr, list(operands)
        constvars, consts = [*jaxpr.jaxpr.constvars, *known], [*jaxpr.consts, *known.values()]
        outvars, eqns = jaxpr.jaxpr.outvars, jaxpr.jaxpr.eqns
        return _compat.make_closed(constvars, consts, list(rest), outvars, eqns), list(rest.values())

    def trace_function(self, fn: Callable[..., Any], structs: Sequence[Any], static: dict[str, Any]) -> tuple[Any, Any]:
        """The jaxpr of ordinary JAX code, with composites kept whole, and the structure of what it returns."""
        return trace_code(self.registry, lambda *args: fn(*args, **static), *structs)

    def subgraph(
        self,
        params: dict[str, Any],
        jaxpr: Any,
        inputs: Sequence[Any],
        build: Callable[..., Sequence[ir.Value]] | None,
        name: str,
        avals_out: Sequence[Any] | None = None,
    ) -> ir.Graph:
        """A nested graph; see `LoweringContext.subgraph`."""
        if self.depth == _DEEPEST:
            line = self.builder.metadata.get(SOURCE, "unknown source")
            raise UnsupportedError(_TOO_DEEP.format(depth=self.depth + 1, line=line, deepest=_DEEPEST))
        values = []
        for aval in inputs:
            value = ir.Value()
            dtype, shape = aval if isinstance(aval, tuple) else (aval.dtype, aval.shape)
            stamp(value, dtype, shape)
            values.append(value)
        graph = ir.Graph(values, [], nodes=[], name=name)
        builder = Builder(self.builder.constants, self.builder.target, append=graph.append, outer=self.builder)
        builder.metadata = self.builder.metadata
        inner = Lowerer(self.registry, builder, self.dims, self.table, self.functions, self.depth + 1)
        inner.place = self.place
        inner_ctx = LoweringContext(inner, (), (), params)
        outputs = build(inner_ctx, *values) if build is not None else inner.inline(jaxpr, values)
        for value, aval in zip(outputs, avals_out or (), strict=avals_out is not None):
            if value.dtype is None:
                stamp(value, aval.dtype, aval.shape)
        set_outputs(graph, outputs)
        return graph

    def _call(self, eqn: Any, operands: Sequence[ir.Value]) -> Any:
        """One node for a call; the first one lowers the function."""
        body, callee = eqn.params["body"], eqn.params["callee"]
        function = self.functions.get(body) or self.functions.add(body, self._function(body, callee, operands))
        sizes = [self.dims.symbol(name) for name in function.sizes]
        return self.builder(f"{FUNCTION_DOMAIN}::{function.name}", *operands, *sizes, outputs=len(eqn.outvars))

    def _function(self, body: Any, callee: Callee, operands: Sequence[ir.Value]) -> LoweredFunction:
        """The function of a body, in a graph of its own; `operands` are those of the first call."""
        name = self.functions.name(callee.name)
        body = simplify(body, self.table, decompositions_of(self.registry))
        check_supported(body, self.registry, self.builder.opset)
        symbols = self.dims.names
        weights = [self.builder.constant_value(value) is not None or is_kept(value) for value in operands]
        inputs, sizes = input_values(body, callee.operands, symbols, weights)
        graph = ir.Graph([*inputs, *sizes], [], nodes=[], opset_imports={"": self.builder.opset}, name=name)
        builder = Builder(Constants(), self.builder.target, append=graph.append)
        dims = Dimensions(builder, (), dict(zip(symbols, sizes, strict=True)))
        inner = Lowerer(self.registry, builder, dims, self.table, self.functions)
        set_outputs(graph, inner.run(body, inputs, record=True))
        return LoweredFunction(name, symbols, Lowered(graph, builder.constants, dims, body, inner.values))

    def _equation(self, eqn: Any, operands: list[ir.Value]) -> tuple[ir.Value, ...]:
        builder = self.builder
        outer_metadata, outer_place = builder.metadata, self.place
        line = user_line(eqn, self.registry.libraries)
        self.place = place_of(eqn, outer_place, self.registry.own_scopes)
        builder.metadata = {**outer_metadata, SOURCE: line}
        if self.place is not None:
            builder.metadata[MODULE] = str(self.place)
        avals_out = tuple(var.aval for var in eqn.outvars)
        try:
            with limited(
                lambda: f"The rule for {eqn.primitive.name} at {line} ({self._plugin_of(eqn)})", LoweringError
            ):
                result = self._apply(eqn, operands, avals_out)
        except UnknownParameter as error:
            raise LoweringError(f"{error}\n  for the equation at {line}") from None
        except J2oError:
            raise
        except RecursionError:
            raise UnsupportedError(_RECURSION.format(name=eqn.primitive.name, line=line)) from None
        except Exception as error:
            raise LoweringError(
                f"The rule for {eqn.primitive.name} raised {type(error).__name__}: {error}\n"
                f"  in the rule of {self._plugin_of(eqn)} at {raised_at(error) or self._line_of(eqn)}\n"
                f"  for the equation at {line}\n"
                f"  operands {_signature(operands)}, results {_avals(avals_out)}\n"
                f"{self._advice(eqn, error)}"
            ) from error
        finally:
            builder.metadata, self.place = outer_metadata, outer_place
        results = tuple(result) if isinstance(result, (list, tuple)) else (result,)
        return self._checked(eqn, results, avals_out, line)

    def _apply(self, eqn: Any, operands: list[ir.Value], avals_out: tuple[Any, ...]) -> Any:
        if eqn.primitive is function_p:
            return self._call(eqn, operands)
        avals_in = tuple(atom.aval for atom in eqn.invars)
        lowering = self.registry.lowering(eqn.primitive, self.builder.opset)
        composite = getattr(eqn.primitive, "composite", None)
        if composite is None:
            assert lowering is not None, eqn.primitive
            return lowering.rule(LoweringContext(self, avals_in, avals_out, eqn.params), *operands, **eqn.params)
        call, body = eqn.params["call"], eqn.params["body"]
        if lowering is not None:
            ctx = LoweringContext(
                self,
                avals_in,
                avals_out,
                eqn.params,
                batch_ndim=call.batch_ndim,
                batched=call.batched or (False,) * len(operands),
            )
            args, kwargs = call.arguments(operands)
            result = lowering.rule(ctx, *args, **kwargs)
            if result is not NotImplemented:
                return result
        return self.inline(body, operands)

    def _plugin_of(self, eqn: Any) -> str:
        lowering = self.registry.lowering(eqn.primitive, self.builder.opset)
        return f"plugin {lowering.plugin.name!r}" if lowering is not None else "j2o"

    def _line_of(self, eqn: Any) -> str:
        """Where the rule begins: its call fails before any line of it if it takes other operands."""
        lowering = self.registry.lowering(eqn.primitive, self.builder.opset)
        return (defined_at(lowering.rule) if lowering is not None else None) or "a line without source"

    def _advice(self, eqn: Any, error: Exception) -> str:
        lowering = self.registry.lowering(eqn.primitive, self.builder.opset)
        distribution = lowering.plugin.distribution if lowering is not None else "j2o-core"
        whose = f"This is a defect of {distribution}: please report it." if distribution else "Correct the rule there."
        how = advice_for(error)
        return whose if how is None else f"{how}\n{whose}"

    def _checked(self, eqn: Any, results: tuple[Any, ...], avals: Sequence[Any], line: str) -> tuple[ir.Value, ...]:
        """Stamp the results from the avals, after comparing what is known of them already."""

        def wrong(returned: str) -> LoweringError:
            who = f"The rule for {eqn.primitive.name} ({self._plugin_of(eqn)})"
            return LoweringError(f"{who} returned {returned}\n  for the equation at {line}")

        foreign = [value for value in results if not isinstance(value, ir.Value)]
        if foreign:
            raise wrong(
                f"{_NOTHING if foreign[0] is None else repr(foreign[0])}, which is no value of the graph. "
                f"Expected what ctx.op or ctx.const gave."
            )
        if len(results) != len(avals):
            raise wrong(
                f"{len(results)} value{'' if len(results) == 1 else 's'}, the equation has {len(avals)} result"
                f"{'' if len(avals) == 1 else 's'}: {_avals(avals)}."
            )
        for place, (value, aval) in enumerate(zip(results, avals, strict=True)):
            ours = "JAX's result" if len(avals) == 1 else f"JAX's result {place}"
            wanted = element_type(aval.dtype)
            shape = shape_of(value)
            if wanted is not None and value.dtype is not None and value.dtype != wanted:
                raise wrong(
                    f"dtype {value.dtype.name}, {ours} is {wanted.name}: {_avals([aval])}. "
                    f"Convert it: ctx.cast(result, ctx.avals_out[{place}].dtype)."
                )
            same = same_shape(shape, tuple(aval.shape))
            if shape is not None and wanted is not None and not same and not may_equal(shape, aval.shape):
                raise wrong(f"shape {shape}, {ours} is {_avals([aval])}. Expected ctx.avals_out[{place}].shape.")
            stamped = same and value.dtype is not None
            if wanted is not None and not stamped and value.producer() is not None:
                stamp(value, wanted, aval.shape)
        return results


def _is_like(array: Any, aval: Any) -> bool:
    """Whether an array has the shape and dtype of an abstract value; not so for keys and complex numbers."""
    return bool(array.shape == getattr(aval, "shape", None) and array.dtype == getattr(aval, "dtype", None))


def _signature(values: Sequence[Any]) -> str:
    return "(" + ", ".join(f"{value.dtype}{list(shape_of(value) or ())}" for value in values) + ")"


def _avals(avals: Sequence[Any]) -> str:
    return "(" + ", ".join(aval.str_short() if hasattr(aval, "str_short") else str(aval) for aval in avals) + ")"
