"""Sizes of the models."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class GptConfig:
    """Hyperparameters of a decoder.

    Attributes:
        vocabulary: Number of tokens.
        positions: Longest sequence.
        dim: Channels of a token.
        depth: Number of blocks.
        heads: Heads of the attention; they divide `dim`.
    """

    vocabulary: int
    positions: int
    dim: int
    depth: int
    heads: int

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} is {value}. Expected a number from 1 up.")
        if self.dim % self.heads:
            raise ValueError(f"{self.dim} channels cannot be divided among {self.heads} heads.")

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.dim // self.heads


CONFIGS = {
    "tiny": GptConfig(vocabulary=256, positions=64, dim=64, depth=2, heads=4),
    "gpt2-small": GptConfig(vocabulary=50257, positions=1024, dim=768, depth=12, heads=12),
    "gpt2-medium": GptConfig(vocabulary=50257, positions=1024, dim=1024, depth=24, heads=16),
}
