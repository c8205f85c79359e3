"""The command `j2o-dino`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ._variants import VARIANTS


def _batch(text: str) -> int | str:
    """A number of images, or the name of a symbolic dimension."""
    if text.isidentifier():
        return text
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of images nor a name such as B")
    return number


def _not_negative(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return number


def _place(text: str) -> tuple[float, float]:
    try:
        across, down = map(float, text.split(","))
    except ValueError:
        across = down = -1.0
    if not (0 <= across <= 1 and 0 <= down <= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers from 0 to 1, such as 0.5,0.5")
    return across, down


def _tolerance(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return number


def _output(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=f"{what} to write")


def _optional_variant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--variant",
        choices=list(VARIANTS),
        help="the model; archives of Equimo and .eqx files say themselves what they are",
    )


def _looking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", type=Path, metavar="FILE", help="a photo to look at (default: one that is drawn)")
    parser.add_argument("--size", type=_not_negative, default=224, help="side of the image in pixels (default: 224)")


def _export_parser(export: argparse.ArgumentParser) -> None:
    _output(export, "the .onnx file")
    export.add_argument("--variant", choices=list(VARIANTS), default="vits16", help="the model (default: vits16)")
    export.add_argument("--opset", type=int, default=23, help="opset of the graph (default: 23)")
    export.add_argument(
        "--weights",
        metavar="PATH",
        help="a checkpoint: Meta's .pth, a .safetensors or .npz, a Hugging Face folder, an Equimo archive, an .eqx "
        "(default: random weights)",
    )
    _looking(export)
    export.add_argument("--batch", type=_batch, default=1, help="number of images, or a name for any (default: 1)")
    export.add_argument("--any-size", action="store_true", help="take images of any height and width, not only --size")
    export.add_argument(
        "--stream",
        action=argparse.BooleanOptionalAction,
        help="write weights as they are read, never holding more than one, and do not run the result "
        "(default: from 2 GB of weights on)",
    )
    export.add_argument("--layers", action="store_true", help="give the tokens after every block, too")
    export.add_argument(
        "--picture", type=Path, metavar="FILE", help="the picture to write (default: beside the graph, *_features.png)"
    )
    export.add_argument(
        "--page", type=Path, metavar="FILE", help="a page to write: every layer, and the similarity to a patch"
    )
    export.add_argument(
        "--at",
        type=_place,
        metavar="X,Y",
        help="the patch that others are compared with, from left to right and from top to bottom, each from 0 to 1",
    )
    export.add_argument("--seed", type=_not_negative, default=0, help="seed of random weights (default: 0)")
    export.add_argument(
        "--rounds", type=_not_negative, default=15, help="how often each side is timed, 0 for not at all (default: 15)"
    )


def _convert_parser(convert: argparse.ArgumentParser) -> None:
    convert.add_argument("source", metavar="CHECKPOINT", help="a checkpoint in any of the formats that are read")
    _output(convert, "what: a .safetensors or .eqx file, a .tar.lz4 archive or a folder for Equimo")
    _optional_variant(convert)
    convert.add_argument(
        "--layout",
        choices=["published", "hf"],
        default="published",
        help="names in a .safetensors file: Meta's or Hugging Face's (default: published, Meta's)",
    )


def _reference_parser(reference: argparse.ArgumentParser) -> None:
    _output(reference, "the .npz file")
    _optional_variant(reference)
    reference.add_argument("--weights", metavar="PATH", required=True, help="a checkpoint")
    _looking(reference)


def _compare_parser(compare: argparse.ArgumentParser) -> None:
    for side in ("first", "second"):
        compare.add_argument(
            side,
            metavar=side.upper(),
            help="a checkpoint, an .onnx file, reference activations (.npz), or equimo: and a checkpoint",
        )
    _optional_variant(compare)
    _looking(compare)
    compare.add_argument(
        "--tolerance", type=_tolerance, default=1e-5, help="largest relative difference accepted (default: 1e-5)"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="j2o-dino", description="DINO from JAX to ONNX.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, fill, help_text, description in (
        (
            "export",
            _export_parser,
            "export a model, verify it, measure it, and show what it sees",
            "Export DINO to ONNX, hold ONNX Runtime against JAX on a photo and on random images, measure both, and "
            "write the graph and a picture of the patch features. Nothing is written unless the two agree.",
        ),
        (
            "convert",
            _convert_parser,
            "write a checkpoint in another format",
            "Read a checkpoint and write it in another format; every bit of every weight stays as it is.",
        ),
        (
            "reference",
            _reference_parser,
            "write what a model makes of an image, layer by layer",
            "Write reference activations: the image, the tokens after every block, the results, the versions of all "
            "packages involved and a digest of the weights.",
        ),
        (
            "compare",
            _compare_parser,
            "hold two models, or a model and a reference, against each other",
            "Compare layer by layer: ours, Equimo's model with the same weights, an ONNX file, reference activations. "
            "Exit with 1 if a difference is over the tolerance.",
        ),
    ):
        fill(commands.add_parser(name, help=help_text, description=description))
    return parser


def _export(options: argparse.Namespace) -> int:
    from ._demonstration import Request, demonstrate, image_shape
    from ._features import ModelChoice
    from ._stream import StreamRequest, stream, stream_table, to_be_streamed
    from ._table import table
    from ._variants import variant

    choice = ModelChoice(options.variant, options.weights, options.seed, options.layers)
    if options.stream or (options.stream is None and to_be_streamed(choice)):
        shape = image_shape(variant(options.variant), options.size, any_size=options.any_size)
        streamed = StreamRequest(choice, options.opset, options.output, shape, options.batch)
        print(stream_table(streamed, stream(streamed)))
        return 0
    request = Request(
        model=choice,
        opset=options.opset,
        output=options.output,
        picture=options.picture or options.output.with_name(f"{options.output.stem}_features.png"),
        image=options.image,
        size=options.size,
        batch=options.batch,
        rounds=options.rounds,
        any_size=options.any_size,
        page=options.page,
        place=options.at,
    )
    print(table(request, demonstrate(request)))
    return 0


def _convert(options: argparse.Namespace) -> int:
    from ._checkpoint import load, save
    from ._layers import weights_digest
    from ._paths import check_writable
    from ._variants import variant

    check_writable(options.output, read=[options.source], folder=not options.output.suffix)
    config = variant(options.variant) if options.variant else None
    model = load(options.source, config, dtype=None, scratch=options.output.parent)
    save(options.output, model, layout=options.layout)
    print(f"weights  {weights_digest(model)}\nwritten  {options.output}")
    return 0


def _reference(options: argparse.Namespace) -> int:
    from ._checkpoint import load
    from ._paths import check_writable
    from ._photo import photo_as_images
    from ._reference import make_reference, write_reference
    from ._variants import variant

    check_writable(options.output, read=[options.weights, options.image])
    config = variant(options.variant) if options.variant else None
    model = load(options.weights, config)
    images = photo_as_images(options.image, options.size, model.config, options.variant)
    reference = make_reference(model, images, options.variant or Path(options.weights).name)
    write_reference(options.output, reference)
    print(f"weights  {reference.digest}\nwritten  {options.output}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from ._compare import compare, open_side
    from ._photo import photo_as_images
    from ._table import comparison_table
    from ._variants import variant

    config = variant(options.variant) if options.variant else None
    first, second = (open_side(side, config) for side in (options.first, options.second))
    images = photo_as_images(options.image, options.size, config, options.variant)
    differences = compare(first, second, images)
    print(comparison_table(first, second, differences, options.tolerance))
    # Written so that a difference that is not a number is over, too.
    return 0 if all(difference.relative <= options.tolerance for difference in differences) else 1


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "export": _export,
    "convert": _convert,
    "reference": _reference,
    "compare": _compare,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; by default what the process was started with.

    Returns:
        0 if all went well, 1 if the model could not be exported or two sides disagree, 2 if an argument could not be
        used.
    """
    options = _parser().parse_args(arguments)

    # Only now, so that help and mistyped arguments do not wait for JAX.
    from j2o_core import J2oError, SaveError, SpecError

    from ._errors import DinoError

    try:
        return _COMMANDS[options.command](options)
    except J2oError as error:
        print(f"j2o-dino: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, DinoError | SaveError | SpecError) else 1


if __name__ == "__main__":
    sys.exit(main())
