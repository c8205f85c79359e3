"""Programs that are large: time grows with the equations, with nesting and with symbolic sizes no faster than JAX's.

Times are of the process, not of the clock. A run of few rounds prints them and judges sizes alone.
"""

import gc
import itertools
import random
import statistics
import time
from collections.abc import Callable
from types import FunctionType

import jax
import jax.numpy as jnp
from jax import lax

import j2o_core
from j2o_core import _compat

_Function = Callable[[jax.Array], jax.Array]


def _seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def large_programs(chance: random.Random, rounds: int) -> list[str]:
    """Ten times the equations take no more than ten times the time, and half as much again."""
    del chance

    def chain(count: int) -> _Function:
        def fn(x: jax.Array) -> jax.Array:
            for _ in range(count // 2):
                x = jnp.sin(x) + 1
            return x

        return fn

    each = []
    _seconds(lambda: j2o_core.to_onnx(chain(1000), [(3,)]))
    for count in (rounds, 5 * rounds, 10 * rounds):
        seconds = _seconds(lambda count=count: j2o_core.to_onnx(chain(count), [(3,)]))
        each.append(seconds / count)
        print(f"  {count} equations: {seconds:.1f} s, {1e6 * each[-1]:.0f} us each")
    slow = rounds >= 10_000 and max(each[1:]) > 1.5 * each[0]
    return [f"{10 * rounds} equations take {max(each) / each[0]:.1f} times as long each"] if slow else []


def nested_scans(chance: random.Random, rounds: int) -> list[str]:
    """Sixteen scans inside each other: no more nodes than are unrolled, and three times as long as to trace them."""
    del chance

    def nest(length: int) -> _Function:
        fn: _Function = lambda x: x * 0.5 + 1  # noqa: E731
        for _ in range(16):
            fn = (lambda inner: lambda x: lax.scan(lambda c, _: (inner(c), None), x, None, length=length)[0])(fn)
        return fn

    wrong = []
    gc.collect()
    gc.freeze()  # objects that other trials left are not looked through again
    struct = jax.ShapeDtypeStruct((3,), jnp.float32)
    for length in (2, 8, 100):
        nodes = len(list(j2o_core.to_onnx(nest(length), [(3,)]).model.graph.all_nodes()))
        if nodes > 200:
            wrong.append(f"scans of {length} made {nodes} nodes")
        ratios = []
        for _ in range(rounds):
            traced = _seconds(lambda length=length: jax.make_jaxpr(nest(length))(struct))
            ratios.append(_seconds(lambda length=length: j2o_core.to_onnx(nest(length), [(3,)])) / traced)
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"  length {length}: {nodes} nodes, {middle:.2f} times tracing (half of them {low:.2f} to {high:.2f})")
        if rounds >= 20 and middle > 3:
            wrong.append(f"scans of {length} take {middle:.2f} times as long as to trace them")
    return wrong


class _Clock:
    """The time in JAX's symbolic dimensions, whoever calls them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False

    def wrap(self, function: FunctionType) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if self._inside:
                return function(*args, **kwargs)
            self._inside, begin = True, time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._inside = False
                self.seconds += time.process_time() - begin

        return call

    def __enter__(self) -> "_Clock":
        module = __import__(_compat.SymbolicDim.__module__, fromlist=["_DimExpr"])
        classes = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
        self._changed = [
            (one, name, value)
            for one in classes
            for name, value in list(vars(one).items())
            if isinstance(value, FunctionType) and name not in ("__new__", "__hash__", "__eq__", "__repr__")
        ]
        for one, name, value in self._changed:
            setattr(one, name, self.wrap(value))
        return self

    def __exit__(self, *_: object) -> None:
        for one, name, value in self._changed:
            setattr(one, name, value)


def _halved(x: jax.Array) -> jax.Array:
    for _ in range(12):
        x = x[: (x.shape[0] + 1) // 2]
    return x


def _joined(x: jax.Array) -> jax.Array:
    for _ in range(6):
        x = jnp.concatenate([x, x[: x.shape[0] // 3]])
    return x


def _strided(x: jax.Array) -> jax.Array:
    for _ in range(5):
        x = jnp.concatenate([x, x[::2]])
    return x


def _padded(x: jax.Array) -> jax.Array:
    for _ in range(12):
        x = jnp.pad(x, (1, 2))[::2]
    return x


def _multiplied(x: jax.Array) -> jax.Array:
    y = x
    for _ in range(12):
        y = jnp.reshape(y[:, None] * jnp.ones((x.shape[0] + 1,))[None, :], (-1,))
    return y


def _concatenated(x: jax.Array) -> jax.Array:
    y = x
    for start in range(12):
        y = jnp.concatenate([y, x[start:], y])
    return y


def symbolic_dimensions(chance: random.Random, rounds: int) -> list[str]:
    """Chains of sizes computed from sizes: what they add to the export outside of JAX is a tenth of what JAX takes.

    JAX's time is that of tracing, and of its symbolic dimensions in whatever stage of the export.
    """
    del chance
    wrong = []
    chains = (_halved, _joined, _strided, _padded, _multiplied, _concatenated)
    j2o_core.to_onnx(_halved, [("T",)], constraints=["T >= 8192"])
    for chain in itertools.islice(chains, rounds):
        fixed = _ours(chain, 8192 if chain is not _multiplied else 2, [])[0]
        ours, theirs = _ours(chain, "T", ["T >= 8192"])
        print(f"  {chain.__name__[1:]}: JAX {theirs:.2f} s, ours {ours:.3f} s, with fixed sizes {fixed:.3f} s")
        if rounds >= len(chains) and ours - fixed > max(0.1 * theirs, 0.02):
            wrong.append(f"{chain.__name__[1:]}: sizes take {ours - fixed:.2f} s, and JAX {theirs:.2f} s")
    return wrong


def _ours(fn: _Function, size: int | str, constraints: list[str]) -> tuple[float, float]:
    """The seconds of an export outside of JAX, and inside."""
    marks: list[tuple[str, float, float]] = []
    with _Clock() as clock:

        def mark(stage: str) -> None:
            marks.append((stage, time.process_time(), clock.seconds))

        mark("")
        j2o_core.to_onnx(fn, [(size,)], constraints=constraints, progress=mark)
        mark("")
    theirs = sum(
        end - begin if stage == "trace" else until - since
        for (stage, begin, since), (_, end, until) in itertools.pairwise(marks)
    )
    return marks[-1][1] - marks[0][1] - theirs, theirs
