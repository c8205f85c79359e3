"""Mistakes that people make on their way to an ONNX file; `messages.md` has the answers.

The lines of a mistake stand alone: with the imports of this file and the functions at its top they can be run as they
are.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jax import ShapeDtypeStruct

import j2o_plugins_jax
from j2o_core import Plugin, to_onnx
from j2o_core.cli.__main__ import main

TABLE = jnp.ones((512, 4))


def net(x):
    return jnp.tanh(x).sum(-1)


def scaled(x, scale):
    return x * scale


def step(model, x):
    return {"loss": x.sum(), "weights": model}


class Command(Exception):
    """The messages of the command line, with its exit status."""


def j2o(*arguments: str) -> None:
    """Run the command line in a folder with a `models.py` and a small `net.onnx`."""
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = main(arguments)
        except SystemExit as error:
            status = int(error.code or 0)
    if status:
        raise Command(f"{said.getvalue().rstrip()}\n(exit status {status})")


MODELS = """import jax.numpy as jnp


class Net:
    pass


def net(x):
    return jnp.tanh(x).sum(-1)


def make():
    raise FileNotFoundError("weights.npz")


size = 3
"""


def folder(path: Path) -> None:
    """Write the files that the command line is run beside."""
    (path / "models.py").write_text(MODELS)
    to_onnx(net, [("B", 3)]).save(path / "net.onnx")
    (path / "half.onnx").write_bytes((path / "net.onnx").read_bytes()[:100])
    (path / "empty.safetensors").write_bytes(b"")


class Mistake(NamedTuple):
    """A mistake: its chapter and the code that makes it."""

    chapter: str
    code: Callable[[], Any]


MISTAKES: list[Mistake] = []
_chapter = ""


def chapter(title: str) -> None:
    """The mistakes below belong to this chapter."""
    global _chapter
    _chapter = title


def mistake(code: Callable[[], Any]) -> Callable[[], Any]:
    """Add a mistake to the list."""
    MISTAKES.append(Mistake(_chapter, code))
    return code


chapter("The function")


@mistake
def the_result_of_the_function():
    to_onnx(net(jnp.ones(3)), [(3,)])


@mistake
def function_and_specs_exchanged():
    to_onnx([("B", 3)], net)


@mistake
def the_class_and_not_an_instance():
    to_onnx(eqx.nn.Linear, [(3,)])


@mistake
def a_jaxpr():
    to_onnx(jax.make_jaxpr(net)(jnp.ones(3)), [(3,)])


@mistake
def no_function():
    to_onnx(None, [(3,)])


chapter("Specs")


@mistake
def a_shape_without_the_list():
    to_onnx(net, ("B", 3))


@mistake
def a_string():
    to_onnx(net, "B,3")


@mistake
def a_number():
    to_onnx(net, 3)


@mistake
def an_array_without_the_list():
    to_onnx(net, jnp.ones((2, 3)))


@mistake
def a_list_for_a_shape():
    to_onnx(net, [["B", 3]])


@mistake
def none_for_an_argument():
    to_onnx(scaled, [("B", 3), None])


@mistake
def none_for_a_size():
    to_onnx(net, [(None, 3)])


@mistake
def minus_one_for_a_size():
    to_onnx(net, [(-1, 3)])


@mistake
def a_float_for_a_size():
    to_onnx(net, [(2.0, 3)])


@mistake
def a_python_number():
    to_onnx(scaled, [("B", 3), 2.0])


@mistake
def a_dtype_alone():
    to_onnx(net, [jnp.float16])


@mistake
def a_dtype_behind_the_shape():
    to_onnx(net, [(("B", 8), jnp.float16)])


@mistake
def a_dtype_in_the_shape():
    to_onnx(net, [("B", 8, "float16")])


@mistake
def the_text_of_a_shape():
    to_onnx(net, ["B,3"])


@mistake
def an_unreadable_size():
    to_onnx(net, [("2*", 3)])


@mistake
def a_size_that_is_divided():
    to_onnx(net, [("B/2", 3)])


@mistake
def a_size_with_a_space():
    to_onnx(net, [("batch size", 3)])


@mistake
def float64_while_64_bits_are_off():
    to_onnx(net, [ShapeDtypeStruct((3,), np.float64)])


@mistake
def an_array_of_text():
    to_onnx(net, [np.array(["a cat", "a dog"])])


@mistake
def too_few_specs():
    to_onnx(scaled, [("B", 3)])


@mistake
def too_many_specs():
    to_onnx(net, [("B", 3), ()])


@mistake
def a_name_that_is_no_parameter():
    to_onnx(scaled, {"x": ("B", 3), "factor": ()})


@mistake
def a_setting_among_the_arrays():
    to_onnx(lambda x, mode: net(x) if mode == "sum" else x, [(3,), "sum"])


@mistake
def a_static_argument():
    to_onnx(jax.jit(lambda x, axis: x.sum(axis), static_argnums=1), [("B", 3), 1])


chapter("Names")


@mistake
def too_few_input_names():
    to_onnx(scaled, [("B", 3), ()], input_names=["image"])


@mistake
def one_string_for_the_names():
    to_onnx(net, [("B", 3)], input_names="image")


@mistake
def a_name_twice():
    to_onnx(scaled, [("B", 3), ()], input_names=["x", "x"])


@mistake
def too_many_output_names():
    to_onnx(net, [("B", 3)], output_names=["logits", "hidden"])


@mistake
def an_empty_name():
    to_onnx(net, [("B", 3)], output_names=[""])


@mistake
def an_output_named_as_an_input():
    to_onnx(lambda a: a * 2, [(3,)], output_names=["a"])


chapter("Constraints")


@mistake
def half_a_constraint():
    to_onnx(net, [("T", 3)], constraints=["T >="])


@mistake
def a_constraint_on_an_unknown_name():
    to_onnx(net, [("T", 3)], constraints=["S >= 4"])


@mistake
def constraints_that_exclude_each_other():
    to_onnx(net, [("T", 3)], constraints=["T >= 4", "T <= 2"])


@mistake
def a_constraint_that_is_a_number():
    to_onnx(net, [("T", 3)], constraints=[4])


@mistake
def a_strict_constraint():
    to_onnx(net, [("T", 3)], constraints=["T > 4"])


chapter("State and keys")


@mistake
def state_that_is_no_argument():
    to_onnx(step, [{"w": (3,)}, ("B", 3)], state=["params"])


@mistake
def state_that_is_not_returned():
    to_onnx(lambda cache, x: cache.sum() + x, [(4,), (3,)], state=["cache"])


@mistake
def state_in_one_string():
    to_onnx(step, [{"w": (3,)}, ("B", 3)], state="model")


@mistake
def state_of_another_shape():
    to_onnx(lambda cache, x: jnp.concatenate([cache, x]), [(4,), (1,)], state=["cache"])


@mistake
def a_float_for_a_key():
    to_onnx(lambda key: jax.random.normal(key, (3,)), [()])


@mistake
def a_seed_for_a_key():
    program = to_onnx(lambda key: jax.random.normal(key, (3,)), [jax.random.key(0)])
    program(42)


@mistake
def the_words_of_a_key():
    program = to_onnx(lambda key: jax.random.normal(key, (3,)), [jax.random.key(0)])
    program(jax.random.PRNGKey(0))


chapter("Tracing")


@mistake
def if_on_a_value():
    def relu(x):
        if x[0] > 0:
            return x
        return 0 * x

    to_onnx(relu, [(3,)])


@mistake
def numpy_in_the_function():
    to_onnx(lambda x: np.sin(np.asarray(x)), [(3,)])


@mistake
def a_python_float():
    to_onnx(lambda x: x * float(x.sum()), [(3,)])


@mistake
def an_axis_that_is_an_array():
    to_onnx(lambda x, axis: x.sum(axis), [(3,), ShapeDtypeStruct((), jnp.int32)])


@mistake
def if_on_a_symbolic_size():
    def crop(x):
        if x.shape[0] > 4:
            x = x[:4]
        return x

    to_onnx(crop, [("N",)])


@mistake
def rows_of_four():
    to_onnx(lambda x: x.reshape(-1, 4), [("N",)])


@mistake
def rows_of_four_from_two_sizes():
    to_onnx(lambda x: x.reshape(-1, 4), [("B", "N")])


@mistake
def positions_of_a_table():
    to_onnx(lambda x: x + TABLE[: x.shape[1]], [("B", "T", 4)])


@mistake
def two_names_for_one_size():
    to_onnx(lambda x, y: x + y, [("B", 4), ("S", 4)])


@mistake
def a_python_loop_over_a_symbolic_size():
    to_onnx(lambda x: sum(x[i] for i in range(x.shape[0])), [("T", 4)])


@mistake
def halves_of_a_symbolic_size():
    to_onnx(lambda x: jnp.split(x, 2), [("T", 4)])


@mistake
def a_list_from_a_symbolic_size():
    to_onnx(lambda x: jnp.asarray([i for i in x]).sum(), [("T",)])


@mistake
def shapes_that_do_not_fit():
    to_onnx(lambda x: x @ TABLE, [("B", 5)])


@mistake
def a_layer_without_vmap():
    layer = eqx.nn.Linear(4, 2, key=jax.random.key(0))
    to_onnx(layer, [("B", 4)])


@mistake
def dropout_without_a_key():
    to_onnx(eqx.nn.Dropout(0.5), [(4,)])


@mistake
def a_mask_for_an_index():
    to_onnx(lambda x: x[x > 0], [(8,)])


@mistake
def places_of_what_is_not_zero():
    to_onnx(jnp.nonzero, [(8,)])


@mistake
def bits_of_a_float():
    to_onnx(lambda x: x & 1, [(3,)])


@mistake
def an_error_of_ones_own():
    to_onnx(lambda x: {"logits": x}["logit"], [(3,)])


@mistake
def a_result_that_is_text():
    to_onnx(lambda x: {"y": x, "name": "net"}, [(3,)])


@mistake
def no_result():
    to_onnx(lambda x: None, [(3,)])


@mistake
def an_export_under_jit():
    @jax.jit
    def train(w, x):
        to_onnx(lambda x: x * w, [(3,)])
        return w * x

    train(jnp.ones(3), jnp.ones(3))


@mistake
def a_donated_array():
    w = jnp.ones(3)
    w.delete()
    to_onnx(lambda x: x * w, [(3,)])


chapter("Operations without a lowering")


@mistake
def no_plugins():
    to_onnx(net, [("B", 3)], plugins=[])


@mistake
def a_callback():
    def host(x):
        return jax.pure_callback(np.sin, ShapeDtypeStruct(x.shape, x.dtype), x)

    to_onnx(host, [(3,)])


@mistake
def a_callback_in_order():
    def logged(x):
        jax.experimental.io_callback(print, None, x, ordered=True)
        return x + 1

    to_onnx(logged, [(3,)])


@mistake
def a_primitive_of_ones_own():
    own = jax.extend.core.Primitive("my_kernel")
    own.def_abstract_eval(lambda x: x)
    to_onnx(lambda x: own.bind(x) + 1, [(3,)])


@mistake
def a_type_that_onnx_does_not_have():
    to_onnx(lambda x: x.astype(jnp.float8_e3m4).astype(x.dtype), [(3,)])


chapter("Options")


@mistake
def an_opset_that_is_too_old():
    to_onnx(net, [("B", 3)], opset=13)


@mistake
def an_opset_that_is_text():
    to_onnx(net, [("B", 3)], opset="21")


@mistake
def a_target_that_is_unknown():
    to_onnx(net, [("B", 3)], target="tensorrt")


@mistake
def a_release_that_is_unknown():
    to_onnx(net, [("B", 3)], target="onnxruntime-1.2")


@mistake
def nonfinite_that_is_true():
    to_onnx(net, [("B", 3)], nonfinite=True)


@mistake
def weights_that_are_a_dtype():
    to_onnx(net, [("B", 3)], weights="float16")


@mistake
def metadata_that_is_unknown():
    to_onnx(net, [("B", 3)], metadata="all")


chapter("Saving")


@mistake
def the_path_of_a_folder():
    to_onnx(net, [("B", 3)]).save(".")


@mistake
def a_folder_that_is_missing():
    to_onnx(net, [("B", 3)]).save("exports/today/net.onnx")


@mistake
def a_form_that_is_unknown():
    to_onnx(net, [("B", 3)]).save("net.onnx", weights="npz")


@mistake
def a_file_of_weights_and_none():
    to_onnx(net, [("B", 3)]).save("net.onnx", weights="data", external_data=False)


@mistake
def no_path():
    to_onnx(net, [("B", 3)]).save(None)


chapter("Calling the program")


@mistake
def another_width():
    to_onnx(net, [("B", 3)])(np.ones((2, 4), np.float32))


@mistake
def another_rank():
    to_onnx(net, [("B", 3)])(np.ones(3, np.float32))


@mistake
def floats_for_integers():
    program = to_onnx(lambda ids: TABLE[ids], [ShapeDtypeStruct(("T",), jnp.int32)])
    program(np.ones(4, np.float32))


@mistake
def integers_that_floats_do_not_hold():
    to_onnx(net, [("B", 3)])(np.full((2, 3), 2**24 + 1))


@mistake
def a_number_that_is_too_large():
    program = to_onnx(scaled, [ShapeDtypeStruct((3,), jnp.int8), ShapeDtypeStruct((), jnp.int8)])
    program(np.ones(3, np.int8), 300)


@mistake
def an_argument_that_is_missing():
    to_onnx(scaled, [("B", 3), ()])(np.ones((2, 3), np.float32))


@mistake
def a_keyword_that_is_unknown():
    to_onnx(scaled, [("B", 3), ()])(np.ones((2, 3), np.float32), factor=2.0)


@mistake
def a_key_that_is_missing():
    program = to_onnx(lambda batch: batch["image"].sum() + batch["label"], [{"image": ("B", 3), "label": ()}])
    program({"image": np.ones((2, 3), np.float32)})


@mistake
def two_sizes_for_one_name():
    program = to_onnx(lambda x, y: x.sum(0) / y.shape[0], [("B", 4), ("B", 4)])
    program(np.ones((6, 4), np.float32), np.ones((3, 4), np.float32))


@mistake
def an_odd_size():
    to_onnx(lambda x: x.reshape(-1, 2), [("2*T",)])(np.ones(5, np.float32))


@mistake
def a_size_against_a_constraint():
    to_onnx(lambda x: x + TABLE[: x.shape[0]], [("T", 4)], constraints=["T <= 512"])(np.ones((600, 4), np.float32))


@mistake
def text():
    to_onnx(net, [("B", 3)])("a cat")


@mistake
def nothing_for_an_argument():
    to_onnx(scaled, [("B", 3), ()])(np.ones((2, 3), np.float32), None)


@mistake
def another_setting_of_a_module():
    layers = [eqx.nn.Dropout(0.5, inference=True), eqx.nn.Dropout(0.5, inference=False)]
    program = to_onnx(lambda layer, x: layer(x, key=jax.random.key(0)), [layers[0], (4,)])
    program(layers[1], np.ones(4, np.float32))


chapter("Verifying")


@mistake
def sizes_that_are_one_number():
    to_onnx(net, [("B", 3)]).verify(sizes=8)


@mistake
def no_sizes():
    to_onnx(net, [("B", 3)]).verify(sizes=())


@mistake
def constraints_that_hold_for_no_size():
    to_onnx(net, [("T", 3)], constraints=["T*T >= 5", "T*T <= 5"]).verify(sizes=(1, 2, 5))


@mistake
def a_kind_that_is_unknown():
    to_onnx(net, [("B", 3)]).verify(kinds="huge")


@mistake
def an_argument_of_another_shape():
    to_onnx(net, [("B", 3)]).verify(np.ones((2, 4), np.float32))


@mistake
def a_spec_for_an_array():
    to_onnx(net, [("B", 3)]).verify(("B", 3))


@mistake
def a_rule_that_is_wrong():
    wrong = Plugin("wrong")

    @wrong.lowering("tanh", override=True)
    def _tanh(ctx, x, **_):
        return ctx.op.Sigmoid(x)

    to_onnx(net, [("B", 3)], plugins=[j2o_plugins_jax.plugin, wrong]).verify()


chapter("Weights")


@mistake
def weights_that_were_not_kept():
    layer = eqx.nn.Linear(4, 2, key=jax.random.key(0))
    to_onnx(layer, [(4,)]).with_weights(layer)


@mistake
def weights_of_another_model():
    layer = eqx.nn.Linear(4, 2, key=jax.random.key(0))
    to_onnx(layer, [(4,)], weights="keep").with_weights(eqx.nn.Linear(4, 3, key=jax.random.key(0)))


@mistake
def no_weights():
    layer = eqx.nn.Linear(4, 2, key=jax.random.key(0))
    to_onnx(layer, [(4,)], weights="keep").with_weights({})


@mistake
def the_path_of_the_weights():
    layer = eqx.nn.Linear(4, 2, key=jax.random.key(0))
    to_onnx(layer, [(4,)], weights="keep").with_weights("layer.safetensors")


chapter("Writing a plugin")


def with_rule(rule: Any, **options: Any) -> None:
    """Export a function whose `tanh` is lowered by this rule."""
    mine = Plugin("mine")
    mine.lowering("tanh", override=True, **options)(rule)
    to_onnx(net, [("B", 3)], plugins=[j2o_plugins_jax.plugin, mine])


@mistake
def plugins_by_name():
    to_onnx(net, [("B", 3)], plugins=["jax"])


@mistake
def one_plugin_without_the_list():
    to_onnx(net, [("B", 3)], plugins=j2o_plugins_jax.plugin)


@mistake
def a_second_rule_for_a_primitive():
    mine = Plugin("mine")
    mine.lowering("tanh")(lambda ctx, x, **_: ctx.op.Tanh(x))
    to_onnx(net, [("B", 3)], plugins=[j2o_plugins_jax.plugin, mine])


@mistake
def two_plugins_of_one_name():
    to_onnx(net, [("B", 3)], plugins=[Plugin("mine"), Plugin("mine")])


@mistake
def a_misspelt_operator():
    with_rule(lambda ctx, x, **_: ctx.op.Tahn(x))


@mistake
def a_misspelt_attribute():
    with_rule(lambda ctx, x, **_: ctx.op.Softmax(x, axes=-1))


@mistake
def an_operator_in_lower_case():
    with_rule(lambda ctx, x, **_: ctx.op.tanh(x))


@mistake
def a_domain_as_a_keyword():
    with_rule(lambda ctx, x, **_: ctx.op("Gelu", x, domain="com.microsoft"))


@mistake
def a_number_for_a_value():
    with_rule(lambda ctx, x, **_: ctx.op.Mul(x, 2.0))


@mistake
def an_attribute_that_is_an_object():
    with_rule(lambda ctx, x, **_: ctx.op.Softmax(x, axis={"last"}))


@mistake
def no_return():
    with_rule(lambda ctx, x, **_: None)


@mistake
def a_result_too_many():
    with_rule(lambda ctx, x, **_: (x, x))


@mistake
def a_result_of_another_dtype():
    with_rule(lambda ctx, x, **_: ctx.cast(x, np.int32))


@mistake
def a_result_of_another_shape():
    with_rule(lambda ctx, x, **_: ctx.op.Unsqueeze(x, ctx.const([0], np.int64)))


@mistake
def an_input_that_is_missing():
    with_rule(lambda ctx, x, **_: ctx.op.Mul(x))


@mistake
def a_parameter_that_is_not_read():
    with_rule(lambda ctx, x: ctx.op.Tanh(x))


@mistake
def an_error_in_a_rule():
    with_rule(lambda ctx, x, **params: ctx.op.Tanh(x, params["axis"]))


@mistake
def a_rule_for_an_old_opset():
    Plugin("mine").lowering("tanh", opset=13)(net)


@mistake
def two_rules_for_one_opset():
    mine = Plugin("mine")
    mine.lowering("tanh")(net)
    mine.lowering("tanh")(net)


@mistake
def a_rule_without_its_primitive():
    mine = Plugin("mine")

    @mine.lowering
    def tanh(ctx, x, **_):
        return ctx.op.Tanh(x)


@mistake
def a_composite_with_another_batching():
    Plugin("mine").composite("jax.nn.gelu", batching="vmap")


@mistake
def a_rewrite_to_another_dtype():
    mine = Plugin("mine")

    @mine.rewrite("Tanh")
    def _tanh(rw, node):
        return rw.op.Cast(node.inputs[0], to=10)

    to_onnx(net, [("B", 3)], plugins=[j2o_plugins_jax.plugin, mine])


@mistake
def two_opsets_of_one_domain():
    mine = Plugin("mine")
    mine.opset_import("com.me", 1)
    mine.opset_import("com.me", 2)


chapter("The command line")


@mistake
def a_file_for_a_module():
    j2o("export", "models.py", "-o", "out.onnx")


@mistake
def a_file_and_a_name():
    j2o("export", "models.py:net", "-o", "out.onnx", "--input", "B,3")


@mistake
def a_module_that_is_missing():
    j2o("export", "model:net", "-o", "out.onnx", "--input", "B,3")


@mistake
def a_name_that_is_missing():
    j2o("export", "models:nett", "-o", "out.onnx", "--input", "B,3")


@mistake
def the_name_of_a_class():
    j2o("export", "models:Net", "-o", "out.onnx", "--input", "B,3")


@mistake
def the_name_of_a_number():
    j2o("export", "models:size", "-o", "out.onnx", "--input", "B,3")


@mistake
def a_factory_that_fails():
    j2o("export", "models:make", "--call", "-o", "out.onnx", "--input", "B,3")


@mistake
def no_inputs():
    j2o("export", "models:net", "-o", "out.onnx")


@mistake
def a_size_that_is_left_out():
    j2o("export", "models:net", "-o", "out.onnx", "--input", "x=B,,3")


@mistake
def a_dtype_that_is_unknown():
    j2o("export", "models:net", "-o", "out.onnx", "--input", "x=B,3:half")


@mistake
def a_parameter_that_is_unknown():
    j2o("export", "models:net", "-o", "out.onnx", "--input", "image=B,3")


@mistake
def float64_without_x64():
    j2o("export", "models:net", "-o", "out.onnx", "--input", "x=B,3:f64")


@mistake
def a_folder_for_the_output():
    j2o("export", "models:net", "-o", os.curdir, "--input", "x=B,3")


@mistake
def no_output():
    j2o("export", "models:net", "--input", "x=B,3")


@mistake
def an_opset_in_words():
    j2o("export", "models:net", "-o", "out.onnx", "--input", "x=B,3", "--opset", "latest")


@mistake
def an_old_opset():
    j2o("export", "models:net", "-o", "out.onnx", "--input", "x=B,3", "--opset", "9")


@mistake
def a_command_that_is_unknown():
    j2o("convert", "models:net")


@mistake
def a_model_that_is_missing():
    j2o("check", "nett.onnx")


@mistake
def half_a_model():
    j2o("check", "half.onnx")


@mistake
def a_model_of_another_function():
    j2o("verify", "jax.numpy:sin", "net.onnx")


@mistake
def sizes_in_words():
    j2o("verify", "models:net", "net.onnx", "--sizes", "small")


@mistake
def weights_that_are_empty():
    j2o("swap-weights", "net.onnx", "empty.safetensors", "-o", "new.onnx")


@mistake
def weights_that_are_missing():
    j2o("swap-weights", "net.onnx", "weights.safetensors", "-o", "new.onnx")
