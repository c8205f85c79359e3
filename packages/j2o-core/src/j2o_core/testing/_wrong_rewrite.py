"""Debug mode: which rewrite changed the numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._errors import VerifyError
from .._export import to_onnx
from ..program._program import OnnxProgram
from ..rewrite._driver import Steps, counted


@dataclass(frozen=True)
class WrongRewrite:
    """The rewrite behind which a graph differs from JAX for the first time.

    Attributes:
        name: the rule.
        plugin: its plugin.
        source: the line of the program where it was applied.
        step: how many rewrites were applied before it.
        difference: what `verify` says of the graph behind it.
    """

    name: str
    plugin: str
    source: str
    step: int
    difference: str

    def __str__(self) -> str:
        return f"{self.name} of plugin {self.plugin!r}, step {self.step + 1}, at {self.source}: {self.difference}"


def wrong_rewrite(
    fn: Callable[..., Any],
    *inputs: Any,
    args: tuple[Any, ...] = (),
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    ulps: float | None = None,
    **options: Any,
) -> WrongRewrite | None:
    """Run the graph before and after rewrites, and name the one that changed the numbers.

    The export is repeated with fewer rewrites, halving the range between a graph that agrees with JAX and one that does
    not: some ten exports for a thousand rewrites.

    Args:
        fn: the function.
        inputs: one spec per argument, as for `check`; arrays are the values that are run.
        args: values to run; the arrays given as inputs, or random ones, by default.
        seed: seed of random inputs.
        rtol: relative tolerance instead of the dtype's.
        atol: tolerance as a fraction of the output's largest magnitude, instead of the dtype's.
        ulps: see `OnnxProgram.verify`.
        options: passed to `to_onnx`.

    Returns:
        The rewrite, or None if the finished graph agrees with JAX.

    Raises:
        VerifyError: if the graph differs before any rewrite: a lowering is wrong, and the message names its equation.
    """

    def export(limit: int | None) -> tuple[OnnxProgram, Steps]:
        steps = Steps(limit)
        token = counted.set(steps)
        try:
            return to_onnx(fn, list(inputs), **options), steps
        finally:
            counted.reset(token)

    def difference(program: OnnxProgram) -> str:
        try:
            program.verify(*args, seed=seed, rtol=rtol, atol=atol, ulps=ulps)
        except VerifyError as error:
            return str(error).partition("\n")[0]
        return ""

    if not args and all(hasattr(value, "__array__") for value in inputs):
        args = inputs
    program, steps = export(None)
    found = difference(program)
    if not found:
        return None
    export(0)[0].verify(*args, seed=seed, rtol=rtol, atol=atol, ulps=ulps)
    right, wrong = 0, len(steps.applied)
    while wrong - right > 1:
        middle = (right + wrong) // 2
        said = difference(export(middle)[0])
        right, wrong, found = (right, middle, said) if said else (middle, wrong, found)
    rule, source = steps.applied[right]
    return WrongRewrite(rule.name, rule.plugin.name, source, right, found)
