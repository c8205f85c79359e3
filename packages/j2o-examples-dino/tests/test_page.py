import base64
import html.parser
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from j2o_examples_dino._cli import main
from j2o_examples_dino._page import page
from j2o_examples_dino._similarity import similarities


class _Parser(html.parser.HTMLParser):
    """The references of a page, and the elements that are open at its end."""

    def __init__(self):
        super().__init__()
        self.references, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.references += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _data(text):
    return json.loads(re.search(r"^const data = (.*);$", text, re.MULTILINE)[1].replace("<\\/", "</"))


def test_page_holds_everything():
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    layers = {"1 of 2": (rng.standard_normal((6, 8)), (2, 3)), "2 of 2": (rng.standard_normal((24, 8)), (4, 6))}
    text = page(photo, layers, place=(0.25, 0.75), title="a <model>", note="say </script> & more")
    parser = _Parser()
    parser.feed(text)
    assert parser.open == []
    assert parser.references == []
    assert "http" not in text
    assert "a &lt;model&gt;" in text
    data = _data(text)
    assert data["place"] == [0.25, 0.75]
    with Image.open(io.BytesIO(base64.b64decode(data["photo"].partition(",")[2]))) as picture:
        assert picture.size == (data["width"], data["height"]) == (90, 60)
    for layer, (name, (tokens, grid)) in zip(data["layers"], layers.items(), strict=True):
        assert (layer["name"], layer["rows"], layer["columns"]) == (name, *grid)
        assert len(base64.b64decode(layer["colours"])) == 3 * len(tokens)
        cosines = np.frombuffer(base64.b64decode(layer["cosines"]), np.uint8).reshape(len(tokens), -1) / 127.5 - 1
        np.testing.assert_allclose(cosines, similarities(tokens), atol=1 / 255 + 1e-9)


@pytest.mark.slow
def test_export_with_a_page(tmp_path, capsys):
    options = ["--variant", "vits16", "--size", "32", "--rounds", "0", "--at", "0.9,0.1"]
    output, file = tmp_path / "dino.onnx", tmp_path / "page.html"
    assert main(["export", *options, "-o", str(output), "--page", str(file)]) == 0
    assert f"page     {file}" in capsys.readouterr().out
    data = _data(file.read_text("utf-8"))
    assert [layer["name"] for layer in data["layers"]] == [f"{i} of 12" for i in range(1, 13)]
    assert data["place"] == [0.9, 0.1]
