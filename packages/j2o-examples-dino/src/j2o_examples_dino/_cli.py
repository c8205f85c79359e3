"""The command `j2o-dino`."""

import argparse
import sys
from collections.abc import Sequence
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="j2o-dino", description="DINOv3 from JAX to ONNX.")
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser(
        "export",
        help="export a model, verify it, measure it, and show what it sees",
        description="Export DINOv3 to ONNX, hold ONNX Runtime against JAX on a photo and on random images, measure "
        "both, and write the graph and a picture of the patch features. Nothing is written unless the two agree.",
    )
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the .onnx file to write")
    export.add_argument("--variant", choices=list(VARIANTS), default="vits16", help="the model (default: vits16)")
    export.add_argument("--opset", type=int, default=23, help="opset of the graph (default: 23)")
    export.add_argument("--image", type=Path, metavar="FILE", help="a photo to look at (default: one that is drawn)")
    export.add_argument(
        "--weights",
        metavar="PATH",
        help="a checkpoint: Meta's .pth, a .safetensors or .npz, a Hugging Face folder, or an Equimo archive "
        "(default: random weights)",
    )
    export.add_argument("--size", type=_not_negative, default=224, help="side of the image in pixels (default: 224)")
    export.add_argument("--batch", type=_batch, default=1, help="number of images, or a name for any (default: 1)")
    export.add_argument(
        "--picture", type=Path, metavar="FILE", help="the picture to write (default: beside the graph, *_features.png)"
    )
    export.add_argument("--seed", type=_not_negative, default=0, help="seed of random weights (default: 0)")
    export.add_argument(
        "--rounds", type=_not_negative, default=15, help="how often each side is timed, 0 for not at all (default: 15)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; by default what the process was started with.

    Returns:
        0 if all went well, 1 if the model could not be exported or ONNX Runtime disagrees with JAX, 2 if an argument
        could not be used.
    """
    options = _parser().parse_args(arguments)

    # Only now, so that help and mistyped arguments do not wait for JAX.
    from j2o_core import J2oError, SaveError, SpecError

    from ._demonstration import Request, demonstrate
    from ._errors import DinoError
    from ._features import ModelChoice
    from ._table import table

    request = Request(
        model=ModelChoice(options.variant, options.weights, options.seed),
        opset=options.opset,
        output=options.output,
        picture=options.picture or options.output.with_name(f"{options.output.stem}_features.png"),
        image=options.image,
        size=options.size,
        batch=options.batch,
        rounds=options.rounds,
    )
    try:
        outcome = demonstrate(request)
    except J2oError as error:
        print(f"j2o-dino: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, DinoError | SaveError | SpecError) else 1
    print(table(request, outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main())
