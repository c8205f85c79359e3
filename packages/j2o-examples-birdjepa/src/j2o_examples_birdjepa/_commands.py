"""The subcommands of `j2o-birdjepa`: functions of the arguments that return the exit status."""

import argparse
from collections import Counter

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from ._augment import AUGMENTATIONS
from ._benchmark import choose, fit_probe, scores
from ._bird_mae import BirdMae
from ._checkpoints import load_encoder
from ._config import BIRD_MAE, TransformerConfig
from ._embed import embed as embed_archive
from ._errors import ConfigError
from ._export import export as export_encoder
from ._filter_audio import filter_audio
from ._logging import Logger, TensorBoardLogger, WandbLogger
from ._metrics import cmap, top1
from ._model import Transformer
from ._objectives import LeJepaConfig, SupervisedConfig
from ._optimizer import OptimizerConfig
from ._pipeline import DataConfig, one_pass
from ._pixio import PixioConfig
from ._songs import CLASSES
from ._songs import make_data as write_songs
from ._sources import FolderSource
from ._state_dict import load_bird_mae
from ._step import StepConfig
from ._train import ObjectiveConfig, TrainConfig, evaluate
from ._train import train as run_training
from ._transform import SAMPLE_RATE, transform


def make_data(options: argparse.Namespace) -> int:
    """Draw songs."""
    count = write_songs(options.folder, per_class=options.per_class, seed=options.seed)
    print(f"wrote {count} songs of {len(CLASSES)} classes and {options.folder / 'index.csv'}")
    return 0


def _train_config(options: argparse.Namespace, source: FolderSource) -> TrainConfig:
    unknown = [name for name in options.augment if name not in AUGMENTATIONS]
    if unknown:
        raise ConfigError(f"there is no augmentation {unknown[0]!r}; there are {', '.join(AUGMENTATIONS)}.")
    objectives: dict[str, ObjectiveConfig] = {
        "supervised": SupervisedConfig(len(source.classes)),
        "lejepa": LeJepaConfig(n_views=2, hidden=4 * options.dim),
        "pixio": PixioConfig(decoder_depth=2, decoder_dim=options.dim, decoder_heads=options.heads),
    }
    patch_h, patch_w = options.patch
    return TrainConfig(
        TransformerConfig(
            patch_h=patch_h,
            patch_w=patch_w,
            embed_dim=options.dim,
            depth=options.depth,
            n_heads=options.heads,
            use_rope=True,
        ),
        objectives[options.objective],
        len(source.classes),
        OptimizerConfig(
            lr=options.lr,
            weight_decay=options.weight_decay,
            optimizer=options.optimizer,
            schedule=options.schedule,
            n_steps=options.steps,
            warmup_steps=options.warmup,
            decay_steps=options.decay,
        ),
        StepConfig(options.seed, precision=options.precision, ema=options.ema),
        DataConfig(
            options.batch,
            options.seed,
            augmentations=tuple(AUGMENTATIONS[name]() for name in options.augment),
            n_views=2 if options.objective == "lejepa" else 0,
            workers=options.workers,
        ),
        eval_every=options.eval_every,
        save_every=options.save_every,
        orbax=options.orbax,
    )


def train(options: argparse.Namespace) -> int:
    """Train, or continue."""
    source = FolderSource(options.data, split=options.split)
    held_out = None
    if options.held_out:
        held_out = FolderSource(options.data, classes=source.classes, split=options.held_out)
    config = _train_config(options, source)
    loggers: list[Logger] = []
    if options.tensorboard:
        loggers.append(TensorBoardLogger(options.output / "tensorboard"))
    if options.wandb:
        loggers.append(WandbLogger(options.wandb, config.as_json(), options.output))
    state = run_training(config, source, options.output, held_out=held_out, loggers=loggers)
    if held_out is not None:
        table = Table("held-out recordings", str(len(held_out)))
        for name, value in evaluate(config, state, held_out).items():
            table.add_row(name, f"{value:.4g}")
        Console().print(table)
    print(f"wrote {options.output}")
    return 0


