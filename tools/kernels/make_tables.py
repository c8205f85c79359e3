"""Writes `target/kernels/RELEASE.json`: which (operator, opset, element types) ONNX allows and a runtime runs.

What ONNX allows comes from its schemas. What the runtime runs is found by running: one node for each operator, opset
and combination of element types (`probes.py`). The runtime's own kernel list is not enough: it names kernels
that throw (Scatter with a reduction on float16), and says nothing about nodes that run without a kernel, through a
function body (which depends on the opset) or through casts that the runtime inserts (most of float16). Where list and
run disagree, the table says so under "disagreements". Operators without a probe are taken from the list.

    nox -s kernels                              # checks the tables of all supported releases
    nox -s kernels -- --write                   # writes them, each in the environment of its release
    python tools/kernels/make_tables.py Where Cast    # prints these operators for the runtime that is installed
    python tools/kernels/make_tables.py --web FOLDER  # the npm package onnxruntime-web, installed in FOLDER
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import functools
import itertools
import json
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ml_dtypes  # noqa: F401  (registers bfloat16 and its like with numpy)
import numpy as np
import onnx.defs
import onnx_ir as ir
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_state
from probes import PROBES, Operand, Probe
from web import WebRuntime

TABLES = pathlib.Path(__file__).parents[2] / "packages/j2o-core/src/j2o_core/target/kernels"
OPSETS = range(18, 27)
PROVIDER = "CPUExecutionProvider"
CONTROL_FLOW = ("If", "Loop", "Scan")

_ONNX_NAMES = {
    "float": "f32",
    "double": "f64",
    "float16": "f16",
    "bfloat16": "bf16",
    "bool": "b8",
    "complex64": "c64",
    "complex128": "c128",
}

Combination = tuple[str, ...]


def short_name(onnx_type: str) -> str | None:
    """`tensor(uint16)` is `u16`; strings, sequences and optionals are None."""
    if not onnx_type.startswith("tensor(") or onnx_type == "tensor(string)":
        return None
    name = onnx_type[len("tensor(") : -1]
    name = _ONNX_NAMES.get(name, name)
    return name.replace("uint", "u").replace("int", "i").replace("float", "f")


DTYPES = {d.short_name(): d for d in ir.DataType if d not in (ir.DataType.UNDEFINED, ir.DataType.STRING)}


# Schemas


class Signature:
    """The inputs and outputs of an operator at one opset, as type variables, and what each variable may be."""

    def __init__(self, schema: onnx.defs.OpSchema):
        self.types: dict[str, list[str]] = {}
        allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}

        def slot(formal: onnx.defs.OpSchema.FormalParameter) -> str:
            # A type written out in place of a variable becomes a variable with that one choice.
            choices = allowed.get(formal.type_str, [formal.type_str])
            names = sorted(
                (n for n in map(short_name, choices) if n is not None), key=lambda n: (n not in DTYPES, DTYPES[n].value)
            )
            variable = formal.type_str if formal.type_str in allowed else (names[0] if names else "?")
            self.types[variable] = names
            if formal.option == onnx.defs.OpSchema.FormalParameterOption.Variadic:
                return variable + ("+" if formal.is_homogeneous else "*")
            return variable

        self.inputs = [slot(x) for x in schema.inputs]
        self.outputs = [slot(x) for x in schema.outputs]
        self.formal_names = {x.name: x.type_str for x in (*schema.inputs, *schema.outputs)}
        self.tensors_only = all(self.types.values())

    def variable(self, slots: Sequence[str], index: int) -> str:
        """The type variable of an operand."""
        return slots[min(index, len(slots) - 1)].rstrip("+*")


# Runs


def _session_options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return options


def _array(operand: Operand, dtype: ir.DataType) -> np.ndarray[Any, Any]:
    if isinstance(operand, tuple):
        return np.ones(operand, dtype.numpy())
    return np.asarray(operand).astype(dtype.numpy())


def _initializer(name: str, array: np.ndarray[Any, Any], dtype: ir.DataType) -> ir.Value:
    tensor = ir.Tensor(array, dtype=dtype, name=name)
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(array.shape), const_value=tensor)


def run_native(model: bytes) -> str | None:
    """The complaint of the installed runtime about a model without inputs, or None."""
    try:
        session = onnxruntime.InferenceSession(model, _session_options(), providers=[PROVIDER])
        session.run_with_ort_values(None, {})
    except Exception as error:  # noqa: BLE001  (the runtime raises a dozen classes of its own)
        return str(error)
    return None


# The function that runs a model: in the installed runtime, or in that of a browser.
_run_model: Callable[[bytes], str | None] = run_native


def use_web(folder: str) -> None:
    """Runs models in the npm package `onnxruntime-web` from now on."""
    global _run_model
    _run_model = WebRuntime(folder).run


def _run(graph: ir.Graph, opset: int) -> str | None:
    """The complaint of the runtime about the graph, or None."""
    for index, value in enumerate(graph.outputs):
        value.name = value.name or f"output_{index}"
    model = ir.Model(graph, ir_version=13 if opset > 24 else 11 if opset > 22 else 10)
    complaint = _run_model(ir.to_proto(model).SerializeToString())
    if not complaint:
        return None
    message = complaint.strip().splitlines()[0]
    return message.rpartition("Status Message: ")[2].rpartition(" : ")[2][-160:]


def _attributes(probe: Probe, variant: dict[str, Any], types: dict[str, str], signature: Signature) -> dict[str, Any]:
    attributes = probe.attrs | {name: value for name, value in variant.items() if value is not None}
    if probe.dtype_attr == "value":
        dtype = DTYPES[types[signature.variable(signature.outputs, 0)]]
        attributes["value"] = ir.Tensor(_array((1,), dtype), dtype=dtype)
    elif probe.dtype_attr:
        attributes[probe.dtype_attr] = DTYPES[types[signature.variable(signature.outputs, 0)]].value
    return attributes


def run_node(
    op_type: str, opset: int, probe: Probe, variant: dict[str, Any], types: dict[str, str], sig: Signature
) -> str | None:
    """Runs one node with the type variables set as in `types`; returns the runtime's complaint or None."""
    initializers: list[ir.Value] = []
    inputs: list[ir.Value | None] = []
    for index, operand in enumerate(probe.inputs):
        if operand is None:
            inputs.append(None)
            continue
        dtype = DTYPES[types[sig.variable(sig.inputs, index)]]
        initializers.append(_initializer(f"input_{index}", _array(operand, dtype), dtype))
        inputs.append(initializers[-1])
    node = ir.node(op_type, inputs, _attributes(probe, variant, types, sig), num_outputs=probe.outputs)
    for index, output in enumerate(node.outputs):
        output.type = ir.TensorType(DTYPES[types[sig.variable(sig.outputs, index)]])
    graph = ir.Graph(
        [], node.outputs, nodes=[node], initializers=initializers, opset_imports={"": opset}, name="one_node"
    )
    return _run(graph, opset)


