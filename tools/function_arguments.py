"""Arguments to try each public function of JAX with, and reasons why some are no part of a graph."""

import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.cluster.vq
import jax.scipy.interpolate
import jax.scipy.optimize
import jax.scipy.sparse.linalg
import jax.scipy.spatial.transform
import jax.scipy.stats
from jax import lax

MODULES = (
    "jax.numpy",
    "jax.numpy.fft",
    "jax.numpy.linalg",
    "jax.scipy.fft",
    "jax.scipy.linalg",
    "jax.scipy.special",
    "jax.scipy.stats",
    *(f"jax.scipy.stats.{module.name}" for module in pkgutil.iter_modules(jax.scipy.stats.__path__)),
    "jax.scipy.signal",
    "jax.scipy.ndimage",
    "jax.scipy.interpolate",
    "jax.scipy.integrate",
    "jax.scipy.cluster.vq",
    "jax.scipy.optimize",
    "jax.scipy.sparse.linalg",
    "jax.scipy.spatial.transform",
    "jax.nn",
    "jax.lax",
    "jax.lax.linalg",
    "jax.random",
    "jax.image",
    "jax.ops",
)

X = jnp.linspace(-0.9, 0.8, 12).reshape(4, 3)
POSITIVE = jnp.linspace(0.2, 0.9, 12).reshape(4, 3)
WIDE = jnp.linspace(1.2, 3.0, 12).reshape(4, 3)
SQUARE = jnp.array([[4.0, 1, 0.5], [1, 3, 0.2], [0.5, 0.2, 2]])
INTEGERS = jnp.arange(12).reshape(4, 3)
FLAGS = X > 0
VECTOR = X[:, 0]
KEY = jax.random.key(0)

_OF_VALUES = ("cdf", "logcdf", "logpdf", "logpmf", "logsf", "pdf", "pmf", "sf")
_OF_SHARES = ("isf", "ppf")

# Arguments to try, one after the other, until `jax.jit` takes them.
CANDIDATES: tuple[tuple[Any, ...], ...] = (
    (X,),
    (POSITIVE, WIDE),
    (INTEGERS,),
    (FLAGS,),
    (INTEGERS, INTEGERS + 1),
    (FLAGS, ~FLAGS),
    (SQUARE,),
    (SQUARE, VECTOR[:3]),
    (SQUARE, SQUARE + 1),
    (VECTOR,),
    (VECTOR, VECTOR + 1),
    (POSITIVE, WIDE, WIDE + 1),
    (INTEGERS, POSITIVE),
    (KEY,),
)


def _static(fn: Callable[..., Any], *rest: Any, **options: Any) -> Callable[..., Any]:
    """The function with settings behind its arrays."""
    return lambda *arrays: fn(*arrays, *rest, **options)


def _mapped(collective: Callable[..., Any], *rest: Any, **options: Any) -> Callable[..., Any]:
    """A collective over the rows of an array, which `vmap` names."""
    return jax.vmap(lambda row: collective(row, "rows", *rest, **options), axis_name="rows")


def _rotation(quaternion: Any) -> Any:
    return jax.scipy.spatial.transform.Rotation.from_quat(quaternion)


def _of_distributions() -> Iterator[tuple[str, tuple[Callable[..., Any], tuple[Any, ...]]]]:
    """Each function of a distribution, of the values or shares that it takes, and of the parameters."""
    located, simplex = (X, WIDE), jnp.array([0.2, 0.3, 0.5])
    parameters: dict[str, tuple[Any, ...]] = {  # values, shape parameters, location, scale
        "expon": (4 * X, *located),
        "gamma": (4 * X, POSITIVE, X - 1, WIDE),
        "gennorm": (4 * X, WIDE),
        "geom": (INTEGERS, POSITIVE),
        "gumbel_l": (4 * X, *located),
        "gumbel_r": (4 * X, *located),
        "laplace": (4 * X, *located),
        "logistic": (4 * X, *located),
        "multinomial": (jnp.array([1, 2, 3]), jnp.int32(6), simplex),
        "multivariate_normal": (X, VECTOR[:3], SQUARE),
        "nbinom": (INTEGERS, WIDE, POSITIVE),
        "norm": (4 * X, *located),
        "pareto": (4 * WIDE, WIDE, *located),
        "poisson": (INTEGERS, WIDE),
        "t": (4 * X, WIDE, *located),
        "truncnorm": (4 * X, X - 1, X + 1, *located),
        "uniform": (4 * X, *located),
        "vonmises": (4 * X, WIDE),
        "wrapcauchy": (4 * POSITIVE, POSITIVE),
    }
    for name, (values, *rest) in parameters.items():
        home = getattr(jax.scipy.stats, name)
        for function in (n for n in dir(home) if n in _OF_VALUES + _OF_SHARES + ("entropy",)):
            first = [] if function == "entropy" else [POSITIVE if function in _OF_SHARES else values]
            yield f"jax.scipy.stats.{name}.{function}", (getattr(home, function), (*first, *rest))
    yield "jax.scipy.stats.dirichlet.pdf", (jax.scipy.stats.dirichlet.pdf, (simplex, WIDE[0]))


def _signed(vectors: Any) -> Any:
    """Columns with a positive first number: the signs of singular and eigenvectors are free."""
    return vectors * jnp.where(vectors[..., :1, :].real < 0, -1, 1)


def _columns(results: Any, *which: int) -> Any:
    """Results in which some are matrices of such columns."""
    return [_signed(result) if index in which else result for index, result in enumerate(results)]


def _reduced(svd: Callable[..., Any], matrix: Any) -> Any:
    u, s, vh = svd(matrix, full_matrices=False)
    return _signed(u), s, _signed(vh.T)


