"""The rows of `bench_torch.py` as torch has them, written to files by torch.onnx. Runs where torch is installed.

    python tools/torch_models.py FOLDER [rows]

Each row gives `ROW.onnx`, and `ROW.npz` with what it is fed, in order. Weights are random: only times are compared. The
sizes are those of `torch_twins.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mobilenet_blocks import BLOCKS

OPSET = 21
OPSETS = {"BERT, 2 of 768, opset 23": 23}


def rows() -> dict[str, Callable[[], tuple[Any, tuple[Any, ...]]]]:
    """By name, what makes a module and its arguments."""
    image, clip = torch.randn(1, 3, 256, 256), torch.randn(1, 3, 16, 64, 64)
    sequence = torch.randn(100, 1, 64)
    return {
        "LSTM": lambda: (_First(nn.LSTM(64, 128)), (sequence,)),
        "GRU": lambda: (_First(nn.GRU(64, 128)), (sequence,)),
        "LSTM, both directions": lambda: (_First(nn.LSTM(64, 128, bidirectional=True)), (sequence,)),
        "GRU, both directions": lambda: (_First(nn.GRU(64, 128, bidirectional=True)), (sequence,)),
        "resize NCHW, linear": lambda: (_Resize("bilinear"), (image,)),
        "resize NHWC, linear": lambda: (_ChannelsLast(_Resize("bilinear")), (image.permute(0, 2, 3, 1),)),
        "resize NCHW, cubic": lambda: (_Resize("bicubic"), (image,)),
        "resize NHWC, cubic": lambda: (_ChannelsLast(_Resize("bicubic")), (image.permute(0, 2, 3, 1),)),
        "BERT, 4 of 256": lambda: _bert(4, 256, 4),
        "BERT, 2 of 768": lambda: _bert(2, 768, 12),
        "BERT, 2 of 768, opset 23": lambda: _bert(2, 768, 12),
        "MobileNetV3 small": lambda: (_MobileNet(), (torch.randn(1, 3, 224, 224),)),
        "conv3d": lambda: (_Volumes(), (clip,)),
        "GCN": lambda: (_GraphNetwork(), _graph()),
        "Llama prefill": lambda: _llama(4, 512, 8, 2),
    }


class _First(nn.Module):
    """The first result of a module."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any) -> Any:
        return self.inner(*args)[0]


# -- Images ------------------------------------------------------------------------------------------------------------


class _Resize(nn.Module):
    def __init__(self, mode: str):
        super().__init__()
        self.mode = mode

    def forward(self, x: Any) -> Any:
        return functional.interpolate(x, size=(96, 96), mode=self.mode, antialias=True)


class _ChannelsLast(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        return self.inner(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class _ConvNorm(nn.Sequential):
    def __init__(self, inner: int, outer: int, size: int, stride: int = 1, groups: int = 1, act: Any = None):
        layers = [
            nn.Conv2d(inner, outer, size, stride, size // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outer, eps=1e-3),
        ]
        super().__init__(*layers, *([act] if act is not None else []))


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 4
        self.down, self.up = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x: Any) -> Any:
        scale = functional.relu(self.down(functional.adaptive_avg_pool2d(x, 1)))
        return x * functional.hardsigmoid(self.up(scale))


class _Bottleneck(nn.Module):
    def __init__(self, inner: int, size: int, expanded: int, outer: int, squeeze: bool, hard: bool, stride: int):
        super().__init__()
        act = nn.Hardswish() if hard else nn.ReLU()
        self.same = stride == 1 and inner == outer
        self.layers = nn.Sequential(
            *([_ConvNorm(inner, expanded, 1, act=act)] if expanded != inner else []),
            _ConvNorm(expanded, expanded, size, stride, groups=expanded, act=act),
            *([_SqueezeExcite(expanded)] if squeeze else []),
            _ConvNorm(expanded, outer, 1),
        )

    def forward(self, x: Any) -> Any:
        y = self.layers(x)
        return x + y if self.same else y


class _MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_ConvNorm(3, 16, 3, 2, act=nn.Hardswish())]
        inner = 16
        for size, expanded, outer, squeeze, hard, stride in BLOCKS:
            layers.append(_Bottleneck(inner, size, expanded, outer, squeeze, hard, stride))
            inner = outer
        layers.append(_ConvNorm(inner, 576, 1, act=nn.Hardswish()))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(576, 1024), nn.Hardswish(), nn.Linear(1024, 1000))

    def forward(self, x: Any) -> Any:
        return self.head(self.features(x).mean((2, 3)))


class _Volumes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inner, outer in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv3d(inner, outer, 3, padding=1), nn.BatchNorm3d(outer), nn.ReLU(), nn.MaxPool3d(2)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        return self.head(self.layers(x).mean((2, 3, 4)))


# -- Graphs ------------------------------------------------------------------------------------------------------------


class _GraphNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 64) for _ in range(3)])

    def forward(self, nodes: Any, senders: Any, receivers: Any) -> Any:
        degrees = torch.zeros(nodes.shape[0]).index_add(0, receivers, torch.ones(receivers.shape[0]))
        scale = torch.rsqrt(torch.clamp(degrees, min=1))[:, None]
        for layer in self.layers:
            sent = layer(nodes) * scale
            total = torch.zeros_like(sent).index_add(0, receivers, sent[senders])
            nodes = functional.relu(total * scale + nodes)
        return nodes


def _graph() -> tuple[Any, ...]:
    return torch.randn(2000, 64), torch.randint(0, 2000, (10000,)), torch.randint(0, 2000, (10000,))


# -- Text --------------------------------------------------------------------------------------------------------------


def _bert(blocks: int, width: int, heads: int) -> tuple[Any, tuple[Any, ...]]:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=5000,
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        intermediate_size=4 * width,
    )
    model = _trained(BertModel(config, add_pooling_layer=False))

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: Any, mask: Any) -> Any:
            return self.model(input_ids=tokens, attention_mask=mask).last_hidden_state

    mask = torch.ones(1, 128, dtype=torch.int64)
    mask[:, 100:] = 0
    return Encoder(), (torch.randint(0, 5000, (1, 128)), mask)


def _llama(blocks: int, width: int, heads: int, groups: int) -> tuple[Any, tuple[Any, ...]]:
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=5000,
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        intermediate_size=1408,
        use_cache=False,
    )
    model = _trained(LlamaModel(config))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: Any) -> Any:
            return self.model(input_ids=tokens, use_cache=False).last_hidden_state

    return Decoder(), (torch.randint(0, 5000, (1, 128)),)


def _trained(model: Any) -> Any:
    """The model with biases and norms that are not all zeros and ones: the exporter leaves biases of zeros out."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.02 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.add_(0.1 * torch.rand_like(buffer))
    return model


def export(name: str, folder: Path) -> None:
    """Write the files of a row."""
    torch.manual_seed(0)
    module, arguments = rows()[name]()
    arguments = tuple(argument.contiguous() for argument in arguments)
    path = str(folder / f"{name}.onnx")
    module = _trained(module).eval()
    torch.onnx.export(module, arguments, path, opset_version=OPSETS.get(name, OPSET), dynamo=True, external_data=False)
    np.savez(folder / f"{name}.npz", *(argument.numpy() for argument in arguments))


if __name__ == "__main__":
    place, *names = sys.argv[1:]
    for row in rows():
        if not names or row in names:
            export(row, Path(place))