def run_control_flow(op_type: str, opset: int, name: str) -> str | None:
    """Runs If, Loop or Scan with one carried value of the type."""
    dtype = DTYPES[name]
    tensor_type = ir.TensorType(dtype)
    x = _initializer("x", np.ones((2,), dtype.numpy()), dtype)
    true = _initializer("true", np.asarray(True), ir.DataType.BOOL)
    count = _initializer("count", np.asarray(2, np.int64), ir.DataType.INT64)

    def body(inputs: list[ir.Value], *results: ir.Value) -> ir.Graph:
        nodes = [ir.node("Identity", [r]) for r in results]
        for index, (node, result) in enumerate(zip(nodes, results, strict=True)):
            node.outputs[0].name, node.outputs[0].type = f"result_{index}", result.type
        return ir.Graph(inputs, [n.outputs[0] for n in nodes], nodes=nodes, name="body", opset_imports={"": opset})

    carried = ir.Value(name="carried", type=tensor_type, shape=ir.Shape((2,)))
    element = ir.Value(name="element", type=tensor_type)
    if op_type == "If":
        node = ir.node("If", [true], {"then_branch": body([], x), "else_branch": body([], x)})
    elif op_type == "Loop":
        step = ir.Value(name="step", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(()))
        going = ir.Value(name="going", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape(()))
        loop_body = body([step, going, carried], going, carried, carried)
        node = ir.node("Loop", [count, true, x], {"body": loop_body}, num_outputs=2)
    else:
        scan_body = body([carried, element], carried, element)
        node = ir.node("Scan", [x, x], {"body": scan_body, "num_scan_inputs": 1}, num_outputs=2)
    for output in node.outputs:
        output.type = tensor_type
    used = {"If": [x, true], "Loop": [x, true, count], "Scan": [x]}[op_type]
    return _run(ir.Graph([], node.outputs, nodes=[node], initializers=used, opset_imports={"": opset}, name="g"), opset)


# Compression: a set of combinations as few boxes (products of sets)


