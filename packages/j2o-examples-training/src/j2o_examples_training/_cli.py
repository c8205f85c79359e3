"""The command `j2o-training`."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

_NO_MATPLOTLIB = 'the picture needs matplotlib: pip install "j2o-examples-training[picture]", or give --no-picture'


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return number


def _rate(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="j2o-training",
        description="Export a training step, train in JAX and in ONNX Runtime from the same start, and compare.",
    )
    parser.add_argument("model", choices=("mlp", "cnn", "vit"), nargs="?", default="vit", help="default: vit")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("j2o-training"), metavar="FOLDER", help="default: j2o-training"
    )
    parser.add_argument("--steps", type=_positive, default=200, help="number of steps (default: 200)")
    parser.add_argument("--batch", type=_positive, default=32, help="images in a batch (default: 32)")
    parser.add_argument("--learning-rate", type=_rate, default=3e-3, help="learning rate of AdamW (default: 0.003)")
    parser.add_argument("--opset", type=int, default=21, help="opset of the graphs (default: 21)")
    parser.add_argument("--seed", type=_positive, default=1, help="seed of weights, data and order (default: 1)")
    parser.add_argument("--no-picture", action="store_true", help="write no picture of the curves")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; by default what the process was started with.

    Returns:
        0 if all went well, 1 if the step could not be exported or the losses differ by more than a thousandth, 2 if an
        argument could not be used.
    """
    options = _parser().parse_args(arguments)
    folder: Path = options.output
    if not options.no_picture and importlib.util.find_spec("matplotlib") is None:
        return _fail(_NO_MATPLOTLIB, 2)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return _fail(f"cannot make the folder {folder}: {error.strerror or error}", 2)

    # Only now, so that help and mistyped arguments do not wait for JAX.
    from j2o_core import J2oError, SaveError, SpecError

    from ._experiment import Request, compare
    from ._table import table

    request = Request(options.model, options.steps, options.batch, options.learning_rate, options.opset, options.seed)
    try:
        outcome = compare(request, folder)
    except J2oError as error:
        return _fail(str(error), 2 if isinstance(error, SaveError | SpecError) else 1)
    except OSError as error:
        return _fail(f"cannot write to {folder}: {error.strerror or error}", 2)
    if not options.no_picture:
        from ._picture import draw

        draw(request, outcome, folder / "loss.png")
    print(table(request, outcome))
    print("\n" + "\n".join(f"wrote {path}" for path in sorted(folder.iterdir())))
    largest = outcome.differences.max()
    return 0 if largest <= 1e-3 else _fail(f"the losses differ by up to {largest:.1e}", 1)


def _fail(message: str, status: int) -> int:
    print(f"j2o-training: error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
