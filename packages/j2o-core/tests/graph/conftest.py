"""A builder of nodes in a graph of its own."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import pytest

from j2o_core.graph._builder import Builder
from j2o_core.graph._constants import Constants
from j2o_core.target import Target


@pytest.fixture
def new_builder() -> Callable[[], Builder]:
    """A function that makes builders; the nodes that one added are its `nodes`."""

    def new() -> Builder:
        graph = ir.Graph([], [], nodes=[])
        builder = Builder(Constants(), Target(None, 21), append=graph.append)
        builder.nodes = graph
        return builder

    return new


@pytest.fixture
def op(new_builder) -> Builder:
    return new_builder()
