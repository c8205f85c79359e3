"""`python -m j2o_autodiff`: the coverage of all composites and primitives of the installed plugins, as tables."""

from j2o_core import Registry

from ._coverage import coverage, markdown, primitive_coverage

if __name__ == "__main__":
    registry = Registry.installed()
    print(markdown(coverage(registry)), markdown(primitive_coverage(registry)), sep="\n\n")
