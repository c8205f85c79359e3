"""Builds nodes: `op.Add(x, y)`. Stamps what it adds, and never adds what is there already or does nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, overload

import numpy as np
import onnx_ir as ir

from ..plugin._budget import check_time
from ..target import Target, cast_attributes
from . import traits
from ._constant_folding import FOLDED, fold_node
from ._constants import Constants
from ._domains import domain_of, standard
from ._infer import infer_dtypes, infer_shapes
from ._peephole import SIMPLIFIED, Simpler, simplify_node
from ._schemas import check_node
from ._values import shape_of, stamp

_NO_VALUE = """input {position} of {op_type} is {given!r}, which is no value of the graph.
A constant is ctx.const({given!r}, x), with the dtype of x."""
_DOMAIN = 'An operator of the domain {domain!r} is written op("{domain}::{op_type}", ...).'

SIMPLER = FOLDED | SIMPLIFIED - {"Identity"}
"""Operators that `Builder.simpler` may find a value for; an Identity that is there has a reason."""


class _Operator(Protocol):
    """Adds a node of one operator; the result is one value, unless `outputs` says otherwise."""

    @overload
    def __call__(self, *inputs: ir.Value | None, outputs: Literal[1] = 1, **attrs: Any) -> ir.Value: ...

    @overload
    def __call__(self, *inputs: ir.Value | None, outputs: int, **attrs: Any) -> Any: ...


class Builder:
    """Adds nodes to one graph.

    `builder.Add(x, y)` and `builder("Add", x, y)` are the same; `builder("com.microsoft::Gelu", x)` is an operator of
    another domain. Inputs are values or None (an omitted optional input); attributes are Python values, None for the
    default. The result is one value, or a tuple if `outputs` is not 1.
    """

    def __init__(
        self,
        constants: Constants,
        target: Target,
        *,
        append: Callable[[ir.Node], object],
        outer: Builder | None = None,
        share: bool = True,
    ):
        self.constants = constants
        self.target = target
        self.opset: int = target.opset
        self.metadata: dict[str, str] = {}
        self.added: list[ir.Node] = []
        self.plain_nodes: set[ir.Node] = set() if outer is None else outer.plain_nodes
        self._append = append
        self._outer = outer
        self._share = share
        self._seen: dict[Any, tuple[ir.Value, ...]] = {}

    def __getattr__(self, op_type: str) -> _Operator:
        if not op_type[:1].isupper():
            raise AttributeError(f"{op_type!r}: operators of ONNX begin with a capital letter, as in op.Tanh(x)")

        def add(*inputs: ir.Value | None, **attrs: Any) -> Any:
            return self(op_type, *inputs, **attrs)

        return add

    @overload
    def __call__(self, op_type: str, *inputs: ir.Value | None, outputs: Literal[1] = 1, **attrs: Any) -> ir.Value: ...

    @overload
    def __call__(self, op_type: str, *inputs: ir.Value | None, outputs: int, **attrs: Any) -> Any: ...

    def __call__(self, op_type: str, *inputs: ir.Value | None, outputs: int = 1, **attrs: Any) -> Any:
        """Add a node, or return the value that it would have."""
        check_time()
        op_type = standard(op_type)
        if "domain" in attrs:
            raise TypeError(_DOMAIN.format(domain=attrs["domain"], op_type=op_type))
        attrs = {name: value for name, value in attrs.items() if value is not None}
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        if outputs == 1:
            simpler = self.simpler(op_type, inputs, attrs)
            if simpler is not None:
                return simpler
        key = self._key(op_type, inputs, outputs, attrs)
        known = self._known(key) if key is not None else None
        if known is None:
            known = self._add(op_type, inputs, outputs, attrs)
            if key is not None:
                self._seen[key] = known
        return known[0] if outputs == 1 else known

    def plain(self, op_type: str, *inputs: ir.Value | None, **attrs: Any) -> ir.Value:
        """Add a node of one result as it is: not folded, merged, shared or legalized."""
        (value,) = self._add(op_type, inputs, 1, attrs)
        node = value.producer()
        assert node is not None
        self.plain_nodes.add(node)
        return value

    def cast(self, x: ir.Value, dtype: ir.DataType) -> ir.Value:
        """`x` in another element type, converted as XLA does: without saturation."""
        result: ir.Value = self("Cast", x, to=dtype, **cast_attributes(dtype, self.target.opset))
        return result

    def barrier(self, x: ir.Value) -> ir.Value:
        """`x` behind a Reshape to its own shape, across which the runtime merges nothing and rounds float16."""
        # 0 stands for the size that is there. (Max(x, x) would do as well, and takes ten times as long as a cast.)
        shape = shape_of(x)
        same = self("Shape", x) if shape is None else self.const([0] * len(shape), np.int64)
        result = self.plain("Reshape", x, same)
        stamp(result, None, shape)
        return result

    def simpler(self, op_type: str, inputs: Sequence[ir.Value | None], attrs: dict[str, Any]) -> ir.Value | None:
        """The value that such a node need not be built for, or None."""
        found = fold_node(self.constants, op_type, inputs, attrs) or simplify_node(
            self.constants, op_type, inputs, attrs
        )
        if isinstance(found, Simpler):
            value: ir.Value = self(found.op_type, *found.inputs, **found.attrs)
            return value
        return found

    def const(self, value: Any, dtype: Any = None) -> ir.Value:
        """A constant; `dtype` is a dtype or a value whose dtype is taken."""
        if isinstance(dtype, ir.Value):
            assert dtype.dtype is not None
            dtype = dtype.dtype.numpy()
        return self.constants.get(np.asarray(value, dtype=dtype))

    def constant_value(self, value: ir.Value | None) -> np.ndarray[Any, Any] | None:
        """The array of a constant, None for everything else."""
        return self.constants.array(value)

    def forget(self) -> None:
        """Share no node that was added so far."""
        self._seen.clear()

    def _key(self, op_type: str, inputs: Sequence[Any], outputs: int, attrs: dict[str, Any]) -> Any:
        if not self._share or op_type in traits.NOT_DETERMINISTIC:
            return None
        items = [(name, tuple(value) if isinstance(value, list) else value) for name, value in sorted(attrs.items())]
        key = (op_type, outputs, _places(op_type, inputs), *items)
        try:
            hash(key)
        except TypeError:
            return None
        return key

    def _known(self, key: Any) -> tuple[ir.Value, ...] | None:
        builder: Builder | None = self
        while builder is not None:
            known = builder._seen.get(key)
            if known is not None and in_graph(known[0]):
                node = known[0].producer()
                assert node is not None
                if _places(node.op_type, node.inputs) == key[2]:  # rewrites change the inputs of nodes
                    return known
            builder = builder._outer
        return None

    def _add(
        self, op_type: str, inputs: Sequence[ir.Value | None], outputs: int, attrs: dict[str, Any]
    ) -> tuple[ir.Value, ...]:
        check_node(op_type, len(inputs), tuple(attrs), self.opset)
        for position, value in enumerate(inputs):
            if value is not None and not isinstance(value, ir.Value):
                raise TypeError(_NO_VALUE.format(position=position, op_type=op_type, given=value))
        node = ir.Node(
            domain_of(op_type),
            op_type,
            inputs,
            [_attribute(name, value) for name, value in attrs.items()],
            num_outputs=outputs,
            metadata_props=dict(self.metadata),
        )
        dtypes = infer_dtypes(op_type, inputs, attrs, outputs)
        shapes = infer_shapes(op_type, inputs, attrs, outputs, self.constants.array)
        for value, dtype, shape in zip(node.outputs, dtypes, shapes, strict=True):
            stamp(value, dtype, shape)
        self._append(node)
        self.added.append(node)
        return tuple(node.outputs)


def _places(op_type: str, inputs: Sequence[ir.Value | None]) -> tuple[int | None, ...]:
    """The operands as parts of a key: those that may change places in one order."""
    places = [id(value) if value is not None else None for value in inputs]
    return tuple(sorted(places, key=lambda place: place or 0) if op_type in traits.COMMUTATIVE else places)


def in_graph(value: ir.Value) -> bool:
    """Whether what makes a value is still there: a rewrite may have removed it."""
    producer = value.producer()
    return producer is None or producer.graph is not None


def _attribute(name: str, value: Any) -> ir.Attr:
    if isinstance(value, (bool, int, np.integer)):
        return ir.AttrInt64(name, int(value))
    if isinstance(value, (float, np.floating)):
        return ir.AttrFloat32(name, float(value))
    if isinstance(value, str):
        return ir.AttrString(name, value)
    if isinstance(value, ir.DataType):
        return ir.AttrInt64(name, int(value))
    if isinstance(value, ir.Graph):
        return ir.AttrGraph(name, value)
    if isinstance(value, np.ndarray):
        return ir.AttrTensor(name, ir.Tensor(value))
    if isinstance(value, ir.Tensor):
        return ir.AttrTensor(name, value)
    if isinstance(value, (list, tuple)):
        if any(isinstance(item, (float, np.floating)) for item in value):
            return ir.AttrFloat32s(name, [float(item) for item in value])
        if value and all(isinstance(item, str) for item in value):
            return ir.AttrStrings(name, list(value))
        return ir.AttrInt64s(name, [int(item) for item in value])
    raise TypeError(f"attribute {name} has no ONNX form: {value!r}")
