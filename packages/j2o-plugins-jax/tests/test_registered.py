"""Registered names exist: names of primitives, and parameters that rules ignore."""

import ast
import functools
import sys
from pathlib import Path

import jax
import jax.experimental.sparse
import jax.lax.linalg
import jax.scipy.special
import pytest
from jax.extend.core import Primitive

import j2o_plugins_jax
from j2o_core import Registry
from j2o_core.simplify import decompositions_of
from j2o_core.simplify._calls import CALLS, IDENTITIES
from j2o_plugins_jax import plugin

# Those that only some of the supported releases of JAX have.
OLDER = {
    "reduced_vary_cast_p": "0.10 calls reduced_vary_cast so",
    "vary_unreduced_cast_p": "0.10 calls vary_unreduced_cast so",
}
NEWER = {"log2", "one_minus_square", "polynomial", "reduced_vary_cast", "vary_unreduced_cast"}

# Primitives of JAX that have neither a rule nor code of JAX to compute them with: what they are for.
NOT_FOR_ONE_DEVICE = "Several devices, and where values lie on them."
NO_STATE = "References that are written to: a graph has none (those inside `run_state` become values first)."
NO_EFFECTS = "What happens on the way: printing, checks, callbacks into Python."
OF_ONE_DEVICE = "Kernels of GPUs."
NOT_YET = "Could be exported; nobody has asked."
REFUSED = {
    **dict.fromkeys(
        (
            "inspect_sharding",
            "pbroadcast",
            "pbroadcast_dynamic",
            "precv",
            "ragged_all_to_all",
            "relayout",
            "unreduced_pmax",
            "unreduced_pmin",
            "unreduced_psum",
            "with_memory_space_constraint",
        ),
        NOT_FOR_ONE_DEVICE,
    ),
    **dict.fromkeys(
        (
            "accum_grad_in_ref",
            "create_linear",
            "empty_ref",
            "free_ref",
            "freeze",
            "new_ref",
            "pin",
            "unpin",
        ),
        NO_STATE,
    ),
    **dict.fromkeys(("check", "debug_callback", "debug_print", "shape_assertion", "unreachable"), NO_EFFECTS),
    "cudnn_fusion": OF_ONE_DEVICE,
    **dict.fromkeys(
        (
            "call_exported",
            "call_hi_primitive_linearized",
            "custom_jvp_call_jaxpr",
            "zeros_like",
        ),
        NOT_YET,
    ),
}
# Families that grow with each release, and what only some modules load.
FAMILIES = {
    "dot_product_attention_": OF_ONE_DEVICE,
    "bcoo_": NOT_YET,
    "bcsr_": NOT_YET,
    "consume": NO_STATE,
    "assert_consumed": NO_STATE,
    "global_array_to_host_local_array": NOT_FOR_ONE_DEVICE,
    "host_local_array_to_global_array": NOT_FOR_ONE_DEVICE,
}
PARTS = ("_start", "_done")  # of collectives, as XLA schedules them
# Primitives that no plugin lowers: the simplification takes them apart.
SIMPLIFIED = {
    *CALLS,
    *IDENTITIES,
    *(name for kind, name in plugin.encodings if kind == "key" or name == "fft"),
    "custom_linear_solve",
    "shard_map",
}


@functools.cache
def primitives():
    """The primitives of JAX's loaded modules, by name."""
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "jax"]
    values = [value for module in modules for value in list(vars(module).values())]
    return {one.name: one for one in values if isinstance(one, Primitive)}


def registered():
    return {key for key in (*plugin.lowerings, *plugin.decompositions) if isinstance(key, str)}


def test_every_name_is_that_of_a_primitive():
    unknown = registered() - set(primitives())
    assert unknown <= set(OLDER) | NEWER
    if jax.__version_info__ >= (0, 12):
        assert unknown <= set(OLDER)


def test_no_rule_swallows_parameters():
    """Those that take all hand them on: to the class of windows, or to the code of Equinox."""
    folder = Path(j2o_plugins_jax.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.Lambda)) and node.args.kwarg is not None:
                assert node.args.kwarg.arg.strip("_"), f"{path.name}:{node.lineno}"
                used = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
                assert node.args.kwarg.arg in used, f"{path.name}:{node.lineno}"


@pytest.mark.skipif(jax.__version_info__ < (0, 12), reason="the list is that of the newest release")
def test_what_jax_has_and_we_do_not_is_known():
    decompositions = decompositions_of(Registry([plugin]))
    left = {name for name, one in primitives().items() if _is_of_jax(one) and one not in decompositions}
    left -= registered() | SIMPLIFIED
    left = {name for name in left if not name.startswith(tuple(FAMILIES)) and not name.endswith(PARTS)}
    assert left <= set(REFUSED), sorted(left - set(REFUSED))
    lowered = set(REFUSED) & set(primitives()) - left
    assert not lowered, sorted(lowered)


def _is_of_jax(primitive):
    """Whether JAX runs it by itself; those of Pallas and of shard_map are parts of kernels."""
    return (getattr(primitive.impl, "__module__", "") or "").startswith("jax")
