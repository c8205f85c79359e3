"""The command `j2o-gpt`."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ._config import CONFIGS


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="j2o-gpt",
        description="Export a decoder with random weights, generate tokens in JAX and in ONNX Runtime, and compare.",
    )
    parser.add_argument("config", choices=list(CONFIGS), nargs="?", default="tiny", help="default: tiny")
    parser.add_argument("-o", "--output", type=Path, default=Path("gpt.onnx"), metavar="FILE", help="default: gpt.onnx")
    parser.add_argument("--prompt", type=_positive, default=16, metavar="N", help="tokens of the prompt (default: 16)")
    parser.add_argument("--tokens", type=_positive, default=32, metavar="N", help="tokens to generate (default: 32)")
    parser.add_argument("--batch", type=_positive, default=1, metavar="N", help="prompts at a time (default: 1)")
    parser.add_argument("--opset", type=int, default=24, help="opset of the graph (default: 24)")
    parser.add_argument("--seed", type=_positive, default=1, help="seed of weights and prompt (default: 1)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; by default what the process was started with.

    Returns:
        0 if all went well, 1 if the model could not be exported or the tokens differ, 2 if an argument could not be
        used.
    """
    options = _parser().parse_args(arguments)
    config = CONFIGS[options.config]
    if options.prompt + options.tokens > config.positions:
        return _fail(f"{options.config} has {config.positions} positions, {options.prompt} + {options.tokens} asked", 2)

    # Only now, so that help and mistyped arguments do not wait for JAX.
    import jax
    import numpy as np

    from j2o_core import J2oError, SaveError, SpecError

    from ._export import export
    from ._generate import Decoder, generate_in_jax
    from ._model import Gpt
    from ._table import table

    model = Gpt(config, key=jax.random.key(options.seed))
    prompt = np.random.default_rng(options.seed).integers(
        0, config.vocabulary, (options.batch, options.prompt), dtype=np.int32
    )
    start = time.perf_counter()
    try:
        program = export(model, config, opset=options.opset)
        program.save(options.output)
    except J2oError as error:
        return _fail(str(error), 2 if isinstance(error, SaveError | SpecError) else 1)
    seconds = time.perf_counter() - start

    by_jax = generate_in_jax(model, config, prompt, options.tokens)
    by_runtime = Decoder(options.output).generate(prompt, options.tokens)
    operators = Counter(node.op_type for node in program.model.graph.all_nodes())
    nodes = f"{operators.total()} nodes, {operators['Attention']} of them Attention"
    print(f"{options.config}, opset {options.opset}: {nodes}")
    print(f"wrote {options.output} ({options.output.stat().st_size / 1e6:.1f} MB) in {seconds:.1f} s\n")
    print(table(by_jax, by_runtime, options.prompt))
    differ = np.flatnonzero((by_jax.tokens != by_runtime.tokens).any(axis=0))
    if len(differ):
        return _fail(f"the tokens differ from number {differ[0] + 1} on", 1)
    difference = np.abs(by_jax.logits - by_runtime.logits).max() / np.abs(by_jax.logits).max()
    print(f"\nthe same {options.tokens} tokens; logits differ by {difference:.1e} of the largest")
    return 0


def _fail(message: str, status: int) -> int:
    print(f"j2o-gpt: error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
