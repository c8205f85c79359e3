"""Whether every equation has a rule and every type an ONNX form: asked before any rule runs."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import jax
import onnx_ir as ir

from .. import _compat
from .._errors import UnsupportedError
from ..graph._values import onnx_dtype
from ..plugin._registry import Registry
from ..simplify._nested import Steps, complete, nested
from ..trace._source import user_line

_NO_PLUGINS = "JAX's own operations are in a package: pip install j2o-plugins-jax."
_NOT_GIVEN = """JAX's own operations are in j2o-plugins-jax, which is not among these. plugins= takes the place of all
that are installed: plugins=[j2o_plugins_jax.plugin, mine]."""

_CALLBACKS = ("pure_callback", "io_callback", "debug_callback")
_NO_CALLBACKS = """\
Callbacks run Python, which a graph cannot: write their code with jax.numpy, or run it outside and pass its results as
arguments. One whose results are not used (a print, a log) belongs outside of what is exported."""


def check_supported(jaxpr: Any, registry: Registry, opset: int) -> None:
    """Raise an UnsupportedError that lists every primitive without a rule at this opset, or names a foreign type."""
    for var in jaxpr.jaxpr.invars:
        _check_type(var.aval, "An argument")
    for var in jaxpr.jaxpr.outvars:
        _check_type(var.aval, "A result")
    missing: OrderedDict[str, list[Any]] = OrderedDict()
    complete(_collect_missing(jaxpr, registry, opset, missing))
    if not missing:
        return
    width = max(map(len, missing))
    lines = []
    for name, eqns in missing.items():
        count = f"{len(eqns)} equation{'s' if len(eqns) > 1 else ''}"
        lowest = registry.lowest_opset(eqns[0].primitive)
        advice = f"   (has a lowering from opset {lowest} on)" if lowest is not None else ""
        lines.append(f"  {name:{width}}  {count:13} {user_line(eqns[0], registry.libraries)}{advice}")
    loaded = ", ".join(f"{plugin.name} {plugin.version or ''}".strip() for plugin in registry.plugins) or "none"
    advice, separator = "See docs/write-a-plugin.md to add one.", " "
    if not registry.plugins:
        advice = _NO_PLUGINS
    elif registry.lowest_opset("add") is None and any(hasattr(jax.lax, f"{name}_p") for name in missing):
        advice, separator = _NOT_GIVEN, "\n"
    if any(name in _CALLBACKS for name in missing):
        advice, separator = _NO_CALLBACKS, "\n"
    plural = "primitives have" if len(missing) > 1 else "primitive has"
    raise UnsupportedError(
        f"{len(missing)} {plural} no ONNX lowering at opset {opset}.\n"
        + "\n".join(lines)
        + f"\nLoaded plugins: {loaded}.{separator}{advice}"
    )


def _collect_missing(jaxpr: Any, registry: Registry, opset: int, missing: OrderedDict[str, list[Any]]) -> Steps:
    for eqn in jaxpr.jaxpr.eqns:
        if hasattr(eqn.primitive, "composite"):
            continue  # its body is looked at if it comes to that
        if registry.lowering(eqn.primitive, opset) is None:
            missing.setdefault(_compat.printed_name(eqn), []).append(eqn)
            continue
        for var in eqn.outvars:
            _check_type(var.aval, eqn, registry.libraries)
        for body in nested(eqn):
            yield _collect_missing(body, registry, opset, missing)


def _check_type(aval: Any, made: Any, libraries: Any = ()) -> None:
    try:
        element_type(aval.dtype)
    except (AttributeError, TypeError) as error:  # a token has no dtype
        advice = "Expected one that it has: convert to bfloat16 or float8_e4m3fn, for instance."
        if getattr(aval, "dtype", None) == jax.dtypes.float0:
            advice = "JAX's derivatives of integers and truth values hold no numbers: do not return them."
        made = made if isinstance(made, str) else f"{_compat.printed_name(made)} at {user_line(made, libraries)}"
        raise UnsupportedError(f"{made} is {aval.str_short()}, a type that ONNX does not have. {advice}") from error


def element_type(dtype: Any) -> ir.DataType | None:
    """The element type of a dtype, None for keys and their like."""
    return None if _compat.is_extended_dtype(dtype) else onnx_dtype(dtype)
