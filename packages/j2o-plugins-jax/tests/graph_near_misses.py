"""Near misses of graphs: models that differ from a given one in one operand, constant, attribute, use or dtype."""

import itertools

import numpy as np
import onnx
import onnx_ir as ir

_OTHERS = {
    "Add": "Sub",
    "Sub": "Add",
    "Mul": "Div",
    "Div": "Mul",
    "Max": "Min",
    "Min": "Max",
    "ReduceMean": "ReduceSum",
    "ReduceSum": "ReduceMean",
    "ReduceMax": "ReduceMin",
    "Greater": "GreaterOrEqual",
    "GreaterOrEqual": "Greater",
    "Less": "LessOrEqual",
    "LessOrEqual": "Less",
    "And": "Or",
    "Sigmoid": "Tanh",
    "Tanh": "Sigmoid",
    "Exp": "Neg",
    "Log": "Neg",
    "Sqrt": "Neg",
    "Cos": "Sin",
    "Sin": "Cos",
}
_ORDERED = ("Sub", "Div", "Where", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "MatMul", "Concat", "Pow")
_BROADCASTS = (*_OTHERS, "Where", "Pow", "Mod", "Or")


def near_misses(model):
    """(the change, what makes it): nodes and operands go by their places."""
    for index, node in enumerate(model.graph):
        name = f"{index} {node.op_type}"
        for place, value in enumerate(node.inputs):
            if value is None:
                continue
            array = value.const_value.numpy() if value.const_value is not None else None
            for what, change in _constants(array) if array is not None else _values(value, node):
                yield f"{name}: operand {place} {what}", _operand(index, place, change)
        if node.op_type in _ORDERED and len(node.inputs) > 1:
            yield f"{name}: operands swapped", _swapped(index)
        if node.op_type in _OTHERS:
            yield f"{name}: {_OTHERS[node.op_type]}", _renamed(index, _OTHERS[node.op_type])
        for attribute in node.attributes.values():
            for other in _attributes(attribute):
                yield f"{name}: {attribute.name} {other.value}", _set(index, other)
        for place, value in enumerate(node.outputs):
            if not value.is_graph_output():
                yield f"{name}: an output", _output(index, place)
    yield "float64", _float64


def _values(value, node):
    kind = np.dtype(value.dtype.numpy()).kind if value.dtype is not None else ""
    shape = value.shape.numpy() if value.shape is not None and value.shape.is_static() else ()
    if kind == "b":
        yield "inverted", lambda x: _node("Not", x)
    elif kind in "fi":
        yield "negated", lambda x: _node("Neg", x)
        yield "shifted", lambda x: _node("Add", x, np.asarray(1.5 if kind == "f" else 1, value.dtype.numpy()))
        yield "scaled", lambda x: _node("Mul", x, np.asarray(3, value.dtype.numpy()))
    if kind == "f":
        yield "rounded", lambda x: _node("Cast", _node("Cast", x, to=10), to=int(value.dtype))
    if node.op_type in _BROADCASTS:
        for axis, size in enumerate(shape):
            if size > 1:
                yield f"cut along {axis}", lambda x, axis=axis: _cut(x, axis)
        yield "with one more axis", lambda x: _node("Unsqueeze", x, np.array([0]))
    for axis, size in enumerate(shape):
        if size > 1:
            yield (
                f"reversed along {axis}",
                lambda x, axis=axis: _node("Slice", x, *(np.array([i]) for i in (-1, -(2**31), axis, -1))),
            )
    for one, other in itertools.combinations(range(len(shape)), 2):
        if shape[one] == shape[other] > 1:
            perm = list(range(len(shape)))
            perm[one], perm[other] = other, one
            yield f"with axes {one} and {other} swapped", lambda x, perm=perm: _node("Transpose", x, perm=perm)


def _constants(array):
    if array.dtype.kind == "f" and array.size:
        yield "scaled a little", lambda x: array * array.dtype.type(1.003)
        yield "negated", lambda x: -array
        for number in (0, 1, np.inf, np.nan):
            yield f"made {number}", lambda x, number=number: np.full_like(array, number)
        if array.size == 1:
            yield "several", lambda x: array.reshape(1) * np.arange(1, 5, dtype=array.dtype)
        yield "as an input", None
    if array.size > 1 or array.dtype.kind in "iu":
        yield "changed at the end", lambda x: _changed(array)
    if array.dtype.kind in "f":
        yield "with one more axis", lambda x: array[None]


