"""Discover: installed plugins become one registry. Ours and third-party ones come through the same door."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .._errors import PluginError
from ._plugin import Plugin
from ._registry import Registry

_EXAMPLE = "plugins=[j2o_plugins_jax.plugin, mine]"


def discover(plugins: Sequence[Plugin] | None = None) -> Registry:
    """The registry of the given plugins, or of all installed ones.

    Raises:
        PluginError: if a plugin cannot be imported, is not a `Plugin`, or clashes with another.
    """
    if plugins is None:
        return Registry.installed()
    if isinstance(plugins, (Plugin, str)) or not isinstance(plugins, Iterable):
        raise PluginError(f"plugins is {plugins!r}. Expected a list of plugins: {_EXAMPLE}.")
    for plugin in plugins:
        if not isinstance(plugin, Plugin):
            raise PluginError(
                f"plugins contains {plugin!r}, which is no j2o_core.Plugin. Expected them as they are: {_EXAMPLE}."
            )
    return Registry(plugins)
