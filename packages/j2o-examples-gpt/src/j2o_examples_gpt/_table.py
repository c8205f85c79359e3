"""The results, as a table of plain text."""

from ._generate import Generation


def table(by_jax: Generation, by_runtime: Generation, prompt_tokens: int) -> str:
    """Lay out two generations of the same prompt.

    Args:
        by_jax: What JAX generated.
        by_runtime: What ONNX Runtime generated.
        prompt_tokens: Length of the prompt.
    """
    both = (by_jax, by_runtime)
    batch = len(by_jax.tokens)
    rows = [
        ("", "JAX, jitted", "ONNX Runtime"),
        (f"prompt of {prompt_tokens} tokens", *(f"{one.prefill_seconds * 1e3:.1f} ms" for one in both)),
        ("each token after it", *(f"{one.token_seconds * 1e3:.2f} ms" for one in both)),
        ("tokens/s", *(f"{batch / one.token_seconds:.1f}" for one in both)),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(f"{row[0]:{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}".rstrip() for row in rows)
