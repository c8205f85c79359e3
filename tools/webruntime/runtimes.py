"""The npm package onnxruntime-web in node and in Chromium, one process for many models."""

from __future__ import annotations

import contextlib
import http.server
import json
import mimetypes
import pathlib
import queue
import struct
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from typing import Any

HERE = pathlib.Path(__file__).parent
# A browser asks for a message again after so many seconds without one.
PATIENCE_S = 5.0
LONGEST_S = 120.0
CHROMIUM = (
    *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


class RuntimeEnded(RuntimeError):
    """The process that ran the models is gone, and its sessions with it."""


def encode(header: dict[str, Any], *contents: bytes) -> bytes:
    """A message of `runner.mjs`."""
    text = json.dumps(header).encode()
    return b"".join([struct.pack("<I", len(text)), text, *contents])


def decode(message: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes of a message."""
    (length,) = struct.unpack_from("<I", message)
    return json.loads(message[4 : 4 + length]), message[4 + length :]


class Node:
    """A node process; `folder` has node_modules."""

    def __init__(self, folder: str | pathlib.Path):
        command = ["node", str(HERE / "node.mjs"), str(pathlib.Path(folder).resolve())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, message: bytes) -> bytes:
        """The answer to a message.

        Raises:
            RuntimeEnded: if the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(LONGEST_S, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(struct.pack("<I", len(message)) + message)
            self._process.stdin.flush()
            size = self._process.stdout.read(4)
            answer = self._process.stdout.read(struct.unpack("<I", size)[0]) if len(size) == 4 else b""
        except OSError:
            answer = b""
        finally:
            timer.cancel()
        if not answer:
            raise RuntimeEnded(f"node ended with {self._process.wait()}: is onnxruntime-web in the folder?")
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


class Chromium:
    """A headless Chromium with one page, which fetches its messages from a server of ours; `folder` as for Node."""

    def __init__(self, folder: str | pathlib.Path):
        self._messages: queue.Queue[bytes] = queue.Queue()
        self._answers: queue.Queue[bytes] = queue.Queue()
        files = {
            "": HERE / "page.html",
            "runner.mjs": HERE / "runner.mjs",
            "onnxruntime": pathlib.Path(folder).resolve() / "node_modules/onnxruntime-web/dist",
        }
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler(files))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        address = f"http://127.0.0.1:{self._server.server_address[1]}/"
        command = [*CHROMIUM, "--remote-debugging-port=0", f"--user-data-dir={self._profile.name}", address]
        # The shell ends the browser when its input ends: at `close`, and when this process is gone.
        watched = ["sh", "-c", '"$@" </dev/null & read _; kill $!; wait', "sh", *command]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(watched, stdin=subprocess.PIPE, **silent)

    def ask(self, message: bytes) -> bytes:
        """The answer to a message.

        Raises:
            RuntimeEnded: if none came.
        """
        self._messages.put(message)
        try:
            return self._answers.get(timeout=LONGEST_S)
        except queue.Empty:
            raise RuntimeEnded("the page in Chromium did not answer") from None

    def close(self) -> None:
        """End the browser and the server."""
        self._process.communicate()
        self._server.shutdown()
        self._server.server_close()
        self._profile.cleanup()

    def _handler(self, files: dict[str, pathlib.Path]) -> type[http.server.BaseHTTPRequestHandler]:
        messages, answers = self._messages, self._answers

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/message":
                    with contextlib.suppress(queue.Empty):
                        return self._send(200, messages.get(timeout=PATIENCE_S), "application/octet-stream")
                    return self._send(204)
                first, _, rest = self.path.strip("/").partition("/")
                path = files[first] / rest if first in files else None
                if path is None or not path.is_file():
                    return self._send(404)
                return self._send(200, path.read_bytes(), mimetypes.guess_type(path.name)[0] or "text/plain")

            def do_POST(self) -> None:
                answers.put(self.rfile.read(int(self.headers["Content-Length"])))
                self._send(204)

            def _send(self, status: int, content: bytes = b"", kind: str = "text/plain") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: Any) -> None:
                del format, arguments

        return Handler


RUNTIMES = {"node": Node, "chromium": Chromium}


class Web:
    """onnxruntime-web in one process, which is started again where a model ended it.

    Args:
        folder: where `npm install onnxruntime-web` was run.
        place: `"node"` or `"chromium"`.
    """

    def __init__(self, folder: str | pathlib.Path, place: str = "node"):
        self._folder, self._place = folder, place
        self._runtime: Node | Chromium | None = None
        self.starts = 0

    def ask(self, header: dict[str, Any], contents: Sequence[bytes] = ()) -> tuple[dict[str, Any], bytes]:
        """The answer's header and bytes.

        Raises:
            RuntimeEnded: if the process ended; the next call starts another.
            RuntimeError: what the package says went wrong.
        """
        if self._runtime is None:
            self._runtime = RUNTIMES[self._place](self._folder)
            self.starts += 1
        try:
            answer, content = decode(self._runtime.ask(encode(header, *contents)))
        except RuntimeEnded:
            self.close()
            raise
        if "error" in answer:
            if any(word in answer["error"] for word in ("Aborted", "unreachable", "out of bounds", "out of memory")):
                self.close()  # WebAssembly that trapped is not used again
            raise RuntimeError(answer["error"])
        return answer, content

    def close(self) -> None:
        """End the process."""
        if self._runtime is not None:
            self._runtime.close()
            self._runtime = None

    @property
    def version(self) -> str:
        """The release of the package."""
        text = pathlib.Path(self._folder, "node_modules/onnxruntime-web/package.json").read_text(encoding="utf-8")
        version: str = json.loads(text)["version"]
        return version
