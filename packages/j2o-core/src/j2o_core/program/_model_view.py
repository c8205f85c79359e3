"""A model as it is read: with other tensors or other outputs, while the model itself stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir


def model_view(
    model: ir.Model,
    *,
    tensors: Mapping[str, ir.TensorProtocol] | None = None,
    outputs: Sequence[ir.Value] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> ir.Model:
    """The same nodes under a description of their own. Programs are shared by threads: to read one never changes it.

    Args:
        model: the model.
        tensors: the tensors of some initializers, by name; the others keep theirs.
        outputs: the outputs instead of the model's.
        metadata: the entries of metadata instead of the model's.
    """
    graph = model.graph
    replaced = tensors or {}
    view = ir.GraphView(
        graph.inputs,
        graph.outputs if outputs is None else outputs,
        nodes=graph,
        initializers=[
            _with_tensor(value, replaced[name]) if name in replaced else value
            for name, value in graph.initializers.items()
        ],
        doc_string=graph.doc_string,
        opset_imports=graph.opset_imports,
        name=graph.name,
        metadata_props=graph.metadata_props,
    )
    return ir.Model(
        view,  # type: ignore[arg-type]  # as its documentation has it
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        domain=model.domain,
        model_version=model.model_version,
        doc_string=model.doc_string,
        functions=tuple(model.functions.values()),
        metadata_props=model.metadata_props if metadata is None else dict(metadata),
        device_configurations=model.device_configurations,
    )


def _with_tensor(value: ir.Value, tensor: ir.TensorProtocol) -> ir.Value:
    copy = ir.Value(
        name=value.name,
        shape=value.shape,
        type=value.type,
        doc_string=value.doc_string,
        const_value=tensor,
        metadata_props=value.metadata_props,
    )
    copy.meta.update(value.meta)
    return copy
