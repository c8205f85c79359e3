"""The demonstration: draw songs, train on them in three ways, export, compare, and show everything on one page."""

import csv
import dataclasses
import html
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._augment import ColorJitter, FreqMask, GaussianNoise, Roll, TimeMask
from ._benchmark import fit_probe, scores
from ._config import TransformerConfig
from ._export import Pipeline, export
from ._metrics import top1
from ._model import Transformer, unstack
from ._objectives import LeJepaConfig, SupervisedConfig
from ._optimizer import OptimizerConfig
from ._patches import patchify, unpatchify
from ._pictures import cloud, curves, img, principal_plane, spectrogram_image
from ._pipeline import DataConfig, one_pass
from ._pixio import Pixio, PixioConfig
from ._songs import CLASSES, make_data
from ._sources import FolderSource, NpzSource, write_shards
from ._step import State
from ._train import TrainConfig, evaluate, first_state, train
from ._transform import fit, transform

ENCODER = TransformerConfig(patch_h=16, patch_w=32, embed_dim=64, depth=2, n_heads=4, n_cls_tokens=2, grad_ckpt=False)
_PROBE_EPOCHS = 300


@dataclasses.dataclass(frozen=True)
class Result:
    """A number of the demonstration and what it must be.

    Attributes:
        name: Its name.
        value: The number.
        wanted: The bound, or None for a number to compare others with.
        above: Whether the number must be above the bound; otherwise below.
    """

    name: str
    value: float
    wanted: float | None = None
    above: bool = True

    @property
    def met(self) -> bool:
        """Whether it is as it must be."""
        if self.wanted is None:
            return True
        return self.value > self.wanted if self.above else self.value < self.wanted

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Its name, the number, the bound, and whether it is met, as text."""
        if self.wanted is None:
            return self.name, f"{self.value:.4g}", "", ""
        bound = f"{'above' if self.above else 'below'} {self.wanted:g}"
        return self.name, f"{self.value:.4g}", bound, "yes" if self.met else "no"


def configurations(steps: int, seed: int) -> dict[str, TrainConfig]:
    """The three runs: labels, a masked autoencoder, and LeJEPA."""

    def run(objective: Any, **data: Any) -> TrainConfig:
        # AdamW, at five rates, did not get beyond a quarter of the held-out songs; Muon, at three, knew nearly all. A
        # likely reason: neighbouring energies are alike, so that Adam's equal steps add up in the patch projection.
        optimizer = OptimizerConfig(lr=1e-2, optimizer="muon", n_steps=steps, warmup_steps=steps // 10)
        return TrainConfig(
            ENCODER, objective, len(CLASSES), optimizer, data=DataConfig(32, seed=seed, **data), save_every=steps
        )

    return {
        "supervised": run(SupervisedConfig(len(CLASSES))),
        "pixio": run(PixioConfig(0.6, 2, decoder_depth=2, decoder_dim=64, decoder_heads=4)),
        "lejepa": run(
            LeJepaConfig(n_views=2, hidden=256, lamb=0.3),
            n_views=2,
            # Common traits of two crops that are not heard are removed: the moment at which notes begin, which alone
            # kept the probe where that of an untrained encoder is, then loudness, noise, silence at the end.
            augmentations=(Roll(), ColorJitter(0.4, 0.4), GaussianNoise(0.1), FreqMask(100, 2), TimeMask(10, 2)),
        ),
    }


def demonstrate(
    folder: Path, *, steps: int = 100, per_class: int = 60, seed: int = 0, log: Callable[[str], None] = print
) -> list[Result]:
    """Run the demonstration.

    Args:
        folder: Where songs, runs, graphs and the page `index.html` go.
        steps: Steps of each training.
        per_class: Songs of each of the eight classes: four of six to learn from, one to choose by, one for the figures.
        seed: Seed of the songs and of their order.
        log: Takes a line for each stage.

    Returns:
        What was measured, with its bounds.
    """
    began = time.perf_counter()
    count = make_data(folder / "data", per_class=per_class, seed=seed, held_out=1 / 6, choose=1 / 6)
    log(f"drew {count} songs in {time.perf_counter() - began:.0f} s")
    sources = {}
    for name in ("train", "choose", "test"):
        source = FolderSource(folder / "data", split=name)
        write_shards(source, folder / "shards" / name, classes=source.classes)
        sources[name] = NpzSource(folder / "shards" / name)
    learnt, to_choose, held_out = sources.values()
    states, curves_of = {}, {}
    for name, config in configurations(steps, seed).items():
        start = time.perf_counter()
        shutil.rmtree(folder / name, ignore_errors=True)
        states[name] = train(config, learnt, folder / name, held_out=to_choose)
        curves_of[name] = _losses(folder / name)
        log(f"trained {name} for {config.optimizer.n_steps} steps in {time.perf_counter() - start:.0f} s")
    configs = configurations(steps, seed)
    tested = {name: evaluate(configs[name], state, held_out) for name, state in states.items()}
    sigreg = float(np.mean(curves_of["lejepa"]["sigreg"][-10:])) / configs["lejepa"].objective.lamb  # type: ignore[union-attr]
    encoders = {"untrained": first_state(configs["lejepa"]).encoder, "LeJEPA": states["lejepa"].encoder}
    probed = {name: len(CLASSES) * _probed(encoder, learnt, to_choose, held_out) for name, encoder in encoders.items()}
    results = [
        Result("supervised: top-1 of held-out songs", tested["supervised"]["acc"], 0.9, True),
        Result("masked autoencoder: error over that of the mean", tested["pixio"]["mse"], 0.9, False),
        Result("LeJEPA: SIGReg", sigreg, 1.2, False),
        Result("LeJEPA: top-1 of a linear probe over chance", probed["LeJEPA"], 3.0, True),
        Result("the same of an untrained encoder", probed["untrained"]),
    ]
    waves = np.stack([fit(held_out[place].read(0, 160_000)) for place in range(len(held_out))])
    targets = [held_out[place].target for place in range(len(held_out))]
    embeddings, agreement = _export(folder, states["supervised"], waves)
    results += agreement
    seconds = time.perf_counter() - began
    page = _page(results, curves_of, states["pixio"], waves, embeddings, targets, held_out.classes, seconds)
    (folder / "index.html").write_text(page, "utf-8")
    log(f"wrote {folder / 'index.html'} after {seconds:.0f} s")
    return results


def _losses(run: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = row["name"].removeprefix("train/")
            if name in ("ce", "mse", "inv", "sigreg", "probe"):
                found.setdefault(name, []).append(float(row["value"]))
    return found


def _export(folder: Path, state: State, waves: np.ndarray) -> tuple[np.ndarray, list[Result]]:
    """Export the supervised encoder with its probe, and compare ONNX Runtime with JAX on held-out songs."""
    program = export(state.encoder, head=state.probe)
    program.save(folder / "supervised.onnx")
    pipeline = eqx.filter_jit(Pipeline(unstack(state.encoder), state.probe))
    found, expected = [], []
    for start in range(0, len(waves), 16):
        group = waves[start : start + 16]
        found.append(program(group))
        expected.append({name: np.asarray(value) for name, value in pipeline(jnp.asarray(group)).items()})
    ours, jax_s = (
        {k: np.concatenate([each[k] for each in side]) for k in ("embedding", "logits")} for side in (found, expected)
    )
    results = []
    for name in ("embedding", "logits"):
        difference = np.abs(ours[name] - jax_s[name]).max() / np.abs(jax_s[name]).max()
        results.append(Result(f"ONNX Runtime beside JAX: {name}, largest difference", float(difference), 1e-3, False))
    same = np.mean(ours["logits"].argmax(axis=1) == jax_s["logits"].argmax(axis=1))
    results.append(Result("ONNX Runtime beside JAX: same class", float(same), 0.99, True))
    return ours["embedding"], results


def _probed(encoder: Transformer, learnt: NpzSource, to_choose: NpzSource, held_out: NpzSource) -> float:
    """Top-1 on held-out songs of a linear probe on the frozen embeddings of an encoder.

    Embeddings are the mean class token, the mean patch, or both: whichever is best on the songs to choose by.
    """
    encode = eqx.filter_jit(lambda x: [jnp.mean(tokens, axis=1) for tokens in encoder.encode(x)[:2]])

    def embedded(source: NpzSource) -> tuple[list[np.ndarray], np.ndarray]:
        groups, targets = [], []
        for batch, _ in one_pass(source, DataConfig(16)):
            groups.append(np.concatenate(encode(batch["data"]), axis=1))
            targets.append(batch["target"])
        both = np.concatenate(groups)
        return [*np.split(both, 2, axis=1), both], np.concatenate(targets)

    splits = [embedded(source) for source in (learnt, to_choose, held_out)]
    found = []
    (_, target), (_, chosen_target), (_, tested_target) = splits
    for x, chosen, tested in zip(*(embeddings for embeddings, _ in splits), strict=True):
        # Embeddings have a large part in common; a linear map of them all the same, but one that takes fewer passes.
        mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
        probe = fit_probe("linear", (x - mean) / scale, np.eye(len(CLASSES))[target], epochs=_PROBE_EPOCHS)
        by_choice = top1(scores(probe, (chosen - mean) / scale), chosen_target)
        found.append((by_choice, top1(scores(probe, (tested - mean) / scale), tested_target)))
    return max(found, key=lambda both: both[0])[1]


def _reconstructions(state: State, waves: np.ndarray) -> list[str]:
    objective = state.objective
    assert isinstance(objective, Pixio)
    config = state.encoder.config
    spectrograms = np.stack([transform(wave) for wave in waves])
    mask = objective.mask(state.encoder, len(waves), key=jax.random.key(7))
    predicted = np.asarray(objective.predict(state.encoder, jnp.asarray(spectrograms), mask))
    patches = np.asarray(patchify(jnp.asarray(spectrograms), config.patch_h, config.patch_w)[0])
    # Patches are predicted without their mean and scale, which are put back from the original.
    scale = np.sqrt(patches.var(axis=-1, ddof=1, keepdims=True) + 1e-6)
    shown = np.where(np.asarray(mask)[..., None], predicted * scale + patches.mean(axis=-1, keepdims=True), patches)
    size, counts = (config.patch_h, config.patch_w), (config.n_patches_h, config.n_patches_w)
    whole = np.asarray(unpatchify(jnp.asarray(shown), None, patch=size, n_patches=counts))
    hidden = np.repeat(np.repeat(np.asarray(mask).reshape(-1, *counts), size[0], axis=1), size[1], axis=2)
    rows = []
    for place in range(len(waves)):
        images = (
            img(spectrogram_image(spectrograms[place]), "a held-out song: time to the right, mel upwards"),
            img(spectrogram_image(spectrograms[place], hidden[place]), "what the encoder sees"),
            img(spectrogram_image(whole[place]), "hidden patches as they are predicted"),
        )
        rows.append(f'<div class="row">{"".join(images)}</div>')
    return rows


_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#222}
.row{display:flex;gap:1em;flex-wrap:wrap}figure{margin:0 0 1em}figcaption{font-size:14px;color:#555}
table{border-collapse:collapse}td,th{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:left}
img{width:370px;image-rendering:pixelated}.missed{color:#b00}"""


