import functools
import sys
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import Composite, _compat
from j2o_core.trace import _capture as capture_module
from j2o_core.trace._capture import capturing


@pytest.fixture
def library(monkeypatch):
    """A module of someone else, with a function, a class, and a second module that imports the function."""
    first = types.ModuleType("somelib")
    exec(
        "import jax.numpy as jnp\n"
        "def gelu(x, *, tanh=True):\n    return jnp.sin(x) * x + (1 if tanh else 0)\n"
        "def both(x):\n    return gelu(x) + 1\n"
        "def with_notes(x, notes):\n    return {'x': x * 2, 'activation': gelu, 'notes': notes}\n"
        "class Norm:\n    def __call__(self, x):\n        return x * 2 + 1\n",
        first.__dict__,
    )
    second = types.ModuleType("userlib")
    second.activation = first.gelu
    monkeypatch.setitem(sys.modules, "somelib", first)
    monkeypatch.setitem(sys.modules, "userlib", second)
    return first


@pytest.fixture
def composites(plugin):
    """`gelu` and `Norm.__call__` kept whole; one becomes Gelu, the other its body."""
    gelu = plugin.composite("somelib.gelu")
    norm = plugin.composite("somelib.Norm.__call__")
    for composite in (gelu, norm):
        composite.transforms_ready = True

    @plugin.lowering(gelu, opset=20)
    def _gelu(ctx, x, *, tanh):
        return ctx.op.Gelu(x, approximate="tanh" if tanh else "none")

    return gelu, norm


def operators(program):
    return [node.op_type for node in program.model.graph]


def test_a_captured_function_is_one_equation(library, composites, export):
    assert operators(export(lambda x: library.gelu(x), [(3,)])) == ["Gelu"]


def test_what_is_no_array_is_returned_as_it_is(library, plugin, export):
    composite = plugin.composite("somelib.with_notes")
    composite.transforms_ready = True
    activation = library.gelu
    seen = []

    def fn(x):
        seen.append(library.with_notes(x, notes=("text", 3)))
        return seen[0]["x"] + seen[0]["notes"][1]

    assert operators(export(fn, [(3,)])) == ["Mul", "Add"]
    assert seen[0]["activation"] is activation
    assert seen[0]["notes"] == ("text", 3)


def test_below_the_rule_s_opset_the_body_is_lowered(library, composites, check):
    program = check(lambda x: library.gelu(x), np.ones(3, np.float32), opsets=[18])
    assert operators(program) == ["Sin", "Mul", "Add"]


def test_a_composite_without_rule_lowers_its_body(library, composites, check):
    program = check(lambda x: library.Norm()(x), np.ones(3, np.float32), opsets=[21])
    assert operators(program) == ["Mul", "Add"]


def test_a_rule_may_decline(library, plugin, check):
    composite = plugin.composite("somelib.gelu")
    composite.transforms_ready = True
    plugin.lowering(composite)(lambda ctx, x, *, tanh: NotImplemented)
    assert operators(check(lambda x: library.gelu(x), np.ones(3, np.float32), opsets=[21])) == ["Sin", "Mul", "Add"]


def test_the_graph_does_not_depend_on_import_style(library, composites, export):
    imported = library.gelu
    direct = operators(export(lambda x: library.gelu(x) * 2, [(3,)]))
    assert operators(export(lambda x: sys.modules["userlib"].activation(x) * 2, [(3,)])) == direct
    module = sys.modules["userlib"]
    exec("def model(x):\n    return activation(x) * 2", module.__dict__)
    assert operators(export(module.model, [(3,)])) == direct
    assert module.activation is imported


def test_defaults_and_keywords_are_one_form(library, plugin, export):
    composite = plugin.composite("somelib.gelu")
    composite.transforms_ready = True
    seen = []

    @plugin.lowering(composite)
    def _gelu(ctx, x, *, tanh):
        seen.append(tanh)
        return ctx.op.Identity(ctx.op.Sin(x))

    export(lambda x: library.gelu(x), [(3,)])
    export(lambda x: library.gelu(x, tanh=True), [(3,)])
    export(lambda x: library.gelu(x, tanh=False), [(3,)])
    assert seen == [True, True, False]


def test_a_captured_function_inside_another_is_captured_too(library, composites, export):
    assert operators(export(lambda x: library.both(x), [(3,)])) == ["Gelu", "Add"]


def test_on_constants_the_function_itself_is_called(library, composites, export):
    program = export(lambda x: x + library.gelu(jnp.ones(3)), [(3,)])
    assert operators(program) == ["Add"]


