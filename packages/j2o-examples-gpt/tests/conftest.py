import equinox as eqx
import jax
import pytest

from j2o_examples_gpt import CONFIGS, Gpt, GptConfig, export


@pytest.fixture(scope="session")
def config() -> GptConfig:
    return CONFIGS["tiny"]


@pytest.fixture(scope="session")
def model(config):
    return Gpt(config, key=jax.random.key(0))


@pytest.fixture(scope="session")
def step(model):
    """The model, compiled once for each shape."""
    return eqx.filter_jit(model)


@pytest.fixture(scope="session")
def program(model, config):
    return export(model, config)
