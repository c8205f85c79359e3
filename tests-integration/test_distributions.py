"""The distributions that an installation brings along, and metadata that our packages share."""

import itertools
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(path.parent for path in (ROOT / "packages").glob("*/pyproject.toml"))
UNWANTED = {"flax", "huggingface-hub", "netron", "onnxscript", "orbax-checkpoint", "tensorflow", "torch"}


def required_by(*names: str) -> set[str]:
    """The result of `pip install` of these names: requirements of requirements, extras only if asked for."""
    found: set[tuple[str, str]] = set()
    todo = [(canonicalize_name(name), "") for name in names]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for declared in metadata.requires(name) or ():
            requirement = Requirement(declared)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                todo += [(canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras)]
    return {name for name, _ in found}


def test_core_and_equinox_install_fewer_than_25_distributions() -> None:
    tree = required_by("j2o-core", "j2o-plugins-equinox")
    assert {"jax", "jaxlib", "equinox", "onnx-ir", "j2o-autodiff"} <= tree
    assert len(tree) < 25, sorted(tree)
    assert not tree & UNWANTED
    assert "onnxruntime" not in tree


def test_the_runtime_is_small_and_brings_neither_jax_nor_onnx() -> None:
    assert required_by("j2o-runtime").isdisjoint({"jax", "jaxlib", "ml-dtypes", "onnx", "onnx-ir"})
    files = (ROOT / "packages" / "j2o-runtime" / "src").rglob("*.py")
    assert sum(file.stat().st_size for file in files) < 100_000


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_no_package_requires_a_framework_or_a_hub_client(package: Path) -> None:
    assert not required_by(package.name) & UNWANTED


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_package_is_publishable(package: Path) -> None:
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    assert project["name"] == package.name
    assert project["license"] == "Apache-2.0"
    assert project["requires-python"] == ">=3.11"
    assert (package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert len((package / "README.md").read_text().split()) > 50
    assert (package / "src" / package.name.replace("-", "_") / "py.typed").exists()


def test_packages_bound_a_shared_requirement_alike() -> None:
    bounds: dict[str, dict[str, list[str]]] = {}
    for package in PACKAGES:
        project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
        declared = [project["dependencies"], *project["optional-dependencies"].values()]
        for requirement in map(Requirement, itertools.chain(*declared)):
            if requirement.specifier:
                name = canonicalize_name(requirement.name)
                bounds.setdefault(name, {}).setdefault(str(requirement.specifier), []).append(package.name)
    assert {name: by for name, by in bounds.items() if len(by) > 1} == {}