def boxes(combinations: Iterable[Combination], variables: Sequence[str]) -> list[dict[str, str]]:
    """Writes a set of combinations as a list of boxes, each a set of names for every variable."""
    rows = set(combinations)
    if not variables:
        return [{}] if rows else []
    by_first: dict[str, set[Combination]] = collections.defaultdict(set)
    for first, *rest in rows:
        by_first[first].add(tuple(rest))
    by_rest: dict[frozenset[Combination], list[str]] = collections.defaultdict(list)
    for first, rests in by_first.items():
        by_rest[frozenset(rests)].append(first)
    found = [
        {variables[0]: _spell(firsts)} | box for rests, firsts in by_rest.items() for box in boxes(rests, variables[1:])
    ]
    # Sets have another order in each process.
    return sorted(found, key=lambda box: [[DTYPES[name].value for name in box[v].split()] for v in variables])


def _spell(names: Iterable[str]) -> str:
    return " ".join(sorted(names, key=lambda n: DTYPES[n].value))


# The kernel list


def listed(kernels: list[Any], since: int, signature: Signature, types: dict[str, str]) -> bool:
    """Whether the runtime's kernel list has an entry for the schema version and the types."""
    for kernel in kernels:
        first, last = kernel.version_range
        if not (first == since or (last != 2**31 - 1 and first <= since <= last)):
            continue
        for name, onnx_types in kernel.type_constraints.items():
            variable = signature.formal_names.get(name, name)
            if variable in types and types[variable] not in map(short_name, onnx_types):
                break
        else:
            return True
    return False


# One operator


def table_of(op_type: str) -> dict[str, Any]:
    """The entries of one operator, one for each range of opsets in which nothing changes."""
    kernels = [
        k for k in runtime_state.get_all_opkernel_def() if (k.op_name, k.domain, k.provider) == (op_type, "", PROVIDER)
    ]
    entries: list[dict[str, Any]] = []
    disagreements: list[dict[str, Any]] = []
    for opset in OPSETS:
        try:
            schema = onnx.defs.get_schema(op_type, opset, "")
        except onnx.defs.SchemaError:
            continue
        if schema.deprecated:
            continue
        entry, unlike = _entry(op_type, opset, schema, kernels)
        _append_range(entries, opset, entry)
        for item in unlike:
            _append_range(disagreements, opset, item)
    return {"entries": entries, "disagreements": disagreements}


def _append_range(entries: list[dict[str, Any]], opset: int, entry: dict[str, Any]) -> None:
    for known in entries:
        if known["opsets"][1] == opset - 1 and {k: v for k, v in known.items() if k != "opsets"} == entry:
            known["opsets"][1] = opset
            return
    entries.append({"opsets": [opset, opset]} | entry)


