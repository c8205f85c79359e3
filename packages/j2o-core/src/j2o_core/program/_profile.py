"""Profile: how long the modules and the operators of a program take, as ONNX Runtime measures it."""

from __future__ import annotations

import bisect
import json
import os
import re
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from .._errors import SpecError
from ..graph._walk import called, model_graphs
from ..trace._modules import MODULE, common_place
from ._number_text import counted
from ._session import Session

# How the runtime names an event of a kernel, a product with its activation, a node of an inlined function, and a run.
_KERNEL = "_kernel_time"
_FUSED = "fused "
_INLINED = re.compile(r"_inlfunc_(.+)")
_RUN = "model_run"

# Kernels that take activations and additions behind them, and have the name of the last one.
_TAKES_OTHERS = frozenset({"Conv", "ConvTranspose"})


@dataclass(frozen=True)
class Profile:
    """The times of a run, the median over several for each node.

    Attributes:
        runs: how many runs there were, after one that is not counted.
        modules: seconds in the nodes of each module, by its path; "" for those of none.
        operators: seconds in each kernel of the runtime, which may be one for several nodes.
    """

    runs: int
    modules: Mapping[str, float]
    operators: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """Seconds in all kernels."""
        return sum(self.operators.values())

    @property
    def headline(self) -> str:
        """How often it ran, and how long."""
        return f"{counted(self.runs, 'run')}, {1e3 * self.seconds:.3f} ms in kernels"

    def share(self, seconds: float) -> str:
        """The part of the time in all kernels, as text."""
        return f"{seconds / self.seconds:.0%}" if self.seconds else "0%"

    def __str__(self) -> str:
        slowest = sorted(self.operators.items(), key=lambda item: -item[1])
        width = max((len(name) for name, _ in slowest), default=0)
        lines = [f"  {name:{width}}  {1e3 * time:9.3f} ms  {self.share(time):>4}" for name, time in slowest]
        return "\n".join([self.headline, *lines])


def profile(model: ir.Model, leaves: Sequence[Any], runs: int) -> Profile:
    """Run a model with the runtime's profiler; see `OnnxProgram.profile`."""
    if not isinstance(runs, int) or runs < 1:
        raise SpecError(f"runs is {runs!r}. Expected how often the program is run, an integer >= 1.")
    with tempfile.TemporaryDirectory() as folder:
        session = Session(model, profile=os.path.join(folder, "runs"))
        for _ in range(1 + runs):
            session.run(leaves)
        with open(session.session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
    # So many as the runtime has room for.
    runs = sum(event["name"] == _RUN for event in events) - 1
    place_of = _Places(model)
    modules: defaultdict[str, float] = defaultdict(float)
    operators: defaultdict[str, float] = defaultdict(float)
    for (name, operator), times in _by_kernel(events).items():
        seconds = statistics.median([*times, *[0.0] * (runs - len(times))]) / 1e6
        modules[place_of(name, operator)] += seconds
        operators[operator] += seconds
    return Profile(runs, dict(modules), dict(operators))


def _by_kernel(events: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[float]]:
    """The microseconds of each node in each run but the first, by its name and its operator."""
    ends = sorted(event["ts"] + event["dur"] for event in events if event["name"] == _RUN)
    found: defaultdict[tuple[str, str], defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
    for event, microseconds in _own_times(events):
        run = bisect.bisect_right(ends, event["ts"])
        if run > 0:
            found[event["name"].removesuffix(_KERNEL), event["args"]["op_name"]][run] += microseconds
    return {kernel: list(times.values()) for kernel, times in found.items()}


def _own_times(events: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], float]]:
    """Each event of a kernel with its microseconds, less those of the kernels that ran inside of it, as in a loop."""
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(_KERNEL)]
    kernels.sort(key=lambda event: (event["ts"], -event["dur"]))
    inside = [0.0] * len(kernels)
    around: list[int] = []
    for index, event in enumerate(kernels):
        while around and event["ts"] >= kernels[around[-1]]["ts"] + kernels[around[-1]]["dur"]:
            around.pop()
        if around:
            inside[around[-1]] += event["dur"]
        around.append(index)
    for event, others in zip(kernels, inside, strict=True):
        yield event, max(0.0, event["dur"] - others)


class _Places:
    """The modules of the nodes that the runtime runs, which are not all of those in the file."""

    def __init__(self, model: ir.Model):
        graphs = list(model_graphs(model))
        self._nodes = {str(node.name): node for graph in graphs for node in graph}
        self._functions: dict[str, list[str]] = {}
        for graph in graphs:
            for node in graph:
                function = called(node, model)
                if function is not None:
                    self._functions.setdefault(function.name, []).append(node.metadata_props.get(MODULE, ""))

    def __call__(self, name: str, operator: str) -> str:
        """The path of the module of a node by its name in the runtime; "" where it has none, or is not known."""
        name = name.removeprefix(_FUSED)
        inlined = _INLINED.match(name)
        if inlined is not None:
            callees = [one for one in self._functions if inlined[1].startswith(f"{one}_")]
            return common_place(self._functions[max(callees, key=len)]) or "" if callees else ""
        node = self._node(name)
        while operator in _TAKES_OTHERS and node is not None and node.op_type not in _TAKES_OTHERS:
            node = next((one for value in node.inputs if value is not None and (one := value.producer())), None)
        return node.metadata_props.get(MODULE, "") if node is not None else ""

    def _node(self, name: str) -> ir.Node | None:
        """The node of a name; a kernel for several nodes has the name of one of them, and something behind it."""
        while name not in self._nodes and (parts := re.match(r"(.+)[_/]", name)):
            name = parts[1]
        return self._nodes.get(name)
