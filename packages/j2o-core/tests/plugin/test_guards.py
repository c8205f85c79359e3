"""Two plugins, or two rules of one, that do not go together."""

import sys
import threading

import pytest

from j2o_core import J2oError, Plugin, PluginError
from j2o_core.plugin import _installed
from j2o_core.plugin._budget import _is_debugged, _Watch, limited
from j2o_core.plugin._discover import discover
from j2o_core.plugin._registry import Registry


def plugin_with(change, name="one"):
    plugin = Plugin(name)
    change(plugin)
    return plugin


def decompose(plugin):
    plugin.decomposition("sinh")(lambda x: x)


def test_a_plugin_has_one_decomposition_of_a_primitive():
    plugin = plugin_with(decompose)
    with pytest.raises(PluginError, match="registers two decompositions of sinh"):
        decompose(plugin)


def test_a_plugin_imports_one_opset_of_a_domain():
    plugin = plugin_with(lambda plugin: plugin.opset_import("my.domain", 1))
    plugin.opset_import("my.domain", 1)
    with pytest.raises(PluginError, match=r"imports two opsets of the domain 'my.domain', 1 and 2"):
        plugin.opset_import("my.domain", 2)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (decompose, decompose, "Two plugins decompose sinh"),
        (
            lambda p: p.opset_import("d", 1),
            lambda p: p.opset_import("d", 2),
            "imports opset 2 of 'd', another plugin 1",
        ),
    ],
    ids=["decomposition", "opset"],
)
def test_plugins_that_clash(first, second, message):
    with pytest.raises(PluginError, match=message):
        Registry([plugin_with(first), plugin_with(second, "two")])


@pytest.mark.parametrize("plugins", ["j2o_plugins_jax", Plugin("one"), 3])
def test_plugins_are_a_list(plugins):
    with pytest.raises(PluginError, match=r"^plugins is "):
        discover(plugins)


def test_what_all_composites_know_is_not_looked_for(monkeypatch):
    monkeypatch.setattr(_installed, "transforms", None)
    Registry([Plugin("one")])


def test_a_debugger_takes_its_time():
    ident = threading.get_ident()
    if not hasattr(sys, "monitoring"):
        pytest.skip("Python 3.12 has sys.monitoring")
    assert not _is_debugged(ident)
    sys.monitoring.use_tool_id(sys.monitoring.DEBUGGER_ID, "debugger")
    try:
        assert _is_debugged(ident)
    finally:
        sys.monitoring.free_tool_id(sys.monitoring.DEBUGGER_ID)


def test_a_rule_in_time_is_not_stopped():
    with (watch := _Watch()), watch:
        watch.start()
        with limited(lambda: "A rule", J2oError):
            watch.look()
    assert watch.stopped is None
