"""Published weights, wherever people keep them. Nothing is ever downloaded."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ._build import Model
from ._checkpoint import load
from ._config import ConvNextConfig, DinoV2Config
from ._errors import CheckpointError
from ._variants import variant

# First eight digits of the SHA-256 digest, which Meta puts into the names of its files.
_HASHES = {
    "vits16": "08c60483",
    "vits16plus": "4057cbaa",
    "vitb16": "73cec8be",
    "vitl16": "8aa4cbdd",
    "vith16plus": "7c1da9a5",
    "vit7b16": "a955f4ea",
    "vitl16_sat493m": "eadcf0ff",
    "vit7b16_sat493m": "a6675841",
    "convnext_tiny": "21b726bb",
    "convnext_small": "296db49d",
    "convnext_base": "801f2ba9",
    "convnext_large": "61fa432d",
}
_SUFFIXES = (".pth", ".safetensors", ".npz", ".eqx", ".tar.lz4")


class Published(NamedTuple):
    """Where the weights of a variant are published, and under which names.

    Attributes:
        stem: What the names of Meta's and Equimo's files begin with.
        meta_file: Name of Meta's file.
        meta: Where Meta gives it away.
        hugging_face: Repository at Hugging Face, in a layout that `load` reads.
        equimo: Address of Equimo's archive, or None.
    """

    stem: str
    meta_file: str
    meta: str
    hugging_face: str
    equimo: str | None


def published(name: str) -> Published:
    """Where the weights of a variant are published.

    Raises:
        ConfigError: If there is no such variant.
    """
    config = variant(name)
    archives = "https://huggingface.co/poiretclement/equimo/resolve/main/models/default"
    if isinstance(config, DinoV2Config):
        model = name.removesuffix("_reg")
        file = f"{model}_{'reg4_' if config.registers else ''}pretrain.pth"
        equimo = f"{archives}/dinov2/{name}.tar.lz4"
        size = {"s": "small", "b": "base", "l": "large", "g": "giant"}[model.removeprefix("dinov2_vit")[0]]
        theirs = f"facebook/dinov2-{'with-registers-' if config.registers else ''}{size}"
        return Published(name, file, f"https://dl.fbaipublicfiles.com/dinov2/{model}/{file}", theirs, equimo)
    model = name.removesuffix("_sat493m")
    stem = f"dinov3_{model}_pretrain_{'lvd1689m' if name == model else 'sat493m'}"
    convolutional = isinstance(config, ConvNextConfig)
    return Published(
        stem,
        f"{stem}-{_HASHES[name]}.pth",
        "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/ (an address comes by mail on request)",
        f"facebook/{stem.replace('_', '-')}",
        None if convolutional else f"{archives}/dinov3/{stem}.tar.lz4",
    )


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _equimo_folder(name: str) -> Path:
    return Path.home() / ".cache" / "equimo" / ("dinov2" if name.startswith("dinov2") else "dinov3")


def _torch_folders() -> Iterator[Path]:
    hub = Path(os.environ.get("TORCH_HOME") or _cache() / "torch") / "hub"
    yield from (hub / "checkpoints", hub / "dinov3" / "weights", hub / "dinov2" / "weights")


def _hugging_face_snapshots(repository: str) -> Iterator[Path]:
    home = Path(os.environ.get("HF_HOME") or _cache() / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    folder = hub / f"models--{repository.replace('/', '--')}"
    main = folder / "refs" / "main"
    if main.is_file():
        yield folder / "snapshots" / main.read_text("utf-8").strip()
    if (folder / "snapshots").is_dir():
        yield from sorted((folder / "snapshots").iterdir())


def _in_folder(folder: Path, name: str, source: Published) -> Iterator[Path]:
    """Files of a variant in a folder, and the folder itself if it is a checkpoint."""
    if not folder.is_dir():
        return
    if any((folder / file).is_file() for file in ("model.safetensors", "model.safetensors.index.json", "weights.eqx")):
        yield folder
    exact = [folder / source.meta_file, folder / source.stem, folder / name]
    exact += [folder / f"{stem}{suffix}" for stem in (source.stem, name) for suffix in _SUFFIXES]
    yield from (path for path in exact if path.is_file() or (path / "weights.eqx").is_file())
    if source.meta_file.startswith("dinov3"):  # a release with another digest
        yield from sorted(folder.glob(f"{source.stem}-*.pth"))


def find_pretrained(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """The weights of a published variant on this machine.

    Args:
        name: One of the keys of `VARIANTS`.
        folder: Where to look first: a folder of files with the names that they are published under, or of one
            checkpoint. After it come the caches of PyTorch's hub (`TORCH_HOME`), Equimo and Hugging Face (`HF_HOME`).

    Returns:
        A file or folder that `load` reads.

    Raises:
        CheckpointError: If there are none; it says what to download, from where, and where to put it.
        ConfigError: If there is no such variant.
    """
    source = published(name)
    looked: list[Path] = []

    def candidates() -> Iterator[Path]:
        folders = [Path(folder)] if folder is not None else []
        folders += [*_torch_folders(), _equimo_folder(name)]
        for place in folders:
            looked.append(place)
            yield from _in_folder(place, name, source)
        for snapshot in _hugging_face_snapshots(source.hugging_face):
            looked.append(snapshot)
            yield from _in_folder(snapshot, name, source)

    found = next(candidates(), None)
    if found is not None:
        return found
    ways = [f"  {source.meta_file}\n    from {source.meta}\n    to {next(_torch_folders())}, or to a folder of yours"]
    licence = " (you accept the licence there first)" if source.meta_file.startswith("dinov3") else ""
    ways.append(
        f"  {source.hugging_face}{licence}\n"
        f"    with hf download {source.hugging_face}\n    to Hugging Face's cache, or with --local-dir to a folder"
    )
    if source.equimo is not None:
        file = source.equimo.rpartition("/")[2]
        ways.append(f"  {file}\n    from {source.equimo}\n    to {_equimo_folder(name)}")
    raise CheckpointError(
        "\n".join(
            [
                f"There are no weights of {name} in",
                *(f"  {place}" for place in looked),
                "Download one of these; nothing is downloaded for you:",
                *ways,
                "and say where: load_pretrained(name, folder), or --weights.",
            ]
        )
    )


def load_pretrained(name: str, folder: str | os.PathLike[str] | None = None) -> Model:
    """Load a published variant from wherever its weights are on this machine. Never downloads.

    Args:
        name: One of the keys of `VARIANTS`, for instance `"vits16"`.
        folder: Where to look first; see `find_pretrained`.

    Raises:
        CheckpointError: If there are none, or they are damaged; the error says what to download from where.
        ConfigError: If there is no such variant.
    """
    return load(find_pretrained(name, folder), variant(name))
