"""The graph that lower, rewrite and legalize work on: values, sizes, constants, inference and the builder of nodes."""

from . import traits as traits
