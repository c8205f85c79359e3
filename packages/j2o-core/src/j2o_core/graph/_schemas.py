"""Whether ONNX has an operator with the attributes and inputs that a rule gives it."""

from __future__ import annotations

import difflib
import functools

import onnx.defs

from ..plugin._plugin import HIGHEST_OPSET


@functools.cache
def check_node(op_type: str, inputs: int, attributes: tuple[str, ...], opset: int) -> None:
    """Raise a ValueError that says what ONNX has instead.

    An operator of a later opset is allowed, since the legalization may write it with others; one of another domain is
    the plugin's own affair.
    """
    if "::" in op_type:
        return
    schema = _schema(op_type, opset)
    if schema is None:
        raise ValueError(_no_operator(op_type))
    for name in attributes:
        if name not in schema.attributes:
            known = sorted(schema.attributes)
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(
                f"{op_type} has no attribute {name!r}. {_nearest(near)}{' ' if near else ''}It has "
                f"{', '.join(known) or 'none'}."
            )
    if not schema.min_input <= inputs <= schema.max_input:
        expected = [value.name for value in schema.inputs]
        raise ValueError(
            f"{op_type} got {inputs} input{'' if inputs == 1 else 's'}. It takes {', '.join(expected) or 'none'}."
        )


def check_operator(op_type: str) -> None:
    """Raise a ValueError with the nearest names if ONNX has no operator of this name; see `check_node`."""
    if "::" not in op_type and not onnx.defs.has(op_type, ""):
        raise ValueError(_no_operator(op_type))


def _no_operator(op_type: str) -> str:
    near = difflib.get_close_matches(op_type, _names(), n=3)
    return f"ONNX has no operator {op_type}. {_nearest(near) or _OTHER_DOMAIN}"


_OTHER_DOMAIN = 'One of another domain is written with it: op("com.microsoft::NAME", ...).'


def _nearest(names: list[str]) -> str:
    return f"The nearest name{' is' if len(names) == 1 else 's are'} {', '.join(names)}." if names else ""


def _schema(op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    for version in (opset, HIGHEST_OPSET):
        try:
            return onnx.defs.get_schema(op_type, version, "")
        except onnx.defs.SchemaError:
            continue
    return None


@functools.cache
def _names() -> tuple[str, ...]:
    return tuple(dict.fromkeys(schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""))
