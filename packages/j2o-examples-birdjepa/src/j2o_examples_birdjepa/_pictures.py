"""Pictures without a library: arrays as PNG, curves and clouds of points as SVG."""

import base64
import html
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

# Dark violet over blue and green to yellow.
_COLOURS = np.array([[40, 20, 70], [50, 80, 140], [35, 145, 140], [110, 200, 90], [250, 230, 60]], np.float64)
_PALETTE = ("#c0392b", "#2471a3", "#239b56", "#d68910", "#7d3c98", "#17a589", "#5d6d7e", "#a04000")


def coloured(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Numbers `[height, width]` as colours `[height, width, 3]` uint8, dark at `low`."""
    place = np.clip((values - low) / max(high - low, 1e-9), 0, 1) * (len(_COLOURS) - 1)
    below = np.minimum(place.astype(int), len(_COLOURS) - 2)
    share = (place - below)[..., None]
    return np.asarray(np.round(_COLOURS[below] * (1 - share) + _COLOURS[below + 1] * share), np.uint8)


def png(image: np.ndarray) -> bytes:
    """A PNG file of `[height, width, 3]` uint8."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, _ = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes())) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def spectrogram_image(spectrogram: np.ndarray, hidden: np.ndarray | None = None) -> np.ndarray:
    """A spectrogram `[time, mel]` with time to the right and low frequencies below; hidden places grey."""
    image = coloured(spectrogram, *np.percentile(spectrogram, [2, 99.8]))
    if hidden is not None:
        image[hidden] = 120
    return np.ascontiguousarray(image.transpose(1, 0, 2)[::-1])


def img(image: np.ndarray, title: str) -> str:
    """An image as an HTML element that holds its file."""
    source = base64.b64encode(png(image)).decode()
    text = html.escape(title)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{source}"><figcaption>{text}</figcaption></figure>'


def _scaled(values: np.ndarray, low: float, high: float, start: float, end: float) -> np.ndarray:
    return start + (values - low) / max(high - low, 1e-9) * (end - start)


_PLOT = 210  # height of the lines


def curves(series: Mapping[str, Sequence[float]], title: str) -> str:
    """Lines over their steps, as SVG; every line has its own height, from 0 to its largest value.

    The legend lies below the lines, so that it covers none.
    """
    lines = []
    for number, (name, values) in enumerate(series.items()):
        heights = np.asarray(values, np.float64)
        x = _scaled(np.arange(len(heights)), 0, max(1, len(heights) - 1), 40, 590)
        y = _scaled(heights, 0, float(np.max(heights)), _PLOT - 10, 20)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        colour = _PALETTE[number % len(_PALETTE)]
        label = f"{name}: {heights[0]:.3g} to {heights[-1]:.3g}"
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')
        lines.append(f'<text x="40" y="{_PLOT + 16 * (number + 1)}" fill="{colour}">{html.escape(label)}</text>')
    return _svg(lines, 600, _PLOT + 16 * len(series) + 10, title)


def cloud(points: np.ndarray, classes: Sequence[int], names: Sequence[str], title: str) -> str:
    """Points `[n, 2]` coloured by class, as SVG with a legend."""
    x = _scaled(points[:, 0], points[:, 0].min(), points[:, 0].max(), 15, 385)
    y = _scaled(points[:, 1], points[:, 1].min(), points[:, 1].max(), 385, 15)
    marks = []
    for a, b, number in zip(x, y, classes, strict=True):
        title_of = f"<title>{html.escape(names[number])}</title>"
        colour = _PALETTE[number % len(_PALETTE)]
        marks.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{colour}">{title_of}</circle>')
    for number, name in enumerate(names):
        colour = _PALETTE[number % len(_PALETTE)]
        marks.append(f'<circle cx="410" cy="{20 + 18 * number}" r="5" fill="{colour}"/>')
        marks.append(f'<text x="422" y="{25 + 18 * number}" fill="{colour}">{html.escape(name)}</text>')
    return _svg(marks, 600, 400, title)


def _svg(marks: Sequence[str], width: int, height: int, title: str) -> str:
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{html.escape(title)}">{"".join(marks)}</svg><figcaption>{html.escape(title)}</figcaption></figure>'
    )


def principal_plane(points: np.ndarray) -> np.ndarray:
    """Points `[n, dim]` in the plane of their two main directions, `[n, 2]`."""
    centred = points - points.mean(axis=0)
    return np.asarray(centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T)