TALL = jnp.sin(jnp.arange(12.0) ** 2).reshape(4, 3)
NOT_SYMMETRIC = jnp.array([[4.0, 1, 0.5], [0.3, 3, 0.2], [0.1, 0.4, 2]])
IMAGE = jnp.linspace(-1, 1, 50).reshape(1, 2, 5, 5)
FILTER = jnp.linspace(0, 1, 24).reshape(3, 2, 2, 2)
PERMUTATION = [(0, 1), (1, 2), (2, 3), (3, 0)]
ROWS = lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,))
TO_ROWS = lax.ScatterDimensionNumbers(
    update_window_dims=(1,), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
)
CHOSEN = jnp.array([[2], [0]])
DIAGONAL, BESIDE = jnp.array([4.0, 3, 5, 6]), jnp.array([1.0, 0.5, 0.2])


# module.function -> (function of arrays, arrays); what must be known while tracing is held in the function.
ARGUMENTS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "jax.numpy.allclose": (jnp.allclose, (X, X + 1e-9)),
    "jax.numpy.arange": (lambda x: jnp.arange(5.0) + x[0, 0], (X,)),
    "jax.numpy.argwhere": (_static(jnp.argwhere, size=6), (FLAGS,)),
    "jax.numpy.apply_along_axis": (lambda x: jnp.apply_along_axis(jnp.sum, 0, x), (X,)),
    "jax.numpy.apply_over_axes": (lambda x: jnp.apply_over_axes(jnp.sum, x, [0]), (X,)),
    "jax.numpy.array_split": (_static(jnp.array_split, 3, 1), (X,)),
    "jax.numpy.astype": (_static(jnp.astype, jnp.int32), (X,)),
    "jax.numpy.bincount": (_static(jnp.bincount, length=12), (INTEGERS[:, 0],)),
    "jax.numpy.block": (lambda x: jnp.block([[x, x], [x, x]]), (X,)),
    "jax.numpy.broadcast_to": (lambda x: jnp.broadcast_to(x, (2, *x.shape)), (X,)),
    "jax.numpy.choose": (lambda i, x: jnp.choose(i, [x, x + 1, x + 2], mode="clip"), (INTEGERS % 3, X)),
    "jax.numpy.clip": (_static(jnp.clip, -0.5, 0.5), (X,)),
    "jax.numpy.compress": (lambda flags, x: jnp.compress(flags, x, axis=1, size=2), (FLAGS[2], X)),
    "jax.numpy.concat": (lambda x, y: jnp.concat([x, y]), (X, X)),
    "jax.numpy.concatenate": (lambda x, y: jnp.concatenate([x, y]), (X, X)),
    "jax.numpy.corrcoef": (jnp.corrcoef, (jnp.sin(jnp.arange(12.0) ** 2).reshape(4, 3),)),
    "jax.numpy.bartlett": (lambda x: jnp.bartlett(5) + x[0, 0], (X,)),
    "jax.numpy.blackman": (lambda x: jnp.blackman(5) + x[0, 0], (X,)),
    "jax.numpy.hamming": (lambda x: jnp.hamming(5) + x[0, 0], (X,)),
    "jax.numpy.hanning": (lambda x: jnp.hanning(5) + x[0, 0], (X,)),
    "jax.numpy.kaiser": (lambda x: jnp.kaiser(5, 3.0) + x[0, 0], (X,)),
    "jax.numpy.cross": (jnp.cross, (X, X + 1)),
    "jax.numpy.delete": (lambda x: jnp.delete(x, 1, 1), (X,)),
    "jax.numpy.diag_indices": (lambda x: jnp.diag_indices(3)[0] + x[0, 0], (X,)),
    "jax.numpy.digitize": (lambda x: jnp.digitize(x, jnp.linspace(-1, 1, 5)), (X,)),
    "jax.numpy.dsplit": (lambda x: jnp.dsplit(x[:, None], 3), (X,)),
    "jax.numpy.einsum": (lambda x, y: jnp.einsum("ij,kj->ik", x, y), (X, X)),
    "jax.numpy.expand_dims": (_static(jnp.expand_dims, 1), (X,)),
    "jax.numpy.extract": (_static(jnp.extract, size=6), (FLAGS, X)),
    "jax.numpy.eye": (lambda x: jnp.eye(3) + x[0, 0], (X,)),
    "jax.numpy.fill_diagonal": (_static(jnp.fill_diagonal, 2.0, inplace=False), (SQUARE,)),
    "jax.numpy.flatnonzero": (_static(jnp.flatnonzero, size=6), (FLAGS,)),
    "jax.numpy.from_dlpack": (lambda x: x, (X,)),
    "jax.numpy.fromfunction": (lambda x: jnp.fromfunction(lambda i, j: i + j, (3, 3)) + x[0, 0], (X,)),
    "jax.numpy.full": (lambda x: jnp.full((2, 3), x[0, 0]), (X,)),
    "jax.numpy.full_like": (_static(jnp.full_like, 2.0), (X,)),
    "jax.numpy.geomspace": (lambda x: jnp.geomspace(x[0, 0], x[0, 1], 5), (POSITIVE,)),
    "jax.numpy.histogram": (_static(jnp.histogram, bins=5), (X,)),
    "jax.numpy.hsplit": (_static(jnp.hsplit, 3), (X,)),
    "jax.numpy.identity": (lambda x: jnp.identity(3) + x[0, 0], (X,)),
    "jax.numpy.indices": (lambda x: jnp.indices((2, 3)) + x[0, 0], (X,)),
    "jax.numpy.insert": (lambda x: jnp.insert(x, 1, 5.0, 1), (X,)),
    "jax.numpy.interp": (lambda x: jnp.interp(x, jnp.linspace(-1, 1, 4), jnp.arange(4.0)), (X,)),
    "jax.numpy.intersect1d": (_static(jnp.intersect1d, size=4), (INTEGERS[:, 0], INTEGERS[:, 0] + 3)),
    "jax.numpy.ix_": (lambda i: X[jnp.ix_(i, i)], (jnp.array([0, 2]),)),
    "jax.numpy.lexsort": (lambda x, y: jnp.lexsort((x, y)), (VECTOR, -VECTOR)),
    "jax.numpy.linspace": (lambda x: jnp.linspace(x[0, 0], x[0, 1], 5), (X,)),
    "jax.numpy.logspace": (lambda x: jnp.logspace(x[0, 0], x[0, 1], 5), (X,)),
    "jax.numpy.matvec": (jnp.matvec, (SQUARE, VECTOR[:3])),
    "jax.numpy.vecmat": (jnp.vecmat, (VECTOR[:3], SQUARE)),
    "jax.numpy.meshgrid": (jnp.meshgrid, (VECTOR, VECTOR)),
    "jax.numpy.moveaxis": (_static(jnp.moveaxis, 0, 1), (X,)),
    "jax.numpy.nonzero": (_static(jnp.nonzero, size=6), (FLAGS,)),
    "jax.numpy.ones": (lambda x: jnp.ones((2, 3)) + x[0, 0], (X,)),
    "jax.numpy.zeros": (lambda x: jnp.zeros((2, 3)) + x[0, 0], (X,)),
    "jax.numpy.empty": (lambda x: jnp.empty((2, 3)) + x[0, 0], (X,)),
    "jax.numpy.pad": (_static(jnp.pad, ((1, 2), (0, 1)), mode="reflect"), (X,)),
    "jax.numpy.partition": (_static(jnp.partition, 1), (X,)),
    "jax.numpy.argpartition": (_static(jnp.argpartition, 1), (X,)),
    "jax.numpy.percentile": (_static(jnp.percentile, 30.0), (X,)),
    "jax.numpy.nanpercentile": (_static(jnp.nanpercentile, 30.0), (X,)),
    "jax.numpy.quantile": (_static(jnp.quantile, 0.3), (X,)),
    "jax.numpy.nanquantile": (_static(jnp.nanquantile, 0.3), (X,)),
    "jax.numpy.permute_dims": (_static(jnp.permute_dims, (1, 0)), (X,)),
    "jax.numpy.piecewise": (lambda x: jnp.piecewise(x, [x < 0, x >= 0], [jnp.sin, jnp.cos]), (X,)),
    "jax.numpy.place": (_static(jnp.place, jnp.arange(3.0), inplace=False), (X, FLAGS)),
    "jax.numpy.poly": (jnp.poly, (VECTOR,)),
    "jax.numpy.polyfit": (_static(jnp.polyfit, 2), (VECTOR, VECTOR**2)),
    "jax.numpy.put": (lambda x: jnp.put(x, jnp.array([1, 5]), 2.0, inplace=False), (X,)),
    "jax.numpy.put_along_axis": (
        lambda x, i: jnp.put_along_axis(x, i, 2.0, axis=1, inplace=False),
        (X, INTEGERS[:, :1] % 3),
    ),
    "jax.numpy.repeat": (_static(jnp.repeat, 2, 1), (X,)),
    "jax.numpy.reshape": (lambda x: jnp.reshape(x, (x.shape[0], 1, 3)), (X,)),
    "jax.numpy.roll": (_static(jnp.roll, 2, 0), (X,)),
    "jax.numpy.rollaxis": (_static(jnp.rollaxis, 1), (X,)),
    "jax.numpy.roots": (_static(jnp.roots, strip_zeros=False), (jnp.array([1.0, -6.0, 11.0, -6.0]),)),
    "jax.numpy.searchsorted": (jnp.searchsorted, (jnp.linspace(-1, 1, 5), X)),
    "jax.numpy.select": (lambda x: jnp.select([x < 0, x > 0.5], [x, x * 2], 7.0), (X,)),
    "jax.numpy.setdiff1d": (_static(jnp.setdiff1d, size=4), (INTEGERS[:, 0], INTEGERS[:, 0] + 3)),
    "jax.numpy.setxor1d": (_static(jnp.setxor1d, size=6), (INTEGERS[:, 0], INTEGERS[:, 0] + 3)),
    "jax.numpy.split": (_static(jnp.split, 3, 1), (X,)),
    "jax.numpy.stack": (lambda x, y: jnp.stack([x, y]), (X, X)),
    "jax.numpy.hstack": (lambda x, y: jnp.hstack([x, y]), (X, X)),
    "jax.numpy.vstack": (lambda x, y: jnp.vstack([x, y]), (X, X)),
    "jax.numpy.dstack": (lambda x, y: jnp.dstack([x, y]), (X, X)),
    "jax.numpy.column_stack": (lambda x, y: jnp.column_stack([x, y]), (X, X)),
    "jax.numpy.swapaxes": (_static(jnp.swapaxes, 0, 1), (X,)),
    "jax.numpy.take": (_static(jnp.take, axis=0), (X, INTEGERS[:, 0] % 4)),
    "jax.numpy.take_along_axis": (_static(jnp.take_along_axis, axis=1), (X, INTEGERS % 3)),
    "jax.numpy.tensordot": (_static(jnp.tensordot, axes=1), (X, SQUARE)),
    "jax.numpy.tile": (_static(jnp.tile, (1, 2)), (X,)),
    "jax.numpy.tri": (lambda x: jnp.tri(3) + x[0, 0], (X,)),
    "jax.numpy.tril_indices": (lambda x: jnp.tril_indices(3)[0] + x[0, 0], (X,)),
    "jax.numpy.triu_indices": (lambda x: jnp.triu_indices(3)[0] + x[0, 0], (X,)),
    "jax.numpy.mask_indices": (lambda x: jnp.mask_indices(3, jnp.triu, size=6)[0] + x[0, 0], (X,)),
    "jax.numpy.union1d": (_static(jnp.union1d, size=8), (INTEGERS[:, 0], INTEGERS[:, 0] + 3)),
    "jax.numpy.unique": (_static(jnp.unique, size=5), (INTEGERS % 4,)),
    "jax.numpy.unique_all": (_static(jnp.unique_all, size=5), (INTEGERS % 4,)),
    "jax.numpy.unique_counts": (_static(jnp.unique_counts, size=5), (INTEGERS % 4,)),
    "jax.numpy.unique_inverse": (_static(jnp.unique_inverse, size=5), (INTEGERS % 4,)),
    "jax.numpy.unique_values": (_static(jnp.unique_values, size=5), (INTEGERS % 4,)),
    "jax.numpy.unravel_index": (lambda i: jnp.unravel_index(i, (4, 3)), (INTEGERS,)),
    "jax.numpy.ravel_multi_index": (
        lambda i, j: jnp.ravel_multi_index((i, j), (4, 12), mode="clip"),
        (INTEGERS % 4, INTEGERS),
    ),
    "jax.numpy.vander": (_static(jnp.vander, 3), (VECTOR,)),
    "jax.numpy.vectorize": (jnp.vectorize(lambda x: x * 2), (X,)),
    "jax.numpy.vsplit": (_static(jnp.vsplit, 2), (X,)),
    "jax.numpy.where": (jnp.where, (FLAGS, X, X + 1)),
    "jax.numpy.fft.fftfreq": (lambda x: jnp.fft.fftfreq(8) + x[0, 0], (X,)),
    "jax.numpy.fft.rfftfreq": (lambda x: jnp.fft.rfftfreq(8) + x[0, 0], (X,)),
    "jax.numpy.linalg.matrix_power": (_static(jnp.linalg.matrix_power, 3), (SQUARE,)),
    "jax.numpy.linalg.multi_dot": (lambda x, y: jnp.linalg.multi_dot([x, y, y]), (X, SQUARE)),
    "jax.numpy.linalg.tensorsolve": (jnp.linalg.tensorsolve, (SQUARE, VECTOR[:3])),
    "jax.numpy.linalg.tensorinv": (_static(jnp.linalg.tensorinv, ind=1), (SQUARE,)),
    "jax.numpy.linalg.cross": (jnp.linalg.cross, (X, X + 1)),
    "jax.scipy.linalg.cho_solve": (lambda c, b: jax.scipy.linalg.cho_solve((c, True), b), (SQUARE, VECTOR[:3])),
    "jax.scipy.linalg.lu_solve": (
        lambda a, b: jax.scipy.linalg.lu_solve(jax.scipy.linalg.lu_factor(a), b),
        (SQUARE, VECTOR[:3]),
    ),
    "jax.scipy.linalg.block_diag": (jax.scipy.linalg.block_diag, (SQUARE, SQUARE)),
    "jax.scipy.linalg.hilbert": (lambda x: jax.scipy.linalg.hilbert(3) + x[0, 0], (X,)),
    "jax.scipy.linalg.pascal": (lambda x: jax.scipy.linalg.pascal(3) + x[0, 0], (X,)),
    "jax.scipy.linalg.funm": (lambda a: jax.scipy.linalg.funm(a, jnp.exp), (SQUARE,)),
    "jax.scipy.special.multigammaln": (_static(jax.scipy.special.multigammaln, 2), (WIDE,)),
    "jax.scipy.special.polygamma": (lambda x: jax.scipy.special.polygamma(1, x), (WIDE,)),
    "jax.scipy.special.betainc": (jax.scipy.special.betainc, (WIDE, WIDE + 1, POSITIVE)),
    "jax.scipy.special.bernoulli": (lambda x: jax.scipy.special.bernoulli(5) + x[0, 0], (X,)),
    "jax.scipy.special.zeta": (jax.scipy.special.zeta, (WIDE, WIDE)),
    "jax.scipy.special.fresnel": (jax.scipy.special.fresnel, (X,)),
    "jax.scipy.signal.convolve": (_static(jax.scipy.signal.convolve, mode="same"), (VECTOR, VECTOR[:3])),
    "jax.scipy.signal.convolve2d": (_static(jax.scipy.signal.convolve2d, mode="same"), (X, X[:2, :2])),
    "jax.scipy.signal.stft": (_static(jax.scipy.signal.stft, nperseg=8), (jnp.sin(jnp.arange(32.0)),)),
    "jax.scipy.signal.welch": (_static(jax.scipy.signal.welch, nperseg=8), (jnp.sin(jnp.arange(32.0)),)),
    "jax.scipy.signal.csd": (
        _static(jax.scipy.signal.csd, nperseg=8),
        (jnp.sin(jnp.arange(32.0)), jnp.cos(jnp.arange(32.0))),
    ),
    "jax.scipy.signal.istft": (
        lambda x: jax.scipy.signal.istft(jax.scipy.signal.stft(x, nperseg=8)[2], nperseg=8),
        (jnp.sin(jnp.arange(32.0)),),
    ),
    "jax.scipy.ndimage.map_coordinates": (
        lambda x, at: jax.scipy.ndimage.map_coordinates(x, [at, at], order=1),
        (X, POSITIVE),
    ),
    "jax.nn.dot_product_attention": (
        jax.nn.dot_product_attention,
        tuple(jnp.cos(jnp.arange(first, first + 48.0)).reshape(2, 3, 2, 4) for first in range(3)),
    ),
    "jax.nn.one_hot": (_static(jax.nn.one_hot, 5), (INTEGERS % 5,)),
    "jax.lax.argmax": (_static(lax.argmax, 1, jnp.int32), (X,)),
    "jax.lax.argmin": (_static(lax.argmin, 1, jnp.int32), (X,)),
    "jax.lax.associative_scan": (lambda x: lax.associative_scan(jnp.add, x, axis=1), (X,)),
    "jax.lax.bitcast_convert_type": (_static(lax.bitcast_convert_type, jnp.int32), (X,)),
    "jax.lax.broadcast": (_static(lax.broadcast, (2,)), (X,)),
    "jax.lax.broadcast_in_dim": (lambda x: lax.broadcast_in_dim(x, (2, *x.shape), (1, 2)), (X,)),
    "jax.lax.clamp": (lambda x: lax.clamp(-0.5, x, 0.5), (X,)),
    "jax.lax.collapse": (_static(lax.collapse, 0, 2), (X,)),
    "jax.lax.concatenate": (lambda x, y: lax.concatenate([x, y], 1), (X, X)),
    "jax.lax.cond": (lambda x: lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x), (X,)),
    "jax.lax.conv": (
        _static(lax.conv, (1, 1), "SAME"),
        (jnp.linspace(-1, 1, 50).reshape(1, 2, 5, 5), jnp.linspace(0, 1, 24).reshape(3, 2, 2, 2)),
    ),
    "jax.lax.convert_element_type": (_static(lax.convert_element_type, jnp.int32), (X,)),
    "jax.lax.dot_general": (_static(lax.dot_general, (((1,), (0,)), ((), ()))), (X, SQUARE)),
    "jax.lax.dynamic_index_in_dim": (_static(lax.dynamic_index_in_dim, 1), (X, jnp.int32(1))),
    "jax.lax.dynamic_slice": (lambda x, i: lax.dynamic_slice(x, (i, i), (2, 2)), (X, jnp.int32(1))),
    "jax.lax.dynamic_slice_in_dim": (_static(lax.dynamic_slice_in_dim, 2), (X, jnp.int32(1))),
    "jax.lax.dynamic_update_slice": (
        lambda x, y, i: lax.dynamic_update_slice(x, y, (i, i)),
        (X, X[:2, :2], jnp.int32(1)),
    ),
    "jax.lax.expand_dims": (_static(lax.expand_dims, (1,)), (X,)),
    "jax.lax.fori_loop": (lambda x: lax.fori_loop(0, 3, lambda i, c: c * 2 + i, x), (X,)),
    "jax.lax.full": (lambda x: lax.full((2, 3), x[0, 0]), (X,)),
    "jax.lax.full_like": (_static(lax.full_like, 2.0), (X,)),
    "jax.lax.index_in_dim": (_static(lax.index_in_dim, 1, 1), (X,)),
    "jax.lax.iota": (lambda x: lax.iota(jnp.float32, 5) + x[0, 0], (X,)),
    "jax.lax.map": (lambda x: lax.map(jnp.sort, x), (X,)),
    "jax.lax.pad": (lambda x: lax.pad(x, 0.0, ((1, 1, 0), (0, 2, 1))), (X,)),
    "jax.lax.reduce": (lambda x: lax.reduce(x, 0.0, lax.add, (1,)), (X,)),
    "jax.lax.reduce_precision": (_static(lax.reduce_precision, 5, 10), (X,)),
    "jax.lax.reduce_window": (lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2), (1, 1), "VALID"), (X,)),
    "jax.lax.reshape": (lambda x: lax.reshape(x, (x.shape[0], 1, 3)), (X,)),
    "jax.lax.rev": (_static(lax.rev, (0,)), (X,)),
    "jax.lax.scan": (lambda x: lax.scan(lambda c, a: (c + a, c * a), jnp.ones(3), x), (X,)),
    "jax.lax.select": (lax.select, (FLAGS, X, X + 1)),
    "jax.lax.slice": (lambda x: lax.slice(x, (0, 1), (x.shape[0], 3)), (X,)),
    "jax.lax.slice_in_dim": (lambda x: lax.slice_in_dim(x, 0, 2, axis=1), (X,)),
    "jax.lax.split": (_static(lax.split, (1, 2), 1), (X,)),
    "jax.lax.squeeze": (lambda x: lax.squeeze(x[:, None], (1,)), (X,)),
    "jax.lax.switch": (lambda x: lax.switch(jnp.int32(x[0, 0] > 0), [jnp.sin, jnp.cos], x), (X,)),
    "jax.lax.top_k": (_static(lax.top_k, 2), (X,)),
    "jax.lax.transpose": (_static(lax.transpose, (1, 0)), (X,)),
    "jax.lax.while_loop": (lambda x: lax.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, x), (X,)),
    **{
        f"jax.lax.reduce_{name}": (
            _static(getattr(lax, f"reduce_{name}"), (1,)),
            (FLAGS if name in ("and", "or") else X,),
        )
        for name in ("and", "or", "max", "min", "sum", "prod")
    },
    **{
        f"jax.random.{name}": (_static(getattr(jax.random, name), *rest), (KEY, *arrays))
        for name, arrays, rest in (
            ("ball", (), (3,)),
            ("bits", (), ((4,),)),
            ("categorical", (X,), ()),
            ("choice", (VECTOR,), ((3,),)),
            ("dirichlet", (WIDE,), ()),
            ("double_sided_maxwell", (POSITIVE, WIDE), ((4, 3),)),
            ("fold_in", (), (3,)),
            ("generalized_normal", (), (1.5, (4,))),
            ("multivariate_normal", (VECTOR[:3], SQUARE), ()),
            ("orthogonal", (), (3,)),
            ("pareto", (WIDE,), ()),
            ("permutation", (VECTOR,), ()),
            ("randint", (), ((4,), 0, 9)),
            ("rayleigh", (WIDE,), ()),
            ("t", (WIDE,), ()),
            ("triangular", (X, X + 1, X + 2), ()),
            ("truncated_normal", (X, X + 1), ()),
            ("wald", (WIDE,), ()),
            ("weibull_min", (WIDE, WIDE), ()),
            ("binomial", (WIDE * 5, POSITIVE), ()),
            ("poisson", (WIDE,), ()),
            ("beta", (WIDE, WIDE), ()),
            ("gamma", (WIDE,), ()),
            ("loggamma", (WIDE,), ()),
            ("chisquare", (WIDE,), ()),
            ("f", (WIDE, WIDE + 1), ()),
            ("bernoulli", (POSITIVE,), ()),
            ("geometric", (POSITIVE,), ()),
            ("lognormal", (POSITIVE,), ()),
        )
        if hasattr(jax.random, name)
    },
    "jax.lax.after_all": (lambda x: (lax.after_all(lax.create_token()), x)[1], (X,)),
    "jax.lax.create_token": (lambda x: (lax.create_token(), x)[1], (X,)),
    "jax.lax.all_gather": (_mapped(lax.all_gather), (X,)),
    "jax.lax.all_to_all": (_mapped(lax.all_to_all, 0, 0), (X @ X.T,)),
    "jax.lax.axis_index": (jax.vmap(lambda row: row + lax.axis_index("rows"), axis_name="rows"), (X,)),
    "jax.lax.axis_size": (jax.vmap(lambda row: row + lax.axis_size("rows"), axis_name="rows"), (X,)),
    "jax.lax.pmax": (_mapped(lax.pmax), (X,)),
    "jax.lax.pmean": (_mapped(lax.pmean), (X,)),
    "jax.lax.pmin": (_mapped(lax.pmin), (X,)),
    "jax.lax.psum": (_mapped(lax.psum), (X,)),
    "jax.lax.psum_scatter": (_mapped(lax.psum_scatter), (X @ X.T,)),
    "jax.lax.ppermute": (_mapped(lax.ppermute, PERMUTATION), (X,)),
    "jax.lax.pshuffle": (_mapped(lax.pshuffle, [1, 2, 3, 0]), (X,)),
    "jax.lax.pswapaxes": (_mapped(lax.pswapaxes, 0), (X @ X.T,)),
    "jax.lax.approx_max_k": (_static(lax.approx_max_k, 2), (X,)),
    "jax.lax.approx_min_k": (_static(lax.approx_min_k, 2), (X,)),
    "jax.lax.broadcast_to_rank": (_static(lax.broadcast_to_rank, 3), (X,)),
    "jax.lax.broadcasted_iota": (lambda x: lax.broadcasted_iota(jnp.float32, x.shape, 1) + x, (X,)),
    "jax.lax.composite": (lax.composite(lambda x: jnp.sin(x) * 2, name="my.double_sine"), (X,)),
    "jax.lax.conv_general_dilated": (
        _static(lax.conv_general_dilated, (1, 2), ((1, 1), (0, 1)), lhs_dilation=(2, 1), rhs_dilation=(1, 2)),
        (IMAGE, FILTER),
    ),
    "jax.lax.conv_general_dilated_local": (
        _static(lax.conv_general_dilated_local, (1, 1), "VALID", filter_shape=(2, 2)),
        (IMAGE, jnp.linspace(-1, 1, 384).reshape(3, 8, 4, 4)),
    ),
    "jax.lax.conv_general_dilated_patches": (
        _static(lax.conv_general_dilated_patches, filter_shape=(2, 2), window_strides=(1, 1), padding="VALID"),
        (IMAGE,),
    ),
    "jax.lax.conv_transpose": (
        _static(lax.conv_transpose, (2, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")),
        (IMAGE, FILTER),
    ),
    "jax.lax.conv_with_general_padding": (
        _static(lax.conv_with_general_padding, (1, 1), ((1, 0), (0, 1)), None, None),
        (IMAGE, FILTER),
    ),
    "jax.lax.custom_linear_solve": (
        lambda a, b: lax.custom_linear_solve(
            lambda x: a @ x, b, lambda _, b: jnp.linalg.solve(a, b), lambda _, b: jnp.linalg.solve(a.T, b)
        ),
        (SQUARE, VECTOR[:3]),
    ),
    "jax.lax.custom_root": (
        lambda x: lax.custom_root(
            lambda y: y**3 + y - x[0, 0],
            jnp.float32(0),
            lambda f, y: lax.fori_loop(0, 20, lambda _, y: y - f(y) / (3 * y * y + 1), y),
            lambda g, y: y / g(jnp.float32(1)),
        ),
        (X,),
    ),
    "jax.lax.dynamic_update_index_in_dim": (
        _static(lax.dynamic_update_index_in_dim, 0),
        (X, X[0] + 1, jnp.int32(1)),
    ),
    "jax.lax.dynamic_update_slice_in_dim": (
        _static(lax.dynamic_update_slice_in_dim, 0),
        (X, X[:2] + 1, jnp.int32(1)),
    ),
    "jax.lax.empty": (lambda x: lax.full_like(lax.empty((2, 3), jnp.float32), 0) + x[0, 0], (X,)),
    "jax.lax.fft": (lambda x: lax.fft(x.astype(jnp.complex64), "FFT", x.shape[1:]), (X,)),
    "jax.lax.gather": (_static(lax.gather, ROWS, (1, 3)), (X, CHOSEN)),
    "jax.lax.index_take": (lambda x, i: lax.index_take(x, (i,), (0,)), (X, jnp.array([2, 0]))),
    "jax.lax.real": (lambda x: lax.real(lax.complex(x, x + 1)), (X,)),
    "jax.lax.imag": (lambda x: lax.imag(lax.complex(x, x + 1)), (X,)),
    "jax.lax.integer_pow": (_static(lax.integer_pow, 3), (X,)),
    "jax.lax.platform_dependent": (
        lambda x: lax.platform_dependent(x, default=jnp.sin, cpu=jnp.cos),
        (X,),
    ),
    "jax.lax.ragged_dot": (
        lax.ragged_dot,
        (X, jnp.linspace(-1, 1, 12).reshape(2, 3, 2), jnp.array([1, 3], jnp.int32)),
    ),
    "jax.lax.ragged_dot_general": (
        _static(
            lax.ragged_dot_general,
            lax.RaggedDotDimensionNumbers(
                dot_dimension_numbers=(((1,), (1,)), ((), ())),
                lhs_ragged_dimensions=[0],
                rhs_group_dimensions=[0],
            ),
        ),
        (X, jnp.linspace(-1, 1, 12).reshape(2, 3, 2), jnp.array([1, 3], jnp.int32)),
    ),
    "jax.lax.reduce_xor": (_static(lax.reduce_xor, (1,)), (INTEGERS,)),
    "jax.lax.rng_bit_generator": (
        lambda key: lax.rng_bit_generator(key, (2, 4)),
        (jnp.arange(4, dtype=jnp.uint32),),
    ),
    **{
        f"jax.lax.{name}": (_static(getattr(lax, name), TO_ROWS), (X, CHOSEN, X[:2] + 1))
        for name in ("scatter", "scatter_add", "scatter_max", "scatter_min", "scatter_mul", "scatter_sub")
        if hasattr(lax, name)
    },
    "jax.lax.scatter_apply": (
        lambda x, i: lax.scatter_apply(x, i, jnp.sin, TO_ROWS, update_shape=(2, 3)),
        (X, CHOSEN),
    ),
    "jax.lax.tile": (_static(lax.tile, (1, 2)), (X,)),
    "jax.lax.linalg.eig": (
        lambda a: _columns(lax.linalg.eig(a, compute_left_eigenvectors=False), 1),
        (NOT_SYMMETRIC,),
    ),
    "jax.lax.linalg.eigh": (lambda a: _columns(lax.linalg.eigh(a), 0), (SQUARE,)),
    "jax.lax.linalg.qdwh": (lambda a: lax.linalg.qdwh(a)[:2], (TALL,)),
    "jax.lax.linalg.qr": (_static(lax.linalg.qr, full_matrices=False), (TALL,)),
    "jax.lax.linalg.schur": (lambda a: _columns(lax.linalg.schur(a), 1), (SQUARE,)),
    "jax.lax.linalg.svd": (
        lambda a: _reduced(lax.linalg.svd, a),
        (TALL,),
    ),
    "jax.numpy.linalg.svdvals": (jnp.linalg.svdvals, (TALL,)),
    "jax.numpy.linalg.cond": (jnp.linalg.cond, (TALL,)),
    "jax.numpy.linalg.lstsq": (jnp.linalg.lstsq, (TALL, VECTOR)),
    "jax.numpy.linalg.eig": (lambda a: _columns(jnp.linalg.eig(a), 1), (NOT_SYMMETRIC,)),
    "jax.numpy.linalg.eigh": (lambda a: _columns(jnp.linalg.eigh(a), 1), (SQUARE,)),
    "jax.numpy.linalg.svd": (lambda a: _reduced(jnp.linalg.svd, a), (TALL,)),
    "jax.numpy.linalg.qr": (jnp.linalg.qr, (TALL,)),
    "jax.scipy.linalg.eigh": (lambda a: _columns(jax.scipy.linalg.eigh(a), 1), (SQUARE,)),
    "jax.scipy.linalg.svd": (lambda a: _reduced(jax.scipy.linalg.svd, a), (TALL,)),
    "jax.scipy.linalg.qr": (_static(jax.scipy.linalg.qr, mode="economic"), (TALL,)),
    "jax.scipy.linalg.polar": (jax.scipy.linalg.polar, (TALL,)),
    "jax.scipy.linalg.schur": (lambda a: _columns(jax.scipy.linalg.schur(a), 1), (SQUARE,)),
    "jax.lax.linalg.lu_pivots_to_permutation": (
        _static(lax.linalg.lu_pivots_to_permutation, 4),
        (jnp.array([2, 2, 3], jnp.int32),),
    ),
    "jax.lax.linalg.ormqr": (
        lambda a, c: lax.linalg.ormqr(*(lambda h, taus: (h, taus))(*jnp.linalg.qr(a, mode="raw")), c),
        (SQUARE, X[:3]),
    ),
    "jax.lax.linalg.tridiagonal_solve": (
        lambda d, e, b: lax.linalg.tridiagonal_solve(jnp.pad(e, (1, 0)), d, jnp.pad(e, (0, 1)), b),
        (DIAGONAL, BESIDE, X),
    ),
    "jax.scipy.linalg.convolution_matrix": (_static(jax.scipy.linalg.convolution_matrix, 5), (VECTOR,)),
    "jax.scipy.linalg.dft": (lambda x: jax.scipy.linalg.dft(4) @ x, (X,)),
    "jax.scipy.linalg.eigh_tridiagonal": (
        _static(jax.scipy.linalg.eigh_tridiagonal, eigvals_only=True),
        (DIAGONAL, BESIDE),
    ),
    "jax.scipy.linalg.hadamard": (lambda x: jax.scipy.linalg.hadamard(4) @ x, (X,)),
    "jax.scipy.linalg.helmert": (lambda x: jax.scipy.linalg.helmert(4) @ x, (X,)),
    "jax.scipy.linalg.invhilbert": (lambda x: jax.scipy.linalg.invhilbert(4) @ x, (X,)),
    "jax.scipy.linalg.invpascal": (lambda x: jax.scipy.linalg.invpascal(4) @ x, (X,)),
    "jax.scipy.linalg.leslie": (jax.scipy.linalg.leslie, (POSITIVE[:, 0], POSITIVE[:3, 1])),
    "jax.scipy.linalg.solve_sylvester": (jax.scipy.linalg.solve_sylvester, (SQUARE, SQUARE + 1, X[:3])),
    "jax.scipy.special.bessel_jn": (_static(jax.scipy.special.bessel_jn, v=3), (VECTOR,)),
    "jax.scipy.special.hyp2f1": (jax.scipy.special.hyp2f1, (POSITIVE, WIDE, WIDE + 2, POSITIVE / 2)),
    "jax.scipy.special.sph_harm_y": (
        _static(jax.scipy.special.sph_harm_y, n_max=4),
        (jnp.array([1, 2, 3, 4]), jnp.array([0, 1, 2, 3]), VECTOR, VECTOR + 1),
    ),
    "jax.scipy.optimize.minimize": (
        lambda x: jax.scipy.optimize.minimize(lambda y: ((y - 1) ** 2).sum(), x, method="BFGS").x,
        (VECTOR,),
    ),
    **{
        f"jax.scipy.sparse.linalg.{name}": (
            _static(lambda a, b, solve: solve(lambda x: a @ x, b)[0], getattr(jax.scipy.sparse.linalg, name)),
            (SQUARE, VECTOR[:3]),
        )
        for name in ("bicgstab", "cg", "gmres")
    },
    "jax.scipy.interpolate.RegularGridInterpolator": (
        lambda x, at: jax.scipy.interpolate.RegularGridInterpolator((jnp.arange(4.0), jnp.arange(3.0)), x)(at),
        (X, POSITIVE[:, :2]),
    ),
    "jax.scipy.spatial.transform.Rotation": (
        lambda q: (_rotation(q).as_matrix(), _rotation(q).as_euler("xyz"), _rotation(q).as_rotvec()),
        (jnp.array([0.5, 0.1, -0.3, 0.8]),),
    ),
    "jax.scipy.spatial.transform.Slerp": (
        lambda q, t: jax.scipy.spatial.transform.Slerp.init(jnp.array([0.0, 1.0]), _rotation(q))(t).as_quat(),
        (jnp.array([[0.5, 0.1, -0.3, 0.8], [0.1, 0.2, 0.3, 0.9]]), jnp.array([0.2, 0.7])),
    ),
    "jax.scipy.stats.betabinom.logpmf": (
        jax.scipy.stats.betabinom.logpmf,
        (INTEGERS % 3, INTEGERS + 3, WIDE, WIDE + 1),
    ),
    "jax.scipy.stats.betabinom.pmf": (jax.scipy.stats.betabinom.pmf, (INTEGERS % 3, INTEGERS + 3, WIDE, WIDE + 1)),
    **dict(_of_distributions()),
    "jax.random.multinomial": (lambda key, p: jax.random.multinomial(key, 6.0, p), (KEY, jnp.array([0.2, 0.3, 0.5]))),
    "jax.nn.scaled_matmul": (
        jax.nn.scaled_matmul,
        (
            jnp.ones((1, 4, 64), jnp.float8_e4m3fn),
            jnp.ones((1, 3, 64), jnp.float8_e4m3fn),
            jnp.full((1, 4, 2), 2, jnp.float8_e8m0fnu),
            jnp.full((1, 3, 2), 4, jnp.float8_e8m0fnu),
        ),
    ),
    "jax.nn.scaled_dot_general": (
        lambda x, y: jax.nn.scaled_dot_general(x, y, (((1,), (0,)), ((), ()))),
        (X, SQUARE),
    ),
    "jax.random.key": (jax.random.key, (jnp.int32(3),)),
    "jax.random.PRNGKey": (jax.random.PRNGKey, (jnp.int32(3),)),
    "jax.random.wrap_key_data": (jax.random.wrap_key_data, (jnp.arange(2, dtype=jnp.uint32),)),
    "jax.image.resize": (lambda x: jax.image.resize(x, (x.shape[0], 5), "linear"), (X,)),
    "jax.image.scale_and_translate": (
        lambda x: jax.image.scale_and_translate(x, (4, 6), (1,), jnp.array([2.0]), jnp.array([0.5]), "linear"),
        (X,),
    ),
    "jax.numpy.resize": (lambda x: jnp.resize(x, (5, 2)), (X,)),
    "jax.numpy.top_k": (lambda x: jnp.top_k(x, 2), (X,)),
    "jax.numpy.trim_zeros": (jnp.trim_zeros, (VECTOR,)),
    "jax.numpy.unpackbits": (jnp.unpackbits, (INTEGERS.astype(jnp.uint8),)),
    **{
        f"jax.ops.segment_{name}": (
            _static(getattr(jax.ops, f"segment_{name}"), num_segments=4),
            (X, INTEGERS[:, 0] % 4),
        )
        for name in ("max", "min", "prod", "sum")
    },
}

# Why a public function is no part of a graph.
NO_FUNCTION = {
    **dict.fromkeys(
        ("jax.lax.pbroadcast", "jax.lax.pcast", "jax.lax.psum_scatter_start", "jax.lax.ragged_all_to_all"),
        "collective of several devices",
    ),
    "jax.lax.with_sharding_constraint": "needs a mesh of devices",
    "jax.lax.rng_uniform": "numbers of the device, others in each run",
    "jax.lax.dce_sink": "returns no array",
    **dict.fromkeys(
        ("jax.numpy.load", "jax.numpy.save", "jax.numpy.savez", "jax.numpy.fromfile", "jax.numpy.frombuffer"), "files"
    ),
    **dict.fromkeys(("jax.numpy.fromiter", "jax.numpy.fromstring", "jax.numpy.frompyfunc"), "reads Python's objects"),
    **dict.fromkeys(
        (
            "jax.numpy.get_printoptions",
            "jax.numpy.set_printoptions",
            "jax.numpy.printoptions",
            "jax.numpy.array_repr",
            "jax.numpy.array_str",
            "jax.numpy.einsum_path",
            "jax.numpy.dtype",
            "jax.numpy.finfo",
            "jax.numpy.iinfo",
            "jax.numpy.isdtype",
            "jax.numpy.issubdtype",
            "jax.numpy.can_cast",
            "jax.numpy.promote_types",
            "jax.numpy.result_type",
            "jax.numpy.iterable",
            "jax.numpy.broadcast_shapes",
            "jax.numpy.ndim",
            "jax.numpy.shape",
            "jax.numpy.size",
            "jax.numpy.isscalar",
            "jax.random.key_impl",
            "jax.nn.get_scaled_dot_general_config",
            "jax.random.key_dtype",
            "jax.lax.dtype",
            "jax.lax.reduce_window_shape_tuple",
            "jax.lax.padtype_to_pads",
            "jax.lax.conv_transpose_shape_tuple",
            "jax.lax.conv_shape_tuple",
            "jax.lax.conv_general_shape_tuple",
            "jax.lax.conv_general_permutations",
            "jax.lax.conv_dimension_numbers",
            "jax.lax.broadcast_shapes",
        ),
        "returns no array",
    ),
}
