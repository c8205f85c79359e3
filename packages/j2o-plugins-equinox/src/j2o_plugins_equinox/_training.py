"""Warnings about layers that are exported as they are in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from ._plugin import plugin


def _in_training(module: Any, kwargs: Mapping[str, Any]) -> bool:
    given = kwargs.get("inference")
    return (module.inference if given is None else given) is False


@plugin.remark("equinox.nn.Dropout")
def _dropout(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """A key that is an argument of the program was meant; one that is a constant drops the same values each time."""
    del args
    key = kwargs.get("key")
    if key is None or isinstance(key, jax.core.Tracer) or module.p == 0 or not _in_training(module, kwargs):
        return None
    return (
        "its key is fixed in the graph, so that it drops the same values each time. For inference export "
        "eqx.nn.inference_mode(model); for training make the key an argument."
    )


@plugin.remark("equinox.nn.BatchNorm")
def _batch_norm(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """A state that is an argument of the program was meant; one that is a constant never changes."""
    state = args[1] if len(args) > 1 else kwargs.get("state")
    indices = (getattr(module, name, None) for name in ("ema_state_index", "batch_state_index"))
    own = [state.get(index) for index in indices if state is not None and index is not None]
    if not own or not _in_training(module, kwargs):
        return None
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(own)):
        return None
    return (
        "it takes the statistics of the batch, as in training, and its running averages are constants of the graph. "
        "For inference export eqx.nn.inference_mode(model); for training make the state an argument and return it."
    )
