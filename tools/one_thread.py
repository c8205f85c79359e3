"""One thread of one core: what latencies are measured on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def keep_to_one_core() -> None:
    """Leave this process one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def session(path: str | Path, *, profile: str | None = None) -> Any:
    """ONNX Runtime's session of a file, with one thread; `profile` is how the file of its profile begins."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
