"""j2o-runtime: runs the files of j2o on ONNX Runtime and NumPy. This is the list of public names."""

from ._errors import ArgumentError as ArgumentError
from ._errors import FileError as FileError
from ._errors import RunError as RunError
from ._errors import RunnerError as RunnerError
from ._runner import Runner as Runner
from ._steps import Steps as Steps
from ._trees import Array as Array
from ._trees import Record as Record

__all__ = ["ArgumentError", "Array", "FileError", "Record", "RunError", "Runner", "RunnerError", "Steps"]
