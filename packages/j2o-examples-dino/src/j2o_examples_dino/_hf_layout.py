"""The key names and shapes of Hugging Face's checkpoints, to and from the published layout, for all three families.

The vision transformers differ in names, and in three projections where the published layout has one. What the layout of
DINOv3 leaves out is the bias of the keys (zero in every release), the rotary periods (recomputed there without
rounding), and the norm for local crops. The ConvNeXts differ in names alone.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from ._errors import CheckpointError


class _Names(NamedTuple):
    """Names of a family of vision transformers, published name -> Hugging Face's.

    Attributes:
        top: Tensors outside of blocks.
        blocks: What the names of all blocks begin with.
        block: Layers inside a block.
        ffn: Its feed-forward layers if they are gated, and if they are not.
        thirds: The three parts of `attn.qkv`.
        key_bias: Whether the keys have a bias.
    """

    top: dict[str, str]
    blocks: str
    block: dict[str, str]
    ffn: tuple[dict[str, str], ...]
    thirds: dict[str, str]
    key_bias: bool


_TOP = {
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
}
_BLOCK = {"norm1": "norm1", "ls1.gamma": "layer_scale1.lambda1", "norm2": "norm2", "ls2.gamma": "layer_scale2.lambda1"}
_V3 = _Names(
    top=_TOP
    | {
        "storage_tokens": "embeddings.register_tokens",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.bias",
        "norm.weight": "norm.weight",
        "norm.bias": "norm.bias",
    },
    blocks="layer",
    block=_BLOCK | {"attn.proj": "attention.o_proj"},
    ffn=(
        {"mlp.w1": "mlp.gate_proj", "mlp.w2": "mlp.up_proj", "mlp.w3": "mlp.down_proj"},
        {"mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj"},
    ),
    thirds={letter: f"attention.{letter}_proj" for letter in "qkv"},
    key_bias=False,
)
_V2 = _Names(
    top=_TOP
    | {
        "register_tokens": "embeddings.register_tokens",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    },
    blocks="encoder.layer",
    block=_BLOCK | {"attn.proj": "attention.output.dense"},
    ffn=({"mlp.w12": "mlp.weights_in", "mlp.w3": "mlp.weights_out"}, {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}),
    thirds={name[0]: f"attention.attention.{name}" for name in ("query", "key", "value")},
    key_bias=True,
)
_CONVNEXT_BLOCK = {
    "dwconv": "depthwise_conv",
    "norm": "layer_norm",
    "pwconv1": "pointwise_conv1",
    "pwconv2": "pointwise_conv2",
    "gamma": "gamma",
}

# Rotary periods, masks of biases and the norm for local crops have no name there, and nothing is lost with them; nor
# with the second name of a ConvNeXt's norm.
_LEFT_OUT = re.compile(
    r"rope_embed\.periods|blocks\.\d+\.attn\.qkv\.bias_mask|local_cls_norm\.(weight|bias)|norms\.\d+\.(weight|bias)"
)
# Some versions of the library put everything, or only the layers, under such a name.
_PREFIX = re.compile(r"^(model|dinov2|dinov2_with_registers)\.")


def is_hf_layout(names: set[str]) -> bool:
    """Whether tensor names are Hugging Face's."""
    return any(name.endswith(("embeddings.cls_token", ".depthwise_conv.weight")) for name in names)


def _block_names(names: Mapping[str, str], *, inverse: bool) -> dict[str, str]:
    """Expand the names of layers to those of their tensors."""
    expanded = {}
    for ours, theirs in names.items():
        for suffix in ("",) if ours.endswith(".gamma") else (".weight", ".bias"):
            pair = (theirs + suffix, ours + suffix) if inverse else (ours + suffix, theirs + suffix)
            expanded[pair[0]] = pair[1]
    return expanded


