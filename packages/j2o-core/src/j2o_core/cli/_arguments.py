"""Arguments of the command line: a function in a module, and the specs of its arguments."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np

from .._errors import SpecError

_DTYPES = {
    "f16": np.float16,
    "f32": np.float32,
    "f64": np.float64,
    "bf16": ml_dtypes.bfloat16,
    "bool": np.bool_,
    "c64": np.complex64,
    "c128": np.complex128,
    **{f"i{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"u{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
}
_FORM = "Expected [NAME=]SIZES[:DTYPE], such as x=B,3,224,224:f32 or scale=:f32."
_STATE_FORM = "Expected names of arguments, such as model,opt_state, or where the result holds them, such as cache=1."


def load_function(reference: str, *, call: bool = False) -> Callable[..., Any]:
    """The object that `module:name` refers to, or with `call` what it returns when called.

    Raises:
        SpecError: if there is no such module or name, importing or calling it fails, or it cannot be called.
    """
    module_name, colon, path = reference.partition(":")
    if not colon or not module_name or not path:
        module = module_name.removesuffix(".py") or "my_models.vit"
        raise SpecError(
            f"{reference!r} does not name a function. Expected MODULE:NAME, such as {module}:{path or 'model'}."
        )
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            hint = nearest(error.name, sorted(path.stem for path in Path().glob("*.py")))
            if module_name.endswith(".py"):
                hint = f" Give the module's name without .py: {module_name[:-3]}."
            raise SpecError(
                f"There is no module {error.name!r} in the current folder or among what is installed.{hint}"
            ) from error
        raise SpecError(f"{module_name} cannot be imported: {error}. Install what it needs.") from error
    except Exception as error:
        raise SpecError(f"{module_name} raised {type(error).__name__} while it was imported: {error}") from error
    for step in path.split("."):
        if not hasattr(value, step):
            names = [name for name in getattr(value, "__dict__", {}) if not name.startswith("_")]
            raise SpecError(
                f"{reference}: there is no {step!r}.{nearest(step, names)} Public names there: "
                f"{', '.join(names) or 'none'}."
            )
        value = getattr(value, step)
    if call:
        value = _called(value, reference)
    if not callable(value):
        raise SpecError(f"{reference} is {value!r}, which cannot be called. Expected a function or module.")
    if isinstance(value, type):
        raise SpecError(f"{reference} is a class. Name an instance of it, or a function that makes one with --call.")
    return value  # type: ignore[no-any-return]


def nearest(name: str, known: Sequence[str]) -> str:
    """A question whether the name was meant that is most like this one, with a space before; nothing if none is."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _called(factory: Any, reference: str) -> Any:
    if not callable(factory):
        raise SpecError(f"--call: {reference} is {factory!r}, which cannot be called.")
    try:
        return factory()
    except Exception as error:
        raise SpecError(f"--call: {reference}() raised {type(error).__name__}: {error}") from error


def parse_specs(fn: Callable[..., Any], texts: Sequence[str]) -> Any:
    """The specs of a function's arguments from texts such as `x=B,3:f32`, in the order of its parameters.

    Raises:
        SpecError: if a text cannot be read, or a name is not one of the parameters.
    """
    parsed = [_spec(text) for text in texts]
    positional = [spec for name, spec in parsed if name is None]
    named = {name: spec for name, spec in parsed if name is not None}
    if len(named) + len(positional) < len(parsed):
        raise SpecError(f"--input names an argument twice: {', '.join(texts)}.")
    parameters = _parameters(fn)
    if parameters is None:
        if positional and named:
            raise SpecError(f"The parameters of {fn!r} are not known: give all inputs with names or none.")
        return list(named.values()) if named else positional
    in_order = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    has_rest = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = [*in_order, *(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)]
    for name in named:
        if name not in known and not has_rest:
            raise SpecError(f"--input {name}=...: the function has no parameter {name!r}. It has {', '.join(known)}.")
    result = list(positional)
    for name in in_order[len(positional) :]:
        if name not in named:
            break
        result.append(named.pop(name))
    for name in named:
        if name in in_order[: len(positional)]:
            raise SpecError(f"--input {name}=...: {name!r} is given by an input without a name already.")
    if not named:
        return result
    if result and any(p.kind is p.POSITIONAL_ONLY for p in parameters):
        raise SpecError(f"--input: parameters before {', '.join(named)} are missing; they cannot be passed by name.")
    return {**dict(zip(in_order, result, strict=False)), **named}


def parse_state(texts: Sequence[str]) -> list[str] | dict[str, str]:
    """The `state` of `to_onnx` from texts such as `model,opt_state` or `cache=1`.

    Raises:
        SpecError: if a text cannot be read, names an argument again, or only some say where the new value is.
    """
    parsed: dict[str, str] = {}
    for text in texts:
        for one in text.split(","):
            name, equals, place = (part.strip() for part in one.partition("="))
            if not name or (equals and not place):
                raise SpecError(f"--state {text}: a name or place is empty. {_STATE_FORM}")
            if name in parsed:
                raise SpecError(f"--state names {name!r} twice. {_STATE_FORM}")
            parsed[name] = place
    without = [name for name, place in parsed.items() if not place]
    if without and len(without) < len(parsed):
        raise SpecError(
            f"--state says where some new values are, but not that of {', '.join(without)}. "
            f"Add =PLACE there too: the index or key of it in the result."
        )
    return without or parsed


def _parameters(fn: Callable[..., Any]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return None


def _spec(text: str) -> tuple[str | None, Any]:
    name, equals, rest = text.rpartition("=")
    sizes, colon, dtype_name = rest.partition(":")
    dtype_name = dtype_name.strip() if colon else "f32"
    if equals and not name.strip().isidentifier():
        raise SpecError(f"--input {text}: {name.strip()!r} is not the name of a parameter. {_FORM}")
    shape: list[int | str] = []
    # `B x 3 x 32`, `3x224`; a size may be named x, and commas inside of `max(A, 3)` part nothing.
    sizes = re.sub(r"(?<=\d)[x×](?=\d)|\s+[x×]\s+", ",", sizes)
    for size in re.split(r",(?![^(]*\))", sizes) if sizes.strip() else ():
        if not size.strip():
            raise SpecError(f"--input {text}: a size is empty. {_FORM}")
        shape.append(int(size) if size.strip().isdecimal() else size.strip())
    return (name.strip() if equals else None), jax.ShapeDtypeStruct(tuple(shape), _dtype(text, dtype_name))


def _dtype(text: str, name: str) -> Any:
    if name == "key":
        return jax.random.key(0).dtype
    for short, dtype in _DTYPES.items():
        if name in (short, np.dtype(dtype).name):
            return np.dtype(dtype)
    near = nearest(name, [*_DTYPES, *(np.dtype(dtype).name for dtype in _DTYPES.values())])
    raise SpecError(f"--input {text}: unknown dtype {name!r}.{near} Known are {', '.join([*_DTYPES, 'key'])}.")