def _page(
    results: list[Result],
    losses: dict[str, dict[str, list[float]]],
    pixio: State,
    waves: np.ndarray,
    embeddings: np.ndarray,
    targets: list[int],
    classes: tuple[str, ...],
    seconds: float,
) -> str:
    cells = ["".join(f"<td>{html.escape(text)}</td>" for text in one.row) for one in results]
    lines = [
        f'<tr class="{"met" if one.met else "missed"}">{row}</tr>' for one, row in zip(results, cells, strict=True)
    ]
    chosen = waves[:: max(1, len(waves) // 3)][:3]
    charts = [curves(series, f"losses of {name} over its steps") for name, series in losses.items()]
    plane = cloud(
        principal_plane(embeddings),
        targets,
        classes,
        "embeddings of held-out songs by ONNX Runtime, in their main plane",
    )
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Bird songs, from drawing to ONNX</title>
<style>{_STYLE}</style><h1>Bird songs, from drawing to ONNX</h1>
<p>{len(CLASSES)} classes of songs were drawn, an encoder of {ENCODER.depth} blocks was trained on them in three ways,
and exported with its front end, from waveform to class. It took {seconds:.0f} s. Settings were chosen on songs that are
neither learnt from nor counted here; all figures are of the test songs, but SIGReg's, which is of the last steps.</p>
<table><tr><th>what</th><th>found</th><th>wanted</th><th>met</th></tr>{"".join(lines)}</table>
<h2>Masks and reconstructions</h2>{"".join(_reconstructions(pixio, chosen))}
<h2>Losses</h2><div class="row">{"".join(charts)}</div>
<h2>Map of embeddings</h2>{plane}</html>
"""
