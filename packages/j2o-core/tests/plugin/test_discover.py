import subprocess
import sys
import textwrap

import jax
import pytest

import j2o_core
from j2o_core import Plugin, PluginError, Registry
from j2o_core.plugin import _installed
from j2o_core.plugin._discover import discover
from j2o_core.plugin._installed import load


def rule(ctx, x, **_):
    return x


def named(name, distribution=None, version="1.0"):
    plugin = Plugin(name)
    plugin.distribution, plugin.version = distribution, version
    return plugin


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution with one plugin into a folder on the path: `install(distribution, entry, code)`."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(distribution, entry, code, module=None):
        module = module or distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        info = tmp_path / f"{distribution.replace('-', '_')}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n")
        (info / "entry_points.txt").write_text(f"[j2o.plugins]\n{entry}\n")
        return tmp_path

    yield make
    for name in [name for name in sys.modules if name.startswith("thirdparty")]:
        del sys.modules[name]


GOOD = """
    from j2o_core import Plugin
    plugin = Plugin("third")
    plugin.lowering("primitive_of_mine")(lambda ctx, x, **_: x)
"""


def test_an_installed_plugin_is_found_with_its_distribution(install):
    install("thirdparty-good", "third = thirdparty_good:plugin", GOOD)
    (plugin,) = (plugin for plugin in discover().plugins if plugin.name == "third")
    assert (plugin.distribution, plugin.version) == ("thirdparty-good", "2.5")


def test_files_beside_a_script_do_not_make_the_plugins_be_read_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def times_read():
        _installed.entry_points()
        return _installed._entry_points_on.cache_info().misses

    before = times_read()
    (tmp_path / "model.onnx").touch()
    assert times_read() == before
    (tmp_path / "other-1.0.dist-info").mkdir()
    assert times_read() == before + 1


def test_the_graph_is_made_with_installed_plugins_by_default(install):
    code = """
        from j2o_core import Plugin
        plugin = Plugin("third")
        plugin.lowering("clz")(lambda ctx, x, **_: ctx.op.BitwiseNot(x))
    """
    folder = install("thirdparty-clz", "third = thirdparty_clz:plugin", code)
    program = "\n".join(
        [
            f"import sys; sys.path.insert(0, {str(folder)!r})",
            "import jax, j2o_core",
            "from j2o_core.plugin import _installed",
            "keep = [p for p in _installed.entry_points() if p[0] == 'third']",
            "_installed.entry_points = lambda: tuple(keep)",
            "model = j2o_core.to_onnx(jax.lax.clz, [jax.numpy.zeros(3, 'int32')]).model",
            "print([node.op_type for node in model.graph])",
        ]
    )
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{program}"],
        capture_output=True,
        text=True,
    )
    assert result.stdout == "['BitwiseNot']\n", result.stderr


def test_no_plugin_at_all_is_said():
    with pytest.raises(j2o_core.UnsupportedError, match="Loaded plugins: none"):
        j2o_core.to_onnx(lambda x: x + 1, [(3,)], plugins=[])


def test_plugins_without_jax_s_operations_are_said():
    message = r"Loaded plugins: mine.\n.*, which is not among these.*\n.*plugins=\[j2o_plugins_jax.plugin, mine\]"
    with pytest.raises(j2o_core.UnsupportedError, match=message):
        j2o_core.to_onnx(lambda x: x + 1, [(3,)], plugins=[Plugin("mine")])


BROKEN = [
    ("import not_installed_anywhere\n", r"No module named 'not_installed_anywhere'.*Its dependency 'not_installed_any"),
    ("import sys\nsys.exit(3)\n", "raised SystemExit while it was imported"),
    ("from j2o_core import Nothing\n", "cannot be imported: cannot import name 'Nothing'"),
    ("1 / 0\n", r"raised ZeroDivisionError while it was imported: division by zero\n  at .*thirdparty_bad.py:1\n"),
    (
        "import jax\n\njax.numpy.nothing\n",
        r"raised AttributeError while it was imported: .*\n  at .*thirdparty_bad.py:3\n",
    ),
    ("x = 1\n", "names something that its module does not have"),
    ("plugin = 'text'\n", r"is 'text'\. Expected a j2o_core.Plugin"),
]


