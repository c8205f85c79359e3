"""Primitives that mean no more than their body or their operands."""

CALLS = frozenset(
    {
        *("jit", "pjit", "closed_call", "core_call", "core_closed_call", "eval_jaxpr", "xla_call", "run_state"),
        *("remat", "remat2", "checkpoint", "composite"),
        *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_vmap_call", "custom_lin"),
        "custom_partitioning",
    }
)
# The parameter that holds the body of a call: releases of JAX name it differently.
BODIES = ("call_jaxpr", "jaxpr", "fun_jaxpr", "call")

# Hints on placement, order, naming and differentiation, which ONNX has no need of.
IDENTITIES = frozenset(
    {
        "stop_gradient",
        "copy",
        "device_put",
        "name",
        "pvary",
        "random_clone",
        "optimization_barrier",
        "sharding_constraint",
    }
)
