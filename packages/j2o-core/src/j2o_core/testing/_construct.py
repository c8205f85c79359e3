"""`construct_and_call`: a module that is built when it is called, in the dtype it is called with, from a seed."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def construct_and_call(module: Callable[..., Any], *args: Any, **kwargs: Any) -> Construction:
    """A stand-in for `module(*args, **kwargs)` that is built at its first call, not when a test file is imported.

        mlp = construct_and_call(eqx.nn.MLP, 3, 2, 8, 2).with_requested_dtype().with_rng_seed(7)
        check(mlp, Spec((3,), np.float16))       # an MLP with float16 weights
        check(jax.vmap(mlp), Spec(("B", 3)))     # one with float32 weights

    A constructor with a parameter `key` gets one made from the seed, unless the arguments have it. Constructions
    among the arguments are built too, each from a key of its own.

    Args:
        module: the class, or a function that makes a module.
        args: arguments of the constructor.
        kwargs: keyword arguments of the constructor.
    """
    return Construction(module, args, tuple(kwargs.items()))


@dataclasses.dataclass(frozen=True, eq=False)
class Construction:
    """See `construct_and_call`. The `with_...` methods give a new construction and leave this one as it is."""

    module: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    dtype: Any = np.float32
    seed: int = 0
    _built: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    def with_requested_dtype(self, dtype: Any = None) -> Construction:
        """Build with floating weights of `dtype`; without one, of the first floating argument of each call."""
        return dataclasses.replace(self, dtype=None if dtype is None else np.dtype(dtype), _built={})

    def with_rng_seed(self, seed: int) -> Construction:
        """Build from another seed. The key also depends on the dtype, so that no two modules share it."""
        return dataclasses.replace(self, seed=seed, _built={})

    def build(self, dtype: Any = None) -> Any:
        """The module with floating weights of a dtype (by default the requested one, or float32).

        The same module is returned each time. Using a key twice inside the constructor raises `KeyReuseError`.
        """
        dtype = np.dtype(dtype or self.dtype or np.float32)
        if dtype.name not in self._built:
            # At this moment a trace may be running: the weights are constants all the same.
            with jax.ensure_compile_time_eval(), jax.debug_key_reuse(True):
                key = jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(dtype.name.encode()))
                self._built[dtype.name] = self._make(dtype, key)
        return self._built[dtype.name]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module, built on the first call with this dtype."""
        return self.build(self.dtype or _floating_dtype((args, kwargs)))(*args, **kwargs)

    @property
    def __wrapped__(self) -> Any:
        """The module that was built last: its weights' names are those of the graph."""
        if not self._built:
            raise AttributeError("__wrapped__")
        return next(reversed(self._built.values()))

    @functools.cached_property
    def __signature__(self) -> inspect.Signature:
        if not isinstance(self.module, type):
            return inspect.signature(self.build())
        _, *parameters = inspect.signature(self.module.__call__).parameters.values()
        return inspect.Signature(parameters)

    def _make(self, dtype: np.dtype[Any], key: Any) -> Any:
        parts = [part for part in jax.tree.leaves((self.args, dict(self.kwargs))) if isinstance(part, Construction)]
        own, *others = jax.random.split(key, len(parts) + 1) if parts else [key]
        keys = iter(others)

        def made(value: Any) -> Any:
            return value._make(dtype, next(keys)) if isinstance(value, Construction) else value

        args, kwargs = jax.tree.map(made, (self.args, dict(self.kwargs)))
        parameters = _parameters(self.module, args)
        if "key" in parameters and "key" not in kwargs:
            kwargs["key"] = own
        if "dtype" in parameters and "dtype" not in kwargs:
            kwargs["dtype"] = dtype
        return jax.tree.map(lambda leaf: _as_dtype(leaf, dtype), self.module(*args, **kwargs))


def _parameters(module: Callable[..., Any], args: Sequence[Any]) -> list[str]:
    """Names of the constructor's parameters that the positional arguments leave open."""
    parameters = inspect.signature(module).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    taken = {parameter.name for parameter in positional[: len(args)]}
    return [p.name for p in parameters if p.name not in taken and p.kind not in (p.POSITIONAL_ONLY, p.VAR_KEYWORD)]


def _as_dtype(leaf: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(leaf, (jax.Array, np.ndarray)) and jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf.astype(dtype)
    return leaf


def _floating_dtype(arguments: Any) -> np.dtype[Any]:
    for leaf in jax.tree.leaves(arguments):
        dtype = getattr(leaf, "dtype", None)
        if dtype is not None and jnp.issubdtype(dtype, jnp.floating):
            found: np.dtype[Any] = np.dtype(dtype)
            return found
    return np.dtype(np.float32)
