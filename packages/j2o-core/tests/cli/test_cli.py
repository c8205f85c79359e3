import json
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

import j2o_core
from j2o_core import Plugin, SpecError
from j2o_core.cli import __main__ as _cli
from j2o_core.cli import _commands, _output
from j2o_core.cli._arguments import load_function, parse_specs, parse_state
from j2o_core.plugin import _registry as registry_module

MODULE = """
    import jax
    import jax.numpy as jnp

    weight = jnp.arange(12.0).reshape(3, 4)


    def model(x, scale):
        return jnp.sin(x @ weight) * scale


    def other(x, scale):
        return jnp.cos(x @ weight) * scale


    @jax.jit
    def compiled(x):
        return x + 1


    def keywords(x, *, y):
        return x + y


    def make():
        return lambda x: x * weight


    def broken():
        raise RuntimeError("no weights here")


    def unsupported(x):
        return jnp.linalg.qr(x)[0]


    class Net:
        def __call__(self, x):
            return x - weight


    class Holder:
        net = Net()


    def wide(x):
        return x + x


    def step(x, carry, total):
        return x * 2 + carry, carry + x, total + 1


    def keyed(x, carry):
        return {"y": x, "carried": carry + x}
"""


@pytest.fixture(autouse=True)
def folder_of_models(tmp_path, monkeypatch, plugin):
    """A folder with `models.py`, and the fake plugin installed."""
    (tmp_path / "models.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.chdir(tmp_path)
    plugin.distribution, plugin.version = "j2o-fake", "1.2"
    monkeypatch.setattr(registry_module, "_installed_registry", lambda points: registry_module.Registry([plugin]))
    yield
    sys.modules.pop("models", None)


@pytest.fixture
def j2o(capsys):
    """Runs the command; gives its status and what it printed."""

    def run(*arguments):
        status = _cli.main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


EXPORT = ("export", "models:model", "--input", "x=B,3:f32", "--input", "scale=:f32", "-o", "m.onnx")


def test_export_writes_the_model_and_shows_what_is_in_it(j2o):
    status, out, err = j2o(*EXPORT, "--opset", "23", "--verify")
    assert (status, err) == (0, "")
    model = onnx.load("m.onnx")
    assert [value.name for value in model.graph.input] == ["x", "scale"]
    assert model.opset_import[0].version == 23
    lines = [line.split() for line in out.splitlines()]
    assert ["inputs", "x", "f32[B,3]"] in lines
    assert ["scale", "f32[]"] in lines
    assert ["outputs", "output", "f32[B,4]"] in lines
    assert ["MatMul", "1"] in lines
    assert ["opset", "23", "IR", "version", "11"] in lines
    assert any(line[:2] == ["files", "m.onnx"] for line in lines)
    assert any(line[:2] == ["verified", "output"] for line in lines)
    assert ["3", "runs", "B=1;", "B=2;", "B=5"] in lines
    assert any(line[0] == "total" and line[-1] == "s" for line in lines)


def test_nonfinite_is_an_option(j2o):
    assert j2o(*EXPORT, "--nonfinite", "exact")[0] == 0
    assert {"j2o.nonfinite": "exact"}.items() <= {p.key: p.value for p in onnx.load("m.onnx").metadata_props}.items()


@pytest.mark.parametrize("unroll", ["auto", "always", "never"])
def test_unroll_is_an_option(j2o, unroll):
    assert j2o(*EXPORT, "--unroll", unroll)[0] == 0


def test_a_narrow_dtype_is_an_option(j2o):
    status, out, _ = j2o(*EXPORT, "--dtype", "float16", "--verify")
    assert status == 0
    assert "j2o.narrowed" in {prop.key for prop in onnx.load("m.onnx").metadata_props}
    assert "computed in float16" in " ".join(out.split())
    assert j2o("verify", "models:model", "m.onnx", "--input", "x=B,3", "--input", "scale=")[0] == 0


def test_inputs_may_come_in_any_order_and_without_names(j2o):
    status, _, _ = j2o("export", "models:model", "--input", "scale=:f32", "--input", "x=B,3", "-o", "m.onnx")
    assert status == 0
    assert [value.name for value in onnx.load("m.onnx").graph.input] == ["x", "scale"]
    status, _, _ = j2o("export", "models:model", "--input", "B,3", "--input", ":f32", "-o", "n.onnx")
    assert status == 0
    assert [value.name for value in onnx.load("n.onnx").graph.input] == ["x", "scale"]


@pytest.mark.parametrize(
    ("reference", "arguments"),
    [
        ("models:compiled", ("--input", "x=2")),
        ("models:keywords", ("--input", "x=2", "--input", "y=2")),
        ("models:make", ("--call", "--input", "x=3,4")),
        ("models:Net", ("--call", "--input", "x=3,4")),
        ("models:Holder.net", ("--input", "x=3,4")),
    ],
)
def test_what_can_be_named(j2o, reference, arguments):
    status, out, err = j2o("export", reference, *arguments, "-o", "m.onnx", "--verify")
    assert status == 0, err
    assert "verified" in out


def test_names_of_inputs_and_outputs(j2o):
    status, _, _ = j2o(*EXPORT, "--input-names", "pixels,gain", "--output-names", "features")
    graph = onnx.load("m.onnx").graph
    assert status == 0
    assert [value.name for value in graph.input] == ["pixels", "gain"]
    assert [value.name for value in graph.output] == ["features"]


STEP = ("export", "models:step", "--input", "x=3", "--input", "carry=3", "--input", "total=:i32", "-o", "m.onnx")


@pytest.mark.parametrize(
    ("arguments", "outputs"),
    [
        (("--state", "carry=1"), ["output_0", "next.carry", "output_2"]),
        (("--state", "x, carry"), ["next.x", "next.carry", "output_2"]),
        (("--state", "x=0,carry=1", "--state", "total = 2"), ["next.x", "next.carry", "next.total"]),
        (("--state", "total=2", "--state", "x=1", "--output-names", "y"), ["y", "next.x", "next.total"]),
        ((), ["output_0", "output_1", "output_2"]),
    ],
)
def test_state_is_named_after_its_input(j2o, arguments, outputs):
    status, out, err = j2o(*STEP, *arguments, "--verify")
    assert (status, err) == (0, "")
    assert [value.name for value in onnx.load("m.onnx").graph.output] == outputs
    assert all(name in out for name in outputs)
    assert j2o("verify", "models:step", "m.onnx")[0] == 0


def test_state_in_a_dictionary(j2o):
    inputs = ("--input", "x=3", "--input", "carry=3")
    status, _, err = j2o("export", "models:keyed", *inputs, "--state", "carry=carried", "-o", "m.onnx")
    assert (status, err) == (0, "")
    assert sorted(value.name for value in onnx.load("m.onnx").graph.output) == ["next.carry", "y"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("carry=1,x", "not that of x. Add =PLACE there too"),
        ("carry,carry", "--state names 'carry' twice. Expected names of arguments"),
        ("carry=", "--state carry=: a name or place is empty. Expected names of arguments"),
        ("x,,carry", "--state x,,carry: a name or place is empty"),
        ("=1", "--state =1: a name or place is empty"),
        ("memory=1", "'memory', which is no argument with arrays. Expected some of x, carry, total"),
        ("carry=7", "or at the command line --state carry=PLACE"),
        ("total", "int32[] and comes out as float32[3]"),
        ("x=1,carry=1", "to two arguments"),
    ],
)
def test_state_that_cannot_be(j2o, state, message):
    status, out, err = j2o(*STEP, "--state", state)
    assert (status, out) == (2, "")
    assert message in err
    assert not os.path.exists("m.onnx")


