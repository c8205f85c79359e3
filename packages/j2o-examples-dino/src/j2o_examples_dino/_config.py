"""The hyperparameters of the two vision transformers: what they share, and what is DINOv3's or DINOv2's own."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from ._errors import ConfigError


def check_types(config: Any) -> None:
    """Refuse fields of other types than they are declared with: configurations are read from files, too.

    Raises:
        ConfigError: If there is one.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        declared = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
        wanted = _KINDS.get(declared)
        if wanted is None and "tuple" in str(field.type):
            wanted = "integers", lambda given: type(given) is tuple and all(type(number) is int for number in given)
        if wanted is not None and not wanted[1](value):
            raise ConfigError(f"{type(config).__name__}.{field.name} must be {wanted[0]}, but it is {value!r}.")


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("an integer", lambda given: type(given) is int),
    "bool": ("True or False", lambda given: type(given) is bool),
    "float": ("a finite number", lambda given: type(given) in (int, float) and math.isfinite(given)),
}


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Settings of the vision transformers of both releases.

    Attributes:
        dim: Width D of a token.
        depth: Number of transformer blocks.
        heads: Number of attention heads; each has D // heads channels.
        ffn: Feed-forward layer of a block: a GELU MLP, SwiGLU, or SwiGLU whose first two matrices are one.
        ffn_ratio: Nominal width of the hidden layer over D; see `hidden`.
        ffn_align: The hidden width of SwiGLU is rounded up to a multiple of this.
        qkv_bias: Whether the query, key and value projection has a bias.
        patch_size: Side of a patch in pixels.
        channels: Channels of the image.
        registers: Number of register ("storage") tokens after the class token.
        norm_eps: Epsilon of every LayerNorm.
        layer_scale_init: Value that the learned per-channel scale of each residual branch starts from.
    """

    dim: int
    depth: int
    heads: int
    ffn: Literal["mlp", "swiglu", "swiglu_fused"] = "mlp"
    ffn_ratio: float = 4.0
    ffn_align: int = 8
    qkv_bias: bool = True
    patch_size: int = 16
    channels: int = 3
    registers: int = 4
    norm_eps: float = 1e-5
    layer_scale_init: float = 1e-5

    key_bias: ClassVar[bool]
    """Whether the bias of the projection has a part for the keys; where it has none, checkpoints hold a mask."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("dim", "depth", "heads", "ffn_align", "patch_size", "channels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{type(self).__name__}.{name} must be at least 1, but it is {getattr(self, name)}.")
        if self.registers < 0:
            raise ConfigError(f"{type(self).__name__}.registers must not be negative, but it is {self.registers}.")
        if self.dim % self.heads:
            raise ConfigError(
                f"{type(self).__name__}: dim {self.dim} must be a whole number of channels for each of {self.heads} "
                "heads."
            )
        self._one_of("ffn", ("mlp", "swiglu", "swiglu_fused"))

    def _one_of(self, name: str, allowed: tuple[Any, ...]) -> None:
        if getattr(self, name) not in allowed:
            raise ConfigError(
                f"{type(self).__name__}.{name} must be one of {allowed}, but it is {getattr(self, name)!r}."
            )

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.heads

    @property
    def hidden(self) -> int:
        """Width of the feed-forward layer's hidden activation.

        SwiGLU has three matrices where an MLP has two, so two thirds of the nominal width cost the same; the result
        is rounded up to a multiple of `ffn_align`.
        """
        nominal = int(self.dim * self.ffn_ratio)
        if self.ffn == "mlp":
            return nominal
        reduced = int(nominal * 2 / 3)
        return reduced + -reduced % self.ffn_align

    @property
    def prefix(self) -> int:
        """Number of tokens before the patch tokens: the class token and the registers."""
        return 1 + self.registers


