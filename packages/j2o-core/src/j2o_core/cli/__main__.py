"""The command `j2o`: export a function, check a model, verify it against a function, list plugins."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata

from .._errors import J2oError

_FUNCTION = """MODULE:NAME of a function or module; MODULE is looked for in the current folder too. With --call, NAME is
called without arguments and what it returns is exported."""

_INPUT = """one array argument, as [NAME=]SIZES[:DTYPE], for example x=B,3,224,224:f32, y=N or scale=:f32 (a scalar).
Names are those of the function's parameters, letters in SIZES are symbolic dimensions. Give it once per argument.
"B x 3 x 32 x 32" is B,3,32,32. DTYPE: f32 (default), f16, bf16, f64, i8 to i64, u8 to u64, bool, c64, c128, key, or
NumPy's names (float32)."""

_VALUE = """one input, as NAME=FILE.npy, NAME=2.5 or NAME=[[1, 2]], or a FILE.npz of several by name. Give it once per
input."""
_RUNTIME = "where it is to run: onnxruntime (default, every supported release), onnxruntime-1.32, onnxruntime-web"
_TARGET = f"{_RUNTIME}, or onnx for standard ONNX without workarounds"
_STATE = """an argument whose next value the function returns, as NAME or NAME=PLACE, an index or key of the result;
several with commas, or give it again. The next value of the input NAME is the output next.NAME."""
_FUNCTIONS = "names of classes of modules or of jitted functions whose calls stay functions of the file"

_WEIGHTS = """a .safetensors file, an index of several, or a folder with one, that has all weights by their paths; for a
model of shapes alone, such as eqx.filter_eval_shape makes."""
_KEEP = "modules whose products stay in floats, such as 'blocks.*.mlp.fc2'; give it once per pattern"
_EXAMPLE = """all inputs by name, for ranges of activations that are fixed; 100 files or so. Without any, each run takes
its own ranges."""
_RANGES = "whether ranges of activations are those of the examples (default), or each run takes its own"
_WEIGHT_BITS = "7 is right on every CPU; 8 is more accurate on x86 with VNNI and on ARM, and saturates on others"
_COSINE = """the least cosine of each row of results on the examples to that in floats, such as 0.99: products stay in
floats for it"""

