"""Reading the weights that Equimo publishes: a folder, or the same folder as `.tar.lz4`.

There are two files. `metadata.json` has the arguments that the model was built with. `weights.eqx` has the leaves of
the model's tree, one `.npy` record after another, without names; what they are follows from the arguments.
"""

import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from ._config import DinoConfig
from ._errors import CheckpointError, ConfigError

_METADATA = "metadata.json"
_WEIGHTS = "weights.eqx"

# Arguments that decide what is computed, where DINOv3 has only one value; absent ones have Equimo's default.
_FIXED: dict[str, tuple[Any, Any]] = {
    # name: (value of DINOv3, default)
    "use_local_pos_embed": (True, False),
    "use_global_pos_embed": (False, True),
    "local_pos_embed_reg": (False, False),
    "class_token": (True, True),
    "block": ("attentionblock", "attentionblock"),
    "attn_layer": ("attention", "attention"),
    "norm_layer": ("layernorm", "layernorm"),
    "qk_norm": (False, False),
    "proj_bias": (True, True),
    "ffn_bias": (True, True),
}
# Arguments that make no difference to features at inference.
_WITHOUT_EFFECT = {
    "img_size",
    "dynamic_img_size",
    "global_pool",
    "interpolate_antialias",
    "pos_drop_rate",
    "drop_path_rate",
    "drop_path_uniform",
    "attn_drop",
    "proj_drop",
    "global_pos_embed_cls",
    "global_pos_embed_reg",
}
_READ = {
    "dim",
    "depths",
    "num_heads",
    "in_channels",
    "patch_size",
    "reg_tokens",
    "mlp_ratio",
    "ffn_layer",
    "ffn_kwargs",
    "qkv_bias",
    "untie_global_and_local_cls_norm",
    "eps",
    "init_values",
    "use_mask_token",
    "num_classes",
    "act_layer",
    "local_pos_embed_config_patch",
}


def _config(arguments: Mapping[str, Any]) -> DinoConfig:
    """The DINOv3 configuration that Equimo's arguments describe."""
    unknown = sorted(arguments.keys() - _FIXED.keys() - _WITHOUT_EFFECT - _READ)
    if unknown:
        raise ConfigError(f"it was built with arguments that DINOv3 does not have: {', '.join(unknown)}")
    for name, (wanted, default) in _FIXED.items():
        if arguments.get(name, default) != wanted:
            raise ConfigError(f"it was built with {name}={arguments.get(name, default)!r}; DINOv3 has {wanted!r}")
    if arguments.get("num_classes", 1000):
        raise ConfigError("it has a classification head; only backbones (num_classes=0) are read")
    if arguments.get("init_values") is None:
        raise ConfigError("it has no layer scale (init_values=None); DINOv3 has one")
    ffn = arguments.get("ffn_layer", "mlp")
    if ffn == "mlp" and arguments.get("act_layer", "gelu") != "exactgelu":
        raise ConfigError(f"its activation is {arguments.get('act_layer', 'gelu')!r}; DINOv3 has 'exactgelu'")
    heads = arguments["num_heads"]
    rope: dict[str, Any] = {"strategy": "period", "base": 100.0, "normalize_coords": "separate"}
    rope |= arguments.get("local_pos_embed_config_patch", {})
    if rope["strategy"] != "period":
        raise ConfigError(f"its rotary embedding has the strategy {rope['strategy']!r}; DINOv3 has 'period'")
    return DinoConfig(
        dim=arguments["dim"],
        depth=sum(arguments["depths"]),
        heads=heads[0] if isinstance(heads, list) else heads,
        ffn=ffn,
        ffn_ratio=arguments.get("mlp_ratio", 4.0),
        ffn_align=arguments.get("ffn_kwargs", {}).get("align_to", 8),
        qkv_bias=arguments.get("qkv_bias", True),
        local_cls_norm=arguments.get("untie_global_and_local_cls_norm", False),
        patch_size=arguments["patch_size"],
        channels=arguments["in_channels"],
        registers=arguments.get("reg_tokens", 4),
        norm_eps=arguments.get("eps", 1e-5),
        layer_scale_init=arguments["init_values"],
        rope_base=rope["base"],
        rope_normalize=rope["normalize_coords"],
    )


