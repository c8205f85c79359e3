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
_SEVERAL = ("Max", "Min", "Concat")
_BROADCASTS = (*_OTHERS, "Where", "Pow", "Mod", "Or")


def near_misses(model):
    """(the change, what makes it): nodes and operands go by their places."""
    for index, node in enumerate(model.graph.all_nodes()):
        name = f"{index} {node.op_type}"
        for place, value in enumerate(node.inputs):
            if value is None:
                continue
            array = value.const_value.numpy() if value.const_value is not None else None
            if array is not None and node.op_type == "Clip" and array.dtype == np.int64:
                for number in (2**40, -(2**40)):
                    yield f"{name}: operand {place} {number}", _operand(index, place, lambda x, n=number: np.array(n))
            for what, change in _constants(array) if array is not None else _values(value, node):
                yield f"{name}: operand {place} {what}", _operand(index, place, change)
        if len(node.inputs) > 1:
            yield f"{name}: the last operand left out", _shorter(index)
        if node.op_type in _SEVERAL:
            yield f"{name}: one more operand", _longer(index)
        if node.op_type in _ORDERED and len(node.inputs) > 1:
            yield f"{name}: operands swapped", _swapped(index)
        if node.op_type in _OTHERS:
            yield f"{name}: {_OTHERS[node.op_type]}", _renamed(index, _OTHERS[node.op_type])
        for attribute in node.attributes.values():
            for other in _attributes(attribute):
                yield f"{name}: {attribute.name} {other.value}", _set(index, other)
        for place, value in enumerate(node.outputs):
            if node.graph is model.graph and not value.is_graph_output():
                yield f"{name}: an output", _output(index, place)
    for dtype in (ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.INT32):
        yield f"{dtype}", _retyped(ir.DataType.FLOAT, dtype)
    yield "INT64", _retyped(ir.DataType.INT32, ir.DataType.INT64)
    for place, value in enumerate(model.graph.inputs):
        for axis, size in enumerate(value.shape):
            if size != 1:
                yield f"input {place}: symbolic along {axis}", _resized(place, axis, "N")
                yield f"input {place}: 1 along {axis}", _resized(place, axis, 1)


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
    if array.size == 1:
        yield "as a table", lambda x: np.broadcast_to(array.reshape(-1)[0], (2, *[1] * 4)).copy()
    yield "as an input", None
    if array.size > 1 or array.dtype.kind in "iu":
        yield "changed at the end", lambda x: _changed(array)
    if array.dtype.kind in "f":
        yield "with one more axis", lambda x: array[None]
        yield "twice, in front", lambda x: np.stack([array, array * 2])
        if array.size > 1:
            yield "as columns", lambda x: array[..., None]
            yield "one row", lambda x: array[:1]
        if array.ndim > 1:
            yield "with one axis more inside", lambda x: array[:, None]
            yield "transposed", lambda x: array.T


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


def _nodes(graph):
    return list(graph.all_nodes())


def _operand(index, place, change):
    def apply(graph):
        node = _nodes(graph)[index]
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
        node.graph.insert_before(node, made)
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
        node = _nodes(graph)[index]
        *_, left, right = node.inputs
        node.replace_input_with(len(node.inputs) - 2, right)
        node.replace_input_with(len(node.inputs) - 1, left)
        return {}

    return apply


def _shorter(index):
    def apply(graph):
        node = _nodes(graph)[index]
        node.resize_inputs(len(node.inputs) - 1)
        return {}

    return apply


def _longer(index):
    def apply(graph):
        node = _nodes(graph)[index]
        node.resize_inputs(len(node.inputs) + 1)
        node.replace_input_with(len(node.inputs) - 1, node.inputs[0])
        return {}

    return apply


def _renamed(index, op_type):
    def apply(graph):
        _nodes(graph)[index].op_type = op_type
        return {}

    return apply


def _set(index, attribute):
    def apply(graph):
        _nodes(graph)[index].attributes[attribute.name] = attribute
        return {}

    return apply


def _output(index, place):
    def apply(graph):
        graph.outputs.append(_nodes(graph)[index].outputs[place])
        return {}

    return apply


def _retyped(old, dtype):
    def apply(graph):
        for value in (*graph.inputs, *graph.initializers.values()):
            if value.dtype == old:
                value.type = ir.TensorType(dtype)
                if value.const_value is not None:
                    with np.errstate(all="ignore"):
                        value.const_value = ir.Tensor(value.const_value.numpy().astype(dtype.numpy()))
        for node in graph.all_nodes():
            if node.op_type == "Cast" and node.attributes["to"].value == old:
                node.attributes["to"] = ir.AttrInt64("to", int(dtype))
        return {}

    return apply


def _resized(place, axis, size):
    def apply(graph):
        value = graph.inputs[place]
        sizes = list(value.shape)
        sizes[axis] = size
        value.shape = ir.Shape(sizes)
        return {}

    return apply


def changed(model, change):
    """`(model, further inputs)`: a clone, changed, with the shapes that ONNX infers; None if it is no model."""
    model = model.clone()
    graph = model.graph
    try:
        inputs = change(graph)
        for node in graph.all_nodes():
            for value in node.outputs:
                value.type = value.shape = None
        for place, value in enumerate(graph.outputs):
            value.name = value.name or f"result_{place}"
        proto = ir.to_proto(model)
        del proto.graph.value_info[:]
        proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError, IndexError):
        return None
    return (proto, inputs) if _sizes_fit(proto.graph) else None


def _sizes_fit(graph):
    """Whether JAX has such a graph: a symbolic size fits itself and 1, where ONNX lets it be any number.

    And there is none that only ONNX's inference has a name for.
    """
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {
        value.name: [str(size.dim_param or size.dim_value) for size in value.type.tensor_type.shape.dim]
        for value in values
    }
    shapes |= {constant.name: [str(size) for size in constant.dims] for constant in graph.initializer}
    if any(size.startswith("unk__") for shape in shapes.values() for size in shape):
        return False
    if not all(_sizes_fit(attribute.g) for node in graph.node for attribute in node.attribute):
        return False
    for node in graph.node:
        if node.op_type not in (*_BROADCASTS, "MatMul", "Equal"):
            continue
        operands = [shapes.get(name, [])[::-1] for name in node.input]
        if node.op_type == "MatMul":
            left, right = operands
            operands = [[left[0], *left[2:]], [right[1:2] or right[:1], *right[2:]]] if left and right else []
            operands = [["".join(axis) for axis in operand] for operand in operands]
        for sizes in itertools.zip_longest(*operands, fillvalue="1"):
            known = {*sizes} - {"1"}
            if len(known) > 1 and not all(size.isdigit() for size in known):
                return False
    return True
