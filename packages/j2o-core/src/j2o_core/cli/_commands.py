"""The commands of `j2o`, on parsed options."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax

from .._errors import CheckError, LegalizeError, SpecError, UnsupportedError
from ..plugin._discover import discover
from ..program._number_text import bytes_text, counted
from ._arguments import load_function, parse_specs, parse_state
from ._completion import completion
from ._files import check_folder, diff, report, show_files
from ._output import Section, Stages, show

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..program._verify import Verification
    from ..target import Target

# Up to this size, what lies outside of the model file is read, since it may be a shape.
_SHAPE_BYTES = 1024

_CHECKED_OPSETS = (21, 23, 26)
_STAGES = ("load", "discover", "trace", "simplify", "lower", "rewrite", "legalize", "finish")


def export(options: argparse.Namespace) -> None:
    """`j2o export`."""
    from .._export import to_onnx
    from ..program._read_weights import read_safetensors

    check_folder(options.output)
    given = None if options.weights_from is None else read_safetensors(options.weights_from)
    stages = Stages([*_STAGES, "check", *(["verify"] if options.verify else []), "save"])
    verification = None
    with stages.shown():
        stages("load")
        function = _function(options)
        program = to_onnx(
            function,
            parse_specs(function, options.input),
            opset=options.opset,
            input_names=options.input_names,
            output_names=options.output_names,
            state=parse_state(options.state),
            constraints=options.constraints,
            target=None if options.target == "onnx" else options.target,
            nonfinite=options.nonfinite,
            weights="keep" if options.keep_weights or given is not None else "fold",
            dtype=options.dtype,
            unroll={"always": True, "never": False}.get(options.unroll, "auto"),
            functions=options.functions,
            progress=stages,
        )
        program = program if given is None else program.with_weights(given)
        stages("check")
        program.check()
        if options.verify:
            stages("verify")
            verification = program.verify()
        stages("save")
        files = program.save(options.output, external_data=options.external_data or None, weights=options.weights)
    sections, numbers = _model_sections(program.model), _model_numbers(program.model)
    numbers["files"] = {os.path.relpath(file): os.path.getsize(file) for file in files}
    sections.append(("files", [(file, bytes_text(size)) for file, size in numbers["files"].items()]))
    if verification is not None:
        sections.append(("verified", _verified(verification)))
        numbers["verified"] = _verified_numbers(verification)
    numbers["time"] = {**stages.seconds, "total": sum(stages.seconds.values())}
    times = [(stage, f"{seconds:.2f} s") for stage, seconds in numbers["time"].items() if seconds >= 0.005]
    sections.append(("time", times))
    show(sections, as_json=options.json, numbers=numbers)


def check(options: argparse.Namespace) -> None:
    """`j2o check`."""
    from ..program._read_model import read_model
    from ..target import Target

    if ":" in options.model and not os.path.exists(options.model):
        _check_function(options)
        return
    model = read_model(options.model)
    target = Target(options.target, model.opset_imports.get("", 0))
    lacking = _not_runnable(model, target)
    show(_model_sections(model), as_json=options.json, numbers=_model_numbers(model))
    if lacking:
        lines = "\n".join(f"  {name}   {count} node{'s' if count > 1 else ''}" for name, count in lacking.items())
        raise LegalizeError(
            f"The model is valid ONNX, but {target.describe()} has no kernel, or one that is known to be wrong, for\n"
            f'{lines}\nExport with target="{target.name}", or run it elsewhere.'
        )
    if not options.json:
        others = _of_other_domains(model)
        every = f"every node of ONNX's own; not looked at: {', '.join(others)}" if others else "every node"
        print(f"valid ONNX; {target.describe()} has a kernel for {every}")


def _check_function(options: argparse.Namespace) -> None:
    """`j2o check MODULE:NAME`: the graphs that an export would give at several opsets, without a file."""
    from .._export import to_onnx
    from ..program._report import declined_rewrites, detours
    from ..program._summary import operator_counts

    options.function = options.model
    function = _function(options)
    specs = parse_specs(function, options.input)
    rows: list[tuple[str, str]] = []
    sections: list[Section] = []
    numbers: dict[str, Any] = {}
    opsets: dict[str, Any] = {}
    for opset in _CHECKED_OPSETS:
        try:
            program = to_onnx(function, specs, opset=opset, target=options.target, constraints=options.constraints)
        except (LegalizeError, UnsupportedError) as error:
            if opset == _CHECKED_OPSETS[-1]:
                raise
            opsets[str(opset)] = {"error": str(error)}
            rows.append((str(opset), str(error).partition("\n")[0]))
            continue
        counts = operator_counts(program.model)
        rows.append((str(opset), f"{counted(sum(counts.values()), 'node')}, {counts['Cast']} of them casts"))
        opsets[str(opset)] = {"nodes": sum(counts.values()), "casts": counts["Cast"]}
        if not sections:
            sections, numbers = _model_sections(program.model), _model_numbers(program.model)
            found = {"detours": detours(program.exported), "declined": declined_rewrites(program.exported)}
            for heading, lines in found.items():
                numbers[heading] = [line.strip() for line in lines[1:]]
                sections.append((heading, [("", line) for line in numbers[heading]]))
    show([*sections, ("opsets", rows)], as_json=options.json, numbers={**numbers, "opsets": opsets})


def verify(options: argparse.Namespace) -> None:
    """`j2o verify`."""
    from ..program._read_model import read_model
    from ..program._verify import verify_model

    stages = Stages(["load", "trace", "verify"])
    with stages.shown():
        stages("load")
        model = read_model(options.model, in_memory=True)
        function = _function(options)
        inputs: Any = parse_specs(function, options.input) if options.input else _specs_of(model)
        result = verify_model(
            model,
            function,
            inputs,
            constraints=options.constraints,
            sizes=options.sizes,
            seed=options.seed,
            rtol=options.rtol,
            atol=options.atol,
            progress=stages,
        )
    numbers = {"verified": _verified_numbers(result)}
    show([("verified", _verified(result))], as_json=options.json, numbers=numbers)


def plugins(options: argparse.Namespace) -> None:
    """`j2o plugins`."""
    rows = [("plugin", "distribution   rules   composites   rewrites")]
    registry = discover()
    for plugin in registry.plugins:
        rules = sum(map(len, plugin.lowerings.values()))
        distribution = f"{plugin.distribution} {plugin.version}"
        rows.append((plugin.name, f"{distribution}   {rules}   {len(plugin.composites)}   {len(plugin.rewrites)}"))
    if len(rows) == 1:
        print("No plugins are installed. j2o-plugins-jax has the lowerings of JAX's own operations.")
        return
    if options.json:
        numbers = {
            plugin.name: {
                "distribution": plugin.distribution,
                "version": plugin.version,
                "rules": sum(map(len, plugin.lowerings.values())),
                "composites": len(plugin.composites),
                "rewrites": len(plugin.rewrites),
            }
            for plugin in registry.plugins
        }
        show([], as_json=True, numbers={"plugins": numbers})
        return
    cells = [(name, *rest.split("   ")) for name, rest in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    for row in cells:
        left = f"{row[0]:{widths[0]}}   {row[1]:{widths[1]}}"
        print(left + "".join(f"   {cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True)))
    for name, rule, other in registry.overrides():
        print(f"{rule.plugin.name} lowers {name} in the place of {other.plugin.name} from opset {rule.opset} on.")


def swap_weights(options: argparse.Namespace) -> None:
    """`j2o swap-weights`."""
    import onnx_ir as ir

    from ..program._read_model import read_model, take_weights
    from ..program._read_weights import read_safetensors
    from ..program._replaced_weights import replaced
    from ..program._save import save

    check_folder(options.output)
    model = read_model(options.model)
    outside = [value.const_value for value in model.graph.initializers.values()]
    files = [tensor.location for tensor in outside if isinstance(tensor, ir.ExternalTensor)]
    form = "safetensors" if files and str(files[0]).endswith(".safetensors") else "data"
    take_weights(model)
    weights = read_safetensors(options.weights)
    written = save(replaced(model, weights), options.output, external_data=bool(files), weights=form if files else None)
    show_files(list(map(str, written)), as_json=options.json)


def quantize(options: argparse.Namespace) -> None:
    """`j2o quantize`."""
    import onnx_ir as ir

    from ..program._program import OnnxProgram
    from ..program._quantize import quantized
    from ..program._save import save, weight_bytes
    from ..program._session import as_fed
    from ._run import arrays_of

    check_folder(options.output)
    program = OnnxProgram.load(options.model)
    leaves = program.traced.inputs.leaves
    feeds = [
        dict(zip(program.input_names, map(as_fed, arrays_of(leaves, [example], "--example")), strict=True))
        for example in options.example
    ]
    outside = any(isinstance(v.const_value, ir.ExternalTensor) for v in program.model.graph.initializers.values())
    model = quantized(
        program.model,
        feeds or None,
        options.keep,
        ranges=options.ranges,
        cosine=options.cosine,
        weight_bits=options.weight_bits,
    )
    written = save(model, options.output, external_data=outside or None)
    before, after = weight_bytes(program.model), weight_bytes(model)
    section = "weights", [("in all", f"{bytes_text(before)} -> {bytes_text(after)}")]
    numbers = {"weights": {"before": before, "after": after}}
    show_files(list(map(str, written)), [section], as_json=options.json, numbers=numbers)


def run(options: argparse.Namespace) -> None:
    """`j2o run`."""
    from ._run import run

    run(options)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "export": export,
    "check": check,
    "run": run,
    "verify": verify,
    "swap-weights": swap_weights,
    "quantize": quantize,
    "report": report,
    "diff": diff,
    "plugins": plugins,
    "completion": completion,
}


def _function(options: argparse.Namespace) -> Callable[..., Any]:
    if options.x64:
        jax.config.update("jax_enable_x64", True)  # the whole process is this command's
    return load_function(options.function, call=options.call)


def _specs_of(model: ir.Model) -> list[Any]:
    specs = []
    for value in model.graph.inputs:
        if value.dtype is None or value.shape is None or value.name in model.graph.initializers:
            raise SpecError(
                f"The model does not say the type of its input {value.name!r}: give --input for each argument."
            )
        sizes: list[Any] = []
        for axis, size in enumerate(value.shape):
            text = size if isinstance(size, int) else size.value
            sizes.append(text if text is not None else f"{value.name}_{axis}")
        specs.append(jax.ShapeDtypeStruct(tuple(sizes), value.dtype.numpy()))
    return specs


def _not_runnable(model: ir.Model, target: Target) -> Counter[str]:
    """Operators with element types that the target has no kernel for, and how often they occur."""
    from ..graph._walk import model_graphs

    model = _with_types(model)
    lacking: Counter[str] = Counter()
    for graph in model_graphs(model):
        for node in graph:
            inputs = [value.dtype if value is not None else None for value in node.inputs]
            outputs = [value.dtype for value in node.outputs]
            attributes = {name: attribute.value for name, attribute in node.attributes.items()}
            dtypes = ", ".join("?" if dtype is None else dtype.name.lower() for dtype in inputs)
            if node.domain == "" and not target.runs(node.op_type, *inputs, outputs=outputs, attributes=attributes):
                lacking[f"{node.op_type}({dtypes})"] += 1
    return lacking


def _of_other_domains(model: ir.Model) -> list[str]:
    """Operators that neither ONNX nor the model defines: which runtime has kernels for them is not known."""
    from ..graph._domains import qualified
    from ..graph._walk import called, model_graphs

    nodes = (node for graph in model_graphs(model) for node in graph)
    return sorted({qualified(node) for node in nodes if "::" in qualified(node) and called(node, model) is None})


def _with_types(model: ir.Model) -> ir.Model:
    """The model with the types of all values, as ONNX infers them."""
    import onnx
    import onnx_ir as ir

    from ..program._model_view import model_view

    small = {
        name: ir.Tensor(value.const_value.numpy(), name=name, dtype=value.const_value.dtype)
        for name, value in model.graph.initializers.items()
        if isinstance(value.const_value, ir.ExternalTensor) and value.const_value.nbytes <= _SHAPE_BYTES
    }
    try:
        proto = ir.serde.serialize_model(model_view(model, tensors=small))
        inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:  # the latter of models beyond 2 GB
        raise CheckError(f"ONNX cannot infer the types of all values: {error}") from error
    return ir.serde.deserialize_model(inferred)


def _model_sections(model: ir.Model) -> list[Section]:
    from ..graph._values import dtype_text, shape_text
    from ..program._save import weight_bytes
    from ..program._summary import functions, operator_counts

    def signature(values: Sequence[ir.Value]) -> list[tuple[str, str]]:
        return [(str(value.name), f"{dtype_text(value)}{shape_text(value)}") for value in values]

    counts, found = operator_counts(model), [text.partition(": ") for text in functions(model)]
    initializers = model.graph.initializers
    return [
        ("inputs", signature([value for value in model.graph.inputs if value.name not in initializers])),
        ("outputs", signature(model.graph.outputs)),
        ("opset", [(str(model.opset_imports.get("", "none")), f"IR version {model.ir_version}")]),
        ("weights", [(counted(len(initializers), "tensor"), bytes_text(weight_bytes(model)))]),
        *([("functions", [(name, text) for name, _, text in found])] if found else []),
        ("nodes", [("in all", str(sum(counts.values()))), *((op, str(n)) for op, n in counts.most_common())]),
    ]


def _model_numbers(model: ir.Model) -> dict[str, Any]:
    """The sections about a model that have numbers, for JSON: weights and files in bytes."""
    from ..program._save import weight_bytes
    from ..program._summary import operator_counts

    counts = operator_counts(model)
    return {
        "opset": {"onnx": model.opset_imports.get("", None), "ir_version": model.ir_version},
        "weights": {"tensors": len(model.graph.initializers), "bytes": weight_bytes(model)},
        "nodes": {"in all": sum(counts.values()), **dict(counts.most_common())},
    }


def _verified_numbers(verification: Verification) -> dict[str, Any]:
    outputs = {output.name: dataclasses.asdict(output) for output in verification.outputs}
    for output in outputs.values():
        del output["name"]
    return {"outputs": outputs, "runs": [dict(run) for run in verification.runs], "notes": list(verification.notes)}


def _verified(verification: Verification) -> list[tuple[str, str]]:
    runs = [", ".join(f"{name}={size}" for name, size in run.items()) for run in verification.runs]
    rows = [
        (output.name, f"max difference {output.max_abs:.3g}, {output.relative:.3g} of the largest value")
        for output in verification.outputs
    ]
    rows.append((counted(len(runs), "run"), "; ".join(filter(None, runs))))
    return [*rows, *(("note", note) for note in verification.notes)]