def _record_names(config: DinoConfig, *, mask_token: bool) -> Iterator[str | None]:
    """Published names of the records, in their order; None for settings of dropout, which is not a weight."""
    yield from ("patch_embed.proj.weight", "patch_embed.proj.bias", "rope_embed.periods", "cls_token")
    if config.registers:
        yield "storage_tokens"
    if mask_token:
        yield "mask_token"
    dropout = (None, None)  # its rate and whether it is off
    linears = ("fc1", "fc2") if config.ffn == "mlp" else ("w1", "w2", "w3")
    for index in range(config.depth):
        names = ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"]
        names += ["attn.qkv.weight"] + ["attn.qkv.bias"] * config.qkv_bias + ["attn.proj.weight", "attn.proj.bias"]
        yield from (f"blocks.{index}.{name}" for name in names)
        yield from dropout * 2  # of the attention weights and of the projection
        yield from (f"blocks.{index}.mlp.{linear}.{kind}" for linear in linears for kind in ("weight", "bias"))
        yield from dropout * 4  # two in the feed-forward layer, one for each residual branch
    yield from dropout  # of the position embedding
    yield from ("norm.weight", "norm.bias")
    if config.local_cls_norm:
        yield from ("local_cls_norm.weight", "local_cls_norm.bias")


def _records(file: IO[bytes]) -> list[np.ndarray]:
    """Read `.npy` records up to the end of the file. Never unpickles."""
    records: list[np.ndarray] = []
    while start := file.read(len(np.lib.format.MAGIC_PREFIX) + 2):
        major, minor = start[-2:] if start.startswith(np.lib.format.MAGIC_PREFIX) else (0, 0)
        if (major, minor) != (1, 0):
            raise ValueError(f"record {len(records)} of {_WEIGHTS} is not an .npy record of version 1.0")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        # bfloat16 has no name in the .npy format; it is stored as two bytes of nothing in particular.
        dtype = np.dtype(ml_dtypes.bfloat16) if dtype == np.dtype("V2") else dtype
        if dtype.hasobject:
            raise ValueError(f"record {len(records)} of {_WEIGHTS} holds pickled objects, which are never loaded")
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        data = file.read(size)
        if len(data) != size:
            raise ValueError(f"{_WEIGHTS} ends in the middle of record {len(records)}")
        array = np.frombuffer(data, dtype)
        records.append(array.reshape(shape, order="F" if fortran_order else "C"))
    return records


@contextmanager
def _lz4_tar(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        import lz4.frame  # type: ignore[import-untyped]
    except ImportError:
        raise CheckpointError(
            f"Reading {path} needs the lz4 package: pip install 'j2o-examples-dino[equimo]'. "
            "Or unpack the archive and give the folder."
        ) from None
    # Read as a stream: nothing is ever extracted, so no name in the archive can lead anywhere.
    with lz4.frame.open(path, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        yield archive


def _read_parts(path: Path) -> tuple[Any, list[np.ndarray]]:
    """The metadata and the records of a folder or an archive."""
    if path.is_dir():
        with (path / _WEIGHTS).open("rb") as weights:
            return json.loads((path / _METADATA).read_text("utf-8")), _records(weights)
    metadata: Any = None
    records: list[np.ndarray] | None = None
    with _lz4_tar(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            if file is None:
                continue
            if member.name == _METADATA and metadata is None:
                metadata = json.load(file)
            elif member.name == _WEIGHTS and records is None:
                records = _records(file)
    if metadata is None or records is None:
        raise ValueError(f"it does not hold both {_METADATA} and {_WEIGHTS}")
    return metadata, records


def read_equimo_archive(path: Path) -> tuple[dict[str, np.ndarray], DinoConfig]:
    """Read weights that Equimo wrote.

    Args:
        path: A folder with `metadata.json` and `weights.eqx`, or the `.tar.lz4` archive of one.

    Returns:
        Arrays by their published names and in the published shapes, and the configuration they belong to.

    Raises:
        CheckpointError: If the archive is damaged or holds another model than a DINOv3 vision transformer.
    """
    try:
        metadata, records = _read_parts(path)
        arguments = metadata["model_config"]
        config = _config(arguments)
        mask_token = arguments.get("use_mask_token", False)
        names = list(_record_names(config, mask_token=mask_token))
        if len(records) != len(names):
            raise ValueError(f"{_WEIGHTS} has {len(records)} records, but the model it describes has {len(names)}")
    except (
        ConfigError,
        tarfile.TarError,
        AttributeError,
        EOFError,
        KeyError,
        OSError,
        RuntimeError,  # lz4's own
        TypeError,
        ValueError,
    ) as error:
        reason = f"its metadata lacks {error}" if isinstance(error, KeyError) else error
        raise CheckpointError(f"{path} cannot be read as an Equimo DINOv3 archive: {reason}") from error

    tensors = {name: array for name, array in zip(names, records, strict=True) if name is not None}
    # Equimo leaves out the axes of length one that the published shapes have, and adds two to the patch bias.
    for name in ("cls_token", "storage_tokens"):
        if name in tensors:
            tensors[name] = tensors[name][None]
    tensors["patch_embed.proj.bias"] = tensors["patch_embed.proj.bias"].reshape(-1)
    if not mask_token:
        # Inference never looks at it; zero is what training starts from.
        tensors["mask_token"] = np.zeros((1, config.dim), tensors["cls_token"].dtype)
    return tensors, config
