"""Other exporters on the same model, each in an environment of its own.

`measure(folder)` makes the environments below `folder` (minutes, and gigabytes for torch), runs this file inside each,
and returns what `peers.json` keeps. An exporter that fails is listed with its message.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REQUIREMENTS = {
    "jax2onnx": ["jax2onnx==0.17.1", "equimo==1.1.0", "lz4", "onnxruntime"],
    "torch": ["torch==2.13.0", "transformers", "onnx", "onnxscript", "onnxruntime"],
}
SIZE = 224
OPSETS = (21, 23)
GPT_OPSETS = (21, 24)


# -- Outside: environments -------------------------------------------------------------------------------------------


def measure(folder: Path) -> tuple[dict[str, Any], dict[str, Path], dict[str, Path]]:
    """The figures for `peers.json`, and the files that the peers wrote, by name and opset: of DINOv3 and of GPT-2."""
    result: dict[str, Any] = {
        "measured": datetime.date.today().isoformat(),
        "where": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }
    files: dict[str, Path] = {}
    gpt_files: dict[str, Path] = {}
    for peer in REQUIREMENTS:
        home = folder / peer
        python = environment(home, peer)
        done = subprocess.run(
            [python, __file__, peer, str(home)],
            capture_output=True,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["nothing"]
            result[peer] = {"fails": said[-1]}
            continue
        figures = json.loads(done.stdout.splitlines()[-1])
        name = figures.pop("name")
        result[name] = figures
        for opset in figures["nodes"]:
            files[f"{name} {opset}"] = home / f"{opset}.onnx"
        for opset in figures.get("gpt nodes", ()):
            gpt_files[f"{name} {opset}"] = home / f"gpt{opset}.onnx"
    return result, files, gpt_files


def environment(home: Path, peer: str) -> str:
    """The interpreter of a peer's environment, which is made below a folder if it is not there."""
    requirements = REQUIREMENTS[peer]
    python = home / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    installed = home / "installed.json"
    if not installed.exists() or json.loads(installed.read_text()) != requirements:
        _install(home, python, requirements)
        installed.write_text(json.dumps(requirements))
    return str(python)


def _install(home: Path, python: Path, requirements: list[str]) -> None:
    uv = shutil.which("uv")
    if not python.exists():
        home.mkdir(parents=True, exist_ok=True)
        make = [uv, "venv", "-q", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
        subprocess.run([*make, str(home / "venv")], check=True)
    install = (
        [uv, "pip", "install", "-q", "--python", str(python)] if uv else [str(python), "-m", "pip", "install", "-q"]
    )
    if requirements[0].startswith("torch"):  # without CUDA's libraries where the index of CPU builds can be reached
        cpu = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]
        if subprocess.run([*install, *cpu, *requirements], capture_output=True).returncode == 0:
            return
    subprocess.run([*install, *requirements], check=True)


def exporter(python: str) -> str:
    """The name of torch's exporter in an environment, with its version."""
    code = "import torch; print(torch.__version__.partition('+')[0])"
    done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return f"torch.onnx {done.stdout.strip()}"


# -- Inside an environment ---------------------------------------------------------------------------------------------


def _nodes(path: Path) -> int:
    import onnx

    def count(graph: Any) -> int:
        nested = (a.g for node in graph.node for a in node.attribute if a.HasField("g"))
        return len(graph.node) + sum(map(count, nested))

    model = onnx.load(path, load_external_data=False)
    return count(model.graph) + sum(len(function.node) for function in model.functions)


