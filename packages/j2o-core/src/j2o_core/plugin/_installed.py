"""Installed plugins, found by their entry points."""

from __future__ import annotations

import functools
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from importlib import metadata

from .._errors import PluginError
from ._composite import Composite
from ._plugin import Plugin

GROUP = "j2o.plugins"
# Whose rules composites get where the plugins that were asked for have none.
_RULES = "j2o-autodiff"


def entry_points() -> tuple[tuple[str, str, str, str], ...]:
    """(name, value, distribution, version) of each installed plugin."""
    return _entry_points_on(tuple((folder, _changed(folder)) for folder in sys.path))


def _changed(folder: str) -> int | None:
    """When a folder with distributions last changed; a folder that has none, such as a script's own, may change."""
    try:
        changed = os.stat(folder or ".").st_mtime_ns
        return changed if _has_distributions(folder or ".", changed) else None
    except OSError:
        return None


@functools.lru_cache(maxsize=64)
def _has_distributions(folder: str, changed: int) -> bool:
    if not os.path.isdir(folder):
        return True  # an archive
    return any(name.endswith((".dist-info", ".egg-info")) for name in os.listdir(folder))


@functools.lru_cache(maxsize=4)
def _entry_points_on(path: tuple[tuple[str, int | None], ...]) -> tuple[tuple[str, str, str, str], ...]:
    """Those of all distributions on the search path: to read them takes longer than a small export."""
    found: dict[tuple[str, str], tuple[str, str, str, str]] = {}
    for point in metadata.entry_points(group=GROUP):
        dist = point.dist
        name, version = (dist.name, dist.version) if dist is not None else ("unknown", "0")
        found.setdefault((name, point.name), (point.name, point.value, name, version))
    return tuple(sorted(found.values()))


def transforms() -> list[Callable[[Composite], None]]:
    """The source of composites' rules for `vmap` and `grad`, if the plugins that were asked for have none."""
    plugins = [load(*point) for point in entry_points() if point[2] == _RULES]
    return [plugin.transforms for plugin in plugins if plugin.transforms is not None]


def load(name: str, value: str, distribution: str, version: str) -> Plugin:
    """The plugin that an entry point names.

    Raises:
        PluginError: if it cannot be imported or is none.
    """
    where = f"Plugin {name!r} ({value}) of distribution {distribution} {version}"
    point = metadata.EntryPoint(name, value, GROUP)
    try:
        plugin = importlib.import_module(point.module)
    except ImportError as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        advice = f"Its dependency {missing!r} is not installed. " if missing else ""
        raise PluginError(
            f"{where} cannot be imported: {error}. {advice}Install what it needs, or uninstall {distribution}."
        ) from error
    except (Exception, SystemExit) as error:
        line = _line(error, point.module)
        raise PluginError(
            f"{where} raised {type(error).__name__} while it was imported: {error}\n"
            + (f"  at {line}\n" if line is not None else "")
            + f"Update or uninstall {distribution}."
        ) from error
    try:
        for attribute in filter(None, (point.attr or "").split(".")):
            plugin = getattr(plugin, attribute)
    except AttributeError as error:
        raise PluginError(f"{where} names something that its module does not have: {error}.") from error
    if not isinstance(plugin, Plugin):
        raise PluginError(f"{where} is {plugin!r}. Expected a j2o_core.Plugin.")
    plugin.distribution, plugin.version = distribution, version
    return plugin


def _line(error: BaseException, module: str) -> str | None:
    """The innermost line of a module's own package on the way to an error."""
    library = module.partition(".")[0]
    lines = [
        f"{frame.f_code.co_filename}:{number}"
        for frame, number in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] == library
    ]
    return lines[-1] if lines else None