@pytest.mark.parametrize(("code", "message"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_plugin_names_its_distribution(install, code, message):
    install("thirdparty-bad", "bad = thirdparty_bad:plugin", code)
    with pytest.raises(PluginError, match=message) as failure:
        load("bad", "thirdparty_bad:plugin", "thirdparty-bad", "2.5")
    assert "Plugin 'bad' (thirdparty_bad:plugin) of distribution thirdparty-bad 2.5" in str(failure.value)
    with pytest.raises(PluginError, match=r"of distribution thirdparty-bad 2\.5"):
        discover()


def test_a_module_that_is_not_there(install):
    install("thirdparty-gone", "gone = thirdparty_nowhere:plugin", "")
    with pytest.raises(PluginError, match=r"distribution thirdparty-gone 2\.5 cannot be imported"):
        discover()


def test_two_rules_for_one_primitive_name_both_sides():
    one, two = named("one", "j2o-one", "1.1"), named("two", "j2o-two", "2.2")
    one.lowering("sin")(rule)
    two.lowering("sin")(rule)
    with pytest.raises(PluginError) as failure:
        Registry([one, two])
    assert str(failure.value) == (
        "Two plugins lower sin at opset 18: 'one' of distribution j2o-one 1.1 and 'two' of distribution j2o-two 2.2.\n"
        "A rule that is to take the place of the other says so: @plugin.lowering(..., override=True). Else "
        "uninstall one of the\ntwo, or pass plugins=[...] to to_onnx."
    )


def test_a_rule_takes_the_place_of_others_where_it_says_so():
    one, two, three = named("one"), named("two"), named("three")
    one.lowering("sin")(rule)
    one.lowering("sin", opset=23)(rule)
    two.lowering("sin", opset=20, override=True)(rule)
    one.decomposition("cos")(rule)
    two.lowering("cos", override=True)(rule)
    for plugins in ([one, two], [two, one]):
        registry = Registry(plugins)
        used = {opset: registry.lowering(jax.lax.sin_p, opset).plugin for opset in (18, 20, 24)}
        assert used == {18: one, 20: two, 24: two}
        assert registry.decompositions == {}
        assert ("sin", two) in {(name, lowering.plugin) for name, lowering, _ in registry.overrides()}
    three.lowering("sin", opset=20, override=True)(rule)
    with pytest.raises(PluginError, match="Two plugins lower sin at opset 20"):
        Registry([one, two, three])


def test_a_rule_needs_its_primitive():
    with pytest.raises(PluginError, match=r'which is no primitive\.\nExpected .* @plugin\.lowering\("tanh"\)'):
        named("one").lowering(rule)
    with pytest.raises(PluginError, match=r'@plugin\.decomposition\("tanh"\)'):
        named("one").decomposition(rule)


def test_rules_at_different_opsets_do_not_clash():
    one, two = named("one"), named("two")
    one.lowering("sin")(rule)
    two.lowering("sin", opset=22)(rule)
    registry = Registry([one, two])
    assert registry.lowest_opset(_primitive("sin")) == 18
    assert registry.lowering(_primitive("sin"), 21).plugin is one
    assert registry.lowering(_primitive("sin"), 22).plugin is two
    assert registry.lowering(_primitive("cos"), 22) is None


def _primitive(name):
    from jax.extend.core import Primitive

    return Primitive(name)


def test_two_plugins_of_one_name():
    with pytest.raises(PluginError, match=r"Two plugins are named 'same': 'same' of distribution a 1\.0 and 'same' of"):
        Registry([named("same", "a"), named("same", "b")])


def test_two_plugins_of_one_composite():
    one, two = named("one"), named("two", "j2o-two")
    one.composite("jax.nn.gelu")
    two.composite("jax.nn.gelu")
    with pytest.raises(PluginError, match=r"declare the composite jax\.nn\.gelu; one is 'two' of distribution j2o-two"):
        Registry([one, two])


def test_a_composite_without_rules_cannot_be_registered(monkeypatch):
    monkeypatch.setattr(_installed, "entry_points", lambda: ())
    plugin = named("one")
    plugin.composite("jax.nn.gelu")
    message = r"what jax\.vmap and jax\.grad do with these composites: jax\.nn\.gelu\.\nInstall j2o-autodiff"
    with pytest.raises(PluginError, match=message):
        Registry([plugin])
    with pytest.raises(PluginError, match=r"composite jax\.nn\.silu with batching='both'\. Expected 'bind' or 'body'"):
        plugin.composite("jax.nn.silu", batching="both")


def test_one_plugin_with_two_rules_or_an_unknown_opset():
    plugin = named("one")
    plugin.lowering("sin")(rule)
    with pytest.raises(PluginError, match=r"Plugin\('one'\) registers two rules for sin at opset 18"):
        plugin.lowering("sin")(rule)
    with pytest.raises(PluginError, match="registers a rule for sin at opset 99; j2o knows opsets 18 to 26"):
        plugin.lowering("sin", opset=99)
    with pytest.raises(PluginError, match="registers a rule for sin at opset '20'; j2o knows"):
        plugin.lowering("sin", opset="20")
    with pytest.raises(PluginError, match="registers a rewrite at Sin, Cos at opset 99; j2o knows"):
        plugin.rewrite("Sin", "Cos", opset=99)


@pytest.mark.parametrize(("given", "said"), [((), "no operator"), ((rule,), "<function rule at")])
def test_a_rewrite_needs_its_operators(given, said):
    with pytest.raises(PluginError, match=rf"registers a rewrite at {said}.*\. Expected names of operators"):
        named("one").rewrite(*given)


def test_one_name_may_be_given_as_it_is(export):
    plugin = Plugin("one", libraries="my_library")
    plugin.lowering("sin", ignores="accuracy")(lambda ctx, x: ctx.op.Sin(x))
    plugin.rewrite("Sin", needs="Sin")(lambda rw, node: rw.op.Cos(node.inputs[0]))
    assert plugin.libraries == ("my_library",)
    assert [node.op_type for node in export(jax.lax.sin, [(3,)], plugins=[plugin]).model.graph] == ["Cos"]
    other = Plugin("other")
    other.lowering("sin", ignores="the accuracy")(lambda ctx, x: ctx.op.Sin(x))
    with pytest.raises(j2o_core.LoweringError, match=r"the parameter accuracy [\s\S]* ignores the accuracy"):
        export(jax.lax.sin, [(3,)], plugins=[other])


def test_what_is_no_plugin_cannot_be_passed():
    with pytest.raises(PluginError, match=r"plugins contains 'jax', which is no j2o_core\.Plugin"):
        discover(["jax"])
    with pytest.raises(PluginError, match=r"plugins is .* Expected a list of plugins"):
        discover(named("one"))


def test_primitives_are_known_by_object_name_or_composite():
    from jax import lax

    plugin = named("one")
    composite = plugin.composite("jax.nn.gelu")
    composite.transforms_ready = True
    for key in (lax.sin_p, "cos", composite):
        assert plugin.lowering(key)(rule) is rule
    assert set(plugin.lowerings) == {"sin", "cos", composite}
    registry = Registry([plugin])
    assert registry.lowering(composite.primitive, 21).rule is rule
    assert sorted(name for name, _ in registry.rows()) == ["cos", "jax.nn.gelu", "sin"]


def test_a_rule_at_a_higher_opset_takes_the_place_of_another_plugins(plugin):
    later = Plugin("later")
    later.lowering("sin", opset=22)(rule)
    registry = Registry([plugin, later])
    ((name, new, old),) = registry.overrides()
    assert (name, new.plugin, new.opset, old.plugin) == ("sin", later, 22, plugin)
    assert not list(Registry([plugin]).overrides())
