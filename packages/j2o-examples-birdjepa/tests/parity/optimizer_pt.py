"""AdamW and Muon in PyTorch: the former is PyTorch's own, the latter is written from its description.

PyTorch's Muon rounds to bfloat16 on its way, so that it cannot serve for a comparison in float64.
"""

import math

import torch
from cases import ENCODERS, OPTIMIZERS, STEPS, sample
from torch import nn
from transformer_pt import Transformer, load_formula

BETAS, EPSILON, MOMENTUM = (0.9, 0.999), 1e-8, 0.95


def rate(config, peak, step):
    """The learning rate of a step, counted from 0."""
    warmup, total = config["warmup_steps"], config["n_steps"]
    if step < warmup:
        return peak * step / warmup
    if config.get("schedule", "cosine") == "cosine":
        return peak * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
    return peak * min(1.0, (total - step) / config["decay_steps"])


def clip(gradients, limit):
    """Scale all gradients together to a norm of at most `limit`."""
    norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
    return [gradient * min(1.0, limit / norm) if limit else gradient for gradient in gradients]


def orthogonal(matrix):
    """Five steps of the quintic iteration towards the orthogonal polar factor (Jordan, "Muon", 2024)."""
    x = matrix / (matrix.norm() + EPSILON)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def look_ahead(first, gradient, decay, step):
    """Nesterov's momentum as Dozat, "Incorporating Nesterov momentum into Adam", 2016, corrects it for its start."""
    return decay * first / (1 - decay ** (step + 2)) + (1 - decay) * gradient / (1 - decay ** (step + 1))


class Muon:
    """Muon for the weights of linear layers; for all else Adam with Nesterov's momentum and without weight decay."""

    def __init__(self, module, config):
        self.config = config
        self.matrices = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Linear)}
        self.first = {id(weight): torch.zeros_like(weight) for weight in module.parameters()}
        self.second = {id(weight): torch.zeros_like(weight) for weight in module.parameters()}

    def change(self, weight, gradient, step):
        first, second = self.first[id(weight)], self.second[id(weight)]
        if id(weight) in self.matrices:
            first.mul_(MOMENTUM).add_(gradient, alpha=1 - MOMENTUM)
            update = orthogonal(look_ahead(first, gradient, MOMENTUM, step))
            update = update * max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5 + self.config["weight_decay"] * weight
            weight -= rate(self.config, self.config["lr"], step) * update
        else:
            first.mul_(BETAS[0]).add_(gradient, alpha=1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            spread = (second / (1 - BETAS[1] ** (step + 1))).sqrt() + EPSILON
            weight -= rate(self.config, self.config["adam_lr"], step) * (
                look_ahead(first, gradient, BETAS[0], step) / spread
            )


def goldens():
    """Numbers of the weights after some steps along gradients that depend on them."""
    found = {}
    for name, config in OPTIMIZERS.items():
        module = load_formula(Transformer(ENCODERS["modern"]))
        weights = dict(module.named_parameters())
        muon = Muon(module, config)
        adamw = torch.optim.AdamW(weights.values(), betas=BETAS, eps=EPSILON, weight_decay=config["weight_decay"])
        for step in range(STEPS):
            gradients = [torch.sin(7 * weight.detach() + step) for weight in weights.values()]
            gradients = clip(gradients, config["grad_clip"])
            if config.get("optimizer") == "muon":
                with torch.no_grad():
                    for weight, gradient in zip(weights.values(), gradients, strict=True):
                        muon.change(weight, gradient, step)
            else:
                for weight, gradient in zip(weights.values(), gradients, strict=True):
                    weight.grad = gradient
                adamw.param_groups[0]["lr"] = rate(config, config["lr"], step)
                adamw.step()
        found |= {f"{name}/{key}": sample(weight.detach().numpy(), 16) for key, weight in weights.items()}
    return found
