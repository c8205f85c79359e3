"""Export a model, hold it against JAX on a photo, and write the graph and a picture of what both see."""

import dataclasses
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from PIL import Image

import j2o_core

from ._errors import ImageError, PathError
from ._features import FeatureExtractor, ModelChoice
from ._latency import Job, Latency, can_pin, measure
from ._page import page
from ._paths import check_writable
from ._photo import ON_THE_HOUSE, draw_photo, read_photo
from ._picture import side_by_side
from ._preprocess import preprocess, statistics_for
from ._variants import AnyConfig, variant
from ._whole_file import whole_file


@dataclasses.dataclass(frozen=True)
class Request:
    """The settings of a request.

    Attributes:
        model: The model.
        opset: ONNX opset of the graph.
        output: The `.onnx` file to write.
        picture: The picture to write.
        image: The photo to look at, or None for one that is drawn.
        size: Side of the square image that the model takes, a multiple of the patch size.
        batch: Number of images, or the name of a symbolic dimension.
        rounds: How often each side is timed; 0 for not at all.
        any_size: Whether the graph takes images of any height and width.
        page: The page to write, or None.
        place: The patch that others are compared with, from left to right and from top to bottom, in [0, 1]; None for
            one in the middle, or on the house in the picture that is drawn.
    """

    model: ModelChoice
    opset: int
    output: Path
    picture: Path
    image: Path | None
    size: int
    batch: int | str
    rounds: int
    any_size: bool = False
    page: Path | None = None
    place: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime is from JAX on one output.

    Attributes:
        output: Name of the output.
        max_abs: Largest absolute difference.
        relative: The same over the largest magnitude of the output.
    """

    output: str
    max_abs: float
    relative: float


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results.

    Attributes:
        photo: Parity on the photo.
        random: Parity on random images, in every batch size that was tried.
        operators: How often each operator occurs in the graph.
        single_thread: Latency on one core, where the platform can pin one, or why there is none.
        all_threads: Latency with default threads, or why there is none.
        file_bytes: Size of the file or files.
        build_seconds: Time to build the model.
        export_seconds: Time to export it.
        verify_seconds: Time to hold the graph against JAX.
    """

    photo: list[Parity]
    random: list[Parity]
    operators: Counter[str]
    single_thread: Latency | str
    all_threads: Latency | str
    file_bytes: int
    build_seconds: float
    export_seconds: float
    verify_seconds: float


def _check_paths(request: Request) -> None:
    """Refuse what could only fail after minutes of work, or would overwrite what is to be read."""
    read = [Path(path) for path in (request.image, request.model.weights) if path is not None]
    for path in (request.output, request.picture, *([request.page] if request.page else [])):
        check_writable(path, read=read)
    if request.output.resolve() == request.picture.resolve():
        raise PathError(f"The graph and the picture cannot both be {request.output}.")
    if request.picture.suffix.lower() not in Image.registered_extensions():
        raise PathError(f"{request.picture} does not end as pictures do, for instance in .png.")


