import dataclasses

import pytest

from j2o_examples_dino._features import ModelChoice
from j2o_examples_dino._latency import Job, interleaved, measure


def test_medians_of_runs_in_turns():
    calls = []
    times = interleaved(lambda: calls.append("a"), lambda: calls.append("b"), 3)
    assert calls == ["a", "b"] * 5
    assert all(time >= 0 for time in times)


@pytest.mark.slow
def test_failure_of_the_other_process_is_reported(tmp_path):
    job = Job(ModelChoice("vits16", None, 0), str(tmp_path / "gone.onnx"), (1, 3, 16, 16), 1, single_thread=True)
    with pytest.raises(RuntimeError, match=r"gone\.onnx"):
        measure(job)
    with pytest.raises(RuntimeError, match="There is no variant"):
        measure(dataclasses.replace(job, model=ModelChoice("vitx", None, 0)))
