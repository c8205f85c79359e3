"""Discover: installed plugins become one registry. Ours and third-party ones come through the same door."""

from __future__ import annotations

from collections.abc import Sequence

from .._errors import PluginError
from ._plugin import Plugin
from ._registry import Registry


def discover(plugins: Sequence[Plugin] | None = None) -> Registry:
    """The registry of the given plugins, or of all installed ones.

    Raises:
        PluginError: if a plugin cannot be imported, is not a `Plugin`, or clashes with another.
    """
    if plugins is None:
        return Registry.installed()
    for plugin in plugins:
        if not isinstance(plugin, Plugin):
            raise PluginError(f"plugins contains {plugin!r}, which is not a j2o_core.Plugin.")
    return Registry(plugins)
