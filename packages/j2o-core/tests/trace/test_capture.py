import concurrent.futures
import functools
import os
import sys
import threading
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import Composite, _compat
from j2o_core.trace import _capture as capture_module
from j2o_core.trace._capture import Capture


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


def test_a_settled_module_is_looked_through_again_once_it_has_another_name(library, composites, export, monkeypatch):
    import jax.tree_util

    export(lambda x: library.gelu(x), [(3,)])
    monkeypatch.setattr(jax.tree_util, "activation", library.gelu, raising=False)
    assert operators(export(lambda x: jax.tree_util.activation(x), [(3,)])) == ["Gelu"]
    assert jax.tree_util.activation is library.gelu


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
    with (capture := Capture()), capture:
        capture.bind(composites, "test")
        inside.set()
        assert leave.wait(30)
        here = jax.make_jaxpr(library.gelu)(jnp.ones(3)).eqns
    thread.join()
    assert [eqn.primitive.name for eqn in here] == ["somelib.gelu"]
    assert [eqn.primitive.name for eqn in bound[0]] == ["sin", "mul", "add"]


def test_overlapping_captures_end_with_the_last(library, composites):
    original = library.gelu
    first, second = Capture(), Capture()
    first.bind(composites, "test")
    second.bind(composites, "test")
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
    with (capture := Capture()), capture:
        capture.bind([composite], "test")
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


class Interrupts:
    """Raises KeyboardInterrupt once, at the n-th of the different instructions of the module that captures."""

    def __init__(self, position):
        self.left = position
        self.seen = set()
        self.happened = False

    def __call__(self, frame, event, arg):
        code = frame.f_code
        if code.co_filename != capture_module.__file__ or code.co_name == "__del__" or self.happened:
            return None  # Python itself swallows what is raised in __del__
        frame.f_trace_opcodes = True
        if event == "opcode":
            place = (code, frame.f_lasti)
            if place not in self.seen:
                self.seen.add(place)
                self.left -= 1
                if self.left < 0:
                    self.happened = f"{code.co_qualname}:{frame.f_lineno}:{frame.f_lasti}"
                    raise KeyboardInterrupt
        return self


def test_an_interrupt_at_any_instruction_leaves_nothing_replaced(library, composites, monkeypatch):
    originals = (library.gelu, library.Norm.__dict__["__call__"])
    modules = {name: sys.modules[name] for name in ("somelib", "userlib")}
    x = jnp.ones(3)

    def traced():
        with (capture := Capture()), capture:
            capture.bind(composites, "interrupts")
            return [eqn.primitive.name for eqn in jax.make_jaxpr(library.gelu)(x).eqns]

    tracer = sys.gettrace()
    for position in range(10_000):
        interrupts = Interrupts(position)
        with monkeypatch.context() as patch:
            patch.setattr(capture_module, "sys", types.SimpleNamespace(modules=modules))
            sys._getframe().f_trace_opcodes = True  # Python 3.12 asks for it before it traces any frame so
            sys.settrace(interrupts)
            try:
                traced()
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(tracer)
        now = (library.gelu, library.Norm.__dict__["__call__"], sys.modules["userlib"].activation)
        assert all(one is two for one, two in zip(now, (*originals, originals[0]), strict=True)), position
        assert not capture_module._installed, position
        assert not getattr(capture_module._thread, "active", None), position
        assert _compat.export_context.value is None, position
        if position % 20 == 0:
            assert traced() == ["somelib.gelu"], position
        if not interrupts.happened:
            break
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            assert pool.submit(capture_module._lock.acquire, timeout=1).result(), (position, interrupts.happened)
            pool.submit(capture_module._lock.release).result()
    assert position > 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_process_forked_while_another_thread_exports_has_every_function(library, composites, export):
    inside, leave, done = threading.Event(), threading.Event(), []
    original = library.gelu

    def model(x):
        inside.set()
        assert leave.wait(30)
        return library.gelu(x)

    thread = threading.Thread(target=lambda: done.append(operators(export(model, [(3,)]))))
    thread.start()
    assert inside.wait(30)
    assert library.gelu is not original
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: that is what is tried
        process = os.fork()
    if process == 0:
        restored = library.gelu is original and not capture_module._installed
        free = capture_module._lock.acquire(timeout=1)
        os._exit(0 if restored and free else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert library.gelu is not original
    leave.set()
    thread.join()
    assert done == [["Gelu"]]
    assert library.gelu is original


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_process_forked_by_an_export_goes_on_with_it(library, composites, export):
    def model(x):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            processes.append(os.fork())
        return library.gelu(x)

    processes = []
    original = library.gelu
    graph = operators(export(model, [(3,)]))
    if processes == [0]:
        os._exit(0 if graph == ["Gelu"] and library.gelu is original else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(processes[0], 0)[1]) == 0
    assert graph == ["Gelu"]
