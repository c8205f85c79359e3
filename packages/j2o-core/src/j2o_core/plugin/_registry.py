"""The registry: all rules, composites and rewrites of a set of plugins."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .._errors import PluginError
from . import _installed
from ._composite import Composite
from ._plugin import ENCODED, Lowering, Plugin, Rewrite, key_name, lowering_key

_NO_RULES = """No plugin knows what jax.vmap and jax.grad do with these composites: {names}.
Install j2o-autodiff, which derives it from their bodies, or make it a dependency of the package that declares them."""

_CLASH = """Two plugins lower {name} at opset {opset}: {one} and {other}.
A rule that is to take the place of the other says so: @plugin.lowering(..., override=True). Else uninstall one of the
two, or pass plugins=[...] to to_onnx."""


class Registry:
    """All rules, composites and rewrites of a set of plugins.

    Raises:
        PluginError: if two plugins share a name, or have a rule for the same primitive at the same opset, or a
            composite has no rules for `vmap` and `grad`.
    """

    def __init__(self, plugins: Sequence[Plugin]):
        self.plugins = tuple(plugins)
        self._lowerings: dict[Any, list[Lowering]] = {}
        self._newest: dict[tuple[Any, int], Lowering | None] = {}
        self.decompositions: dict[str, Any] = {}
        self.encodings: dict[str, dict[str, Any]] = {kind: {} for kind in ENCODED}
        self.precisions: dict[str, Any] = {}
        self.composites: list[Composite] = []
        self.rewrites: list[Rewrite] = []
        self.opset_imports: dict[str, int] = {}
        names: dict[str, Plugin] = {}
        for plugin in plugins:
            if names.setdefault(plugin.name, plugin) is not plugin:
                raise PluginError(
                    f"Two plugins are named {plugin.name!r}: {_origin(names[plugin.name])} and {_origin(plugin)}. "
                    f"Give one of them another name, or uninstall it."
                )
            self._add(plugin)
        for key, rules in self._lowerings.items():
            if any(
                rule.override and self.decompositions.get(key) not in (None, rule.plugin.decompositions.get(key))
                for rule in rules
            ):
                del self.decompositions[key]
        self._give_rules()
        # Stands for this set of composites in JAX's tracing caches.
        self.context = tuple(sorted(composite.target for composite in self.composites))

    @classmethod
    def installed(cls) -> Registry:
        """The registry of all installed plugins."""
        return _installed_registry(_installed.entry_points())

    def _give_rules(self) -> None:
        """Every composite learns what `vmap` and `grad` do with it, from whichever plugin knows."""
        lacking = [composite for composite in self.composites if not composite.transforms_ready]
        if not lacking:
            return
        transforms = [plugin.transforms for plugin in self.plugins if plugin.transforms is not None]
        for transform in transforms or _installed.transforms():
            for composite in lacking:
                transform(composite)
        names = [composite.name for composite in lacking if not composite.transforms_ready]
        if names:
            raise PluginError(_NO_RULES.format(names=", ".join(names)))

    def _add(self, plugin: Plugin) -> None:
        for key, rules in plugin.lowerings.items():
            for rule in rules:
                for other in self._lowerings.get(key, ()):
                    same = other.opset == rule.opset and other.override == rule.override
                    if same and other.plugin is not plugin:
                        raise PluginError(
                            _CLASH.format(
                                name=key_name(key), opset=rule.opset, one=_origin(other.plugin), other=_origin(plugin)
                            )
                        )
            self._lowerings[key] = sorted(
                [*self._lowerings.get(key, ()), *rules], key=lambda rule: (rule.opset, rule.override)
            )
        for name, fn in plugin.decompositions.items():
            if self.decompositions.setdefault(name, fn) is not fn:
                raise PluginError(
                    f"Two plugins decompose {name}; one is {_origin(plugin)}. Uninstall one of them, or pass "
                    f"plugins=[...] to to_onnx."
                )
        for (kind, name), encoded in plugin.encodings.items():
            if self.encodings[kind].setdefault(name, encoded) is not encoded:
                raise PluginError(
                    f"Two plugins have a rule for {name} of encoded values ({kind}); one is {_origin(plugin)}. "
                    f"Uninstall one of them, or pass plugins=[...] to to_onnx."
                )
        for name, precision in plugin.precisions.items():
            if self.precisions.setdefault(name, precision) != precision:
                raise PluginError(f"Two plugins state how precise {name} is; one is {_origin(plugin)}.")
        targets = {composite.target: composite for composite in self.composites}
        for composite in plugin.composites:
            if composite.target in targets:
                raise PluginError(f"Two plugins declare the composite {composite.target}; one is {_origin(plugin)}.")
        for domain, version in plugin.opset_imports.items():
            if (known := self.opset_imports.setdefault(domain, version)) != version:
                raise PluginError(f"{_origin(plugin)} imports opset {version} of {domain!r}, another plugin {known}.")
        self.composites += plugin.composites
        self.rewrites += plugin.rewrites

    @functools.cached_property
    def libraries(self) -> tuple[str, ...]:
        """Import names of libraries whose source lines are not the user's."""
        return tuple(name for plugin in self.plugins for name in plugin.libraries)

    @functools.cached_property
    def own_scopes(self) -> tuple[str, ...]:
        """How scopes begin that libraries of modules open themselves."""
        return tuple(
            dict.fromkeys(scope for plugin in self.plugins for own in plugin.modules.values() for scope in own)
        )

    @property
    def modules(self) -> tuple[str, ...]:
        """Classes of modules, as dotted paths."""
        return tuple(dict.fromkeys(target for plugin in self.plugins for target in plugin.modules))

    @property
    def module_plans(self) -> dict[str, Any]:
        """Functions that give the classes of the modules that a value describes, by dotted paths of its class."""
        return {target: classes for plugin in self.plugins for target, classes in plugin.module_plans.items()}

    @property
    def states(self) -> tuple[str, ...]:
        """Classes of arguments that are state, as dotted paths."""
        return tuple(dict.fromkeys(target for plugin in self.plugins for target in plugin.states))

    @property
    def remarks(self) -> dict[str, Any]:
        """Functions that say what is to be warned of in calls of classes of modules, by dotted paths."""
        return {target: remark for plugin in self.plugins for target, remark in plugin.remarks.items()}

    def lowering(self, primitive: Any, opset: int) -> Lowering | None:
        """The newest rule for a primitive or composite that is not above `opset`."""
        key = getattr(primitive, "composite", None) or lowering_key(primitive)
        try:
            return self._newest[key, opset]
        except KeyError:
            best = None
            for rule in self._lowerings.get(key, ()):
                if rule.opset <= opset and (rule.override or best is None or not best.override):
                    best = rule
            self._newest[key, opset] = best
            return best

    def lowest_opset(self, primitive: Any) -> int | None:
        """The lowest opset at which a primitive has a rule, None if it has none at all."""
        key = getattr(primitive, "composite", None) or lowering_key(primitive)
        rules = self._lowerings.get(key)
        return rules[0].opset if rules else None

    def overrides(self) -> Iterator[tuple[str, Lowering, Lowering]]:
        """(primitive or composite, rule, rule of another plugin in whose place it is from its own opset on)."""
        for key, rules in self._lowerings.items():
            overriding = [rule for rule in rules if rule.override]
            pairs = [(other, rule) for rule in overriding for other in rules if not other.override]
            for other, rule in pairs or itertools.pairwise(rules):
                if other.plugin is not rule.plugin:
                    yield key_name(key), rule, other

    def rows(self) -> Iterable[tuple[str, Lowering]]:
        """(primitive or composite, rule) for tables."""
        for key, rules in self._lowerings.items():
            for rule in rules:
                yield key_name(key), rule


@functools.lru_cache(maxsize=4)
def _installed_registry(points: tuple[tuple[str, str, str, str], ...]) -> Registry:
    return Registry([_installed.load(*point) for point in points])


def _origin(plugin: Plugin) -> str:
    if plugin.distribution:
        return f"{plugin.name!r} of distribution {plugin.distribution} {plugin.version}"
    return f"{plugin.name!r}"
