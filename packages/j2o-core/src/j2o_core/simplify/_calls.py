"""Primitives that mean no more than their body or their operands."""

# Primitive -> the parameter that holds its body.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "core_closed_call": "call_jaxpr",
    "eval_jaxpr": "call_jaxpr",
    "xla_call": "call_jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "custom_vmap_call": "call",
    "custom_lin": "call_jaxpr",
    "composite": "jaxpr",
    "run_state": "jaxpr",
}

# Hints on placement, order, naming and differentiation, which ONNX has no need of.
IDENTITIES = frozenset(
    {"stop_gradient", "copy", "device_put", "name", "pvary", "optimization_barrier", "sharding_constraint"}
)
