"""The measurements of `bench.py`, one function for each figure."""

from __future__ import annotations

import gc
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SIZE = 224
ROUNDS = 32


# -- Models ------------------------------------------------------------------------------------------------------------


def awake(model: Any) -> Any:
    """The model with layer scales of one: at their initial 1e-5 no error inside a block would show."""
    import jax

    def leaf(path: Any, value: Any) -> Any:
        return value * 0 + 1 if "gamma" in jax.tree_util.keystr(path) else value

    return jax.tree_util.tree_map_with_path(leaf, model)


def our_dino(size: str) -> Callable[..., Any]:
    """Class token and patch tokens of our DINOv3-S/16 or -B/16 for a batch of images."""
    import jax

    from j2o_examples_dino import create

    model = awake(create(f"vit{size.lower()}16", key=jax.random.key(0)))

    def features(image: Any) -> Any:
        found = model.forward_features(image)
        return found["x_norm_clstoken"], found["x_norm_patchtokens"]

    return jax.vmap(features)


def equimo_dino(size: str) -> Callable[..., Any]:
    """All tokens of Equimo's DINOv3-S/16 or -B/16, unmodified, for a batch of images."""
    import jax
    from equimo.models import vit

    key = jax.random.key(0)
    model = awake(getattr(vit, f"dinov3_vit{size.lower()}16_pretrain_lvd1689m")(pretrained=False))
    return jax.vmap(lambda image: model.features(image, key=key, inference=True))


MODELS = {"ours": our_dino, "Equimo's": equimo_dino}


# -- Graphs ------------------------------------------------------------------------------------------------------------


def export(fn: Callable[..., Any], path: Path, opset: int, batch: int | str = 1) -> Any:
    """Export to a file and return the program."""
    import j2o_core

    program = j2o_core.to_onnx(fn, [(batch, 3, SIZE, SIZE)], opset=opset)
    program.save(path)
    return program


def operators(path: Path) -> Counter[str]:
    """How often each operator occurs in a file."""
    import onnx_ir as ir

    return Counter(node.op_type for node in ir.load(path).graph.all_nodes())


def runs_at(path: Path, fn: Callable[..., Any], batches: Sequence[int]) -> float:
    """The largest difference from JAX over these batch sizes with one file, relative to the largest magnitude."""
    import jax
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in batches:
        images = np.random.default_rng(batch).standard_normal((batch, 3, SIZE, SIZE)).astype(np.float32)
        results = session.run(None, {session.get_inputs()[0].name: images})
        for got, want in zip(results, jax.tree.leaves(jax.jit(fn)(images)), strict=True):
            worst = max(worst, float(np.abs(got - want).max() / np.abs(want).max()))
    return worst


def feeds(session: Any) -> dict[str, tuple[dict[str, Any], int]]:
    """One random image, once a round."""
    import numpy as np

    image = np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    return {"image": ({session.get_inputs()[0].name: image}, 1)}


# -- Times -------------------------------------------------------------------------------------------------------------


def export_times(fn: Callable[..., Any], folder: Path, *, clear: bool, rounds: int = 5) -> dict[str, float]:
    """Median seconds of `jax.make_jaxpr`, of writing the file's bytes, and of an export to a file, in turns.

    Each time the function is a new object, so that no cache knows it. Garbage is collected before, uncounted: else a
    full collection that one of them owes would count for another.

    Args:
        fn: the model.
        folder: where files may be written.
        clear: whether to clear JAX's caches before each measurement too, so that the functions inside are traced anew.
        rounds: how often.
    """
    import jax
    import jax.numpy as jnp

    spec = jax.ShapeDtypeStruct((1, 3, SIZE, SIZE), jnp.float32)
    path = folder / "timed.onnx"
    export(lambda image: fn(image), path, 21)
    content = path.read_bytes()

    def trace() -> None:
        jax.make_jaxpr(lambda image: fn(image))(spec)

    def write() -> None:
        with open(folder / "bytes", "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def whole() -> None:
        export(lambda image: fn(image), path, 21)

    taken: dict[str, list[float]] = {"make_jaxpr": [], "write": [], "export": []}
    for _ in range(rounds):
        for name, work in (("make_jaxpr", trace), ("write", write), ("export", whole)):
            if clear:
                jax.clear_caches()
            gc.collect()
            begin = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in taken.items()}


def import_times(rounds: int = 5) -> dict[str, float]:
    """Median seconds, each in a new process after `import jax`: `import j2o_core`, `import onnx_ir`, a first export."""
    work = {
        "j2o_core": "import j2o_core",
        "onnx_ir": "import onnx_ir",
        "first export": "import j2o_core; j2o_core.to_onnx(jnp.sin, [(3,)])",
    }
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, code in work.items():
            script = (
                f"import time, jax, jax.numpy as jnp\nb = time.perf_counter()\n{code}\nprint(time.perf_counter() - b)"
            )
            done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
            taken[name].append(float(done.stdout.splitlines()[-1]))
    return {name: statistics.median(times) for name, times in taken.items()}


def rewrite_seconds(blocks: int = 120) -> dict[int, tuple[int, float]]:
    """By opset: equations of a transformer of so many blocks, all written by hand, and seconds for all rewrites."""
    place = ROOT / "packages" / "j2o-plugins-jax" / "tests" / "fusions" / "test_time.py"
    spec = importlib.util.spec_from_file_location("test_time", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {opset: module.measured(blocks, opset) for opset in (21, 23)}
