"""The forms in which a harness of JAX is exported: as it is, mapped, differentiated, jitted twice, of symbolic size."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from primitives_grades import determined_outputs

# The forms by the words of docs/support.md.
FORMS = {
    "none": "as they are",
    "vmap0": "vmap, new axis first",
    "vmaplast": "vmap, new axis last",
    "grad": "gradient of the sum",
    "jvp": "jvp",
    "vmapgrad": "vmap of the gradient",
    "jit": "jit of jit",
    "symbolic": "symbolic leading axis",
}
_AXES = {"vmap0": 0, "vmaplast": -1, "vmapgrad": 0}

Arrays = list[Any]


@dataclass(frozen=True)
class Case:
    """A function to export.

    Attributes:
        fn: takes and returns flat arrays.
        specs: of its inputs; of symbolic sizes in the form `symbolic`.
        inputs: lists of arrays that JAX runs it on; in the form `symbolic` of two sizes.
        group: whose promises are checked, if `primitives_grades` has it.
        axis: the axis that `vmap` added, or None.
        narrower: the case with fewer sizes, one after the other, for functions that go other ways for wide arrays than
            for tall ones; none without symbolic sizes.
    """

    fn: Callable[..., Any]
    specs: Sequence[Any]
    inputs: Sequence[Arrays]
    group: str
    axis: int | None = None
    narrower: Sequence[Case] = ()

    def parts(self, *groups: Sequence[Any]) -> Iterator[list[Arrays]]:
        """The groups of arrays, for each place on the axis that `vmap` added."""
        if self.axis is None:
            yield [list(group) for group in groups]
            return
        for place in range(groups[0][0].shape[self.axis]):
            yield [[array.take(place, self.axis) for array in group] for group in groups]


def prepare(harness: Any, form: str) -> Case:
    """The case of a harness in a form; raises whatever JAX raises where it does not trace that form."""
    import jax

    leaves, structure = jax.tree.flatten(_draw(harness, 0))
    arrays = [np.asarray(leaf) for leaf in leaves]
    group = harness.group_name

    def plain(*values: Any) -> Any:
        return harness.dyn_fun(*jax.tree.unflatten(structure, values))

    def determined(*values: Any) -> Any:
        return list(determined_outputs(harness.group_name, jax.tree.leaves(plain(*values))))

    if form == "symbolic":
        return _symbolic(plain, arrays, group)
    fn: Callable[..., Any] = plain
    if form == "jit":
        fn = jax.jit(lambda *values: jax.jit(plain)(*values))
    if form in ("grad", "vmapgrad"):
        fn, group = _gradient(determined, arrays), f"{group}, grad"
    if form == "jvp":
        tangents = _tangents(arrays)
        fn, arrays = _jvp(determined, arrays), arrays + tangents
        group = f"{group}, jvp"
    axis = _AXES.get(form)
    if axis is not None:
        others = [np.asarray(leaf) for leaf in jax.tree.leaves(_draw(harness, 1))]
        fn = jax.vmap(fn, axis, axis)
        arrays = [np.stack(pair, axis) for pair in zip(arrays, others, strict=True)]
    return Case(fn, [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays], [arrays], group, axis)


def _draw(harness: Any, seed: int) -> list[Any]:
    """The harness's arguments as a list of trees."""
    return list(harness.dyn_args_maker(np.random.RandomState(zlib.adler32(harness.fullname.encode()) + seed)))


def _inexact(array: Any) -> bool:
    import jax.numpy as jnp

    return bool(jnp.issubdtype(array.dtype, jnp.inexact))


def _gradient(fn: Callable[..., Any], arrays: Arrays) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def total(*values: Any) -> Any:
        real = [result for result in fn(*values) if jnp.issubdtype(result.dtype, jnp.floating)]
        if not real:
            raise TypeError("no result is a real float")
        return sum(jnp.sum(result) for result in real)

    return jax.grad(total, tuple(k for k, array in enumerate(arrays) if _inexact(array)))


def _tangents(arrays: Arrays) -> Arrays:
    random = np.random.RandomState(0)
    floats = [array for array in arrays if _inexact(array)]
    if not floats:
        raise TypeError("no argument is inexact")
    return [np.asarray(random.uniform(-1, 1, array.shape)).astype(array.dtype) for array in floats]


def _jvp(fn: Callable[..., Any], arrays: Arrays) -> Callable[..., Any]:
    import jax

    def pushed(*values: Any) -> Any:
        primals, tangents = values[: len(arrays)], iter(values[len(arrays) :])
        directions = tuple(
            next(tangents) if _inexact(array) else np.zeros(array.shape, jax.dtypes.float0) for array in arrays
        )
        results, changes = jax.jvp(fn, primals, directions)
        return results, [change for change in changes if change.dtype != jax.dtypes.float0]

    return pushed


def _symbolic(fn: Callable[..., Any], arrays: Arrays, group: str) -> Case:
    """Every leading axis as long as the first array's is symbolic, or that of the first array alone."""
    import jax

    first = next((k for k, array in enumerate(arrays) if array.ndim), None)
    if first is None:
        raise TypeError("no argument has an axis")
    size = arrays[first].shape[0]
    alike = [k for k, array in enumerate(arrays) if array.ndim and array.shape[0] == size]
    for chosen in (alike, [first]):
        specs = _with_symbol(arrays, chosen)
        if _traces(fn, specs) or chosen == [first]:
            break
    jax.eval_shape(fn, *specs)  # raises what JAX says
    if not size:
        return Case(fn, specs, [arrays], group)

    def sized(*sizes: int, constraints: Sequence[str] = (), narrower: Sequence[Case] = ()) -> Case:
        lists = [[a.take(np.arange(n) % size, 0) if k in chosen else a for k, a in enumerate(arrays)] for n in sizes]
        lists = [inputs for inputs in lists if _traces(fn, inputs)]
        return Case(fn, _with_symbol(arrays, chosen, *constraints), lists, group, narrower=narrower)

    narrower = (
        sized(size, size + 1, constraints=[f"N >= {size}"]),
        sized(size, max(size - 1, 1), constraints=[f"N <= {size}"]),
        sized(size + 1, size + 2, constraints=[f"N >= {size + 1}"]),
    )
    return sized(size, size + 1, narrower=narrower)


def _with_symbol(arrays: Arrays, chosen: Sequence[int], *constraints: str) -> list[Any]:
    import jax

    (symbol,) = jax.export.symbolic_shape("N", constraints=constraints)
    return [
        jax.ShapeDtypeStruct((symbol, *array.shape[1:]) if k in chosen else array.shape, array.dtype)
        for k, array in enumerate(arrays)
    ]


def _traces(fn: Callable[..., Any], arrays: Arrays) -> bool:
    import jax

    try:
        jax.eval_shape(fn, *arrays)
    except Exception:  # noqa: BLE001 (JAX's own reasons)
        return False
    return True


def jax_lowers(case: Case) -> bool:
    """Whether JAX itself lowers the case for the CPU: with symbolic sizes it refuses more than it traces."""
    import jax

    try:
        jax.export.export(jax.jit(case.fn))(*case.specs)
    except Exception:  # noqa: BLE001 (JAX's own reasons)
        return False
    return True
