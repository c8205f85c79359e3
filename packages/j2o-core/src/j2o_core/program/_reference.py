"""References of an exported program: the function compiled by JAX, or its operations run one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from .. import _compat
from .._errors import VerifyError
from ..trace._inputs import Inputs
from ..trace._lazy import has_values, lazy_leaves, with_arrays
from ..trace._outputs import array_outputs
from ._session import as_fed

_NOT_COMPILED = (
    "XLA cannot compile the function for the CPU ({reason}): compared without the algorithms of its products"
)


class Reference:
    """The function on the graph's inputs, with the graph's outputs as arrays.

    Attributes:
        notes: what was done where JAX's compiled function could not be used.
    """

    def __init__(self, fn: Callable[..., Any], inputs: Inputs):
        self.notes: list[str] = []
        lazy = lazy_leaves(fn)
        for leaf in lazy:
            if not has_values(leaf):
                raise VerifyError(
                    f"The function has weights without values ({leaf}): there is nothing to compare with."
                )

        def flat(*arrays: Any) -> list[Any]:
            typed = [
                _compat.with_weak_type(array) if leaf.weak_type else array
                for leaf, array in zip(inputs.leaves, arrays, strict=True)
            ]
            held = with_arrays(fn, {id(leaf): jax.numpy.asarray(leaf) for leaf in lazy})
            result = inputs.call(held, typed)
            return array_outputs(fn, result, jax.tree_util.tree_flatten_with_path(result)[0])[0]

        self._flat = flat
        self._compiled = jax.jit(flat)
        self._portable: Callable[..., Any] | None = None

    def __call__(self, *arrays: Any) -> list[Any]:
        """The outputs, by the compiled function.

        Where the CPU lacks the algorithm that a product asks for, such as float16 summed in float32, by one that does
        not ask: the products are then summed in their result's dtype.
        """
        if self._portable is None:
            try:
                return [as_fed(value) for value in self._compiled(*arrays)]
            except Exception as error:
                closed = jax.make_jaxpr(self._flat)(*arrays)
                portable = _compat.without_dot_algorithms(closed)
                if portable is closed:
                    raise
                self.notes.append(_NOT_COMPILED.format(reason=str(error).partition("\n")[0]))
                self._portable = self._without_algorithms
        return [as_fed(value) for value in self._portable(*arrays)]

    def _without_algorithms(self, *arrays: Any) -> Any:
        closed = _compat.without_dot_algorithms(jax.make_jaxpr(self._flat)(*arrays))
        return jax.jit(_compat.as_function(closed))(*arrays)

    def one_by_one(self, *arrays: Any) -> list[Any]:
        """The outputs, by operations that are compiled and run one by one: XLA merges nothing."""
        with jax.disable_jit():
            return [as_fed(value) for value in self._flat(*map(jax.numpy.asarray, arrays))]
