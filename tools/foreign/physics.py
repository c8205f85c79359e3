"""Physics: jax-md, exponax."""

import jax
import jax.numpy as jnp

from .catalogue import Made, program


def _positions() -> jax.Array:
    return jnp.stack(jnp.meshgrid(*[jnp.arange(2.0)] * 3), -1).reshape(8, 3) * 1.2 + 0.1


@program("jax-md", "energy and forces of Lennard-Jones")
def _lennard_jones() -> Made:
    from jax_md import energy, quantity, space

    displacement, _ = space.periodic(4.0)
    potential = energy.lennard_jones_pair(displacement)
    return lambda r: (potential(r), quantity.force(potential)(r)), (_positions(),)


@program("jax-md", "step of velocity Verlet")
def _verlet() -> Made:
    from jax_md import energy, simulate, space

    displacement, shift = space.periodic(4.0)
    potential = energy.soft_sphere_pair(displacement)
    init, step = simulate.nve(potential, shift, 1e-2)
    return step, (init(jax.random.key(0), _positions(), kT=0.1),)


@program("jax-md", "Langevin dynamics")
def _langevin() -> Made:
    from jax_md import energy, simulate, space

    displacement, shift = space.periodic(4.0)
    init, step = simulate.nvt_langevin(energy.soft_sphere_pair(displacement), shift, 1e-2, 0.1)
    return step, (init(jax.random.key(0), _positions()),)


@program("jax-md", "neighbour list")
def _neighbours() -> Made:
    from jax_md import energy, space

    displacement, _ = space.periodic(8.0)
    neighbour_fn, potential = energy.lennard_jones_neighbor_list(displacement, 8.0)
    neighbours = neighbour_fn.allocate(_positions() * 2)
    return lambda r, neighbours: potential(r, neighbours.update(r)), (_positions() * 2, neighbours)


def _exponax(name: str) -> Made:
    import exponax as ex

    made = {
        "Burgers": lambda: ex.stepper.Burgers(1, 1.0, 32, 0.01),
        "KuramotoSivashinsky": lambda: ex.stepper.KuramotoSivashinsky(1, 20.0, 32, 0.05),
        "Diffusion": lambda: ex.stepper.Diffusion(2, 1.0, 16, 0.01),
    }[name]()
    shape = (1, 32) if name != "Diffusion" else (1, 16, 16)
    return made, (jnp.sin(jnp.linspace(0, 6, shape[-1])) * jnp.ones(shape),)


for _name in ("Burgers", "KuramotoSivashinsky", "Diffusion"):
    program("exponax", f"step of {_name}")(lambda name=_name: _exponax(name))
