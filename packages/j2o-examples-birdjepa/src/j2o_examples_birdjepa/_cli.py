"""The command `j2o-birdjepa`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OBJECTIVES = ("supervised", "lejepa", "pixio")


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return number


def _not_negative(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(prog="j2o-birdjepa", description="Bird sound from waveform to training to ONNX.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", formatter_class=formatter
        )

    make = command("make-data", "draw bird songs as FLAC files with an index")
    make.add_argument("folder", type=Path, help="where they go")
    make.add_argument("--per-class", type=_positive, default=50, metavar="N", help="songs of each of the eight classes")
    make.add_argument("--seed", type=_not_negative, default=0, help="seed of the songs")

    train = command("train", "train an encoder on recordings, or continue a run")
    train.add_argument("data", type=Path, help="a folder with an index, or the index (CSV or Parquet)")
    train.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="folder of the run")
    train.add_argument("--objective", choices=OBJECTIVES, default="supervised", help="what to train for")
    train.add_argument("--split", default=None, help="only rows whose column `split` has this value")
    train.add_argument("--held-out", default=None, metavar="SPLIT", help="rows to evaluate on")
    train.add_argument("--steps", type=_positive, default=1000, help="steps of the whole training")
    train.add_argument("--batch", type=_positive, default=32, help="recordings in a batch")
    train.add_argument("--lr", type=float, default=1e-3, help="highest learning rate")
    train.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw", help="optimizer")
    train.add_argument("--schedule", choices=("cosine", "wsd"), default="cosine", help="learning rate over the steps")
    train.add_argument("--warmup", type=_not_negative, default=0, help="steps of warm-up")
    train.add_argument("--decay", type=_not_negative, default=0, help="steps of decay of the schedule wsd")
    train.add_argument("--weight-decay", type=float, default=0.05, help="weight decay")
    train.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32", help="of the encoder's products"
    )
    train.add_argument("--ema", type=float, default=0.0, help="decay of a moving average of the encoder, 0 for none")
    train.add_argument("--dim", type=_positive, default=64, help="width of the encoder")
    train.add_argument("--depth", type=_positive, default=2, help="blocks of the encoder")
    train.add_argument("--heads", type=_positive, default=4, help="attention heads of the encoder")
    train.add_argument("--patch", type=_positive, nargs=2, default=(16, 32), metavar=("TIME", "MEL"), help="patch size")
    train.add_argument("--augment", nargs="*", default=(), metavar="NAME", help="augmentations, in this order")
    train.add_argument("--workers", type=_not_negative, default=0, help="worker processes that read recordings")
    train.add_argument("--eval-every", type=_positive, default=200, metavar="N", help="steps between evaluations")
    train.add_argument("--save-every", type=_positive, default=200, metavar="N", help="steps between checkpoints")
    train.add_argument("--seed", type=_not_negative, default=42, help="seed of everything random")
    train.add_argument("--orbax", action="store_true", help="write checkpoints by Orbax")
    train.add_argument("--tensorboard", action="store_true", help="write event files for TensorBoard")
    train.add_argument("--wandb", metavar="ID", help="log to Weights & Biases under this run id")

    probe = command("probe", "classify recordings by the embeddings of a trained encoder")
    probe.add_argument("run", type=Path, help="folder of a run, or a checkpoint")
    probe.add_argument("data", type=Path, help="a folder with an index, or the index; with a column `split`")
    probe.add_argument(
        "--kind", choices=("linear", "mlp", "centroid"), nargs="+", default=("linear", "mlp", "centroid"), help="probes"
    )
    probe.add_argument(
        "--per-class", type=int, default=-1, metavar="N", help="labelled recordings of a class, -1 for all"
    )
    probe.add_argument("--epochs", type=_positive, default=30, help="passes over the labelled recordings")

    export = command("export", "write an encoder with its front end as an ONNX graph")
    export.add_argument("source", help="folder of a run, a checkpoint, or a Bird-MAE size: base, large, huge")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the .onnx file")
    export.add_argument("--weights", type=Path, metavar="FILE", help="model.safetensors of Bird-MAE")
    export.add_argument(
        "--start", choices=("waveform", "spectrogram", "patches"), default="waveform", help="first input"
    )
    export.add_argument("--opset", type=int, default=23, help="opset of the graph")

    embed = command("embed", "embed all recordings below a folder by an exported graph, or continue")
    embed.add_argument("model", type=Path, help="the .onnx file, which begins at the waveform")
    embed.add_argument("folder", type=Path, help="the recordings")
    embed.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the Parquet file")
    embed.add_argument("--batch", type=_positive, default=16, help="clips in a batch")
    embed.add_argument("--per-part", type=_positive, default=64, metavar="N", help="recordings that are saved together")
    embed.add_argument("--engine", choices=("local", "ray"), default="local", help="where the work is done")
    embed.add_argument("--workers", type=_positive, default=2, help="actors of Ray")

    cut = command("filter", "keep only the loudest patches of a clip, to hear them")
    cut.add_argument("recording", type=Path, help="a sound file")
    cut.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the sound file to write")
    cut.add_argument("--loudest", type=_positive, default=32, metavar="N", help="patches of the 256 to keep")
    cut.add_argument("--mode", choices=("time", "time+freq"), default="time+freq", help="what of a patch to keep")

    demo = command("demo", "draw songs, train, export, compare, and show it on a page")
    demo.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where everything goes")
    demo.add_argument("--steps", type=_positive, default=100, help="steps of each training")
    demo.add_argument("--per-class", type=_positive, default=60, metavar="N", help="songs of each of the eight classes")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; by default what the process was started with.

    Returns:
        0 if all went well, 1 if the work could not be done or a target of the demonstration was missed, 2 if an
        argument could not be used.
    """
    options = _parser().parse_args(arguments)

    # Only now, so that help and mistyped arguments do not wait for JAX.
    from j2o_core import J2oError, SaveError, SpecError

    from . import _commands
    from ._errors import BirdError

    try:
        run: Any = getattr(_commands, options.command.replace("-", "_"))
        return int(run(options))
    except J2oError as error:
        print(f"j2o-birdjepa: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, BirdError | SaveError | SpecError) else 1


if __name__ == "__main__":
    sys.exit(main())
