"""Plugins as they are installed: what happens when one of them cannot work. Each case runs in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXPORT = """
import jax.numpy as jnp
import j2o_core
try:
    j2o_core.to_onnx(jnp.sin, [(3,)])
except j2o_core.PluginError as error:
    print(error)
else:
    print("exported")
"""


def install(site: Path, distribution: str, entry_point: str, source: str) -> None:
    """Lay out a distribution with one module and one plugin entry point, as pip would."""
    module = distribution.replace("-", "_")
    (site / f"{module}.py").write_text(source)
    info = site / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[j2o.plugins]\n{entry_point} = {module}:plugin\n")


def export(site: Path) -> str:
    """The output of an export in a process that has the distributions of `site` as well."""
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", EXPORT], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_plugin_that_works_is_used(tmp_path: Path) -> None:
    install(tmp_path, "org-fine", "fine", "import j2o_core\nplugin = j2o_core.Plugin('fine')\n")
    assert export(tmp_path) == "exported"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import a_module_that_is_not_there", ["a_module_that_is_not_there", "not installed"]),
        ("1 / 0", ["ZeroDivisionError"]),
        ("other = 1", ["plugin"]),
        ("plugin = 'a string'", ["'a string'", "j2o_core.Plugin"]),
    ],
    ids=["missing dependency", "broken import", "missing object", "not a plugin"],
)
def test_a_plugin_that_cannot_be_loaded_stops_the_export(tmp_path: Path, source: str, says: list[str]) -> None:
    install(tmp_path, "org-broken", "broken", source)
    message = export(tmp_path)
    for words in ["org-broken 1.2", *says]:
        assert words in message, message


def test_two_plugins_with_one_name_are_both_named(tmp_path: Path) -> None:
    for distribution in ("org-first", "org-second"):
        install(tmp_path, distribution, "twin", "import j2o_core\nplugin = j2o_core.Plugin('twin')\n")
    message = export(tmp_path)
    assert "'twin'" in message
    assert "org-first 1.2" in message
    assert "org-second 1.2" in message


def test_two_rules_for_one_primitive_name_both_distributions(tmp_path: Path) -> None:
    source = """
import j2o_core

plugin = j2o_core.Plugin('sines')


@plugin.lowering('sin')
def rule(ctx, x, **_):
    return ctx.op.Sin(x)
"""
    install(tmp_path, "org-sines", "sines", source)
    message = export(tmp_path)
    assert "sin" in message
    assert "org-sines 1.2" in message
    assert "j2o-plugins-jax" in message