@contextmanager
def _stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Say on standard error what is going on, and note how long it took."""
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    start = time.perf_counter()
    try:
        yield
    except BaseException:
        print(file=sys.stderr)
        raise
    seconds[name] = time.perf_counter() - start
    print(f"{seconds[name]:.1f} s", file=sys.stderr)


def _parity(verification: j2o_core.Verification) -> list[Parity]:
    return [Parity(output.name, output.max_abs, output.relative) for output in verification.outputs]


def _operators(program: j2o_core.OnnxProgram) -> Counter[str]:
    graphs = [program.model.graph, *(function.graph for function in program.model.functions.values())]
    return Counter(node.op_type for graph in graphs for node in graph.all_nodes())


def image_shape(config: AnyConfig, size: int, *, any_size: bool) -> tuple[int | str, ...]:
    """The shape of one image, with symbolic sizes if any size is to be taken.

    Raises:
        ImageError: If the size is no multiple of the patch size.
    """
    if size < 1 or size % config.patch_size:
        raise ImageError(f"The size must be a multiple of the patch size {config.patch_size}, but it is {size}.")
    if not any_size:
        return (config.channels, size, size)
    return (config.channels, f"{config.patch_size}*H", f"{config.patch_size}*W")


def _latency(request: Request, shape: tuple[int, int, int, int], *, single_thread: bool) -> Latency | str:
    if not request.rounds:
        return "not asked for"
    if single_thread and not can_pin():
        return "this platform cannot pin a process to a core"
    job = Job(request.model, str(request.output), shape, request.rounds, single_thread)
    try:
        return measure(job)
    except RuntimeError as error:
        return str(error)


def _layers(
    model: FeatureExtractor, images: np.ndarray, last: np.ndarray
) -> dict[str, tuple[np.ndarray, tuple[int, int]]]:
    """Patch tokens after the final norm and their grid, by layer; those of the last layer are given."""
    backbone = model.backbone
    depth = backbone.config.depth
    taken = eqx.filter_jit(lambda m, image: m.get_intermediate_layers(image, depth, reshape=True))(backbone, images[0])
    layers = {}
    for index, tokens in enumerate(map(np.asarray, taken)):
        dim, rows, columns = tokens.shape
        flat = tokens.reshape(dim, rows * columns).T if index < depth - 1 else last
        layers[f"{index + 1} of {depth}"] = (flat, (rows, columns))
    return layers


def demonstrate(request: Request) -> Outcome:
    """Export, verify, save, draw and measure. Nothing is written unless ONNX Runtime agrees with JAX.

    Raises:
        J2oError: If an argument cannot be used, the export fails, or ONNX Runtime disagrees with JAX.
    """
    config = variant(request.model.variant)
    _check_paths(request)
    shape = image_shape(config, request.size, any_size=request.any_size)
    photo = draw_photo() if request.image is None else read_photo(request.image)

    seconds: dict[str, float] = {}
    with _stage("build", seconds):
        model = request.model.build()
    image = preprocess(photo, request.size, statistics_for(request.model.variant))
    images = np.repeat(np.asarray(image)[None], request.batch if isinstance(request.batch, int) else 1, axis=0)

    with _stage("export", seconds):
        program = j2o_core.to_onnx(
            model,
            [(request.batch, *shape)],
            opset=request.opset,
            input_names=["images"],
            output_names=request.model.output_names,
        )
    with _stage("verify", seconds):
        random = _parity(program.verify())
        seen = _parity(program.verify(images))

    grid = (request.size // config.patch_size,) * 2
    place = request.place or ((0.5, 0.5) if request.image is not None else ON_THE_HOUSE)
    features = {
        "JAX": np.asarray(eqx.filter_jit(model)(jnp.asarray(images))[1][0]),
        "ONNX Runtime": program(images)[1][0],
    }
    difference = max(parity.relative for parity in seen)
    title = f"{request.model}, opset {request.opset}: patch features, largest relative difference {difference:.1e}"
    with whole_file(request.picture) as temporary:
        try:
            side_by_side(photo, features, grid, title, place).save(temporary)
        except OSError as error:
            raise PathError(f"Cannot write {request.picture}: {error.strerror or error}.") from error
        if request.page is not None:
            layers = _layers(model, images[:1], features["ONNX Runtime"])
            note = f"Every layer as JAX computes it, the last as ONNX Runtime does; {title.partition(': ')[2]}"
            with whole_file(request.page) as draft:
                draft.write_text(page(photo, layers, place=place, title=str(request.model), note=note), "utf-8")
        written = program.save(request.output)

    with _stage("measure", seconds):
        single_thread = _latency(request, images.shape, single_thread=True)
        all_threads = _latency(request, images.shape, single_thread=False)
    return Outcome(
        photo=seen,
        random=random,
        operators=_operators(program),
        single_thread=single_thread,
        all_threads=all_threads,
        file_bytes=sum(os.path.getsize(path) for path in written),
        build_seconds=seconds["build"],
        export_seconds=seconds["export"],
        verify_seconds=seconds["verify"],
    )