def test_state_as_texts():
    assert parse_state([]) == {}
    assert parse_state(["model,opt_state", "rng"]) == ["model", "opt_state", "rng"]
    assert parse_state(["cache=1", "rng=keys"]) == {"cache": "1", "rng": "keys"}


@pytest.mark.parametrize(
    ("arguments", "ending"), [(("--external-data",), ".data"), (("--weights", "safetensors"), ".safetensors")]
)
def test_weights_beside_the_model(j2o, tmp_path, arguments, ending):
    status, out, _ = j2o(*EXPORT, *arguments)
    (side,) = tmp_path.glob(f"m.onnx.*{ending}")
    assert status == 0
    assert side.name in out
    onnx.checker.check_model("m.onnx")


def test_constraints_reach_the_export(j2o):
    status, _, err = j2o(*EXPORT, "--constraints", "B >= 2", "--constraints", "B >=")
    assert status == 2
    assert "The constraint 'B >=' cannot be read" in err


@pytest.mark.slow
def test_64_bit_types_are_asked_for():
    """In a process of its own: the command sets JAX up for itself."""
    command = [sys.executable, "-c", "import sys; from j2o_core.cli.__main__ import main; sys.exit(main())"]
    arguments = ["export", "models:wide", "--input", "x=2:f64", "-o", "m.onnx"]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert result.returncode == 2
    assert "64-bit types are off" in result.stderr
    program = """
from j2o_core import Plugin
from j2o_core.plugin import _registry
plugin = Plugin("p")
plugin.lowering("add")(lambda ctx, x, y: ctx.op.Add(x, y))
_registry._installed_registry = lambda points: _registry.Registry([plugin])
"""
    command[2] = program + command[2]
    result = subprocess.run([*command, *arguments, "--x64"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert onnx.load("m.onnx").graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE


ERRORS = [
    (("models",), "'models' does not name a function. Expected MODULE:NAME"),
    (("missing:model",), "There is no module 'missing' in the current folder"),
    (("models.py:model",), "Give the module's name without .py: models."),
    (("models:modle",), "there is no 'modle'. Did you mean model? Public names there: jax, jnp, weight, model"),
    (("models:weight",), "which cannot be called"),
    (("models:Net",), "is a class. Name an instance of it, or a function that makes one with --call"),
    (("models:broken", "--call"), "models:broken() raised RuntimeError: no weights here"),
    (("models:model", "--input", "x=B,3:f31"), "unknown dtype 'f31'. Did you mean f32? Known are f16, f32"),
    (("models:model", "--input", "x=B,,3"), "a size is empty"),
    (("models:model", "--input", "x=B-,3"), "Dimension 'B-' of input 'x'"),
    (("models:model", "--input", "z=3"), "the function has no parameter 'z'. It has x, scale"),
    (("models:model", "--input", "2*x=3"), "'2*x' is not the name of a parameter"),
    (("models:model", "--input", "x=3", "--input", "x=3"), "names an argument twice"),
    (("models:model", "--input", "B,3", "--input", "x=3"), "is given by an input without a name already"),
    (("models:model", "--input", "x=B,3"), "takes (x, scale), inputs has 1 spec."),
    (("models:model", "--input", "x=2,4", "--input", "scale="), "JAX cannot trace model"),
    (("models:unsupported", "--input", "x=3,3"), "primitive has no ONNX lowering at opset 21"),
    (("models:compiled", "--input", "x=3", "--opset", "99"), "opset is 99. j2o writes opsets 18 to 26"),
    (("models:compiled", "--input", "x=3", "--input-names", "a,b"), "input_names has 2 names"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS, ids=lambda value: " ".join(value)[:40])
def test_errors_are_one_message_and_leave_no_file(j2o, tmp_path, arguments, message):
    before = set(os.listdir(tmp_path)) | {"__pycache__"}
    status, out, err = j2o("export", *arguments, "-o", "m.onnx")
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("j2o export: ")
    assert "Traceback" not in err
    assert set(os.listdir(tmp_path)) <= before


def test_the_traceback_is_shown_when_asked_for(j2o):
    status, _, err = j2o("export", "models:modle", "-o", "m.onnx", "--traceback")
    assert status == 2
    assert "Traceback" in err


def test_a_module_that_fails_to_import(j2o, tmp_path):
    (tmp_path / "half.py").write_text("import not_installed_anywhere\n")
    assert "half cannot be imported: No module named 'not_installed_anywhere'" in j2o("export", "half:f", "-o", "m")[2]
    (tmp_path / "bad.py").write_text("1 / 0\n")
    assert "bad raised ZeroDivisionError while it was imported" in j2o("export", "bad:f", "-o", "m")[2]


def test_a_folder_that_does_not_exist_is_told_before_the_work(j2o, monkeypatch):
    monkeypatch.setattr(_commands, "load_function", lambda *a, **k: pytest.fail("worked first"))
    status, _, err = j2o("export", "models:model", "-o", "nowhere/m.onnx")
    assert status == 2
    assert "nowhere does not exist. Create it first." in err


def test_plugins_says_whose_rule_is_taken(j2o, plugin, monkeypatch):
    later = j2o_core.Plugin("later")
    later.lowering("sin", opset=22)(lambda ctx, x: ctx.op.Sin(x))
    monkeypatch.setattr(_commands, "discover", lambda: j2o_core.Registry([plugin, later]))
    assert f"later lowers sin in the place of {plugin.name} from opset 22 on." in j2o("plugins")[1]


def test_a_model_that_differs_is_not_written(j2o, plugin, tmp_path):
    plugin.lowerings["sin"].clear()
    plugin.lowering("sin")(lambda ctx, x, **_: ctx.op.Cos(x))
    (tmp_path / "m.onnx").write_text("what was there")
    status, _, err = j2o(*EXPORT, "--verify")
    assert status == 2
    assert "VerifyError: Output 'output' differs from JAX" in err
    assert (tmp_path / "m.onnx").read_text() == "what was there"
    assert len(list(tmp_path.glob("m.onnx*"))) == 1


def test_the_path_is_as_it_was(j2o):
    before = list(sys.path)
    j2o(*EXPORT)
    j2o("export", "models:modle", "-o", "m.onnx")
    assert sys.path == before


def test_check_accepts_what_was_exported(j2o):
    j2o(*EXPORT, "--weights", "data")
    status, out, _ = j2o("check", "m.onnx")
    assert status == 0
    assert "valid ONNX; onnxruntime 1.31 to 1.32 has a kernel for every node" in out
    assert "MatMul" in out


def test_check_names_what_the_runtime_lacks(j2o, export):
    program = export(lambda x: jnp.sin(x), [jnp.ones(3, jnp.bfloat16)], target=None, opset=22)
    program.save("m.onnx")
    status, out, err = j2o("check", "m.onnx")
    assert status == 2
    assert "Sin" in out
    assert (
        "The model is valid ONNX, but onnxruntime 1.31 to 1.32 has no kernel, or one that is known to be wrong" in err
    )
    assert "\n  Sin(bfloat16)   1 node\n" in err


def test_check_does_not_vouch_for_operators_of_other_domains(j2o, export):
    plugin = Plugin("mine")
    plugin.lowering("sin")(lambda ctx, x, **_: ctx.op("my.domain::Sin", x))
    export(jax.lax.sin, [("B",)], plugins=[plugin]).save("m.onnx")
    status, out, _ = j2o("check", "m.onnx")
    assert status == 0
    assert "has a kernel for every node of ONNX's own; not looked at: my.domain::Sin" in out
    status, _, err = j2o("run", "m.onnx", "--input", "x=[1]")
    assert status == 2
    assert "my.domain:Sin(-1) is not a registered function/op\nThe operator is of a domain that this runtime" in err


def test_check_takes_a_target(j2o):
    j2o(*EXPORT)
    assert "valid ONNX; onnxruntime-web 1." in j2o("check", "m.onnx", "--target", "onnxruntime-web")[1]
    assert "target is 'tensorrt'. Expected \"onnxruntime\"" in j2o("check", "m.onnx", "--target", "tensorrt")[2]


def test_check_refuses_what_is_no_model(j2o, tmp_path):
    assert "There is no file m.onnx" in j2o("check", "m.onnx")[2]
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    assert "m.onnx is not a valid ONNX model" in j2o("check", "m.onnx")[2]


def _truncated(tmp_path, entry):
    os.truncate(tmp_path / entry["location"].value, 4)


def _missing(tmp_path, entry):
    (tmp_path / entry["location"].value).unlink()


def _long(tmp_path, entry):
    entry["length"].value = str(2**62)


def _short(tmp_path, entry):
    entry["length"].value = "4"


def _far(tmp_path, entry):
    entry["offset"].value = str(2**62)


def _before(tmp_path, entry):
    entry["offset"].value = "-4096"


@pytest.mark.parametrize("damage", [_truncated, _missing, _long, _short, _far, _before])
def test_check_refuses_weights_that_are_not_there(j2o, tmp_path, damage):
    j2o(*EXPORT, "--weights", "data")
    model = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.external_data)
    damage(tmp_path, {entry.key: entry for entry in weight.external_data})
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(Exception, match=r"(?i)external|tensor|file"):
        onnxruntime.InferenceSession(tmp_path / "m.onnx")
    status, out, err = j2o("check", "m.onnx")
    assert status == 2
    assert "m.onnx is not a valid ONNX model" in err
    assert "valid ONNX;" not in out
    assert "Traceback" not in err


def test_weights_outside_the_folder_are_refused(j2o, tmp_path):
    (tmp_path / "secret").write_bytes(b"0" * 48)
    (tmp_path / "inner").mkdir()
    tensor = ir.ExternalTensor("../secret", 0, 48, ir.DataType.FLOAT, shape=ir.Shape([3, 4]), name="w")
    weight = ir.Value(name="w", const_value=tensor, shape=ir.Shape([3, 4]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node("", "Identity", [weight])
    node.outputs[0].name = "out"
    node.outputs[0].shape, node.outputs[0].dtype = ir.Shape([3, 4]), ir.DataType.FLOAT
    graph = ir.Graph([], node.outputs, nodes=[node], initializers=[weight], opset_imports={"": 21}, name="g")
    (tmp_path / "inner" / "m.onnx").write_bytes(
        ir.serde.serialize_model(ir.Model(graph, ir_version=10)).SerializeToString()
    )
    for command in (("check",), ("verify", "models:wide")):
        status, _, err = j2o(*command, "inner/m.onnx")
        assert status == 2
        assert "is not a valid ONNX model" in err


@pytest.mark.parametrize("inputs", [(), ("--input", "x=N,3", "--input", "scale=:f32")])
def test_verify_compares_a_file_with_a_function(j2o, inputs):
    j2o(*EXPORT, "--weights", "data")
    status, out, err = j2o("verify", "models:model", "m.onnx", *inputs, "--sizes", "1,4")
    assert status == 0, err
    assert "max difference" in out
    assert "2 runs" in out
    status, _, err = j2o("verify", "models:other", "m.onnx", *inputs)
    assert status == 2
    assert "Output 'output' differs from JAX" in err


def test_verify_says_when_the_signatures_differ(j2o):
    j2o(*EXPORT)
    status, _, err = j2o("verify", "models:compiled", "m.onnx", "--input", "x=3")
    assert status == 2
    assert "The model has 2 inputs (x, scale), the function 1 arrays there." in err


def test_plugins_are_listed(j2o):
    status, out, _ = j2o("plugins")
    header, row = (line.split() for line in out.splitlines())
    assert status == 0
    assert header == ["plugin", "distribution", "rules", "composites", "rewrites"]
    assert row[:3] == ["fake", "j2o-fake", "1.2"]
    assert int(row[3]) > 10


def test_no_plugins(j2o, monkeypatch):
    monkeypatch.setattr(registry_module, "_installed_registry", lambda points: registry_module.Registry([]))
    assert "No plugins are installed" in j2o("plugins")[1]


def test_no_command_shows_the_help(j2o):
    status, _, err = j2o()
    assert status == 2
    assert "export" in err


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        _cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("j2o-core ")


class Terminal:
    def __init__(self, stream):
        self.stream = stream

    def isatty(self):
        return True

    def __getattr__(self, name):
        return getattr(self.stream, name)


def test_progress_and_table_on_a_terminal(j2o, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal(sys.stderr))
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    status, out, err = j2o(*EXPORT)
    assert status == 0
    assert "f32[B,3]" in out
    assert "save" in err


def test_progress_and_table_without_rich(j2o, monkeypatch):
    monkeypatch.setattr(_output, "_rich", lambda module: None)
    monkeypatch.setattr(sys, "stderr", Terminal(sys.stderr))
    status, out, err = j2o(*EXPORT)
    assert status == 0
    assert "f32[B,3]" in out
    assert "[4/10] simplify" in err


def test_functions_without_a_signature_take_inputs_in_order():
    class Opaque:
        __signature__ = property(lambda self: (_ for _ in ()).throw(ValueError))

        def __call__(self, *args):
            return args

    assert [spec.shape for spec in parse_specs(Opaque(), ["x=2", "y=3"])] == [(2,), (3,)]
    with pytest.raises(SpecError, match="give all inputs with names or none"):
        parse_specs(Opaque(), ["x=2", "3"])


def test_keys_are_inputs_too():
    (spec,) = parse_specs(lambda key: key, ["key=:key"])
    assert str(spec.dtype) == "key<fry>"


def test_the_command_is_installed():
    result = subprocess.run([sys.executable, "-m", "j2o_core.cli", "plugins"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_method_can_be_named():
    assert load_function("numpy:linalg.norm") is np.linalg.norm
    assert load_function("j2o_core:to_onnx") is j2o_core.to_onnx


def test_sizes_with_an_x_and_dtypes_by_their_names():
    specs = parse_specs(lambda x, y, z: 0, ["x=B x 3 x 32 x 32", "y=3x224:float32", "z=max(A, 3) x 2:int64"])
    assert [spec.shape for spec in specs] == [("B", 3, 32, 32), (3, 224), ("max(A, 3)", 2)]
    assert [spec.dtype for spec in specs] == [np.float32, np.float32, np.int64]


KEPT = """
    import jax
    import jax.numpy as jnp


    class Model:
        def __init__(self, seed):
            self.weights = {"scale": jnp.full(3, float(seed)), "table": jnp.full((3, 3), float(seed))}

        def make(self, weights=None):
            weights = weights or self.weights
            return lambda x: ((x @ weights["table"].T) * weights["scale"]).reshape(-1)  # its sizes are no weight


    first, second = Model(1).make, Model(2).make


    def shapes():
        return Model(1).make(jax.eval_shape(lambda: Model(1).weights))
"""


def write_safetensors(path, arrays):
    header, content = {}, b""
    for name, array in arrays.items():
        place = [len(content), len(content) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": place}
        content += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


SECOND = {"scale": np.full(3, 2, np.float32), "table": np.full((3, 3), 2, np.float32)}


@pytest.fixture
def kept_models(tmp_path, monkeypatch):
    """The current folder has `kept_models.py`, whose weights can be replaced."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept_models.py").write_text(textwrap.dedent(KEPT))
    monkeypatch.delitem(sys.modules, "kept_models", raising=False)


def test_weights_come_from_a_file(j2o, kept_models, tmp_path):
    write_safetensors(tmp_path / "w.safetensors", SECOND)
    spec = ("--call", "--input", "x=B x 3")
    assert j2o("export", "kept_models:second", *spec, "--keep-weights", "-o", "second.onnx")[0] == 0
    given = ("--weights-from", "w.safetensors", "--verify")
    status, out, err = j2o("export", "kept_models:shapes", *spec, *given, "-o", "m.onnx")
    assert (status, err) == (0, "")
    assert "verified" in out
    status, out, err = j2o("diff", "second.onnx", "m.onnx")
    assert out.split() == ["same", "signature,", "operators", "and", "weights", "equal"]


def test_a_model_of_shapes_needs_weights_that_fit(j2o, kept_models, tmp_path):
    write_safetensors(tmp_path / "w.safetensors", {"scale": SECOND["scale"], "bias": SECOND["scale"]})
    command = ("export", "kept_models:shapes", "--call", "--input", "x=B,3", "-o", "m.onnx")
    assert "exported from shapes alone" in j2o(*command)[2]
    err = j2o(*command, "--weights-from", "w.safetensors")[2]
    assert "table is missing: float32[3, 3]" in err
    assert "bias is none of the model's weights" in err
    assert "cannot be read" in j2o(*command, "--weights-from", "missing.safetensors")[2]
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("outside", [[], ["--weights", "safetensors"]])
def test_swapped_weights_are_the_bytes_of_a_new_export(kept_models, tmp_path, capsys, outside):
    for name in ("first", "second"):
        spec = ["--call", "--input", "x=B x 3", "--keep-weights", *outside]
        assert _cli.main(["export", f"kept_models:{name}", *spec, "-o", f"{name}.onnx"]) == 0
    (tmp_path / "second").mkdir()
    write_safetensors(tmp_path / "w.safetensors", SECOND)
    assert _cli.main(["swap-weights", "first.onnx", "w.safetensors", "-o", "second/second.onnx"]) == 0
    assert "second.onnx" in capsys.readouterr().out
    files = sorted(tmp_path.glob("second.onnx*"))
    assert len(files) == 1 + bool(outside)
    assert [file.read_bytes() for file in files] == [(tmp_path / "second" / f.name).read_bytes() for f in files]


def test_weights_that_do_not_fit_are_not_swapped(kept_models, tmp_path, capsys):
    (tmp_path / "w.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    for keep in ([], ["--keep-weights"]):
        assert _cli.main(["export", "kept_models:first", "--call", "--input", "x=2,3", "-o", "m.onnx", *keep]) == 0
        assert _cli.main(["swap-weights", "m.onnx", "w.safetensors", "-o", "n.onnx"]) == 2
    said = capsys.readouterr().err
    assert "SpecError: The model's weights cannot be replaced" in said
    assert "scale is missing: float32[3]" in said
    assert not (tmp_path / "n.onnx").exists()


def test_results_as_json(j2o):
    status, out, err = j2o(*EXPORT, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["inputs"] == {"x": "f32[B,3]", "scale": "f32[]"}
    size = os.path.getsize("m.onnx")
    assert json.loads(out)["files"] == {"m.onnx": size}
    found = json.loads(j2o("check", "m.onnx", "--json")[1])
    assert (found["inputs"]["x"], found["opset"]["onnx"]) == ("f32[B,3]", 21)
    assert found["weights"].keys() == {"tensors", "bytes"}
    assert found["nodes"]["in all"] == sum(found["nodes"].values()) / 2
    verified = json.loads(j2o("verify", "models:model", "m.onnx", "--json", "--sizes", "2")[1])["verified"]
    assert verified["runs"] == [{"B": 2}]
    assert verified["outputs"]["output"]["max_abs"] < 1e-5
    (plugin, *_) = json.loads(j2o("plugins", "--json")[1])["plugins"].values()
    assert plugin["rules"] >= 0


def test_two_files_are_compared(j2o):
    j2o(*EXPORT)
    j2o("export", "models:model", "--input", "x=B,3", "--input", "scale=", "-o", "renamed.onnx", "--output-names", "y")
    assert j2o("diff", "m.onnx", "m.onnx")[1].split() == ["same", "signature,", "operators", "and", "weights", "equal"]
    status, out, err = j2o("diff", "m.onnx", "renamed.onnx", "--json", "--latency")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert found["outputs"] == {"-": "output: float32[B, 4]", "+": "y: float32[B, 4]"}
    assert found["latency"].keys() == {"before", "after", "after over before"}


def test_a_function_is_checked_without_a_file(j2o, tmp_path):
    status, out, err = j2o("check", "models:model", "--input", "x=B,3", "--input", "scale=", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["opsets"].keys() == {"21", "23", "26"}
    assert json.loads(out)["opsets"]["21"]["nodes"] > 0
    assert not list(tmp_path.glob("*.onnx"))
    assert "no ONNX lowering" in j2o("check", "models:unsupported", "--input", "x=3,3")[2]


def test_a_page_about_a_file(j2o):
    j2o(*EXPORT)
    status, out, _ = j2o("report", "m.onnx", "-o", "m.html")
    assert (status, out.split()[:2]) == (0, ["files", "m.html"])
    with open("m.html", encoding="utf-8") as file:
        page = file.read()
    assert page.startswith("<!doctype html>")
    assert "<code>x: float32[B, 3]</code>" in page
    assert "http" not in page  # nothing is loaded from elsewhere
    assert j2o("report", "m.onnx", "-o", "missing/m.html")[0] == 2


@pytest.mark.parametrize("command", _commands.COMMANDS)
def test_help_has_an_example_and_the_exit_status(j2o, capsys, command):
    with pytest.raises(SystemExit):
        j2o(command, "--help")
    text = capsys.readouterr().out
    assert f"examples:\n  j2o {command} " in text
    assert "exit status: 0, or 2" in text
