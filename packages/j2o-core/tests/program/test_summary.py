"""The text of `print(program)`, and the page of a notebook."""

import html

import jax
import jax.numpy as jnp


def model(x):
    """A model of two blocks as plain JAX code."""
    for block in WEIGHTS["blocks"]:
        x = x * block["scale"] + block["shift"]
    return jnp.sin(x)


WEIGHTS = {"blocks": [{"scale": jnp.arange(3.0) + i, "shift": jnp.arange(3.0) - i} for i in (1, 2)]}


def test_print_shows_what_the_program_is(export):
    program = export(model, [("B", 3)])
    assert str(program).splitlines() == [
        "model, ONNX opset 21 for onnxruntime 1.31 to 1.32",
        "  in       x: float32[B, 3]",
        "  out      output: float32[B, 3]",
        "  nodes    5: 2 Mul, 2 Add, 1 Sin",
        "  weights  4 tensors, 12 numbers, 48 B",
        "  modules  blocks.0        6 parameters      2 nodes",
        "           blocks.1        6 parameters      2 nodes",
    ]
    assert repr(program) == "<OnnxProgram model(x) -> output>"


def test_one_is_no_plural(export):
    program = export(lambda x: x + 1, [(3,)])
    assert "  weights  1 tensor, 1 number, 4 B" in str(program).splitlines()
    assert "weights        1 initializer, 0.0 MB" in program.report().splitlines()


def test_after_verify_it_says_how_far_it_is_from_jax(export):
    program = export(model, [("B", 3)])
    assert program.verification is None
    found = program.verify(sizes=(2,))
    assert program.verification is found
    assert str(program).splitlines()[-1] == f"  JAX      {found}"
    assert str(found) in program._repr_html_()
    assert "<h2>Agreement with JAX</h2>" in program.report(html=True)


def test_many_blocks_are_one_row(export):
    weights = {"blocks": [{"scale": jnp.arange(3.0) + i} for i in range(40)]}

    def named(x):
        for block in weights["blocks"]:
            x = x * block["scale"]
        return x

    assert str(export(named, [(3,)])).splitlines()[-1] == "  modules  blocks      120 parameters     40 nodes"


def test_inputs_beyond_a_dozen_are_counted(export):
    program = export(lambda xs: sum(xs), [[(3,)] * 20])
    assert "           and 8 more" in str(program).splitlines()


def test_the_card_of_notebooks_is_html(export):
    program = export(lambda x: jnp.sin(x), [("B", 3)])
    card = program._repr_html_()
    assert "<table>" in card
    assert html.escape("<lambda>, ONNX opset 21") in card
    assert "x: float32[B, 3]" in card


def test_the_report_is_a_page_of_its_own(export):
    program = export(lambda x: jnp.sin(x) * 2, [("B", 3)])
    page = program.report(html=True, verification=program.verify())
    assert [*program.exported.seconds] == ["discover", "trace", "simplify", "lower", "rewrite", "legalize", "finish"]
    assert "<h2>Time of the export</h2>" in page
    for text in ("<h2>Agreement with JAX</h2>", "<h2>Operators</h2>", "&lt;lambda&gt;", "x: float32[B, 3]", "3 runs."):
        assert text in page
    assert "src=" not in page
    assert "href=" not in page


def test_the_report_lists_detours(export):
    program = export(lambda x: jnp.sin(jnp.sin(x)), [jax.ShapeDtypeStruct((3,), jnp.bfloat16)])
    lines = program.report().splitlines()
    place = lines.index("detours        1 around kernels that are missing, slow or wrong")
    assert lines[place + 1].startswith(f"  Sin(bfloat16): computed in float32 ({__file__}:")
    assert lines[place + 1].endswith(", 2 times")
    assert "<h2>Detours</h2>" in program.report(html=True)
    assert "detours" not in export(jnp.sin, [(3,)]).report()
