"""A page that shows what a model sees, layer by layer: one file of HTML, which loads nothing else."""

import base64
import html
import io
import json
from collections.abc import Mapping

import numpy as np
from PIL import Image

from ._picture import colour_map, colours
from ._similarity import STOPS, similarities

# The longer side of the photo in the page.
_LONGEST = 640

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #222; }}
  h1 {{ font-size: 1.3rem; margin: 0; }}
  .note {{ color: #666; margin: 0.2rem 0 1rem; }}
  .panels {{ display: grid; align-items: end; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem; }}
  figure {{ margin: 0; }}
  figcaption {{ font-weight: 600; margin-bottom: 0.3rem; }}
  canvas {{ width: 100%; aspect-ratio: {width} / {height}; display: block; border-radius: 4px; cursor: crosshair; }}
  .layer {{ display: flex; gap: 1rem; align-items: center; margin: 1.2rem 0; }}
  input {{ flex: 1; accent-color: #b23; }}
  output {{ min-width: 9rem; font-variant-numeric: tabular-nums; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="note">{note}</p>
<div class="layer">
  <label for="layer">after layer</label>
  <input id="layer" type="range" min="0" max="{last}" value="{last}">
  <output id="name" for="layer"></output>
</div>
<div class="panels">
  <figure><figcaption>photo: click on a patch</figcaption><canvas id="photo"></canvas></figure>
  <figure><figcaption>three principal components</figcaption><canvas id="components"></canvas></figure>
  <figure><figcaption>similarity to the patch: <span id="range"></span></figcaption>
    <canvas id="similarity"></canvas></figure>
</div>
<p class="note">Components are those of each layer. Similarity is the cosine between patch tokens without their mean,
coloured from the least (dark) to the greatest (yellow).</p>
<script>
"use strict";
const data = {data};
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const layers = data.layers.map((layer) => ({{
  name: layer.name, rows: layer.rows, columns: layer.columns,
  colours: bytes(layer.colours), cosines: bytes(layer.cosines),
}}));
const stops = {stops};
let place = data.place;
const element = (id) => document.getElementById(id);
const photo = new Image();

function heat(unit) {{
  const at = unit * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
  return stops[low].map((value, channel) => value + (at - low) * (stops[low + 1][channel] - value));
}}

function paint(id, layer, colourOf) {{
  const canvas = element(id), context = canvas.getContext("2d");
  canvas.width = data.width; canvas.height = data.height;
  const w = data.width / layer.columns, h = data.height / layer.rows;
  for (let row = 0; row < layer.rows; row++) for (let column = 0; column < layer.columns; column++) {{
    context.fillStyle = `rgb(${{colourOf(row * layer.columns + column).join(",")}})`;
    context.fillRect(Math.floor(column * w), Math.floor(row * h), Math.ceil(w), Math.ceil(h));
  }}
  return context;
}}

function mark(context, layer, row, column) {{
  const w = data.width / layer.columns, h = data.height / layer.rows;
  for (const [colour, width] of [["#fff", 5], ["#b23", 2.5]]) {{
    context.strokeStyle = colour; context.lineWidth = width;
    context.strokeRect(column * w, row * h, w, h);
  }}
}}

function draw() {{
  const layer = layers[element("layer").value], patches = layer.rows * layer.columns;
  const row = Math.min(Math.floor(place[1] * layer.rows), layer.rows - 1);
  const column = Math.min(Math.floor(place[0] * layer.columns), layer.columns - 1);
  const start = (row * layer.columns + column) * patches;
  const cosines = Array.from(layer.cosines.subarray(start, start + patches), (value) => value / 127.5 - 1);
  const least = Math.min(...cosines), most = Math.max(...cosines), span = most - least || 1;
  element("name").textContent = layer.name;
  element("range").textContent = `${{least.toFixed(2)}} to ${{most.toFixed(2)}}`;
  const context = element("photo").getContext("2d");
  element("photo").width = data.width; element("photo").height = data.height;
  context.drawImage(photo, 0, 0, data.width, data.height);
  mark(context, layer, row, column);
  paint("components", layer, (patch) => Array.from(layer.colours.subarray(3 * patch, 3 * patch + 3)));
  mark(paint("similarity", layer, (patch) => heat((cosines[patch] - least) / span)), layer, row, column);
}}

for (const id of ["photo", "components", "similarity"]) element(id).addEventListener("click", (event) => {{
  const box = event.target.getBoundingClientRect();
  place = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  draw();
}});
element("layer").addEventListener("input", draw);
photo.addEventListener("load", draw);
photo.src = data.photo;
</script>
</body>
</html>
"""


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _layer(name: str, tokens: np.ndarray, grid: tuple[int, int]) -> dict[str, object]:
    cosines = np.round((similarities(tokens) + 1) * 127.5).astype(np.uint8)
    return {
        "name": name,
        "rows": grid[0],
        "columns": grid[1],
        "colours": _base64(colours(tokens, colour_map(tokens), grid).tobytes()),
        "cosines": _base64(cosines.tobytes()),
    }


def page(
    photo: np.ndarray,
    layers: Mapping[str, tuple[np.ndarray, tuple[int, int]]],
    *,
    place: tuple[float, float],
    title: str,
    note: str,
) -> str:
    """Lay out a page with a slider over layers.

    Args:
        photo: `[height, width, 3]` uint8.
        layers: Patch tokens `[rows * columns, dim]` and the grid `(rows, columns)`, by the name of the layer.
        place: The patch to begin with, from left to right and from top to bottom, in [0, 1].
        title: A line above.
        note: A line below that one.

    Returns:
        HTML that refers to nothing outside.
    """
    picture = Image.fromarray(photo)
    picture.thumbnail((_LONGEST, _LONGEST))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    data = {
        "photo": f"data:image/jpeg;base64,{_base64(file.getvalue())}",
        "width": picture.width,
        "height": picture.height,
        "place": list(place),
        "layers": [_layer(name, tokens, grid) for name, (tokens, grid) in layers.items()],
    }
    # In a script, "</" could end it.
    text = json.dumps(data).replace("</", "<\\/")
    return _TEMPLATE.format(
        title=html.escape(title),
        note=html.escape(note),
        width=picture.width,
        height=picture.height,
        last=len(layers) - 1,
        data=text,
        stops=json.dumps(STOPS.tolist()),
    )
