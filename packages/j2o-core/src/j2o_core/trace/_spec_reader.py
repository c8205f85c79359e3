"""One spec, an array or a shape of numbers and names, as a leaf of the inputs."""

import ast
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import export

from .. import _compat
from .._errors import SpecError
from ._constraints import constraint_scope
from ._inputs import InputLeaf

_LARGEST = (1 << 63) - 1  # sizes are int64 in ONNX
_KINDS = {"int": (8, 16, 32, 64), "uint": (8, 16, 32, 64), "float": (16, 32, 64), "complex": (64, 128), "bfloat": (16,)}
_DTYPE_NAMES = frozenset(f"{kind}{bits}" for kind, sizes in _KINDS.items() for bits in sizes)
_FUNCTIONS = ("max", "min", "floordiv", "mod")
_EXPRESSION = f'Expected integers, names such as B, + - * // %, and {", ".join(_FUNCTIONS)} of two: "2*T", "B//2".'
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def is_shape(value: object) -> bool:
    """Whether a value is a tuple of sizes, numbers or names."""
    return isinstance(value, tuple) and not hasattr(value, "_fields") and all(map(_is_dimension, value))


def is_array_like(value: object) -> bool:
    """Whether a value is one array, and no tree of arrays that has a shape and a dtype as well."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and jax.tree_util.all_leaves((value,))


def _is_dimension(value: Any) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (int, np.integer, str)) or export.is_symbolic_dim(value)


class SpecReader:
    """Reads specs that share one scope of symbolic dimensions."""

    def __init__(self, constraints: Sequence[str]):
        self._symbols: dict[str, Any] = {}
        self._sizes: dict[str, Any] = {}
        self._scope = constraint_scope(constraints)

    def read(self, name: str, value: Any) -> InputLeaf | None:
        """The leaf of this name, None where the value is no spec."""
        if is_shape(value):
            return InputLeaf(name, self._shape(name, value), np.dtype(np.float32))
        if isinstance(value, jax.Array) or not is_array_like(value):
            return self._concrete(name, value)
        dtype = value.dtype
        if not _compat.is_extended_dtype(dtype):
            dtype = np.dtype(dtype)
            _check_dtype(name, dtype)
        return InputLeaf(name, self._shape(name, tuple(value.shape)), dtype, bool(getattr(value, "weak_type", False)))

    def _concrete(self, name: str, value: Any) -> InputLeaf | None:
        if not isinstance(value, jax.Array):
            return None
        return InputLeaf(name, value.shape, value.dtype, bool(getattr(value, "weak_type", False)))

    def _shape(self, name: str, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        if shape and isinstance(shape[-1], str) and shape[-1] in _DTYPE_NAMES:
            sizes = ", ".join(map(repr, shape[:-1])) + ("," if len(shape) == 2 else "")
            raise SpecError(
                f"The spec of {name!r} is {shape!r}: {shape[-1]!r} is a dtype, not a size. "
                f"Write jax.ShapeDtypeStruct(({sizes}), jnp.{shape[-1]})."
            )
        return tuple(self._dimension(name, shape, dimension) for dimension in shape)

    def _dimension(self, name: str, shape: tuple[Any, ...], dimension: Any) -> Any:
        if isinstance(dimension, str):
            if dimension in self._sizes:
                return self._sizes[dimension]
            text = dimension.strip()
            try:
                parsed = self._expression(ast.parse(text, mode="eval").body)
            except (RecursionError, MemoryError) as error:
                raise SpecError(
                    f"A dimension of input {name!r} has {len(text)} characters, too many to be read: "
                    f"{text[:60]}... Give it a name of its own, such as 'N'."
                ) from error
            except SyntaxError as error:
                raise SpecError(
                    f"Dimension {dimension!r} of input {name!r} {shape!r} cannot be read: {error.msg}. {_EXPRESSION}"
                ) from error
            except (ValueError, TypeError) as error:
                raise SpecError(
                    f"Dimension {dimension!r} of input {name!r} {shape!r} cannot be read: {error}. {_EXPRESSION}"
                ) from error
            if not export.is_symbolic_dim(parsed) and parsed < 0:
                raise SpecError(f"Dimension {dimension!r} of input {name!r} {shape!r} is negative.")
            self._sizes[dimension] = parsed
            return parsed
        if export.is_symbolic_dim(dimension):
            # A user's own symbols live in a scope of their own; here all share one.
            return self._symbolic(str(dimension))
        if not isinstance(dimension, (int, np.integer)) or not 0 <= dimension <= _LARGEST:
            raise SpecError(
                f"Dimension {dimension!r} of input {name!r} {shape!r} is not a size. "
                f'Expected an integer >= 0 that 64 bits hold, or a symbolic dimension such as "B" or "2*T".'
            )
        return int(dimension)

    def _expression(self, node: ast.expr) -> Any:
        """The size of an expression in Python's syntax; names are symbols."""
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name):
            return self._symbolic(node.id)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](self._expression(node.left), self._expression(node.right))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
            left, right = map(self._expression, node.args)
            return self._symbolic(f"{node.func.id}({left}, {right})")
        raise ValueError(f"{ast.unparse(node)!r} is not an expression of sizes")

    def _symbolic(self, text: str) -> Any:
        if text not in self._symbols:
            (self._symbols[text],) = export.symbolic_shape(text, scope=self._scope)
        return self._symbols[text]


def _check_dtype(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind in "OSUMm":
        raise SpecError(
            f"Input {name!r} has dtype {dtype}, which JAX does not have. Expected numbers or truth values. Text is "
            f"turned into them before, by a tokenizer, say."
        )
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise SpecError(
            f"Input {name!r} has dtype {dtype}, but JAX's 64-bit types are off, so JAX would make it "
            f"{jax.dtypes.canonicalize_dtype(dtype)}.\nGive the 32-bit dtype, or switch on 64-bit types with "
            f'jax.config.update("jax_enable_x64", True) before exporting (--x64 at the command line).'
        )
