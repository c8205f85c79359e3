"""Check an environment that holds one package and what it requires, as `pip install` leaves it.

usage: check_installed.py DISTRIBUTION [--fewer-than N]
"""

import argparse
import importlib
from importlib import metadata
from pathlib import PurePosixPath

# Distributions that come with an environment, not with a package.
SEEDS = {"pip", "setuptools", "uv", "wheel"}
# Frameworks, viewers and hub clients: whoever needs them installs them.
UNWANTED = {"flax", "huggingface-hub", "netron", "onnxscript", "orbax-checkpoint", "tensorflow", "torch"}


def modules(distribution: metadata.Distribution) -> list[str]:
    """The import packages that a distribution ships; each must carry `py.typed`."""
    files = {PurePosixPath(file) for file in distribution.files or ()}
    found = sorted(path.parent.name for path in files if path.name == "__init__.py" and len(path.parts) == 2)
    untyped = [name for name in found if PurePosixPath(name, "py.typed") not in files]
    if not found or untyped:
        raise SystemExit(f"{distribution.name}: found packages {found}, without py.typed {untyped}.")
    return found


def check(name: str, fewer_than: int) -> None:
    """Import the distribution, load its entry points, and count what is installed."""
    distribution = metadata.distribution(name)
    for module in modules(distribution):
        importlib.import_module(module)
    for entry_point in distribution.entry_points:
        loaded = entry_point.load()
        if entry_point.group == "j2o.plugins" and loaded.name != entry_point.name:
            raise SystemExit(f"{name}: the entry point {entry_point.name!r} gives the plugin {loaded.name!r}.")
    tree = sorted({found.name.lower() for found in metadata.distributions()} - SEEDS)
    if unwanted := UNWANTED.intersection(tree):
        raise SystemExit(f"{name} requires {sorted(unwanted)}.")
    if len(tree) >= fewer_than:
        raise SystemExit(f"{name} installs {len(tree)} distributions, fewer than {fewer_than} are allowed: {tree}")
    print(f"{name} {distribution.version}: {len(tree)} distributions: {', '.join(tree)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("distribution")
    # `pip install j2o-core j2o-plugins-equinox` is to stay a light addition to any environment.
    parser.add_argument("--fewer-than", type=int, default=25)
    arguments = parser.parse_args()
    check(arguments.distribution, arguments.fewer_than)
