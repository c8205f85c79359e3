"""The pages in build/browser, driven in Chromium and compared with JAX: `nox -s browser`.

    python -m browser build/browser PACKAGES [--only-build]

PACKAGES has node_modules with onnxruntime-web and playwright-core.
"""

import argparse
import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import skimage
from tokenizers import Tokenizer

from quantized_encoder import FOLDER, encode, encoder_weights

from . import models

PAGES = Path(__file__).parent / "pages"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
QUESTION = "How do I keep my files safe?"  # as in sentences.html
# Sentences whose tokens are compared, beside those of the page: accents, marks, scripts, words that are not known.
ODD = [
    "Ünïcödé is fun!!!  (isn't it?)",
    "日本語 and 한국어, ελληνικά, русский",
    "tab\tand\u00a0space\u200bnothing",
    "e\u0301 x² ½ \u201cquoted\u201d \U0001f600 a_b",
    "antidisestablishmentarianism " + "x" * 120,
    "",
]


def build(folder, packages):
    """Write the pages, the models and the runtime into a folder; returns the encoder in floats."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(PAGES, folder, dirs_exist_ok=True)
    (folder / "onnxruntime").mkdir(exist_ok=True)
    for name in RUNTIME:
        shutil.copy(packages / "node_modules/onnxruntime-web/dist" / name, folder / "onnxruntime" / name)
    skimage.io.imsave(folder / "photo.png", skimage.data.chelsea(), check_contrast=False)
    (folder / "vocab.txt").write_text(models.words(), encoding="utf-8")
    models.export_components().save(folder / "dino.onnx")
    program, small = models.export_sentences()
    small.save(folder / "sentences.onnx")
    return program


def drive(folder, packages, chromium):
    """The numbers that the pages computed in Chromium; pictures of them go to FOLDER/pictures."""
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        script = Path(__file__).with_name("drive.mjs")
        command = ["node", str(script), str(packages), address, str(pictures), chromium]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        server.shutdown()
    if done.returncode or done.stderr:
        sys.exit(f"{script.name} complains:\n{done.stderr}")
    return json.loads(done.stdout)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *arguments):
        del format, arguments


def compare(results):
    """Lines about what the pages computed beside JAX; exits where they differ.

    Colours are rounded to 1/255, which makes a difference of one out of any. The vectors of JAX are in floats: what
    eight bits cost is part of the difference.
    """
    pixels = np.array(results["dino"]["pixels"], np.uint8).reshape(models.SIDE, models.SIDE, 4)
    expected = np.asarray(jax.jit(models.components())(pixels))
    difference = np.abs(expected.ravel() - np.array(results["dino"]["colours"], int)).max()
    found = results["sentences"]
    sentences = (PAGES / "sentences.txt").read_text(encoding="utf-8").strip().split("\n")
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.no_padding()
    tokens = [tokenizer.encode(sentence).ids for sentence in sentences]
    equal = sum(one == other for one, other in zip(tokens, found["tokens"], strict=True))
    weights = encoder_weights()
    question = tokenizer.encode(QUESTION).ids
    *vectors, asked = np.concatenate(
        [encode(weights, np.array([one]), np.ones((1, len(one)), bool)) for one in [*tokens, question]]
    )
    vectors = np.array(vectors)
    cosines = np.sum(vectors * np.array(found["vectors"]), 1)
    print(f"components: largest difference to JAX {difference} of 255")
    print(f"tokens: {equal} of {len(tokens)} sentences equal those of the package tokenizers")
    print(f"vectors: cosines to JAX in floats {cosines.min():.4f} at the lowest, {cosines.mean():.4f} in the mean")
    print(f"nearest to the question: {found['ranking'][0]}")
    print(f"nearest to another: {results['asked'][0]}")
    wrong = difference > 1 or equal < len(tokens) or cosines.min() < 0.99
    if wrong or found["ranking"][:3] != [sentences[index] for index in np.argsort(-vectors @ asked)[:3]]:
        sys.exit("The pages and JAX differ.")


def compare_tokens():
    """Exits where the page's tokenizer gives other tokens than the package tokenizers for the odd sentences."""
    script = (
        "const [module, words, odd] = process.argv.slice(1); const { WordPiece } = await import(module);"
        "const fs = await import('node:fs'); const tokenizer = new WordPiece(fs.readFileSync(words, 'utf8'));"
        "console.log(JSON.stringify(JSON.parse(odd).map((text) => tokenizer.encode(text))))"
    )
    arguments = [str(PAGES / "wordpiece.mjs"), str(FOLDER / "vocab.txt"), json.dumps(ODD)]
    command = ["node", "--input-type=module", "-e", script, *arguments]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.no_padding()
    for text, tokens in zip(ODD, found, strict=True):
        expected = tokenizer.encode(text)
        if tokens != expected.ids:
            sys.exit(f"Tokens of {text!r} are {tokens}, not {expected.ids} ({expected.tokens})")
    print(f"tokens: {len(ODD)} odd sentences equal those of the package tokenizers")


def main():
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pages are written")
    parser.add_argument("packages", type=Path, help="where npm install was run")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--only-build", action="store_true", help="write the pages, and drive no browser")
    parser.add_argument("--only-drive", action="store_true", help="take the pages as they are there")
    options = parser.parse_args()
    if not options.only_drive:
        build(options.folder, options.packages)
    if not options.only_build:
        compare_tokens()
        compare(drive(options.folder, options.packages.resolve(), options.chromium))


if __name__ == "__main__":
    main()