_EXAMPLES = {
    "export": """j2o export models.vit:model --input B,3,224,224 --opset 23 --verify -o vit.onnx
  j2o export models.vit:shapes --input B,3,224,224 --weights-from vit.safetensors -o vit.onnx""",
    "check": "j2o check vit.onnx --target onnxruntime-web",
    "verify": "j2o verify models.vit:model vit.onnx --sizes 1,4",
    "swap-weights": "j2o swap-weights vit.onnx trained.safetensors -o trained.onnx",
    "quantize": "j2o quantize vit.onnx --keep 'blocks.*.mlp.fc2' -o vit8.onnx",
    "report": "j2o report vit.onnx -o vit.html",
    "diff": "j2o diff vit.onnx trained.onnx --latency",
    "run": "j2o run vit.onnx --input x=photo.npy -o features.npz",
    "plugins": "j2o plugins --json",
    "completion": """j2o completion bash > ~/.local/share/bash-completion/completions/j2o
  j2o completion zsh >> ~/.zshrc
  j2o completion fish > ~/.config/fish/completions/j2o.fish""",
}
_STATUS = "exit status: 0, or 2 with one message on standard error"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, or 2 after one message on standard error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    from . import _commands

    sys.path.insert(0, os.getcwd())
    try:
        _commands.COMMANDS[options.command](options)
    except J2oError as error:
        if options.traceback:
            traceback.print_exc()
        print(f"j2o {options.command}: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"j2o {options.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `j2o plugins | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the exit flushes into nothing
        return 0
    finally:
        sys.path.remove(os.getcwd())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="j2o", description="JAX programs to ONNX, exactly.")
    parser.add_argument("--version", action="version", version=f"j2o-core {metadata.version('j2o-core')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    export = commands.add_parser("export", help="export a function to an ONNX file")
    _add_function(export)
    export.add_argument("-o", "--output", required=True, metavar="FILE", help="the .onnx file to write")
    export.add_argument("--opset", type=_opset, default=21, metavar="N", help="ONNX opset, 18 to 26 (default: 21)")
    export.add_argument("--target", default="onnxruntime", metavar="RUNTIME", help=_TARGET)
    export.add_argument("--nonfinite", choices=("exact",), help="JAX's NaN and infinities at any cost")
    export.add_argument(
        "--unroll",
        choices=("auto", "always", "never"),
        default="auto",
        help="unroll loops of known length: where that is faster (default), always or never",
    )
    export.add_argument("--functions", type=_names, default=(), metavar="A,B", help=_FUNCTIONS)
    export.add_argument("--input-names", type=_names, metavar="A,B", help="names of the graph's inputs, in order")
    export.add_argument("--output-names", type=_names, metavar="A,B", help="names of the graph's outputs, in order")
    export.add_argument("--state", action="append", default=[], metavar="NAME[=PLACE]", help=_STATE)
    export.add_argument("--external-data", action="store_true", help="write the weights into a file beside the model")
    export.add_argument("--weights", choices=("data", "safetensors"), help="the form of that file; asks for one")
    export.add_argument("--weights-from", metavar="PATH", help=_WEIGHTS)
    export.add_argument(
        "--keep-weights", action="store_true", help="store each weight as it is, so that swap-weights can replace it"
    )
    export.add_argument(
        "--dtype",
        choices=("float16", "bfloat16"),
        help="compute and store weights in it; what loses too much stays",
    )
    export.add_argument(
        "--verify", action="store_true", help="compare with JAX first; a model that differs is not written"
    )

    check = commands.add_parser("check", help="run ONNX's checker and name what ONNX Runtime cannot run")
    check.add_argument("model", metavar="FILE", help="an .onnx file, or MODULE:NAME of a function")
    _add_inputs(check)
    check.add_argument("--target", default="onnxruntime", metavar="RUNTIME", help=_RUNTIME)
    check.add_argument("--traceback", action="store_true", help="show where an error came from")

    run = commands.add_parser("run", help="run a saved program on arrays, by its inputs' names")
    run.add_argument("model", metavar="FILE", help="an .onnx file that j2o wrote")
    run.add_argument("--input", action="append", default=[], metavar="NAME=VALUE", help=_VALUE)
    run.add_argument("-o", "--output", metavar="FILE", help="an .npz file to write all outputs to, or an .npy for one")
    run.add_argument("--traceback", action="store_true", help="show where an error came from")

    verify = commands.add_parser("verify", help="compare an ONNX file with the function it was made from")
    _add_function(verify)
    verify.add_argument("model", metavar="FILE", help="an .onnx file; without --input, its inputs say what to feed")
    verify.add_argument("--sizes", type=_sizes, default=(1, 2, 5), metavar="1,2,5", help="sizes of symbolic dimensions")
    verify.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random inputs")
    verify.add_argument("--rtol", type=float, metavar="R", help="relative tolerance instead of the dtype's")
    verify.add_argument("--atol", type=float, metavar="A", help="tolerance as a fraction of the largest magnitude")

    swap = commands.add_parser("swap-weights", help="write an ONNX file with other weights, without exporting again")
    swap.add_argument("model", metavar="FILE", help="an .onnx file that was exported with --keep-weights")
    swap.add_argument(
        "weights", metavar="WEIGHTS", help="a .safetensors file with all weights by their paths, or an index"
    )
    swap.add_argument("-o", "--output", required=True, metavar="FILE", help="the .onnx file to write")
    swap.add_argument("--traceback", action="store_true", help="show where an error came from")

    quantize = commands.add_parser("quantize", help="write an ONNX file with the weights of its products in 8 bits")
    quantize.add_argument("model", metavar="FILE", help="an .onnx file that j2o wrote")
    quantize.add_argument("-o", "--output", required=True, metavar="FILE", help="the .onnx file to write")
    quantize.add_argument("--keep", action="append", default=[], metavar="PATTERN", help=_KEEP)
    quantize.add_argument("--example", action="append", default=[], metavar="FILE.npz", help=_EXAMPLE)
    quantize.add_argument("--ranges", choices=("examples", "run"), default="examples", help=_RANGES)
    quantize.add_argument("--cosine", type=float, metavar="NUMBER", help=_COSINE)
    quantize.add_argument("--weight-bits", type=int, choices=(7, 8), default=7, help=_WEIGHT_BITS)
    quantize.add_argument("--traceback", action="store_true", help="show where an error came from")

    report = commands.add_parser("report", help="write a page of HTML about an ONNX file")
    report.add_argument("model", metavar="FILE", help="an .onnx file")
    report.add_argument("-o", "--output", required=True, metavar="PAGE", help="the .html file to write")
    report.add_argument("--traceback", action="store_true", help="show where an error came from")

    diff = commands.add_parser("diff", help="say how two ONNX files differ: signature, operators, weights, latency")
    diff.add_argument("before", metavar="BEFORE", help="an .onnx file")
    diff.add_argument("after", metavar="AFTER", help="another one")
    diff.add_argument("--latency", action="store_true", help="run both in turn on random inputs, with one thread")
    diff.add_argument("--size", type=int, default=8, metavar="N", help="every symbolic size there (default: 8)")
    diff.add_argument("--traceback", action="store_true", help="show where an error came from")

    plugins = commands.add_parser("plugins", help="list the installed plugins")
    plugins.add_argument("--traceback", action="store_true", help="show where an error came from")

    completion = commands.add_parser("completion", help="print a script that completes commands and options in a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish")
    completion.add_argument("--traceback", action="store_true", help="show where an error came from")
    completion.set_defaults(parser=parser)
    for name, command in commands.choices.items():
        command.add_argument("--json", action="store_true", help="print the results as JSON")
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        command.epilog = f"examples:\n  {_EXAMPLES[name]}\n\n{_STATUS}"
    return parser


def _add_function(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("function", metavar="MODULE:NAME", help=_FUNCTION)
    _add_inputs(parser)
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--call", action="store_true", help="NAME makes the function: call it without arguments")
    parser.add_argument("--input", action="append", default=[], metavar="SPEC", help=_INPUT)
    parser.add_argument(
        "--constraints", action="append", default=[], metavar="C", help='what is known of symbols, such as "T >= 4"'
    )
    parser.add_argument("--x64", action="store_true", help="switch on JAX's 64-bit types before MODULE is imported")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of integers, such as 1,2,5") from error


def _opset(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no integer, such as 21; j2o writes 18 to 26") from error


if __name__ == "__main__":
    sys.exit(main())
