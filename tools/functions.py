"""Exports the public functions of JAX, as they are, of symbolic size, under vmap and grad, and writes a line for each.

usage: functions.py OUTPUT [--module jax.numpy] [--name cumsum] [--missing]

Each function is called with its arguments in `function_arguments.py`, or else with the first of the candidates there
that `jax.jit` takes, and timed beside compiled JAX. `tools/functions_page.py` makes docs/functions.md of the lines.
"""

import argparse
import importlib
import inspect
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import j2o_core
from function_arguments import ARGUMENTS, CANDIDATES, MODULES, NO_FUNCTION
from latency import latency

OPSETS = {"jax.nn.scaled_matmul": 25}  # float8_e8m0fnu is not in 21
ROUNDS = 20
PAGE_ROWS = Path(__file__).parent.parent / "docs" / "functions.json"


def main() -> None:
    """Run the chosen functions."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--module", action="append", help="only this module; may be repeated")
    parser.add_argument("--name", help="only the function of this name")
    parser.add_argument("--missing", action="store_true", help="only functions that docs/functions.json lacks")
    arguments = parser.parse_args()
    known = {row["function"] for row in json.loads(PAGE_ROWS.read_text())} if arguments.missing else set()
    warnings.simplefilter("ignore")
    with arguments.output.open("a", encoding="utf-8") as file:
        for module in arguments.module or MODULES:
            for name, fn in _functions(module):
                if arguments.name in (None, name) and f"{module}.{name}" not in known:
                    row = examine(f"{module}.{name}", fn)
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                    bad = {key: value for key, value in row.items() if str(value).startswith(("differs", "refused"))}
                    if bad or row.get("static") == "no arguments":
                        print(f"{module}.{name}", bad or "no arguments", flush=True)


def _functions(module: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    home = importlib.import_module(module)
    for name in sorted(dir(home)):
        value = getattr(home, name)
        hidden = name.startswith("_") or name.endswith("_p") or type(value).__name__ in ("_ScalarMeta", "Primitive")
        given = f"{module}.{name}" in ARGUMENTS
        if callable(value) and not hidden and (given or not inspect.isclass(value)):
            yield name, value


def examine(name: str, fn: Callable[..., Any]) -> dict[str, Any]:
    """One line: what became of a function in each form."""
    row: dict[str, Any] = {"function": name}
    if name in NO_FUNCTION:
        return {**row, "static": NO_FUNCTION[name]}
    call, arrays = ARGUMENTS[name] if name in ARGUMENTS else _accepted(fn)
    if arrays is None:
        return {**row, "static": "no arguments"}  # function_arguments.py says some, or why there are none
    opset = OPSETS.get(name, 21)
    row["static"] = _outcome(call, arrays, arrays, opset)
    if row["static"] == "yes" and all(leaf.dtype.isbuiltin == 1 for leaf in jax.tree.leaves(_shapes(call, arrays))):
        row["latency"] = latency(j2o_core.to_onnx(call, list(arrays), opset=opset), call, arrays, ROUNDS)
    row["symbolic"] = _symbolic(call, arrays, opset)
    stacked = tuple(jnp.stack([array, array]) for array in arrays)
    row["vmap"] = _outcome(jax.vmap(call), stacked, stacked, opset)
    row["grad"] = _gradient(call, arrays, opset)
    return row


def _shapes(call: Callable[..., Any], arrays: tuple[Any, ...]) -> Any:
    """The shapes of arguments and results; typed keys are the numbers behind them."""
    shapes = (arrays, jax.eval_shape(call, *arrays))
    return jax.tree.map(
        lambda leaf: jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf,
        shapes,
    )


def _is_key(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _accepted(fn: Callable[..., Any]) -> tuple[Callable[..., Any], Any]:
    for arrays in CANDIDATES:
        try:
            results = jax.tree.leaves(jax.jit(fn)(*arrays))
        except Exception:  # noqa: BLE001 - the next one
            continue
        if results and all(hasattr(leaf, "dtype") for leaf in results):
            return fn, arrays
    return fn, None


def _outcome(call: Callable[..., Any], specs: tuple[Any, ...], arrays: tuple[Any, ...], opset: int) -> str:
    try:
        jax.block_until_ready(jax.jit(call)(*arrays))
    except Exception as error:  # noqa: BLE001 - a reason
        return f"JAX: {type(error).__name__}"
    try:
        program = j2o_core.to_onnx(call, list(specs), opset=opset)
        program.verify(*arrays)
    except j2o_core.VerifyError as error:
        return f"differs: {_first(error)}"
    except Exception as error:  # noqa: BLE001 - the line says which
        return f"refused: {type(error).__name__}: {_first(error)}"
    return "yes"


def _symbolic(call: Callable[..., Any], arrays: tuple[Any, ...], opset: int) -> str:
    """With the first axis of size 4 or of the first array symbolic, wherever arguments have it."""
    size = next((array.shape[0] for array in arrays if array.ndim), None)
    if size is None:
        return "no axis"
    (symbol,) = jax.export.symbolic_shape("N")
    specs = _with_first(arrays, size, symbol)
    try:
        jax.eval_shape(call, *specs)
    except Exception as error:  # noqa: BLE001 - a reason
        return f"JAX: {type(error).__name__}"
    outcome = _outcome(call, specs, arrays, opset)
    if "constraints" in outcome:  # of functions that take other ways for wide arrays than for tall ones
        (symbol,) = jax.export.symbolic_shape("N", constraints=[f"N >= {size}"])
        outcome = _outcome(call, _with_first(arrays, size, symbol), arrays, opset)
        return outcome if outcome != "yes" else f"yes, with N >= {size}"
    return outcome


def _with_first(arrays: tuple[Any, ...], size: int, symbol: Any) -> tuple[Any, ...]:
    """Specs with the symbol in place of the first axes of a size."""
    return tuple(
        jax.ShapeDtypeStruct(
            (symbol, *array.shape[1:]) if array.ndim and array.shape[0] == size else array.shape, array.dtype
        )
        for array in arrays
    )


def _gradient(call: Callable[..., Any], arrays: tuple[Any, ...], opset: int) -> str:
    floats = [i for i, array in enumerate(arrays) if jnp.issubdtype(array.dtype, jnp.floating)]
    if not floats:
        return "no floats"

    def total(*args: Any) -> Any:
        result = jnp.float32(0)
        for leaf in jax.tree.leaves(call(*args)):
            if jnp.issubdtype(leaf.dtype, jnp.inexact):
                weights = jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape)  # so that nothing cancels
                result += jnp.sum(jnp.real(leaf) * weights) + jnp.sum(jnp.imag(leaf) * weights)
        return result

    return _outcome(jax.grad(total, argnums=floats[0]), arrays, arrays, opset)


def _first(error: Exception) -> str:
    lines = str(error).replace(f"{Path(__file__).parent.parent}/", "").strip().splitlines()
    return " ".join(lines)[:300] if lines else ""


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
