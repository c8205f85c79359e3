"""The encoder in PyTorch, from its description: weights bear the names of the paths in ours."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from cases import ENCODERS, VISIBLE, WHOLE, cotangent, formula_array, sample, spectrograms
from torch import nn


def load_formula(module: nn.Module, prefix: str = "") -> nn.Module:
    """Float64 weights that the formula gives for their names."""
    module.double()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(torch.from_numpy(formula_array(prefix + name, tuple(weight.shape))))
    return module


def rope(grid: torch.Tensor, channels: int, base: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [batch, tokens, channels]; half of the frequencies turn with the row, half with the column."""
    quarter = channels // 4
    frequencies = torch.tensor([base ** (-2 * j / (channels / 2)) for j in range(quarter)], dtype=torch.float64)
    by_row, by_column = (grid[..., axis, None].double() * frequencies for axis in (0, 1))
    angles = torch.cat([by_row, by_column, by_row, by_column], dim=-1)
    return angles.cos(), angles.sin()


class Attention(nn.Module):
    def __init__(self, dim, heads, qk_norm):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.q_norm = nn.LayerNorm(dim // heads) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(dim // heads) if qk_norm else nn.Identity()

    def forward(self, x, tables, before):
        queries, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)
        )  # [batch, heads, tokens, channels]
        queries, keys = self.q_norm(queries), self.k_norm(keys)
        if tables is not None:
            queries, keys = self.turn(queries, tables, before), self.turn(keys, tables, before)
        scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        return self.proj((scores.softmax(dim=-1) @ values).transpose(1, 2).flatten(2))

    @staticmethod
    def turn(x, tables, before):
        cos, sin = (table[:, None] for table in tables)
        after = before + cos.shape[2]
        patches = x[:, :, before:after]
        one, other = patches.chunk(2, dim=-1)
        turned = patches * cos + torch.cat([-other, one], dim=-1) * sin
        return torch.cat([x[:, :, :before], turned, x[:, :, after:]], dim=2)


class Mlp(nn.Module):
    def __init__(self, dim, hidden, gelu):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.approximate = "tanh" if gelu == "tanh" else "none"

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))


class SwiGlu(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, dim, heads, hidden, *, gelu="erf", swiglu=False, qk_norm=False, layerscale=False):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, qk_norm)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = SwiGlu(dim, hidden) if swiglu else Mlp(dim, hidden, gelu)
        self.gamma1 = nn.Parameter(torch.empty(dim)) if layerscale else None
        self.gamma2 = nn.Parameter(torch.empty(dim)) if layerscale else None

    def forward(self, x, tables=None, before=0):
        mixed = self.attn(self.norm1(x), tables, before)
        x = x + (mixed if self.gamma1 is None else self.gamma1 * mixed)
        mapped = self.mlp(self.norm2(x))
        return x + (mapped if self.gamma2 is None else self.gamma2 * mapped)


class PatchEmbed(nn.Module):
    def __init__(self, size, dim):
        super().__init__()
        self.proj = nn.Linear(size, dim)

    def forward(self, x):
        return self.proj(x)


class Transformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        dim, size = config["embed_dim"], config["patch_h"] * config["patch_w"]
        rows, columns = config["input_h"] // config["patch_h"], config["input_w"] // config["patch_w"]
        swiglu = config.get("use_swiglu", False)
        hidden = int(dim * config["mlp_ratio"])
        self.patch_embed = PatchEmbed(size, dim)
        self.cls_tokens = nn.Parameter(torch.empty(1, config["n_cls_tokens"], dim))
        n_reg = config.get("n_reg_tokens", 0)
        self.reg_tokens = nn.Parameter(torch.empty(1, n_reg, dim)) if n_reg else None
        self.pos_embed_hw = None if config.get("use_rope") else nn.Parameter(torch.empty(1, rows, columns, dim))
        self.blocks = nn.ModuleList(
            Block(
                dim,
                config["n_heads"],
                int(2 * hidden / 3) if swiglu else hidden,
                gelu=config.get("gelu", "erf"),
                swiglu=swiglu,
                qk_norm=config.get("use_qk_norm", False),
                layerscale=config.get("use_layerscale", False),
            )
            for _ in range(config["depth"])
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, patches, grid):
        """Class tokens, patches and registers, of patches [batch, tokens, size] with rows and columns."""
        config, batch = self.config, patches.shape[0]
        x = self.patch_embed(patches)
        if self.pos_embed_hw is not None:
            x = x + self.pos_embed_hw[0][grid[..., 0], grid[..., 1]]
        parts = [self.cls_tokens.expand(batch, -1, -1), x]
        if self.reg_tokens is not None:
            parts.append(self.reg_tokens.expand(batch, -1, -1))
        tables = None
        if config.get("use_rope"):
            tables = rope(grid, config["embed_dim"] // config["n_heads"], config.get("rope_base", 100.0))
        x, before = torch.cat(parts, dim=1), config["n_cls_tokens"]
        for block in self.blocks:
            x = block(x, tables, before)
        x = self.norm(x)
        after = before + patches.shape[1]
        return x[:, :before], x[:, before:after], x[:, after:]


def patchify(x, height, width):
    """Patches [batch, n, height * width], row by row, and their rows and columns [batch, n, 2]."""
    rows, columns = x.shape[1] // height, x.shape[2] // width
    patches, grid = [], []
    for row in range(rows):
        for column in range(columns):
            part = x[:, row * height : (row + 1) * height, column * width : (column + 1) * width]
            patches.append(part.flatten(1))
            grid.append((row, column))
    return torch.stack(patches, dim=1), torch.tensor(grid).expand(x.shape[0], -1, -1)


def take(x, places):
    """Rows of each sample: [batch, n, ...] and [batch, k] to [batch, k, ...]."""
    return torch.stack([one[chosen] for one, chosen in zip(x, places, strict=True)])


def goldens():
    """Numbers of the outputs, and of the gradients of a sum of them."""
    found = {}
    for name, config in ENCODERS.items():
        encoder = load_formula(Transformer(config))
        patches, grid = patchify(torch.from_numpy(spectrograms()), config["patch_h"], config["patch_w"])
        patches.requires_grad_()
        places = torch.from_numpy(VISIBLE)
        given = (patches, grid) if name in WHOLE else (take(patches, places), take(grid, places))
        outputs = zip(("cls", "patches", "reg"), encoder(*given), strict=True)
        outputs = {part: value for part, value in outputs if value.shape[1]}
        loss = sum((value * torch.from_numpy(cotangent(tuple(value.shape)))).sum() for value in outputs.values())
        loss.backward()
        found |= {f"{name}/{key}": sample(value.detach().numpy(), 64) for key, value in outputs.items()}
        found[f"{name}/gradient.input"] = sample(patches.grad.numpy(), 64)
        for key, weight in encoder.named_parameters():
            found[f"{name}/gradient.{key}"] = sample(weight.grad.numpy(), 64)
    return {key: np.asarray(value) for key, value in found.items()}