def _jax2onnx(folder: Path) -> dict[str, Any]:
    import jax

    begin = time.perf_counter()
    import jax2onnx

    imported = time.perf_counter() - begin
    first = time.perf_counter()
    jax2onnx.to_onnx(jax.numpy.sin, inputs=[(3,)], return_mode="file", output_path=str(folder / "sin.onnx"))
    first = time.perf_counter() - first
    from equimo.models.vit import dinov3_vits16_pretrain_lvd1689m

    key = jax.random.PRNGKey(0)  # typed keys it does not know
    model = dinov3_vits16_pretrain_lvd1689m(pretrained=False)

    def fn(images: Any) -> Any:
        return jax.vmap(lambda image: model.features(image, key=key, inference=True))(images)

    of = "Equimo's model, unmodified"
    try:
        _jax2onnx_export(jax2onnx, fn, folder, 21)
    except Exception as error:  # noqa: BLE001 (any refusal is the figure)
        of = f"Equimo's model with its random keys stubbed out; unmodified: {type(error).__name__}: {str(error)[:200]}"
        jax.random.split = lambda key, num=2: [key] * num  # inference draws nothing
    seconds = {opset: _jax2onnx_export(jax2onnx, fn, folder, opset) for opset in (21, 21)}
    return {
        "name": "jax2onnx 0.17.1",
        "of": of,
        "nodes": {"21": _nodes(folder / "21.onnx")},
        "export seconds": round(seconds[21], 2),
        "import seconds": round(imported, 2),
        "first export seconds": round(imported + first, 2),
    }


def _jax2onnx_export(jax2onnx: Any, fn: Any, folder: Path, opset: int) -> float:
    for old in folder.glob(f"{opset}.onnx*"):  # it refuses to write where a data file is
        old.unlink()
    begin = time.perf_counter()
    path = str(folder / f"{opset}.onnx")
    jax2onnx.to_onnx(lambda x: fn(x), inputs=[(1, 3, SIZE, SIZE)], opset=opset, return_mode="file", output_path=path)
    return time.perf_counter() - begin


def _torch(folder: Path) -> dict[str, Any]:
    import torch
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=12,
        num_attention_heads=6,
        num_register_tokens=4,
        patch_size=16,
        image_size=SIZE,
    )
    model = _trained(DINOv3ViTModel(config)).eval()
    image = torch.zeros(1, 3, SIZE, SIZE)
    nodes, seconds = {}, 0.0
    for opset in (OPSETS[0], *OPSETS):  # the first one warms up
        begin = time.perf_counter()
        torch.onnx.export(model, (image,), str(folder / f"{opset}.onnx"), opset_version=opset, dynamo=True)
        seconds = time.perf_counter() - begin
        nodes[str(opset)] = _nodes(folder / f"{opset}.onnx")
    _torch_gpt(folder)
    return {
        "name": f"torch.onnx {torch.__version__.partition('+')[0]}",
        "of": "transformers' DINOv3ViTModel, random weights",
        "nodes": nodes,
        "export seconds": round(seconds, 2),
        "gpt nodes": {str(opset): _nodes(folder / f"gpt{opset}.onnx") for opset in GPT_OPSETS},
    }


def _trained(model: Any) -> Any:
    """The model with biases and norms that are not all zeros and ones: the exporter leaves biases of zeros out.

    A trained model has them, and ours are random from the start. Without them its GPT-2 reads a prompt about 4% faster.
    """
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def _torch_gpt(folder: Path) -> None:
    """GPT-2 small, for any batch and any numbers of new tokens and remembered ones; logits of the last token alone."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.cache_utils import DynamicCache

    class Step(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = _trained(GPT2LMHeadModel(GPT2Config()))

        def forward(self, tokens: Any, past: Any) -> Any:
            result = self.model(tokens, past_key_values=DynamicCache(past), use_cache=True, logits_to_keep=1)
            return result.logits[:, -1], [(layer.keys, layer.values) for layer in result.past_key_values.layers]

    batch, new, old = (torch.export.Dim(name, max=512) for name in ("B", "T", "P"))
    blocks = 12
    past = [tuple(torch.zeros(2, 12, 5, 64) for _ in range(2)) for _ in range(blocks)]
    sizes = {"tokens": {0: batch, 1: new}, "past": [({0: batch, 2: old}, {0: batch, 2: old})] * blocks}
    arguments = (torch.zeros(2, 3, dtype=torch.int64), past)
    for opset in GPT_OPSETS:
        path = str(folder / f"gpt{opset}.onnx")
        torch.onnx.export(Step().eval(), arguments, path, opset_version=opset, dynamo=True, dynamic_shapes=sizes)


if __name__ == "__main__":
    print(json.dumps({"jax2onnx": _jax2onnx, "torch": _torch}[sys.argv[1]](Path(sys.argv[2]))))
