"""Equinox's wrappers around code: checks at run time, which a graph cannot make, and boundaries without effect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin

_DROPPED = """The run-time check {messages} is not part of the graph: ONNX cannot raise errors.
Check the inputs before they go into the graph if you rely on it."""

# equinox.error_if and every check inside Equinox go through this function.
branched_error_if = plugin.composite("equinox._errors.branched_error_if")


@plugin.lowering(branched_error_if)
def _error_if(
    ctx: LoweringContext, x: Any, pred: Any, index: Any, msgs: Sequence[str], *, on_error: str = "default"
) -> Any:
    """The values, without the check; `on_error="nan"` changes results, so there the body is lowered."""
    del pred, index
    from equinox._config import EQX_ON_ERROR

    if "nan" in (on_error, EQX_ON_ERROR if on_error == "default" else None):
        return NotImplemented
    ctx.warn(_DROPPED.format(messages=" / ".join(map(repr, msgs))))
    leaves = [leaf for leaf in jax.tree.leaves(x) if isinstance(leaf, ir.Value)]
    # Under vmap with a mapped condition alone, the result is mapped and x is not.
    return [ctx.expand(leaf, aval.shape) for leaf, aval in zip(leaves, ctx.avals_out, strict=True)]


@plugin.decomposition("noinline")
def _noinline(*operands: Any, **params: Any) -> Any:
    """The function itself; its place in Equinox's table is the first operand."""
    from equinox.internal import noinline_p  # loaded by whoever used it, and only then

    return noinline_p.impl(*operands, **params)


def _identity(x: Any) -> Any:
    return x


for _name, _ignores in {
    "nontraceable": ("name",),
    "nonbatchable": ("allow_constant_across_batch", "msg"),
    "nondifferentiable_backward": ("msg", "symbolic"),
}.items():
    plugin.decomposition(_name, ignores=_ignores)(_identity)


def _over_everything(reduce: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda x: reduce(x)


for _name, _reduce in {"unvmap_any": jnp.any, "unvmap_all": jnp.all, "unvmap_max": jnp.max}.items():
    plugin.decomposition(_name)(_over_everything(_reduce))