def _embeddings(encoder: Transformer, source: FolderSource) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    encode = eqx.filter_jit(lambda x: jnp.mean(encoder.encode(x).cls, axis=1))
    found, places, corrupt = [], [], {}
    for batch, unreadable in one_pass(source, DataConfig(32)):
        corrupt.update(unreadable)
        count = len(batch["index"])
        found.append(np.asarray(encode(np.resize(batch["data"], (32, *batch["data"].shape[1:]))))[:count])
        places.append(batch["index"])
    return np.concatenate(found), np.concatenate(places), corrupt


def probe(options: argparse.Namespace) -> int:
    """Fit probes and print their scores."""
    encoder = load_encoder(options.run)
    learnt = FolderSource(options.data, split="train")
    held_out = FolderSource(options.data, classes=learnt.classes, split="test")
    sides = []
    corrupt: dict[str, str] = {}
    for source in (learnt, held_out):
        embeddings, places, unreadable = _embeddings(encoder, source)
        sides.append((embeddings, source.multi_hot()[places]))
        corrupt |= unreadable
    (x, y), (test_x, test_y) = sides
    chosen = choose(y, options.per_class)
    table = Table("probe", "labelled", "cmAP", "top-1")
    for kind in options.kind:
        values = scores(fit_probe(kind, x[chosen], y[chosen], epochs=options.epochs), test_x)
        table.add_row(
            kind, str(len(chosen)), f"{cmap(test_y, values):.4f}", f"{top1(values, test_y.argmax(axis=1)):.4f}"
        )
    Console().print(table)
    _report_corrupt(corrupt)
    return 0


def _report_corrupt(corrupt: dict[str, str]) -> None:
    if corrupt:
        print(f"{len(corrupt)} recordings could not be read:")
        for reason in corrupt.values():
            print(f"  {reason}")


def export(options: argparse.Namespace) -> int:
    """Export, verify, save."""
    encoder: Transformer | BirdMae
    if options.source in BIRD_MAE:
        config = BIRD_MAE[options.source]
        encoder = load_bird_mae(options.weights, config) if options.weights else BirdMae(config, key=jax.random.key(0))
    else:
        encoder = load_encoder(options.source)
    program = export_encoder(encoder, start=options.start, opset=options.opset)
    program.save(options.output)
    operators = Counter(node.op_type for node in program.model.graph.all_nodes())
    size = options.output.stat().st_size / 1e6
    print(f"{options.start} to {', '.join(program.output_names)}, opset {options.opset}: {operators.total()} nodes")
    print(f"wrote {options.output} ({size:.1f} MB)")
    return 0


def embed(options: argparse.Namespace) -> int:
    """Embed an archive."""
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("parts", total=None)
        found = embed_archive(
            options.model,
            options.folder,
            options.output,
            batch=options.batch,
            per_part=options.per_part,
            engine=options.engine,
            workers=options.workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(f"wrote {found.output}: {found.clips} clips")
    _report_corrupt(found.corrupt)
    return 0


def filter(options: argparse.Namespace) -> int:
    """Keep the loudest patches."""
    from ._audio import read_audio

    wave = read_audio(options.recording, seconds=5)
    energy = transform(wave).reshape(32, 16, 8, 16).mean(axis=(1, 3)).reshape(-1)
    patches = np.zeros(256, bool)
    patches[np.argsort(-energy, kind="stable")[: options.loudest]] = True
    kept = filter_audio(wave, patches, options.mode)
    soundfile.write(options.output, kept, SAMPLE_RATE)
    print(f"wrote {options.output}: {len(kept) / SAMPLE_RATE:.2f} s of {patches.sum()} patches")
    return 0


def demo(options: argparse.Namespace) -> int:
    """Run the demonstration."""
    from ._demo import demonstrate

    results = demonstrate(options.output, steps=options.steps, per_class=options.per_class)
    table = Table("what", "found", "wanted", "met")
    for one in results:
        table.add_row(*one.row)
    Console().print(table)
    return 0 if all(one.met for one in results) else 1
