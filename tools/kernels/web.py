"""Models in the npm package `onnxruntime-web`, run by node: the kernels that a browser has."""

from __future__ import annotations

import json
import pathlib
import struct
import subprocess


class WebRuntime:
    """One node process that runs models, one after the other."""

    def __init__(self, folder: str):
        script = pathlib.Path(__file__).with_name("web.mjs")
        command = ["node", str(script), str(pathlib.Path(folder).resolve())]
        self._node = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, model: bytes) -> str | None:
        """The complaint of the runtime about a model without inputs, or None."""
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.write(struct.pack("<I", len(model)) + model)
        self._node.stdin.flush()
        answer = self._node.stdout.readline()
        if not answer:
            raise RuntimeError("node ended: is onnxruntime-web installed in the folder?")
        complaint: str | None = json.loads(answer)
        return complaint

    @staticmethod
    def version(folder: str) -> str:
        """The release that is installed in a folder."""
        text = pathlib.Path(folder, "node_modules/onnxruntime-web/package.json").read_text()
        version: str = json.loads(text)["version"]
        return version