def test_afterwards_every_function_is_the_very_same_object(library, composites, export):
    module = sys.modules["userlib"]
    before = (library.gelu, library.Norm.__dict__["__call__"], module.activation)
    export(lambda x: library.gelu(x) + library.Norm()(x), [(3,)])
    assert (library.gelu, library.Norm.__dict__["__call__"], module.activation) == before
    assert all(
        one is two
        for one, two in zip((library.gelu, library.Norm.__dict__["__call__"], module.activation), before, strict=True)
    )
    assert not capture_module._installed


def test_also_in_a_module_that_is_imported_meanwhile(library, composites, export, monkeypatch):
    late = types.ModuleType("latelib")

    def model(x):
        late.activation = library.gelu
        monkeypatch.setitem(sys.modules, "latelib", late)
        return late.activation(x)

    original = library.gelu
    assert operators(export(model, [(3,)])) == ["Gelu"]
    assert late.activation is original


def test_an_export_looks_for_captured_functions_once(library, plugin, composites, export, monkeypatch):
    scans = []
    find = capture_module._find_places
    monkeypatch.setattr(capture_module, "_find_places", lambda fresh: (scans.append(len(fresh)), find(fresh)))
    plugin.lowering("cbrt")(lambda ctx, x, **params: ctx.lower_fun(lambda y: jnp.sin(y) + jnp.sin(2 * y), x))
    export(lambda x: jax.lax.cbrt(jax.lax.cbrt(x)), [(3,)])
    assert [count for count in scans if count] == [2]


def test_also_after_an_error(library, composites, export):
    before = library.gelu

    def fails(x):
        library.gelu(x)
        raise RuntimeError("user's error")

    with pytest.raises(Exception, match="user's error"):
        export(fails, [(3,)])
    assert library.gelu is before
    assert not capture_module._installed


def test_what_someone_else_replaced_meanwhile_stays(library, composites, export):
    def theirs(x):
        return x

    def model(x):
        library.gelu = theirs
        return x + 1

    export(model, [(3,)])
    assert library.gelu is theirs


def test_other_threads_are_not_captured(library, composites):
    inside, leave = threading.Event(), threading.Event()
    bound = []

    def elsewhere():
        assert inside.wait(30)
        bound.append(jax.make_jaxpr(library.gelu)(jnp.ones(3)).eqns)
        leave.set()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    with _compat.export_context("test"), capturing(composites):
        inside.set()
        assert leave.wait(30)
        here = jax.make_jaxpr(library.gelu)(jnp.ones(3)).eqns
    thread.join()
    assert [eqn.primitive.name for eqn in here] == ["somelib.gelu"]
    assert [eqn.primitive.name for eqn in bound[0]] == ["sin", "mul", "add"]


def test_overlapping_captures_end_with_the_last(library, composites):
    original = library.gelu
    first, second = capturing(composites), capturing(composites)
    first.__enter__()
    second.__enter__()
    assert library.gelu is not original
    second.__exit__(None, None, None)
    assert library.gelu is not original
    first.__exit__(None, None, None)
    assert library.gelu is original


def test_a_module_that_is_not_imported_is_left_alone(plugin, export):
    composite = plugin.composite("not_imported_anywhere.function")
    composite.transforms_ready = True
    assert operators(export(lambda x: x + 1, [(3,)])) == ["Add"]
    assert "not_imported_anywhere" not in sys.modules


def test_a_composite_runs_under_jit_and_eagerly(library):
    composite = Composite("somelib.gelu")
    x = jnp.linspace(-1, 1, 5)
    with _compat.export_context("test"), capturing([composite]):
        jaxpr = jax.make_jaxpr(lambda x: library.gelu(x, tanh=False))(x)
    assert [eqn.primitive.name for eqn in jaxpr.eqns] == ["somelib.gelu"]
    expected = library.gelu(x, tanh=False)
    run = jax.extend.core.jaxpr_as_fun(jaxpr)
    np.testing.assert_allclose(run(x)[0], expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(run)(x)[0], expected, rtol=1e-6)


def test_traced_values_in_a_closure_become_operands(library, plugin, check, monkeypatch):
    def apply(fn, x):
        return fn(x) + 1

    monkeypatch.setattr(library, "apply", apply, raising=False)
    composite = plugin.composite("somelib.apply")
    composite.transforms_ready = True

    def model(x, y):
        return library.apply(lambda v: v * y, x)

    x = np.linspace(0, 1, 3, dtype=np.float32)
    check(model, x, x + 5, opsets=[21])


def test_a_bound_method_is_captured_by_its_class(library, composites, export):
    norm = library.Norm()
    program = export(functools.partial(lambda n, x: n(x), norm), [(3,)])
    assert operators(program) == ["Mul", "Add"]
