"""Exporting a model that is larger than memory: weights go from the checkpoint to the file, one at a time."""

import dataclasses
import os
import time
from pathlib import Path

import jax

import j2o_core

from ._checkpoint import load
from ._errors import ConfigError
from ._features import FeatureExtractor, ModelChoice
from ._paths import check_writable
from ._state_dict import skeleton
from ._variants import AnyConfig, variant

# The largest model that ONNX keeps in one file; larger ones are not held in memory a second time either.
STREAM_BYTES = 1 << 31


@dataclasses.dataclass(frozen=True)
class StreamRequest:
    """The settings of a request.

    Attributes:
        model: The model; it must have weights.
        opset: ONNX opset of the graph.
        output: The `.onnx` file to write; the weights go beside it.
        image_shape: Channels, height and width of an image; the latter may be symbolic.
        batch: Number of images, or the name of a symbolic dimension.
    """

    model: ModelChoice
    opset: int
    output: Path
    image_shape: tuple[int | str, ...]
    batch: int | str


@dataclasses.dataclass(frozen=True)
class Streamed:
    """The results.

    Attributes:
        written: The files.
        nodes: Number of nodes of the graph.
        seconds: Time for all of it.
        peak_bytes: The most memory that the process ever had resident, or None where the platform does not say.
        largest_bytes: Size of the largest weight.
    """

    written: list[str]
    nodes: int
    seconds: float
    peak_bytes: int | None
    largest_bytes: int


def weight_bytes(config: AnyConfig) -> int:
    """Size of all weights of a model in float32."""
    return sum(4 * leaf.size for leaf in jax.tree.leaves(skeleton(config)))


def peak_resident_bytes() -> int | None:
    """The most memory that this process ever had resident, where the platform says so."""
    try:
        with open("/proc/self/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None


def stream(request: StreamRequest) -> Streamed:
    """Export without holding more than one weight in memory. The result is neither run nor compared with JAX.

    Weights that the checkpoint does not have as they are needed (joined projections, another dtype) are kept in a
    temporary file beside the output meanwhile.

    Raises:
        J2oError: If an argument cannot be used or the export fails.
    """
    if request.model.weights is None:
        raise ConfigError("There is nothing to stream without weights; give a checkpoint.")
    check_writable(request.output, read=[request.model.weights])
    start = time.perf_counter()
    config = variant(request.model.variant)
    model = load(
        Path(request.model.weights), config, drop_zero_bias=True, scratch=os.path.abspath(request.output.parent)
    )
    program = j2o_core.to_onnx(
        FeatureExtractor(model, request.model.layers),
        [(request.batch, *request.image_shape)],
        opset=request.opset,
        input_names=["images"],
        output_names=request.model.output_names,
    )
    written = program.save(request.output, external_data=True)
    weights = program.model.graph.initializers.values()
    return Streamed(
        written=written,
        nodes=sum(1 for _ in program.model.graph.all_nodes()),
        seconds=time.perf_counter() - start,
        peak_bytes=peak_resident_bytes(),
        largest_bytes=max(value.const_value.nbytes for value in weights if value.const_value is not None),
    )


def stream_table(request: StreamRequest, streamed: Streamed) -> str:
    """Lay out what was found."""
    total = sum(os.path.getsize(path) for path in streamed.written)
    lines = [str(request.model), f"images {request.batch} x {' x '.join(map(str, request.image_shape))}", ""]
    rows = [("files", f"{total / 1e9:.2f} GB"), ("time", f"{streamed.seconds:.1f} s"), ("nodes", str(streamed.nodes))]
    rows.append(("largest weight", f"{streamed.largest_bytes / 1e6:.0f} MB"))
    if streamed.peak_bytes is not None:
        rows.append(("peak of memory", f"{streamed.peak_bytes / 1e9:.2f} GB"))
    rows += [("written", path) for path in streamed.written]
    lines += [f"{name.ljust(14)}  {value}" for name, value in rows]
    lines += [
        "",
        "Streamed: neither run nor compared with JAX. j2o-dino compare does that where there is memory for it.",
    ]
    return "\n".join(lines)


def to_be_streamed(choice: ModelChoice) -> bool:
    """Whether a model is so large that it had better be streamed."""
    return choice.weights is not None and weight_bytes(variant(choice.variant)) > STREAM_BYTES
