"""A sample of `jax.scipy` and of what `jax.numpy` builds on top: nothing special is needed for them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import pytest

from j2o_core.testing import check

SAMPLE: dict[str, Callable[[jax.Array], object]] = {
    "signal.convolve": lambda x: jsp.signal.convolve(x, x[:2, :2], mode="same"),
    "signal.correlate2d": lambda x: jsp.signal.correlate2d(x, x[:2, :3]),
    "signal.fftconvolve": lambda x: jsp.signal.fftconvolve(x[0], x[1]),
    "signal.detrend": lambda x: jsp.signal.detrend(x),
    "signal.stft": lambda x: jnp.abs(jsp.signal.stft(x.ravel(), nperseg=8)[2]),
    "signal.welch": lambda x: jsp.signal.welch(x.ravel(), nperseg=8)[1],
    "special.logsumexp": lambda x: (jsp.special.logsumexp(x, 0), jsp.special.logit(jsp.special.expit(x))),
    "special.entr": lambda x: (
        jsp.special.entr(abs(x)),
        jsp.special.xlogy(abs(x), 2.0),
        jsp.special.ndtri(0.5 + x / 20),
    ),
    "special.gamma": lambda x: (
        jsp.special.gamma(x),
        jsp.special.polygamma(1, 1 + abs(x)),
        jsp.special.zeta(2 + abs(x), 1.5),
    ),
    "special.bessel": lambda x: (jsp.special.i0(x), jsp.special.i1e(x), jsp.special.exp1(0.1 + abs(x))),
    "special.integrals": lambda x: (jsp.special.expi(x), jsp.special.spence(abs(x)), jsp.special.expn(2, abs(x))),
    "special.series": lambda x: (jsp.special.hyp1f1(1.2, 2.3, x), jsp.special.bessel_jn(abs(x[0]) + 0.1, v=2)),
    "linalg.expm": lambda x: jsp.linalg.expm(x[:, :4]),
    "linalg.solve": lambda x: jsp.linalg.solve(x @ x.T + jnp.eye(4), x, assume_a="pos"),
    "linalg.cho_solve": lambda x: jsp.linalg.cho_solve(jsp.linalg.cho_factor(x @ x.T + jnp.eye(4)), x),
    "linalg.lu": lambda x: jsp.linalg.lu_solve(jsp.linalg.lu_factor(x[:, :4] + 4 * jnp.eye(4)), x),
    "linalg.block_diag": lambda x: (jsp.linalg.block_diag(x, x), jsp.linalg.toeplitz(x[0])),
    "ndimage.map_coordinates": lambda x: jsp.ndimage.map_coordinates(
        x, [abs(x[0]), abs(x[1])], order=1, mode="nearest"
    ),
    "stats.norm": lambda x: (jsp.stats.norm.logpdf(x), jsp.stats.norm.cdf(x), jsp.stats.norm.ppf(0.5 + x / 20)),
    "stats.others": lambda x: (
        jsp.stats.gamma.logpdf(abs(x), 2.0),
        jsp.stats.t.logpdf(x, 3.0),
        jsp.stats.beta.pdf(0.3, 2, 3),
    ),
    "stats.poisson": lambda x: (jsp.stats.poisson.logpmf(3, abs(x)), jsp.stats.binom.logpmf(2, 5, 0.3)),
    "stats.rankdata": lambda x: (jsp.stats.rankdata(x[0]), jsp.stats.mode(x.round(), axis=0)[0]),
    "stats.kde": lambda x: jsp.stats.gaussian_kde(x[:2])(x[2:, :3]),
    "integrate.trapezoid": lambda x: jsp.integrate.trapezoid(x, dx=0.1),
    "interpolate": lambda x: jsp.interpolate.RegularGridInterpolator((jnp.arange(4.0), jnp.arange(6.0)), x)(
        abs(x[:, :2])
    ),
    "fft.dct": lambda x: jsp.fft.idct(jsp.fft.dct(x)),
    "numpy.unique": lambda x: jnp.unique(x.round(), size=5, return_counts=True),
    "numpy.histogram": lambda x: (
        jnp.histogram(x, 5)[0],
        jnp.digitize(x, jnp.arange(-2.0, 3.0)),
        jnp.bincount(x[0].astype(int) % 3, length=3),
    ),
    "numpy.searchsorted": lambda x: (
        jnp.searchsorted(jnp.sort(x[0]), x[1]),
        jnp.interp(x[0], jnp.arange(3.0), x[1, :3]),
    ),
    "numpy.statistics": lambda x: (jnp.quantile(x, 0.3, axis=1), jnp.nanmedian(x), jnp.cov(x), jnp.corrcoef(x)),
    "numpy.sets": lambda x: (jnp.isin(x, x[0]), jnp.union1d(x[0], x[1], size=12), jnp.nonzero(x > 0, size=9)),
    "numpy.polynomials": lambda x: (jnp.polyval(x[0], x[1]), jnp.polyfit(x[0], x[1], 2), jnp.gradient(x)),
    "ops.segment": lambda x: (
        jax.ops.segment_max(x, jnp.array([0, 1, 0, 5]), 3),
        jax.ops.segment_prod(x, jnp.array([0, 0, 1, 1]), 2),
    ),
}


@pytest.mark.parametrize("name", SAMPLE)
def test_a_function(name: str) -> None:
    check(SAMPLE[name], (4, 6), opsets=(21,))