@dataclasses.dataclass(frozen=True)
class DinoConfig(TransformerConfig):
    """Hyperparameters of one DINOv3 vision transformer, whose positions are rotations of queries and keys.

    Attributes:
        local_cls_norm: Whether there is the LayerNorm that training used for local crops; inference never uses it.
        rope_base: Base of the geometric series of rotary periods.
        rope_normalize: What patch coordinates are divided by: each axis by its own length, or both by the larger or
            the smaller one.
        rope_periods: Where the rotary periods come from. `"checkpoint"` takes the buffer of the checkpoint, and where
            there is none the bfloat16-rounded series that the published buffers hold; `"bf16"` and `"fp32"` compute
            the series, rounded or not, whatever the checkpoint says (other reimplementations use `"fp32"`).
    """

    local_cls_norm: bool = False
    rope_base: float = 100.0
    rope_normalize: Literal["separate", "max", "min"] = "separate"
    rope_periods: Literal["checkpoint", "bf16", "fp32"] = "checkpoint"

    key_bias: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_dim % 4:
            raise ConfigError(
                f"DinoConfig: dim {self.dim} over {self.heads} heads must give a whole number of channels a head that "
                "is a multiple of 4, because the rotary embedding splits a head into rows and columns, each into pairs."
            )
        self._one_of("rope_normalize", ("separate", "max", "min"))
        self._one_of("rope_periods", ("checkpoint", "bf16", "fp32"))


@dataclasses.dataclass(frozen=True)
class DinoV2Config(TransformerConfig):
    """Hyperparameters of one DINOv2 vision transformer, whose positions are vectors added to the tokens.

    The vectors are learned for the patches of one image size; at other sizes their grid is resampled.

    Attributes:
        image_size: Side in pixels of the square images that the positions were learned for.
        class_position: Whether the class token has a position, too.
        register_positions: Whether the registers have positions, too; only where the class token has one.
        resize_mode: How the grid of positions is resampled, in both cases bicubic: as `jax.image.resize` does
            (coefficient -0.5, taps outside of the grid left out), or as PyTorch's `interpolate` does in Meta's code
            (coefficient -0.75 and edges repeated; with `resize_antialias` they are the same).
        resize_antialias: Whether the kernel is widened where the grid shrinks.
        resize_offset: With `resize_mode="torch"`, what is added to the number of rows or columns for the scale, but
            not for the size: Meta's models without registers have 0.1, to guard against rounding.
    """

    patch_size: int = 14
    registers: int = 0
    norm_eps: float = 1e-6
    image_size: int = 518
    class_position: bool = True
    register_positions: bool = False
    resize_mode: Literal["jax", "torch"] = "jax"
    resize_antialias: bool = False
    resize_offset: float = 0.0

    key_bias: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side < 1:
            raise ConfigError(
                f"DinoV2Config.image_size {self.image_size} must hold a patch of {self.patch_size} pixels."
            )
        if self.register_positions and not self.class_position:
            raise ConfigError("DinoV2Config.register_positions needs class_position: prefixes have positions in order.")
        if self.resize_mode == "jax" and self.resize_offset:
            raise ConfigError("DinoV2Config.resize_offset is for resize_mode='torch' only; jax.image.resize has none.")
        self._one_of("resize_mode", ("jax", "torch"))

    @property
    def side(self) -> int:
        """Rows, and columns, of the grid that positions were learned for."""
        return self.image_size // self.patch_size

    @property
    def prefix_positions(self) -> int:
        """Number of tokens before the patches that have a position."""
        return (self.prefix if self.register_positions else 1) if self.class_position else 0


@dataclasses.dataclass(frozen=True)
class ConvNextConfig:
    """Hyperparameters of one ConvNeXt, the convolutional family of the DINOv3 release.

    Attributes:
        depths: Number of blocks of each stage.
        dims: Number of channels of each stage.
        channels: Channels of the image.
        norm_eps: Epsilon of every LayerNorm.
        layer_scale_init: Value that the learned per-channel scale of each residual branch starts from.
    """

    depths: tuple[int, ...]
    dims: tuple[int, ...]
    channels: int = 3
    norm_eps: float = 1e-6
    layer_scale_init: float = 1e-6

    registers: ClassVar[int] = 0
    prefix: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_types(self)
        if len(self.depths) != len(self.dims) or not self.dims:
            raise ConfigError(
                f"ConvNextConfig: depths {self.depths} and dims {self.dims} must have one entry for each stage."
            )
        if min(*self.depths, *self.dims, self.channels) < 1:
            raise ConfigError("ConvNextConfig: depths, dims and channels must be at least 1.")

    @property
    def dim(self) -> int:
        """Width of a token: the channels of the last stage."""
        return self.dims[-1]

    @property
    def depth(self) -> int:
        """Number of stages, whose outputs are the layers of this family."""
        return len(self.dims)

    @property
    def patch_size(self) -> int:
        """Side in pixels of what one token stands for: 4 for the first stage, twice as much for each that follows."""
        return 4 << (len(self.dims) - 1)
