"""Two hundred steps in JAX and in ONNX Runtime give the same curve."""

import equinox as eqx
import jax
import numpy as np
import onnxruntime
import pytest

from j2o_examples_training import MODELS, Request, Trainer, accuracy, compare, digits, open_session, train


@pytest.mark.parametrize(("model", "opset"), [("mlp", 18), ("cnn", 26), ("vit", 23)])
def test_one_step(model, opset):
    """Every parameter and every number of the optimizer's state after a step, and after one more."""
    trainer = Trainer(Request(model, steps=2, opset=opset))
    program = trainer.export()
    program.check()
    state = (trainer.model, trainer.opt_state)
    for batch in trainer.batches():
        expected = eqx.filter_jit(trainer.step)(*state, *batch)
        actual = program(*state, *batch)
        assert jax.tree.structure(actual) == jax.tree.structure(expected)
        leaves = [jax.tree.leaves(eqx.filter(tree, eqx.is_array_like)) for tree in (expected, actual)]
        for wanted, got in zip(*leaves, strict=True):
            if eqx.is_array(wanted):
                # Adam divides by the root of the second moment: where that is almost nothing, rounding shows.
                np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)
        state = actual[:2]


@pytest.mark.parametrize("model", list(MODELS))
def test_two_hundred_steps(model, tmp_path):
    request = Request(model)
    assert request.steps == 200
    outcome = compare(request, tmp_path)
    assert outcome.jax.losses.shape == outcome.onnxruntime.losses.shape == (200,)
    np.testing.assert_allclose(outcome.onnxruntime.losses, outcome.jax.losses, rtol=1e-3)
    np.testing.assert_allclose(outcome.differences, np.abs(outcome.onnxruntime.losses / outcome.jax.losses - 1))
    # It has learned something, and as much: a digit or two of the thousand may tip over.
    assert outcome.onnxruntime.losses[-20:].mean() < outcome.onnxruntime.losses[:20].mean() - 0.3
    assert outcome.onnxruntime.accuracy > 0.3
    assert outcome.onnxruntime.accuracy == pytest.approx(outcome.jax.accuracy, abs=3e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accuracy.onnx", "start.npz", "step.onnx"]


def test_names_pair_results_with_arguments():
    trainer = Trainer(Request("mlp"))
    program = trainer.export()
    assert program.output_names[-1] == "loss"
    assert program.state == {f"next.{name}": name for name in program.input_names[:-2]}
    assert program.input_names[-2:] == ["images", "labels"]
    assert {"model.layers.1.layers.0.weight", "opt_state.0.count", "opt_state.0.mu.layers.1.layers.2.bias"} <= set(
        program.input_names
    )
    # The inputs of the accuracy have the names that they have in the step.
    assert set(trainer.export_accuracy().input_names) <= set(program.input_names)


def test_training_needs_the_files_alone(tmp_path):
    trainer = Trainer(Request("mlp", steps=30))
    trainer.write(trainer.export(), tmp_path)
    with np.load(tmp_path / "start.npz") as start:
        state = dict(start)
    session = open_session(tmp_path / "step.onnx")
    before = {name: value.copy() for name, value in state.items()}
    losses = [train(session, state, batch) for batch in trainer.batches()]
    assert losses[-1] < losses[0]
    assert state["opt_state.0.count"] == 30
    assert all(not np.array_equal(state[name], before[name]) for name in before)
    # The trained arrays go back into the model.
    weights = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    trained = eqx.tree_at(
        lambda model: (
            [layer.weight for layer in model.layers[1].layers] + [layer.bias for layer in model.layers[1].layers]
        ),
        trainer.model,
        [weights[f"layers.1.layers.{i}.{kind}"] for kind in ("weight", "bias") for i in range(3)],
    )
    unseen = digits(500, 7)
    inference = onnxruntime.InferenceSession(tmp_path / "accuracy.onnx", providers=["CPUExecutionProvider"])
    feed = {value.name: state[value.name] for value in inference.get_inputs() if value.name in state}
    (got,) = inference.run(None, feed | unseen._asdict())
    assert got == pytest.approx(float(accuracy(trained, *unseen)), abs=3e-3)
