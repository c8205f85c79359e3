"""`python -m j2o_autodiff`: the coverage of all composites of the installed plugins, as a table."""

from j2o_core import Registry

from ._coverage import coverage, markdown

if __name__ == "__main__":
    print(markdown(coverage(Registry.installed())))