def _entry(
    op_type: str, opset: int, schema: onnx.defs.OpSchema, kernels: list[Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    signature = Signature(schema)
    if not signature.tensors_only:
        return {"unchecked": "not only tensors of numbers"}, []
    entry: dict[str, Any] = {
        "in": signature.inputs,
        "out": signature.outputs,
        "types": {v: _spell(names) for v, names in signature.types.items()},
    }
    if op_type in CONTROL_FLOW:
        variable = schema.outputs[0].type_str
        ran = [name for name in signature.types[variable] if run_control_flow(op_type, opset, name) is None]
        return entry | {"runs": [{variable: _spell(ran)}]}, []
    variables = list(signature.types)
    everything = list(itertools.product(*signature.types.values()))
    in_list = {
        c for c in everything if listed(kernels, schema.since_version, signature, dict(zip(variables, c, strict=True)))
    }
    if op_type not in PROBES:
        return entry | {"runs": boxes(in_list, variables), "unprobed": True}, []
    # Attributes that change what runs come last in a combination, each with the position of its value.
    runs: dict[str, dict[str, Any]] = {}
    disagreements: dict[str, dict[str, Any]] = {}
    varying: dict[str, None] = {}
    for probe in PROBES[op_type]:
        if opset < probe.since:
            continue
        choices = {name: values for name, values in probe.varies.items() if name in schema.attributes}
        varying |= dict.fromkeys(choices)
        for values in itertools.product(*choices.values()):
            variant = dict(zip(choices, values, strict=True))
            ran, complaints = _run_all(op_type, opset, probe, variant, signature, everything)
            _collect(runs, boxes(ran, variables), {}, variant)
            _collect(disagreements, boxes(ran - in_list, variables), {"why": "runs without a listed kernel"}, variant)
            refused = in_list - ran
            if refused:
                # One message is enough: they differ in the names of types.
                why = "listed, but fails: " + min(complaints[c] for c in refused)
                _collect(disagreements, boxes(refused, variables), {"why": why}, variant)
    entry["runs"] = list(runs.values())
    if varying:
        # Where being absent is one of the values, the schema's default is another.
        absent = {name for probe in PROBES[op_type] for name, values in probe.varies.items() if None in values}
        entry["defaults"] = {name: None if name in absent else _default(schema, name) for name in varying}
    return entry, list(disagreements.values())


def _run_all(
    op_type: str,
    opset: int,
    probe: Probe,
    variant: dict[str, Any],
    signature: Signature,
    everything: Sequence[Combination],
) -> tuple[set[Combination], dict[Combination, str]]:
    """The combinations that run, and what the runtime says to the others."""
    ran: set[Combination] = set()
    complaints: dict[Combination, str] = {}
    for combination in everything:
        types = dict(zip(signature.types, combination, strict=True))
        complaint = run_node(op_type, opset, probe, variant, types, signature)
        if complaint is None:
            ran.add(combination)
        else:
            complaints[combination] = complaint
    return ran, complaints


def _collect(into: dict[str, dict[str, Any]], found: list[dict[str, str]], extra: Any, variant: dict[str, Any]) -> None:
    """Adds boxes; those that differ in one attribute's value only become one with all values."""
    for box in found:
        known = into.setdefault(
            json.dumps([box, sorted(variant)]), box | extra | {"attrs": {}} if variant else box | extra
        )
        for name, value in variant.items():
            values = known["attrs"].setdefault(name, [])
            if value not in values:
                values.append(value)


def _default(schema: onnx.defs.OpSchema, name: str) -> Any:
    default = ir.serde.deserialize_attribute(schema.attributes[name].default_value)
    return default.value if default.name else None


def dump(table: dict[str, Any]) -> str:
    """JSON with one line for each entry, so that a change of the table reads as a change of lines."""
    lines = ["{", f' "runtime": {json.dumps(table["runtime"])},', f' "opsets": {json.dumps(table["opsets"])},']
    for section in ("operators", "disagreements"):
        lines.append(f' "{section}": {{')
        for name, entries in table[section].items():
            lines.append(f"  {json.dumps(name)}: [")
            lines += [f"   {json.dumps(entry)}," for entry in entries]
            lines[-1] = lines[-1][:-1]
            lines.append("  ],")
        if table[section]:
            lines[-1] = "  ]"
        lines.append(" },")
    lines[-1] = " }"
    return "\n".join([*lines, "}", ""])


def release() -> str:
    """The name of the table of the installed runtime, such as `onnxruntime-1.32`."""
    return "onnxruntime-" + ".".join(onnxruntime.__version__.split(".")[:2])


def main() -> None:
    """Writes or checks the table, or prints the part for the operators named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("operators", nargs="*", help="print these, write nothing")
    parser.add_argument("--web", metavar="FOLDER", help="folder with node_modules/onnxruntime-web")
    parser.add_argument("--check", action="store_true", help="compare with what is there instead of writing it")
    options = parser.parse_args()
    names = sorted({s.name for s in onnx.defs.get_all_schemas() if not s.domain})
    if unknown := set(PROBES).difference(names):
        raise SystemExit(f"probes for operators that ONNX does not have: {sorted(unknown)}")
    names = options.operators or names
    tables: dict[str, Any] = {}
    start = functools.partial(use_web, options.web) if options.web else None
    with concurrent.futures.ProcessPoolExecutor(2, initializer=start) as pool:
        for name, table in zip(names, pool.map(table_of, names), strict=True):
            tables[name] = table
            print(name, file=sys.stderr, flush=True)
    version = WebRuntime.version(options.web) if options.web else onnxruntime.__version__
    text = dump(
        {
            "runtime": f"{'onnxruntime-web' if options.web else 'onnxruntime'} {version}",
            "opsets": [OPSETS.start, OPSETS.stop - 1],
            "operators": {name: table["entries"] for name, table in tables.items() if table["entries"]},
            # The list is that of the native runtime.
            "disagreements": {
                name: table["disagreements"]
                for name, table in tables.items()
                if table["disagreements"] and not options.web
            },
        }
    )
    json.loads(text)
    path = TABLES / f"{'onnxruntime-web' if options.web else release()}.json"
    if options.operators:
        print(text)
    elif not options.check:
        path.write_text(text)
    elif path.read_text().splitlines()[2:] != text.splitlines()[2:]:  # the second line holds the patch release
        raise SystemExit(
            f"{path.name} is not what {version} runs: nox -s kernels -- --write, and look at the difference."
        )


if __name__ == "__main__":
    main()
