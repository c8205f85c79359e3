"""Objectives, SIGReg, the online probe and the asymmetric loss in PyTorch, from their descriptions."""

import itertools

import torch
import torch.nn.functional as F  # noqa: N812
from cases import INDEX, OBJECTIVES, SHALLOW, TARGET, VISIBLE, directions, sample, spectrograms, views
from torch import nn
from transformer_pt import Block, Transformer, load_formula, patchify, take


class SourceHead(nn.Module):
    def __init__(self, dim, rank, n_sources):
        super().__init__()
        self.down = nn.Linear(dim, rank)
        self.up = nn.Linear(rank, n_sources)

    def forward(self, x):
        return self.up(self.down(x).relu())


class Supervised(nn.Module):
    def __init__(self, config, encoder):
        super().__init__()
        self.weight = config["source_weight"]
        dim, n_cls = encoder["embed_dim"], encoder["n_cls_tokens"]
        self.head = nn.Linear(dim, config["n_classes"])
        self.source_head = SourceHead(n_cls * dim, config["source_rank"], config["n_sources"])

    def forward(self, encoder):
        cls, _, _ = encoder(*_patches(encoder, spectrograms()))
        classes = F.cross_entropy(self.head(cls.mean(dim=1)), torch.from_numpy(TARGET))
        sources = F.cross_entropy(self.source_head(cls.flatten(1)), torch.from_numpy(INDEX))
        return {"ce": classes, "source": self.weight * sources}


def sigreg(z, along):
    """The Epps-Pulley statistic of z [views, batch, dim] along directions [dim, count], by the trapezoid rule."""
    points = torch.arange(17, dtype=torch.float64) * 3 / 16
    normal = torch.exp(-points.square() / 2)
    spacing = torch.full((17,), 2 * 3 / 16, dtype=torch.float64)
    spacing[0] = spacing[16] = 3 / 16
    total = 0
    for view in z:
        for direction in along.T:
            angles = torch.outer(view @ direction, points)  # [batch, points]
            distance = (angles.cos().mean(dim=0) - normal).square() + angles.sin().mean(dim=0).square()
            total = total + len(view) * (spacing * normal * distance).sum()
    return total / (len(z) * along.shape[1])


class Projector(nn.Module):
    def __init__(self, dim, config):
        super().__init__()
        sizes = (dim, config["hidden"], config["hidden"], config["proj_dim"])
        norm = nn.BatchNorm1d if config["norm"] == "batch" else nn.LayerNorm
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(norm(config["hidden"]) for _ in range(2))

    def forward(self, x):
        for linear, norm in zip(self.linears, self.norms, strict=False):
            x = norm(linear(x)).relu()
        return self.linears[-1](x)


class LeJepa(nn.Module):
    def __init__(self, config, encoder):
        super().__init__()
        self.config = config
        self.projector = Projector(encoder["embed_dim"], config)

    def forward(self, encoder):
        n_views, lamb = self.config["n_views"], self.config["lamb"]
        given = [_patches(encoder, views()[:, view]) for view in range(n_views)]
        cls = torch.cat([encoder(*patches)[0].mean(dim=1) for patches in given])  # all first views, all second ones
        z = self.projector(cls).unflatten(0, (n_views, len(TARGET)))
        inv = (z - z.mean(dim=0)).square().mean()
        along = torch.from_numpy(directions(self.config["proj_dim"]))
        return {"inv": (1 - lamb) * inv, "sigreg": lamb * sigreg(z, along)}


class Decoder(nn.Module):
    def __init__(self, config, encoder):
        super().__init__()
        dim, size = config["decoder_dim"], encoder["patch_h"] * encoder["patch_w"]
        n = (encoder["input_h"] // encoder["patch_h"]) * (encoder["input_w"] // encoder["patch_w"])
        self.embed = nn.Linear(encoder["embed_dim"], dim)
        self.pos_embed = nn.Parameter(torch.empty(1, n, dim))
        self.blocks = nn.ModuleList(
            Block(dim, config["decoder_heads"], 4 * dim) for _ in range(config["decoder_depth"])
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, size)

    def forward(self, cls, tokens):
        x = torch.cat([self.embed(cls)[:, None], self.embed(tokens) + self.pos_embed], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))[:, 1:]


class Pixio(nn.Module):
    def __init__(self, config, encoder):
        super().__init__()
        self.unbiased = config.get("variance", "unbiased") == "unbiased"
        self.mask_token = nn.Parameter(torch.empty(1, 1, encoder["embed_dim"]))
        self.decoder = Decoder(config, encoder)

    def forward(self, encoder):
        patches, grid = _patches(encoder, spectrograms())
        places = torch.from_numpy(VISIBLE)
        cls, seen, _ = encoder(take(patches, places), take(grid, places))
        filled = []
        for one, chosen in zip(seen, places.tolist(), strict=True):
            rows = [one[chosen.index(i)] if i in chosen else self.mask_token[0, 0] for i in range(patches.shape[1])]
            filled.append(torch.stack(rows))
        predicted = self.decoder(cls.mean(dim=1), torch.stack(filled))
        variance = patches.var(dim=-1, unbiased=self.unbiased, keepdim=True)
        wanted = (patches - patches.mean(dim=-1, keepdim=True)) / torch.sqrt(variance + 1e-6)
        hidden = torch.ones(patches.shape[:2], dtype=torch.bool).scatter(1, places, False)
        return {"mse": F.mse_loss(predicted[hidden], wanted[hidden])}


def _patches(encoder, x):
    return patchify(torch.from_numpy(x), encoder.config["patch_h"], encoder.config["patch_w"])


def asymmetric_loss(logits, target):
    """Ridnik et al., 2021: exponents 1 for what is there and 4 for what is not, margin 0.05."""
    positive = torch.sigmoid(logits)
    negative = (1 - positive + 0.05).clamp(max=1)
    likelihood = torch.where(target > 0, positive, negative).clamp(min=1e-8).log()
    weight = torch.where(target > 0, 1 - positive, (1 - negative) ** 4)
    return -(weight * likelihood).mean()


KINDS = {"supervised": Supervised, "lejepa": LeJepa, "pixio": Pixio}


def goldens():
    """Losses, and numbers of their gradients with respect to encoder and objective."""
    found = {}
    for name, config in OBJECTIVES.items():
        encoder = load_formula(Transformer(SHALLOW), "encoder.")
        objective = load_formula(KINDS[name.split("-")[0]](config, SHALLOW), "objective.")
        losses = objective(encoder)
        sum(losses.values()).backward()
        found |= {f"{name}/{key}": loss.detach().numpy() for key, loss in losses.items()}
        for prefix, module in (("encoder", encoder), ("objective", objective)):
            for key, weight in module.named_parameters():
                found[f"{name}/gradient.{prefix}.{key}"] = sample(weight.grad.numpy(), 16)
    logits = torch.from_numpy(4 * spectrograms()[0]).requires_grad_()
    loss = asymmetric_loss(logits, torch.from_numpy(spectrograms()[1] > 0))
    loss.backward()
    return found | {"asymmetric/loss": loss.detach().numpy(), "asymmetric/gradient": sample(logits.grad.numpy(), 64)}
