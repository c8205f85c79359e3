"""The key names and shapes of Hugging Face's DINOv3 checkpoints, to and from the published layout.

They differ in names, in three projections where the published layout has one, and in what they leave out: the bias of
the keys (zero in every release), the rotary periods (recomputed there without rounding), and the norm for local crops.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np

from ._errors import CheckpointError

# Published name -> Hugging Face name, outside and inside a block.
_TOP = {
    "cls_token": "embeddings.cls_token",
    "storage_tokens": "embeddings.register_tokens",
    "mask_token": "embeddings.mask_token",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.bias",
    "norm.weight": "norm.weight",
    "norm.bias": "norm.bias",
}
_BLOCK = {
    "norm1": "norm1",
    "attn.proj": "attention.o_proj",
    "ls1.gamma": "layer_scale1.lambda1",
    "norm2": "norm2",
    "ls2.gamma": "layer_scale2.lambda1",
}
_MLP = {"mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj"}
_SWIGLU = {"mlp.w1": "mlp.gate_proj", "mlp.w2": "mlp.up_proj", "mlp.w3": "mlp.down_proj"}

_FROM_TOP = {theirs: ours for ours, theirs in _TOP.items()}
# Rotary periods, masks of biases and the norm for local crops have no name there, and nothing is lost with them.
_LEFT_OUT = re.compile(r"rope_embed\.periods|blocks\.\d+\.attn\.qkv\.bias_mask|local_cls_norm\.(weight|bias)")
_THIRDS = re.compile(r"attention\.([qkv])_proj\.(weight|bias)")


def is_hf_layout(names: set[str]) -> bool:
    """Whether tensor names are Hugging Face's."""
    return any(name.endswith("embeddings.cls_token") for name in names)


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
        Arrays by published name. The bias of the keys, which no release has, is zero where it is missing.
    """
    # Some versions of the library put everything, or only the layers, under "model.".
    stripped = {name.removeprefix("model."): array for name, array in tensors.items()}
    ffn = _SWIGLU if any(name.endswith("mlp.gate_proj.weight") for name in stripped) else _MLP
    from_block = _block_names(_BLOCK | ffn, inverse=True)

    published: dict[str, np.ndarray] = {}
    thirds: dict[str, dict[str, tuple[str, np.ndarray]]] = {}
    for name, array in stripped.items():
        block = re.fullmatch(r"layer\.(\d+)\.(.+)", name)
        if name == "embeddings.mask_token" and array.ndim == 3 and len(array) == 1:
            published["mask_token"] = array[0]
        elif name in _FROM_TOP:
            published[_FROM_TOP[name]] = array
        elif block and block[2] in from_block:
            published[f"blocks.{block[1]}.{from_block[block[2]]}"] = array
        elif block and (third := _THIRDS.fullmatch(block[2])):
            thirds.setdefault(f"blocks.{block[1]}.attn.qkv.{third[2]}", {})[third[1]] = (name, array)
        else:
            published[name] = array

    for joint, parts in thirds.items():
        arrays = {letter: array for letter, (_, array) in parts.items()}
        if joint.endswith(".bias") and arrays.keys() == {"q", "v"}:
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
        CheckpointError: If a bias of the keys is not zero, which that layout cannot hold, or for what is no vision
            transformer of DINOv3.
    """
    to_block = _block_names(_BLOCK | _MLP | _SWIGLU, inverse=False)
    theirs: dict[str, np.ndarray] = {}
    for name, array in tensors.items():
        block = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
        if name in _TOP:
            theirs[_TOP[name]] = array[None] if name == "mask_token" else array
        elif block and block[2] in to_block:
            theirs[f"layer.{block[1]}.{to_block[block[2]]}"] = array
        elif block and block[2] in ("attn.qkv.weight", "attn.qkv.bias"):
            kind = block[2].rpartition(".")[2]
            q, k, v = np.split(array, 3)
            parts = {"q": q, "k": k, "v": v}
            if kind == "bias":
                if np.any(k):
                    raise CheckpointError(
                        f"{name}: the bias of the keys is not zero, but Hugging Face's layout has no place for it. "
                        "Use the published layout instead."
                    )
                del parts["k"]
            for letter, part in parts.items():
                theirs[f"layer.{block[1]}.attention.{letter}_proj.{kind}"] = part
        elif not _LEFT_OUT.fullmatch(name):
            raise CheckpointError(f"{name} has no place in Hugging Face's layout of DINOv3. Use the published layout.")
    return theirs
