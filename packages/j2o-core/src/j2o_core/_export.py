"""`to_onnx`: the stages in order."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._errors import SpecError
from .graph._nonfinite import asks_for_exact
from .plugin._budget import watched
from .plugin._discover import discover
from .plugin._plugin import HIGHEST_OPSET, LOWEST_OPSET, Plugin
from .program._program import OnnxProgram
from .program._record import Exported
from .simplify import NARROWED, ConstantTable, FunctionCalls, Narrowing, decompositions_of, simplify
from .trace._capture import Capture
from .trace._constant_names import named_leaves
from .trace._functions import Functions
from .trace._garbage import few_collections
from .trace._source import check_level, name_of
from .trace._spec_advice import short
from .trace._specs import parse_inputs
from .trace._trace import trace


@watched
@few_collections
def to_onnx(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    opset: int = 21,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    state: Sequence[str] | Mapping[str, int | str] = (),
    constraints: Sequence[str] = (),
    target: str | None = "onnxruntime",
    nonfinite: str | None = None,
    weights: str = "fold",
    dtype: Any = None,
    unroll: bool | str = "auto",
    functions: Sequence[Any] = (),
    metadata: str = "relative",
    plugins: Sequence[Plugin] | None = None,
    progress: Callable[[str], None] | None = None,
) -> OnnxProgram:
    """Export a JAX function.

    Args:
        fn: a function, lambda, partial, bound method, `eqx.Module`, jitted or vmapped callable on arrays and pytrees.
        inputs: one spec per argument, in order, or a mapping from parameter names to specs. A spec is an array, a
            `jax.ShapeDtypeStruct`, a shape tuple such as `("B", 3, 224, 224)` (float32), or a pytree of these. Strings
            are symbolic dimensions (`"2*T"`, `"H*W"`): equal names are equal sizes. `()` is a scalar, and among the
            arrays of an example, such as the state of an optimizer, an empty tuple.
        opset: ONNX opset to write, 18 to 26.
        input_names: names of the array inputs in order; by default parameter names and tree paths.
        output_names: names of the array outputs in order, but for state; by default tree paths.
        state: arguments whose new values the function returns, such as `["model", "opt_state"]`: the results of the
            same names, else the first results in this order; or a mapping from arguments to places in the result. The
            new value of the input `NAME` is the output `next.NAME`, and `program.state` pairs them. Arguments of
            classes that are state, such as `eqx.nn.State`, are paired without it.
        constraints: what is known of symbolic dimensions, such as `"T >= 4"`.
        target: where the program is to run: `"onnxruntime"` (the CPU kernels of every supported release, 1.31 and
            later), `"onnxruntime-1.32"` (of that release), `"onnxruntime-web"` (of the WebAssembly build in browsers),
            or None for standard ONNX without any workaround.
        nonfinite: None, or `"exact"` for JAX's NaN and infinities at any cost. Finite numbers are exact always. By
            default an operator stays plain where being exact for NaN or infinities would take more than a tenth
            longer; `report()` lists these operators.
        weights: `"fold"` lets the graph depend on the values of weights where that spares work; `"keep"` stores each
            float that the function holds as it is, under its path: the graph is the same whatever the values are, and
            `with_weights` replaces them. A small array that is only read behind `jax.lax.stop_gradient` is a buffer,
            such as the periods of a rotary embedding, and no weight.
        dtype: None, or `"float16"` or `"bfloat16"`: float32 is computed and weights are stored so, but for what would
            lose too much, such as sums over many elements, exponentials and statistics of norms, which `report()`
            lists. Inputs and outputs keep the dtypes of specs and results. Integers, random keys, complex numbers and
            float64 stay as they are.
        unroll: `"auto"` unrolls a loop of known length where ONNX Runtime runs that faster: short ones, and those
            whose turns are layers with constant weights, up to 8,192 equations. True unrolls all up to 65,536, False
            none.
        functions: calls that stay functions of the file, their weights being inputs: classes of modules, jitted
            functions, or names of either, such as `[Block]`. Equal calls are one function, which is traced and lowered
            once. What is marked by `@j2o_core.function` is one in any case.
        metadata: what nodes say of where they come from: `"relative"` for their module and the line of source, by its
            package; `"full"` for lines with whole paths; `"none"` for neither.
        plugins: plugins to use instead of all installed ones.
        progress: called with the name of each stage when it begins.

    Returns:
        The program: save it, verify it, call it, or look at its model. It holds the arrays of the function, not copies
        of them: a NumPy array that is changed in place before the program is saved is changed in it too.

    Raises:
        SpecError: if an argument cannot be used as given.
        PluginError: if an installed plugin is broken or two of them clash.
        TraceError: if JAX cannot trace the function.
        UnsupportedError: if primitives have no lowering; it lists all of them with the user's lines.
        LoweringError: if a rule fails.
        LegalizeError: if the target has no kernel for a node and no exact detour is known.
    """
    _check_arguments(fn, opset, target, progress)
    exact_nonfinite = asks_for_exact(nonfinite)
    check_level(metadata)
    keep_weights = _keeps(weights)
    narrow_dtype = _narrow_dtype(dtype)
    _check_unroll(unroll)
    begun: dict[str, float] = {}

    def begin(stage: str) -> None:
        begun[stage] = time.perf_counter()
        if progress is not None:
            progress(stage)

    begin("discover")
    registry = discover(plugins)
    with (capture := Capture()), capture:
        capture.install(registry.composites)
        kept_functions = Functions(functions)
        begin("trace")
        parsed = parse_inputs(fn, inputs, input_names=input_names, constraints=constraints)
        traced = trace(
            fn,
            parsed,
            composites=registry.composites,
            modules=registry.modules,
            remarks=registry.remarks,
            keep_weights=keep_weights,
            states=registry.states,
            plans=registry.module_plans,
            context=registry.context,
            functions=kept_functions,
            output_names=output_names,
            state=state,
        )
        begin("simplify")
        table = ConstantTable(traced.constant_names)
        table.functions = FunctionCalls(kept_functions, table, keep_weights=keep_weights)
        narrowing = None if narrow_dtype is None else Narrowing(narrow_dtype, registry.precisions)
        jaxpr = simplify(
            traced.jaxpr, table, decompositions_of(registry), keep_weights=keep_weights, narrowing=narrowing
        )
        # This stage and those below need onnx_ir, whose import takes longer than most exports.
        from .lower._lower import lower
        from .target import Target

        begin("lower")
        aim = Target(target, opset, exact_nonfinite, unroll)
        lowered = lower(traced, jaxpr, registry, aim, table)
        kept_functions.check_used(name_of(fn))
    from .finish._finish import finish
    from .finish._leaves import write_leaves
    from .finish._metadata import write_metadata
    from .finish._signature import write_signature
    from .legalize import legalize
    from .rewrite import rewrite

    begin("rewrite")
    for part in lowered.parts():
        rewrite(part, registry, aim, keep_weights=keep_weights)
    begin("legalize")
    for part in lowered.parts():
        legalize(part, aim)
    begin("finish")
    model = finish(lowered, traced, aim, registry.opset_imports)
    write_metadata(model, metadata, traced.modules)
    write_signature(model, name_of(fn), traced)
    if narrowing is not None:
        model.metadata_props[NARROWED] = narrowing.record()
    if keep_weights or table.kept:
        write_leaves(model, named_leaves(fn, inner=True), table)
    again = functools.partial(
        to_onnx,
        opset=opset,
        target=target,
        nonfinite=nonfinite,
        weights=weights,
        dtype=dtype,
        unroll=unroll,
        functions=kept_functions.found(),
        plugins=registry.plugins,
    )
    ends = [*list(begun.values())[1:], time.perf_counter()]
    seconds = {stage: end - start for (stage, start), end in zip(begun.items(), ends, strict=True)}
    return OnnxProgram(Exported(model, fn, traced, lowered, registry, again, seconds))


def _keeps(weights: str) -> bool:
    if weights not in ("fold", "keep"):
        raise SpecError(
            f'weights is {weights!r}. Expected "fold" (what follows from their values is computed at export) or "keep" '
            f"(each is stored as it is, and can be replaced)."
        )
    return weights == "keep"


def _narrow_dtype(dtype: Any) -> str | None:
    name = dtype if dtype is None or isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
    if name not in (None, "float16", "bfloat16"):
        raise SpecError(
            f'dtype is {dtype!r}. Expected "float16", "bfloat16", or None, which leaves every dtype as JAX has it.'
        )
    return name


def _check_unroll(unroll: Any) -> None:
    if not isinstance(unroll, bool) and unroll != "auto":
        raise SpecError(
            f'unroll is {unroll!r}. Expected "auto" (loops are unrolled where that is faster), True or False.'
        )


def _check_arguments(fn: Any, opset: Any, target: Any, progress: Any) -> None:
    if progress is not None and not callable(progress):
        raise SpecError(f"progress is {progress!r}. Expected a function of one text, such as print.")
    if not callable(fn):
        raise SpecError(
            f"fn is {short(fn)}, which cannot be called. Expected a function, module or other callable, and then its "
            f'specs: to_onnx(fn, [("B", 3)]). The function itself, not a result of it: fn, not fn(x).'
        )
    if not isinstance(opset, int) or not LOWEST_OPSET <= opset <= HIGHEST_OPSET:
        raise SpecError(
            f"opset is {opset!r}. j2o writes opsets {LOWEST_OPSET} to {HIGHEST_OPSET}; 21 is the default, "
            f"23 the first with Attention and RotaryEmbedding."
        )
    if target not in ("onnxruntime", None):  # modules that need onnx_ir are imported after tracing where possible
        from .target import Target

        Target(target, opset)
