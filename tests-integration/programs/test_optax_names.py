"""Every public name of optax: transformations over three steps with their state, losses, schedules and projections."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core

optax = pytest.importorskip("optax")
contrib = pytest.importorskip("optax.contrib")
# Names that a later release removes are tried for as long as they are there.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

WEIGHTS = {"kernel": jnp.linspace(-0.8, 0.9, 12).reshape(4, 3), "bias": jnp.array([0.1, -0.2, 0.3])}
X = jnp.sin(jnp.arange(20.0) ** 2).reshape(5, 4)
TARGET = jnp.cos(jnp.arange(15.0)).reshape(5, 3)


def value_fn(weights: Any) -> Any:
    return jnp.mean((jnp.tanh(X @ weights["kernel"] + weights["bias"]) - TARGET) ** 2)


def each(name: str, *arguments: Any, **options: Any) -> Any:
    return lambda: getattr(optax if hasattr(optax, name) else contrib, name)(*arguments, **options)


# -- Transformations ---------------------------------------------------------------------------------------------------

RATE = 0.01
OPTIMIZERS = (
    "adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan amsgrad fromage lamb lars lion nadam nadamw "
    "novograd optimistic_adam optimistic_adam_v2 optimistic_gradient_descent radam rmsprop rprop sgd sign_sgd signum "
    "sm3 yogi scale_by_learning_rate acprop ademamix adopt dadapt_adamw madgrad simplified_ademamix muon galore "
    "scale_by_madgrad sophia"
)
DEFAULTS = (
    "centralize identity keep_params_nonnegative normalize_by_update_norm scale_by_adadelta scale_by_adam "
    "scale_by_adamax scale_by_adan scale_by_amsgrad scale_by_belief scale_by_distance_over_gradients "
    "scale_by_factored_rms scale_by_lion scale_by_novograd scale_by_optimistic_gradient scale_by_param_block_norm "
    "scale_by_param_block_rms scale_by_radam scale_by_rms scale_by_rss scale_by_sign scale_by_sm3 "
    "scale_by_stddev scale_by_trust_ratio scale_by_yogi set_to_zero zero_nans dog dowg momo momo_adam prodigy cocob "
    "normalize scale_by_acprop scale_by_ademamix scale_by_adopt scale_by_cocob "
    "scale_by_simplified_ademamix scale_by_galore reduce_on_plateau lbfgs scale_by_lbfgs polyak_sgd scale_by_polyak"
)


def halve(updates: Any, params: Any = None) -> Any:
    return jax.tree.map(lambda update: update / 2, updates)


def norm_of(updates: Any, *_: Any, **__: Any) -> Any:
    return optax.tree.norm(updates)


TRANSFORMATIONS = {
    **{name: each(name, RATE) for name in OPTIMIZERS.split()},
    **{name: each(name) for name in DEFAULTS.split()},
    "adaptive_grad_clip": each("adaptive_grad_clip", 0.1),
    "add_decayed_weights": each("add_decayed_weights", 0.1),
    "add_noise": each("add_noise", 0.1, 0.5, 0),
    "apply_every": each("apply_every", 2),
    "apply_if_finite": lambda: optax.apply_if_finite(optax.adam(RATE), 2),
    "chain": lambda: optax.chain(optax.clip(0.1), optax.adam(RATE)),
    "named_chain": lambda: optax.named_chain(("clip", optax.clip(0.1)), ("adam", optax.adam(RATE))),
    "clip": each("clip", 0.1),
    "clip_by_block_rms": each("clip_by_block_rms", 0.1),
    "clip_by_global_norm": each("clip_by_global_norm", 0.1),
    "conditionally_mask": lambda: optax.conditionally_mask(optax.sgd(RATE, 0.9), lambda step: step % 2 == 0),
    "conditionally_transform": lambda: optax.conditionally_transform(optax.sgd(RATE, 0.9), lambda step: step % 2 == 0),
    "ema": each("ema", 0.9),
    "flatten": lambda: optax.flatten(optax.adam(RATE)),
    "freeze": each("freeze", {"kernel": True, "bias": False}),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adam)(optax.linear_schedule(0.1, 0.01, 3)),
    "inject_stateful_hyperparams": lambda: optax.inject_stateful_hyperparams(optax.adam)(0.1),
    "masked": lambda: optax.masked(optax.adam(RATE), {"kernel": True, "bias": False}),
    "monitor": lambda: optax.monitor({"norm": norm_of, "ema": optax.measure_with_ema(norm_of, 0.9)}),
    "MultiSteps": lambda: optax.MultiSteps(optax.adam(RATE), 2),
    "multi_transform": lambda: optax.multi_transform(
        {"a": optax.adam(RATE), "b": optax.sgd(RATE)}, {"kernel": "a", "bias": "b"}
    ),
    "partition": lambda: optax.partition({"a": optax.adam(RATE), "b": optax.sgd(RATE)}, {"kernel": "a", "bias": "b"}),
    "noisy_sgd": each("noisy_sgd", RATE, key=0),
    "scale": each("scale", 0.5),
    "scale_by_rprop": each("scale_by_rprop", RATE),
    "scale_by_schedule": each("scale_by_schedule", lambda step: 1 / (1 + step)),
    "selective_transform": lambda: optax.selective_transform(
        optax.adam(RATE), freeze_mask={"kernel": True, "bias": False}
    ),
    "snapshot": lambda: optax.snapshot("norm", norm_of),
    "stateless": each("stateless", halve),
    "stateless_with_tree_map": each("stateless_with_tree_map", lambda update, weight: update + weight),
    "trace": each("trace", 0.9),
    "with_extra_args_support": lambda: optax.with_extra_args_support(optax.adam(RATE)),
    "scale_by_backtracking_linesearch": each("scale_by_backtracking_linesearch", 5),
    "scale_by_zoom_linesearch": each("scale_by_zoom_linesearch", 5),
    "sam": lambda: contrib.sam(optax.sgd(RATE), optax.sgd(RATE), sync_period=2, reset_state=False),
    "scale_by_muon": lambda: optax.masked(
        contrib.scale_by_muon(
            weight_dimension_numbers=lambda weights: jax.tree.map(lambda _: contrib.MuonDimensionNumbers(), weights)
        ),
        {"kernel": True, "bias": False},
    ),
    "mechanize": lambda: contrib.mechanize(optax.adam(RATE)),
    "lookahead": lambda: optax.lookahead(optax.sgd(RATE), 2, 0.5),
    "schedule_free": lambda: contrib.schedule_free(optax.sgd(RATE), RATE),
    "schedule_free_adamw": each("schedule_free_adamw", RATE),
    "schedule_free_sgd": each("schedule_free_sgd", RATE),
    "split_real_and_imaginary": lambda: contrib.split_real_and_imaginary(optax.adam(RATE)),
    "hutchinson_estimator_diag_hessian": lambda: contrib.hutchinson_estimator_diag_hessian(jax.random.key(0)),
}
# Transformations that take the gradients of each example.
PER_EXAMPLE = {
    "differentially_private_aggregate": lambda: contrib.differentially_private_aggregate(1.0, 0.1, 0),
    "dpsgd": lambda: contrib.dpsgd(RATE, 1.0, 0.1, 0),
}
SEARCH = ("value", "grad", "value_fn")
EXTRA = {
    **dict.fromkeys(("lbfgs", "scale_by_zoom_linesearch", "scale_by_backtracking_linesearch"), SEARCH),
    **dict.fromkeys(("polyak_sgd", "scale_by_polyak", "momo", "momo_adam", "reduce_on_plateau"), ("value",)),
    **dict.fromkeys(("sophia", "hutchinson_estimator_diag_hessian"), ("obj_fn",)),
}
# Their state has the signs of singular vectors, which are free: each side goes on with its own.
OWN_SIGNS = {"galore", "scale_by_galore"}
# Searches along lines, random numbers, and parts of optimizers that are tried whole.
SLOW = {"lbfgs", "galore", "muon", "add_noise", "noisy_sgd", "mechanize", "ctc_loss", "ctc_loss_with_forward_probs"}
SLOW |= {"matrix_inverse_pth_root", "make_perturbed_fun", "hungarian_algorithm", "base_hungarian_algorithm"}
SLOW |= {name for name in DEFAULTS.split() if name.startswith("scale_by_")}


def cases(*tables: Any) -> list[Any]:
    names = [name for table in tables for name in table]
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in names]


@pytest.mark.parametrize("name", cases(TRANSFORMATIONS, PER_EXAMPLE))
def test_transformations_over_three_steps(name: str) -> None:
    transformation = (TRANSFORMATIONS | PER_EXAMPLE)[name]()

    def gradients(weights: Any) -> Any:
        if name == "lookahead":
            return jax.grad(value_fn)(weights.fast)
        if name in PER_EXAMPLE:
            return jax.tree.map(lambda weight: jnp.stack([weight, 2 * weight]), jax.grad(value_fn)(weights))
        return jax.grad(value_fn)(weights)

    def step(weights: Any, state: Any) -> Any:
        gradient = gradients(weights)
        value = 0.0 if name == "lookahead" else value_fn(weights)
        extra = {"value": value, "grad": gradient, "value_fn": value_fn, "obj_fn": value_fn}
        extra = {key: extra[key] for key in EXTRA.get(name, ())}
        updates, state = transformation.update(gradient, state, weights, **extra)
        return optax.apply_updates(weights, updates), state

    weights = optax.LookaheadParams.init_synced(WEIGHTS) if name == "lookahead" else WEIGHTS
    state, compiled = transformation.init(weights), jax.jit(step)
    if name == "monitor":  # whose state gets its leaves in the first step
        state = compiled(weights, state)[1]
    program = j2o_core.to_onnx(step, [weights, state])
    own = (weights, state)
    for _ in range(3):
        wanted, got = compiled(weights, state), program(*own)
        compared = (wanted, got) if name not in OWN_SIGNS else (wanted[0], got[0])
        assert jax.tree.structure(wanted) == jax.tree.structure(got)
        for want, have in zip(*map(jax.tree.leaves, compared), strict=True):
            assert_near(have, want)
        weights, state = wanted
        own = got if name in OWN_SIGNS else wanted


def assert_near(have: Any, want: Any) -> None:
    if jnp.issubdtype(getattr(want, "dtype", None), jax.dtypes.prng_key):
        have, want = jax.random.key_data(have), jax.random.key_data(want)
    have, want = np.asarray(have), np.asarray(want)
    assert have.dtype == want.dtype
    # Norms and sums round by the largest number in them.
    largest = np.abs(want.astype(np.float64)).max(initial=0.0, where=np.isfinite(want.astype(np.float64)))
    np.testing.assert_allclose(have, want, rtol=2e-5, atol=1e-6 + 5e-6 * largest)


# -- Functions ---------------------------------------------------------------------------------------------------------

LOGITS = X[:, :3]
INTEGERS = jnp.array([0, 2, 1, 1, 0])
ONE_HOT = jax.nn.one_hot(INTEGERS, 3)
SIGNS = jnp.array([1.0, -1, 1, 1, -1])
SHARES = jax.nn.softmax(TARGET)
LOGITS_OF_TIME = jnp.sin(jnp.arange(40.0)).reshape(2, 5, 4)
PADDINGS, LABELS = jnp.zeros((2, 5)).at[1, 4].set(1), jnp.array([[1, 2], [3, 0]])
LABEL_PADDINGS = jnp.array([[0.0, 0], [0, 1]])

LOSSES = {
    "convex_kl_divergence": (jnp.log(SHARES), SHARES[::-1]),
    "cosine_distance": (LOGITS, TARGET),
    "cosine_similarity": (LOGITS, TARGET),
    "ctc_loss": (LOGITS_OF_TIME, PADDINGS, LABELS, LABEL_PADDINGS),
    "ctc_loss_with_forward_probs": (LOGITS_OF_TIME, PADDINGS, LABELS, LABEL_PADDINGS),
    "generalized_kl_divergence": (jnp.log(SHARES), SHARES[::-1]),
    "hinge_loss": (LOGITS[:, 0], SIGNS),
    "huber_loss": (LOGITS, TARGET),
    "kl_divergence": (jnp.log(SHARES), SHARES[::-1]),
    "kl_divergence_with_log_targets": (jnp.log(SHARES), jnp.log(SHARES)[::-1]),
    "l2_loss": (LOGITS, TARGET),
    "log_cosh": (LOGITS, TARGET),
    "make_fenchel_young_loss": (LOGITS, ONE_HOT),
    "multiclass_hinge_loss": (LOGITS, INTEGERS),
    "multiclass_perceptron_loss": (LOGITS, INTEGERS),
    "multiclass_sparsemax_loss": (LOGITS, INTEGERS),
    "ntxent": (LOGITS, INTEGERS),
    "perceptron_loss": (LOGITS[:, 0], SIGNS),
    "poly_loss_cross_entropy": (LOGITS, ONE_HOT),
    "ranking_softmax_loss": (LOGITS, SHARES),
    "safe_softmax_cross_entropy": (LOGITS, ONE_HOT),
    "sigmoid_binary_cross_entropy": (LOGITS, ONE_HOT),
    "sigmoid_focal_loss": (LOGITS, ONE_HOT),
    "smooth_labels": (ONE_HOT, jnp.float32(0.1)),
    "softmax_cross_entropy": (LOGITS, SHARES),
    "softmax_cross_entropy_with_integer_labels": (LOGITS, INTEGERS),
    "sparsemax_loss": (LOGITS[:, 0], (SIGNS + 1) / 2),
    "squared_error": (LOGITS, TARGET),
    "triplet_margin_loss": (LOGITS, TARGET, SHARES),
    "binary_dice_loss": (LOGITS, ONE_HOT),
    "dice_loss": (LOGITS, ONE_HOT),
    "multiclass_generalized_dice_loss": (LOGITS, ONE_HOT),
}

SCHEDULES = {
    "constant_schedule": (0.1,),
    "cosine_decay_schedule": (0.1, 10),
    "cosine_onecycle_schedule": (10, 0.1),
    "exponential_decay": (0.1, 3, 0.5),
    "join_schedules": ([lambda step: 0.1 * step, lambda step: 0.5 - 0.01 * step], [4]),
    "linear_onecycle_schedule": (10, 0.1),
    "linear_schedule": (0.1, 0.01, 6),
    "piecewise_constant_schedule": (0.1, {3: 0.5, 6: 0.1}),
    "piecewise_interpolate_schedule": ("cosine", 0.1, {3: 0.5, 6: 0.1}),
    "polynomial_schedule": (0.1, 0.01, 2, 6),
    "sgdr_schedule": ([{"init_value": 0.0, "peak_value": 0.1, "decay_steps": 5, "warmup_steps": 2, "end_value": 0.0}],),
    "warmup_constant_schedule": (0.0, 0.1, 4),
    "warmup_cosine_decay_schedule": (0.0, 0.1, 3, 9),
    "warmup_exponential_decay_schedule": (0.0, 0.1, 3, 4, 0.5),
}

VECTOR = jnp.array([0.5, -1.2, 2.0, 0.1])
PROJECTIONS = {
    "projection_box": (-0.5, 0.5),
    "projection_halfspace": (jnp.ones(4), 0.3),
    "projection_hypercube": (),
    "projection_hyperplane": (jnp.ones(4), 0.3),
    "projection_l1_ball": (),
    "projection_l1_sphere": (),
    "projection_l2_ball": (),
    "projection_l2_sphere": (),
    "projection_linf_ball": (),
    "projection_non_negative": (),
    "projection_simplex": (),
    "projection_vector": (jnp.ones(4),),
}

OTHERS = {
    "apply_updates": lambda w: optax.apply_updates(w, w),
    "bias_correction": lambda w: optax.bias_correction(w, 0.9, 3),
    "global_norm": optax.global_norm,
    "incremental_update": lambda w: optax.incremental_update(w, jax.tree.map(jnp.sin, w), 0.1),
    "periodic_update": lambda w: optax.periodic_update(w, jax.tree.map(jnp.sin, w), jnp.int32(4), 2),
    # Its second result is the error that is left: rounding.
    "matrix_inverse_pth_root": lambda w: optax.matrix_inverse_pth_root(
        w["kernel"].T @ w["kernel"] + jnp.eye(3), 2, num_iters=50
    )[0],
    "multi_normal": lambda w: optax.multi_normal(w["bias"], w["bias"]).log_prob(w["kernel"]),
    "nnls": lambda w: optax.nnls(w["kernel"], w["kernel"][:, 0] + 0.1, 50),
    "per_example_global_norm_clip": lambda w: optax.per_example_global_norm_clip([w["kernel"]], 0.5),
    "per_example_layer_norm_clip": lambda w: optax.per_example_layer_norm_clip([w["kernel"]], 0.5),
    "power_iteration": lambda w: optax.power_iteration(w["kernel"].T @ w["kernel"], v0=jnp.ones(3), num_iters=20)[0],
    "safe_increment": lambda w: optax.safe_increment(w["bias"].astype(jnp.int32)),
    "safe_int32_increment": lambda w: optax.safe_int32_increment(jnp.int32(2**31 - 1) + w["bias"].astype(jnp.int32)[0]),
    "safe_norm": lambda w: optax.safe_norm(w["kernel"], 1e-3, axis=1),
    "safe_root_mean_squares": lambda w: optax.safe_root_mean_squares(w["kernel"], 1e-3),
    "scale_gradient": jax.grad(lambda w: optax.scale_gradient(w, 0.5)["bias"].sum()),
    "skip_large_updates": lambda w: optax.skip_large_updates(w, None, None, 1.0)[0],
    "skip_not_finite": lambda w: optax.skip_not_finite(w, None, None)[0],
    "update_infinity_moment": lambda w: optax.update_infinity_moment(w, w, 0.9, 1e-8),
    "update_moment": lambda w: optax.update_moment(w, w, 0.9, 2),
    "update_moment_per_elem_norm": lambda w: optax.update_moment_per_elem_norm(w, w, 0.9, 2),
    "value_and_grad_from_state": lambda w: optax.value_and_grad_from_state(value_fn)(w, state=optax.lbfgs().init(w)),
    "schedule_free_eval_params": lambda w: contrib.schedule_free_eval_params(
        contrib.schedule_free_sgd(RATE).init(w), w
    ),
    "unitwise_norm": lambda w: optax.transforms.unitwise_norm(w["kernel"]),
    "unitwise_clip": lambda w: optax.transforms.unitwise_clip(jnp.ones((4, 3)), jnp.full((4, 3), 0.5), w["kernel"]),
    "fisher_diag": lambda w: optax.second_order.fisher_diag(
        lambda p, x, y: (p["kernel"].sum() + x - y).mean() ** 2, w, w["bias"], w["bias"] + 1
    ),
    "hessian_diag": lambda w: optax.second_order.hessian_diag(lambda p, x, y: value_fn(p), w, X, TARGET),
    "hvp": lambda w: optax.second_order.hvp(lambda p, x, y: value_fn(p), jnp.ones(15), w, X, TARGET),
    "hungarian_algorithm": lambda w: optax.assignment.hungarian_algorithm(w["kernel"]),
    "base_hungarian_algorithm": lambda w: optax.assignment.base_hungarian_algorithm(w["kernel"]),
    "make_perturbed_fun": lambda w: optax.perturbations.make_perturbed_fun(jnp.abs, 10)(jax.random.key(0), w["kernel"]),
    "tree": lambda w: (optax.tree.norm(w), optax.tree.vdot(w, w), optax.tree.add_scale(w, 2.0, w), optax.tree.max(w)),
    "microbatch": lambda w: optax.microbatch(lambda x: (x**2).sum(), 0, 2, optax.microbatching.AccumulationType.SUM)(
        w["kernel"]
    ),
    "micro_grad": lambda w: optax.microbatching.micro_grad(lambda p, x: (p * x).sum(), microbatch_size=2)(
        w["bias"], w["kernel"]
    ),
    "micro_vmap": lambda w: optax.microbatching.micro_vmap(lambda x: x * 2, microbatch_size=2)(w["kernel"]),
    "reshape_batch_axis": lambda w: optax.microbatching.reshape_batch_axis(w["kernel"], 2),
}

REASONS = {
    "measure_with_ema": "in monitor",
    "init_empty_state": "returns no array",
    "tree_map_params": "applies a function of the user to a state",
}
HOMES = ("", "contrib", "losses", "projections", "schedules", "transforms", "second_order", "assignment")
HOMES += ("perturbations", "microbatching")


def found(name: str) -> Any:
    return next(
        getattr(home, name) for home in (optax, optax.losses, contrib, optax.projections) if hasattr(home, name)
    )


def gradient_of_all(fn: Any) -> Any:
    """The function, and the gradient by its first argument of the sum of what it returns."""

    def both(*arguments: Any) -> Any:
        result, pull = jax.vjp(lambda first: fn(first, *arguments[1:]), arguments[0])
        return result, pull(jax.tree.map(jnp.ones_like, result))

    return both


@pytest.mark.parametrize("name", cases(name for name in LOSSES if hasattr(optax.losses, name)))
def test_losses_and_their_gradients(name: str) -> None:
    loss = found(name)
    if name == "make_fenchel_young_loss":
        loss = loss(lambda logits: jax.nn.logsumexp(logits, -1))
    program = j2o_core.to_onnx(gradient_of_all(loss), list(LOSSES[name]))
    program.verify(*LOSSES[name])


def test_schedules() -> None:
    def fn(steps: Any) -> Any:
        schedules = {name: getattr(optax, name)(*arguments) for name, arguments in SCHEDULES.items()}
        return {name: jax.vmap(lambda step, of=of: jnp.asarray(of(step)))(steps) for name, of in schedules.items()}

    steps = jnp.arange(12)
    j2o_core.to_onnx(fn, [steps]).verify(steps)


def test_projections() -> None:
    def fn(vector: Any) -> Any:
        return {name: found(name)(vector, *arguments) for name, arguments in PROJECTIONS.items()}

    j2o_core.to_onnx(fn, [VECTOR]).verify(VECTOR)


@pytest.mark.parametrize("name", cases(OTHERS))
def test_other_functions(name: str) -> None:
    j2o_core.to_onnx(OTHERS[name], [WEIGHTS]).verify(WEIGHTS)


def test_every_public_function_has_a_case_or_a_reason() -> None:
    """A release of optax with more functions fails here: give each a case above."""
    known = {*TRANSFORMATIONS, *PER_EXAMPLE, *LOSSES, *SCHEDULES, *PROJECTIONS, *OTHERS, *REASONS}
    aliases = {"MaskOrFn", "OptState", "Params", "ScalarOrSchedule", "Schedule", "Updates", "ConditionFn"}
    aliases |= {"StatefulSchedule"}
    missing = []
    for home in HOMES:
        module = getattr(optax, home) if home else optax
        names = [name for name in dir(module) if not name.startswith("_") and callable(getattr(module, name))]
        functions = [name for name in names if not inspect.isclass(getattr(module, name))]
        missing += [f"{home}.{name}".lstrip(".") for name in functions if name not in known | aliases]
    assert not missing