def _changed(array):
    flat = array.reshape(-1).copy()
    flat[-1] = ~flat[-1] if array.dtype.kind == "b" else flat[-1] + 1
    return flat.reshape(array.shape)


def _attributes(attribute):
    name, value = attribute.name, attribute.value
    if name == "to" or attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.STRING):
        return
    if attribute.type == ir.AttributeType.INT:
        for other in (value + 1, value - 1):
            yield ir.AttrInt64(name, other)
    elif attribute.type == ir.AttributeType.FLOAT:
        yield ir.AttrFloat32(name, value * 1.5)
    elif attribute.type == ir.AttributeType.INTS and len(value) > 1:
        yield ir.AttrInt64s(name, [value[1], value[0], *value[2:]])
        yield ir.AttrInt64s(name, [*value[:-1], value[-1] + 1])


# Changes of a clone


def _operand(index, place, change):
    def apply(graph):
        node = graph[index]
        x = node.inputs[place]
        if change is None:
            new = ir.Value(name="given", type=x.type, shape=x.shape)
            graph.inputs.append(new)
            node.replace_input_with(place, new)
            return {"given": x.const_value.numpy()}
        result = change(x)
        if not isinstance(result, ir.Value):
            result = _constant(result)
        made = []
        stack = [result.producer()]
        while stack:
            one = stack.pop()
            if one is not None and one.graph is None:
                made.insert(0, one)
                stack += [value.producer() for value in one.inputs if value is not None]
        graph.insert_before(node, made)
        node.replace_input_with(place, result)
        _keep(graph, [result, *(value for one in made for value in one.inputs)])
        return {}

    return apply


def _keep(graph, values):
    for value in values:
        if value.const_value is not None and value.name not in graph.initializers:
            value.name = value.name or f"constant_{len(graph.initializers)}"
            graph.initializers[value.name] = value


def _constant(array):
    array = np.asarray(array)
    value = ir.Value(name=None, const_value=ir.Tensor(array))
    value.type, value.shape = ir.TensorType(ir.DataType.from_numpy(array.dtype)), ir.Shape(array.shape)
    return value


def _node(op_type, *operands, **attributes):
    values = [_constant(one) if isinstance(one, np.ndarray) else one for one in operands]
    return ir.node(op_type, values, attributes).outputs[0]


def _cut(x, axis):
    return _node("Slice", x, *(np.array([number]) for number in (0, 1, axis)))


def _swapped(index):
    def apply(graph):
        *_, left, right = graph[index].inputs
        count = len(graph[index].inputs)
        graph[index].replace_input_with(count - 2, right)
        graph[index].replace_input_with(count - 1, left)
        return {}

    return apply


def _renamed(index, op_type):
    def apply(graph):
        graph[index].op_type = op_type
        return {}

    return apply


def _set(index, attribute):
    def apply(graph):
        graph[index].attributes[attribute.name] = attribute
        return {}

    return apply


def _output(index, place):
    def apply(graph):
        graph.outputs.append(graph[index].outputs[place])
        return {}

    return apply


def _float64(graph):
    for value in (*graph.inputs, *graph.initializers.values()):
        if value.dtype == ir.DataType.FLOAT:
            value.type = ir.TensorType(ir.DataType.DOUBLE)
            if value.const_value is not None:
                value.const_value = ir.Tensor(value.const_value.numpy().astype(np.float64))
    for node in graph:
        if node.op_type == "Cast" and node.attributes["to"].value == ir.DataType.FLOAT:
            node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.DOUBLE))
    return {}


def changed(model, change):
    """`(model, further inputs)`: a clone, changed, with the shapes that ONNX infers; None if it is no model."""
    model = model.clone()
    graph = model.graph
    try:
        inputs = change(graph)
        for node in graph:
            for value in node.outputs:
                value.type = value.shape = None
        for place, value in enumerate(graph.outputs):
            value.name = value.name or f"result_{place}"
        proto = ir.to_proto(model)
        del proto.graph.value_info[:]
        proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError, IndexError):
        return None
    return proto, inputs
