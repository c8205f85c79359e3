"""Typed PRNG keys as arrays of words: what JAX's generators do with them, in JAX's own uint32 arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from j2o_core import UnsupportedError, _compat

from .._mapped import mapped
from .._plugin import plugin

_REFUSED = (
    "The key type {name!r} draws its numbers with an algorithm of the accelerator at hand; ONNX cannot repeat it "
    "bit for bit.\nUse a key of the default type: jax.random.key(seed, impl='threefry2x32')."
)


def _generator(dtype: Any) -> Any:
    """The functions of a key type."""
    generator = _compat.key_generator(dtype)
    if "rbg" in generator.name:
        raise UnsupportedError(_REFUSED.format(name=generator.name))
    return generator


def _seed(eqn: Any, seeds: Any) -> Any:
    return mapped(_generator(eqn.outvars[0].aval.dtype).seed, seeds, rank=0)


def _split(eqn: Any, keys: Any) -> Any:
    split, shape = _generator(eqn.invars[0].aval.dtype).split, eqn.params["shape"]
    return mapped(lambda key: split(key, shape), keys, rank=1)


def _bits(eqn: Any, keys: Any) -> Any:
    draw = _generator(eqn.invars[0].aval.dtype).random_bits
    width, shape = eqn.params["bit_width"], eqn.params["shape"]
    return mapped(lambda key: draw(key, width, shape), keys, rank=1)


def _fold_in(eqn: Any, keys: Any, messages: Any) -> Any:
    shape = eqn.outvars[0].aval.shape
    keys = jnp.broadcast_to(keys, (*shape, keys.shape[-1]))
    fold_in = _generator(eqn.invars[0].aval.dtype).fold_in
    return mapped(fold_in, keys, jnp.broadcast_to(messages, shape), rank=1)


def _gamma(eqn: Any, keys: Any, shape_parameter: Any) -> Any:
    dtype = eqn.invars[0].aval.dtype
    _generator(dtype)
    return _compat.random_gamma(_compat.wrap_keys(keys, dtype), shape_parameter, eqn.params)


def _same(eqn: Any, words: Any) -> Any:
    for atom in (*eqn.invars, *eqn.outvars):
        if _compat.is_key_dtype(atom.aval.dtype):
            _generator(atom.aval.dtype)
    return words


_RULES: dict[str, Callable[..., Any]] = {
    "random_seed": _seed,
    "random_split": _split,
    "random_bits": _bits,
    "random_fold_in": _fold_in,
    "random_gamma": _gamma,
    "random_wrap": _same,
    "random_unwrap": _same,
    "random_clone": _same,
}
for _name, _rule in _RULES.items():
    plugin.encoded(_name, "key")(_rule)
