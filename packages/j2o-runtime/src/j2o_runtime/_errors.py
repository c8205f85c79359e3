"""The errors of this package. Each message says what was given, where, and what was expected."""


class RunnerError(Exception):
    """Root of everything that j2o-runtime raises on purpose."""


class FileError(RunnerError, ValueError):
    """The model cannot be read, is none of j2o, or ONNX Runtime refuses it."""


class ArgumentError(RunnerError, ValueError):
    """An argument has another structure, dtype or shape than the program takes."""


class RunError(RunnerError):
    """ONNX Runtime fails while it runs."""