def hf_to_published(
    tensors: Mapping[str, np.ndarray], join: Callable[[list[np.ndarray]], np.ndarray] = np.concatenate
) -> dict[str, np.ndarray]:
    """Rename and join the tensors of a Hugging Face checkpoint.

    Names that it does not know stay as they are, for the check of the state dict to report.

    Args:
        tensors: Arrays by name, for instance `layer.3.attention.q_proj.weight` `[dim, dim]`.
        join: What joins arrays along their first axis.

    Returns:
        Arrays by published name. The bias of DINOv3's keys, which no release has, is zero where it is missing.
    """
    stripped = {_PREFIX.sub("", name): array for name, array in tensors.items()}
    if any(name.endswith(".depthwise_conv.weight") for name in stripped):
        return {_convnext_to_published(name): array for name, array in stripped.items()}
    names = _V2 if "embeddings.position_embeddings" in stripped else _V3
    from_top = {theirs: ours for ours, theirs in names.top.items()}
    # One name means two things in the layout of DINOv3: what else there is tells which.
    gate = next(iter(names.ffn[0].values()))
    gated = any(name.endswith(f"{gate}.weight") for name in stripped)
    from_block = _block_names(names.block | names.ffn[0 if gated else 1], inverse=True)
    letters = {theirs: letter for letter, theirs in names.thirds.items()}

    published: dict[str, np.ndarray] = {}
    thirds: dict[str, dict[str, tuple[str, np.ndarray]]] = {}
    for name, array in stripped.items():
        block = re.fullmatch(rf"{re.escape(names.blocks)}\.(\d+)\.(.+)", name)
        layer, _, kind = block[2].rpartition(".") if block else ("", "", "")
        if name == "embeddings.mask_token" and array.ndim == 3 and len(array) == 1:
            published["mask_token"] = array[0]
        elif name in from_top:
            published[from_top[name]] = array
        elif block and block[2] in from_block:
            published[f"blocks.{block[1]}.{from_block[block[2]]}"] = array
        elif block and layer in letters and kind in ("weight", "bias"):
            thirds.setdefault(f"blocks.{block[1]}.attn.qkv.{kind}", {})[letters[layer]] = (name, array)
        else:
            published[name] = array

    for joint, parts in thirds.items():
        arrays = {letter: array for letter, (_, array) in parts.items()}
        if joint.endswith(".bias") and arrays.keys() == {"q", "v"} and not names.key_bias:
            arrays["k"] = np.zeros_like(arrays["q"])
        if arrays.keys() == {"q", "k", "v"} and len({(array.shape, array.dtype) for array in arrays.values()}) == 1:
            published[joint] = join([arrays["q"], arrays["k"], arrays["v"]])
        else:
            published.update(dict(parts.values()))
    return published


def published_to_hf(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename and split the tensors of a published state dict as Hugging Face has them.

    Args:
        tensors: Arrays by published name, as `state_dict` gives them.

    Raises:
        CheckpointError: If a bias of DINOv3's keys is not zero, which that layout cannot hold, or for a tensor that
            none of the families has.
    """
    kept = {name: array for name, array in tensors.items() if not _LEFT_OUT.fullmatch(name)}
    if any(name.endswith(".dwconv.weight") for name in kept):
        return {_convnext_to_hf(name): array for name, array in kept.items()}
    names = _V2 if "pos_embed" in kept else _V3
    to_block = _block_names(names.block | names.ffn[0] | names.ffn[1], inverse=False)
    theirs: dict[str, np.ndarray] = {}
    for name, array in kept.items():
        block = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
        if name in names.top:
            # The layout of DINOv3 gives this one an axis of a batch, too.
            theirs[names.top[name]] = array[None] if name == "mask_token" and names is _V3 else array
        elif block and block[2] in to_block:
            theirs[f"{names.blocks}.{block[1]}.{to_block[block[2]]}"] = array
        elif block and block[2] in ("attn.qkv.weight", "attn.qkv.bias"):
            kind = block[2].rpartition(".")[2]
            parts = dict(zip("qkv", np.split(array, 3), strict=True))
            without_keys = kind == "bias" and not names.key_bias
            if without_keys and np.any(parts.pop("k")):
                raise CheckpointError(
                    f"{name}: the bias of the keys is not zero, but Hugging Face's layout has no place for it. "
                    "Use the published layout instead."
                )
            for letter, part in parts.items():
                theirs[f"{names.blocks}.{block[1]}.{names.thirds[letter]}.{kind}"] = part
        else:
            raise _without_place(name)
    return theirs


def _convnext_to_published(name: str) -> str:
    """The published name of a ConvNeXt's tensor, or the name itself if there is none."""
    ours = {theirs: ours for ours, theirs in _CONVNEXT_BLOCK.items()}
    if match := re.fullmatch(r"stages\.(\d+)\.downsample_layers\.(.+)", name):
        return f"downsample_layers.{match[1]}.{match[2]}"
    match = re.fullmatch(r"stages\.(\d+)\.layers\.(\d+)\.(\w+)(\.\w+)?", name)
    if match and match[3] in ours:
        return f"stages.{match[1]}.{match[2]}.{ours[match[3]]}{match[4] or ''}"
    return name.removeprefix("layer_") if name in ("layer_norm.weight", "layer_norm.bias") else name


def _convnext_to_hf(name: str) -> str:
    if match := re.fullmatch(r"downsample_layers\.(\d+)\.(.+)", name):
        return f"stages.{match[1]}.downsample_layers.{match[2]}"
    match = re.fullmatch(r"stages\.(\d+)\.(\d+)\.(\w+)(\.\w+)?", name)
    if match and match[3] in _CONVNEXT_BLOCK:
        return f"stages.{match[1]}.layers.{match[2]}.{_CONVNEXT_BLOCK[match[3]]}{match[4] or ''}"
    if name in ("norm.weight", "norm.bias"):
        return f"layer_{name}"
    raise _without_place(name)


def _without_place(name: str) -> CheckpointError:
    return CheckpointError(f"{name} has no place in Hugging Face's layout. Use the published layout.")
