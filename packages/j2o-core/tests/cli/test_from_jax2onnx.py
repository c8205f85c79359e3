"""Code for jax2onnx becomes code for j2o, as far as it has one counterpart."""

import pytest

from j2o_core.cli.from_jax2onnx import main, migrated

IMPORTED = "from jax2onnx import to_onnx\n"
IMPORTS = {
    "import jax2onnx": "import j2o_core",
    "import os, jax2onnx as j": "import os, j2o_core as j",
    "from jax2onnx import to_onnx as export, onnx_function": (
        "from j2o_core import to_onnx as export, function as onnx_function"
    ),
    "from other import to_onnx": "from other import to_onnx",
}
CALLS = {
    "to_onnx(f, [('B', 8)], opset=21, return_mode='file', output_path=p / 'é.onnx')": (
        "to_onnx(f, [('B', 8)], opset=21).save(p / 'é.onnx')"
    ),
    "to_onnx(f, specs, model_name='net')  # kept": "to_onnx(f, specs, opset=23)  # kept",
    "to_onnx(f, specs, export_mode='web')": 'to_onnx(f, specs, target="onnxruntime-web", opset=23)',
    "to_onnx(\n    f,\n    specs,\n)": "to_onnx(f, specs, opset=23)",
    "to_onnx(f, (to_onnx(g, x),))": "to_onnx(f, (to_onnx(g, x),), opset=23)",
    "other.to_onnx(f, specs)": "other.to_onnx(f, specs)",
}


@pytest.mark.parametrize(("before", "after"), IMPORTS.items())
def test_an_import(before, after):
    assert migrated(f"{before}\n")[0] == f"{after}\n"


@pytest.mark.parametrize(("before", "after"), CALLS.items())
def test_a_call(before, after):
    assert migrated(f"{IMPORTED}é = {before}\n")[0] == f"from j2o_core import to_onnx\né = {after}\n"


def test_calls_by_the_module():
    text, notes = migrated("import jax2onnx\nmodel = jax2onnx.to_onnx(f, x, opset=23)\n")
    assert text == "import j2o_core\nmodel = j2o_core.to_onnx(f, x, opset=23)\n"
    assert notes == ["2: the result is a program: .save(path), .verify(), .model"]


def test_what_has_no_counterpart_stays_and_is_listed(tmp_path, capsys):
    file = tmp_path / "export.py"
    file.write_text(f"{IMPORTED}to_onnx(f, x, input_params=p, opset=21, return_mode='file', output_path='m')\n")
    assert main([str(file)]) == 0
    assert file.read_text().splitlines()[1] == "to_onnx(f, x, input_params=p, opset=21).save('m')"
    assert capsys.readouterr().out.splitlines() == [
        f"{file}: rewritten",
        f"  {file}:2: input_params has another form: see docs/from-jax2onnx.md",
    ]
    assert migrated("from jax2onnx import allclose\n")[1] == ["1: j2o has no allclose"]
    assert main([]) == 2


def test_a_file_that_is_no_python_stays_as_it_is(tmp_path, capsys):
    file = tmp_path / "broken.py"
    file.write_text("from jax2onnx import (")
    assert main([str(file), str(tmp_path / "missing.py")]) == 2
    assert file.read_text() == "from jax2onnx import ("
    assert capsys.readouterr().err.count("not rewritten: ") == 2
