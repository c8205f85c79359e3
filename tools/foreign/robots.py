"""Robots and their simulators: brax, MuJoCo's MJX."""

import jax
import jax.numpy as jnp

from .catalogue import Made, program

_MODEL = """
<mujoco><option timestep="0.01"/><worldbody>
  <geom type="plane" size="5 5 .1"/>
  <body pos="0 0 1"><freejoint/><geom type="sphere" size=".1"/></body>
  <body pos="1 0 1">
    <joint name="hinge" type="hinge" axis="0 1 0" damping=".1"/><geom type="capsule" size=".05 .2"/>
  </body>
</worldbody><actuator><motor joint="hinge"/></actuator></mujoco>"""


def _brax(name: str, backend: str) -> Made:
    from brax import envs

    env = envs.get_environment(name, backend=backend)
    state = jax.jit(env.reset)(jax.random.key(0))
    action = 0.1 * jnp.ones(env.action_size)
    return env.step, (state, action)


for _backend in ("spring", "positional", "generalized"):
    for _name in ("inverted_pendulum", "reacher"):
        # A step is many small ones, each of which carries on the rounding of those before.
        program("brax", f"step of {_name}, {_backend}", rtol=1e-3, atol=1e-4)(
            lambda name=_name, backend=_backend: _brax(name, backend)
        )


@program("brax", "policy of PPO")
def _policy() -> Made:
    from brax.training.acme import running_statistics
    from brax.training.agents.ppo import networks

    made = networks.make_ppo_networks(8, 3, running_statistics.normalize)
    statistics = running_statistics.init_state(jnp.zeros(8))
    parameters = (statistics, made.policy_network.init(jax.random.key(0)))
    policy = networks.make_inference_fn(made)

    def act(parameters: object, observation: jax.Array, key: jax.Array) -> object:
        return policy(parameters)(observation, key)

    return act, (parameters, jnp.linspace(-1, 1, 8), jax.random.key(1))


def _mjx() -> tuple[object, object]:
    import mujoco
    from mujoco import mjx

    model = mjx.put_model(mujoco.MjModel.from_xml_string(_MODEL), impl="jax")
    return model, mjx.make_data(model)


@program("mujoco-mjx", "kinematics")
def _kinematics() -> Made:
    from mujoco import mjx

    model, data = _mjx()
    return lambda qpos: mjx.kinematics(model, data.replace(qpos=qpos)).xpos, (data.qpos + 0.1,)


@program("mujoco-mjx", "forward dynamics", rtol=1e-3, atol=1e-4)
def _forward() -> Made:
    from mujoco import mjx

    model, data = _mjx()

    def forward(qpos: jax.Array, ctrl: jax.Array) -> object:
        out = mjx.forward(model, data.replace(qpos=qpos, ctrl=ctrl))
        return out.qacc, out.xpos

    return forward, (data.qpos, jnp.ones(1))


@program("mujoco-mjx", "step", rtol=1e-3, atol=1e-4)
def _step() -> Made:
    from mujoco import mjx

    model, data = _mjx()

    def step(qpos: jax.Array, qvel: jax.Array, ctrl: jax.Array) -> object:
        out = mjx.step(model, data.replace(qpos=qpos, qvel=qvel, ctrl=ctrl))
        return out.qpos, out.qvel, out.time

    return step, (data.qpos, data.qvel + 0.1, jnp.ones(1))


@program("jaxlie", "rigid motions")
def _motions() -> Made:
    import jaxlie

    def moved(tangent: jax.Array, point: jax.Array) -> object:
        pose = jaxlie.SE3.exp(tangent)
        return pose @ point, pose.inverse().log(), pose.adjoint()

    return moved, (0.3 * jnp.arange(1.0, 7.0), jnp.arange(3.0))


@program("jaxlie", "descent on a rotation")
def _rotation() -> Made:
    import jaxlie

    def step(wxyz: jax.Array, target: jax.Array) -> jax.Array:
        rotation = jaxlie.SO3(wxyz)
        gradient = jaxlie.manifold.grad(lambda r: jnp.sum((r @ jnp.ones(3) - target) ** 2))(rotation)
        return jaxlie.manifold.rplus(rotation, -0.1 * gradient).wxyz

    return step, (jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.array([1.0, -1.0, 1.0]))
