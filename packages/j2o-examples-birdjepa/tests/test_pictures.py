import struct
import xml.etree.ElementTree as ElementTree
import zlib

import numpy as np

from j2o_examples_birdjepa._pictures import cloud, coloured, curves, img, png, principal_plane, spectrogram_image


def test_png():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    content = png(image)
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (7, 5)
    start = content.index(b"IDAT")
    size = struct.unpack(">I", content[start - 4 : start])[0]
    rows = np.frombuffer(zlib.decompress(content[start + 4 : start + 4 + size]), np.uint8).reshape(5, 22)
    np.testing.assert_array_equal(rows[:, 1:].reshape(5, 7, 3), image)


def test_colours_run_from_dark_to_bright():
    found = coloured(np.array([[-1.0, 0.0, 0.5, 1.0, 9.0]]), 0, 1)[0].astype(int).sum(axis=1)
    assert found[0] == found[1] < found[2] < found[3] == found[4]


def test_low_frequencies_lie_below():
    spectrogram = np.zeros((6, 4))
    spectrogram[5, 0] = 1
    image = spectrogram_image(spectrogram, np.eye(6, 4, dtype=bool))
    assert image.shape == (4, 6, 3)
    assert image[3, 5].sum() > image[0, 5].sum()
    np.testing.assert_array_equal(image[3, 0], 120)


def test_pages_are_well_formed():
    chart = curves({"a<b": [3, 2, 1], "c": [1, 1, 1]}, "losses & more")
    points = principal_plane(np.random.default_rng(0).standard_normal((6, 5)))
    assert points.shape == (6, 2)
    for text in (chart, cloud(points, [0, 1, 2, 0, 1, 2], ["x", "y", "<z>"], "map")):
        assert ElementTree.fromstring(text).find("svg") is not None
    assert 'src="data:image/png;base64,iVBOR' in img(np.zeros((2, 2, 3), np.uint8), "nothing")


def test_the_legend_lies_below_the_lines():
    svg = ElementTree.fromstring(curves({"a": [0, 5], "b": [2, 1], "c": [1, 1]}, "losses")).find("svg")
    places = [float(pair.split(",")[1]) for line in svg.iter("polyline") for pair in line.get("points").split()]
    texts = [float(text.get("y")) for text in svg.iter("text")]
    assert len(texts) == 3
    assert max(places) + 12 < min(texts) < max(texts) < float(svg.get("height"))
