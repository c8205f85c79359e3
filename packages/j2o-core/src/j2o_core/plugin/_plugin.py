"""A plugin: lowering rules, composites and rewrites of one package, registered on one value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from .._errors import PluginError
from ._composite import Composite
from ._parameters import or_body, with_known

if TYPE_CHECKING:
    from .._compat import Primitive

Rule = Callable[..., Any]
_F = TypeVar("_F", bound=Callable[..., Any])

_NO_PRIMITIVE = """{plugin!r} registers a rule for {given!r}, which is no primitive.
Expected a primitive, its name or a composite: @plugin.{method}("tanh") above the function."""

LOWEST_OPSET = 18
HIGHEST_OPSET = 26
# Values that ONNX has no type for.
ENCODED = ("complex", "key")
# How a primitive of float32 is computed where a program is exported with a narrow dtype.
PRECISIONS = ("narrow", "operands", "inside", "float32")


@dataclass(frozen=True)
class Lowering:
    """A rule, the opset from which on it may be used, and the plugin it came from."""

    rule: Rule
    opset: int
    plugin: Plugin = field(repr=False)
    override: bool = False


@dataclass(frozen=True, eq=False)
class Rewrite:
    """A rewrite anchored at nodes of some operators."""

    rule: Rule
    op_types: tuple[str, ...]
    opset: int
    late: bool
    plugin: Plugin = field(repr=False)
    makes: str | None = None
    needs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The rule's name, for errors and reports."""
        return getattr(self.rule, "__name__", repr(self.rule)).lstrip("_")


class Plugin:
    """The additions of one package to the exporter.

    Args:
        name: short name, shown in errors and reports; unique among the installed plugins.
        libraries: import names of the libraries that this plugin exports for. Source lines inside them are not shown
            as the user's, so an error in `equinox.nn.Linear` names the model that calls it.

    Publish it through the entry-point group `j2o.plugins`.
    """

    def __init__(self, name: str, *, libraries: tuple[str, ...] = ()):
        self.name = name
        self.libraries = names(libraries)
        self.distribution: str | None = None
        self.version: str | None = None
        self.lowerings: dict[Any, list[Lowering]] = {}
        self.decompositions: dict[str, Rule] = {}
        self.encodings: dict[tuple[str, str], Rule] = {}
        self.precisions: dict[str, tuple[str | Rule, str]] = {}
        self.composites: list[Composite] = []
        self.modules: dict[str, tuple[str, ...]] = {}
        self.module_plans: dict[str, Callable[[Any], Sequence[type]]] = {}
        self.states: list[str] = []
        self.remarks: dict[str, Callable[..., str | None]] = {}
        self.rewrites: list[Rewrite] = []
        self.opset_imports: dict[str, int] = {}
        self.transforms: Callable[[Composite], None] | None = None

    def __repr__(self) -> str:
        return f"Plugin({self.name!r})"

    def _check_primitive(self, primitive: Any, method: str) -> None:
        if not isinstance(primitive, str) and not isinstance(getattr(primitive, "name", None), str):
            raise PluginError(_NO_PRIMITIVE.format(plugin=self.name, given=primitive, method=method))

    def lowering(
        self,
        primitive: Primitive | Composite | str,
        *,
        opset: int = LOWEST_OPSET,
        ignores: Sequence[str] = (),
        override: bool = False,
    ) -> Callable[[_F], _F]:
        """Register a rule `rule(ctx, *operands, **params) -> value or values`.

        Args:
            primitive: a JAX primitive, a composite, or the name of a primitive (for primitives that JAX does not
                export or that only some releases have). A composite's rule gets the arguments of the composite's
                function, with graph values in place of arrays, and may return `NotImplemented` to have the body
                lowered instead.
            opset: the lowest opset at which the rule may be used. The newest rule not above the target wins.
            ignores: parameters that the rule need not read: placement, hints, what the results' dtypes say. A parameter
                that it neither has as a keyword nor ignores stops the export with an error that names it; such a
                keyword of a composite has the body lowered.
            override: whether the rule takes the place of those that other plugins have, from its opset on.

        Raises:
            PluginError: if this plugin already has a rule for the primitive at this opset, or the opset is unknown.
        """
        self._check_primitive(primitive, "lowering")
        self._check_opset(f"a rule for {key_name(primitive)}", opset)
        ignores = names(ignores)

        def register(rule: _F) -> _F:
            rules = self.lowerings.setdefault(lowering_key(primitive), [])
            if any(other.opset == opset for other in rules):
                raise PluginError(
                    f"{self!r} registers two rules for {key_name(primitive)} at opset {opset}. Leave one of them out, "
                    f"or give the newer one the opset that it needs: opset=23."
                )
            if isinstance(primitive, Composite):
                call = or_body(rule, ignores)
            else:
                call = with_known(rule, ignores, self.name, key_name(primitive))
            rules.append(Lowering(call, opset, self, override))
            return rule

        return register

    def decomposition(self, primitive: Primitive | str, *, ignores: Sequence[str] = ()) -> Callable[[_F], _F]:
        """Register a function `fn(*arrays, **params)` of JAX code that computes what a primitive does.

        It takes the place of the primitive from the start, for every dtype, complex numbers included. Use it for
        algorithms that ONNX has no operator for at any opset, such as factorizations. Where it returns
        `NotImplemented`, the primitive stays and is lowered by its rule. Parameters are as for `lowering`.

        Raises:
            PluginError: if this plugin already has one for the primitive.
        """
        self._check_primitive(primitive, "decomposition")

        def register(fn: _F) -> _F:
            if lowering_key(primitive) in self.decompositions:
                raise PluginError(f"{self!r} registers two decompositions of {key_name(primitive)}.")
            code = with_known(fn, names(ignores), self.name, key_name(primitive))
            self.decompositions[lowering_key(primitive)] = code
            return fn

        return register

    def encoded(self, primitive: Primitive | str, kind: str) -> Callable[[_F], _F]:
        """Register a rule `rule(eqn, *arrays) -> array or arrays` for a primitive on values that ONNX has no type for.

        The rule is JAX code on the arrays that encode the operands, and returns those that encode the results. A
        complex number is its real and its imaginary part, complex64[3] is float32[3, 2]; a typed random key is its
        words, key<fry>[3] is uint32[3, 2]. Operands of other dtypes come as they are. Primitives that only move
        elements, and calls and control flow, need no rule.

        Args:
            primitive: a JAX primitive or its name.
            kind: "complex" or "key": what is encoded among the operands or results; for both of them, "key".

        The equation `eqn` has the parameters `eqn.params`, and the dtypes and shapes in JAX, `eqn.invars[0].aval` and
        `eqn.outvars[0].aval`.

        Raises:
            PluginError: if this plugin already has one for the primitive, or there is no such kind.
        """
        self._check_primitive(primitive, "encoded")
        if kind not in ENCODED:
            raise PluginError(f"{self!r} encodes {kind!r}. Expected one of {', '.join(map(repr, ENCODED))}.")

        def register(rule: _F) -> _F:
            if self.encodings.setdefault((kind, lowering_key(primitive)), rule) is not rule:
                raise PluginError(f"{self!r} registers two rules for {key_name(primitive)} of encoded values ({kind}).")
            return rule

        return register

    def precision(self, primitive: Primitive | Composite | str, policy: str | Rule, why: str = "") -> None:
        """State how a primitive or composite is computed by `to_onnx(..., dtype="float16")`; unstated, in float32.

        Args:
            primitive: a JAX primitive, its name, or a composite.
            policy: "narrow": in the narrow dtype, as products are. "operands": as its operands are, in float32 if one
                of them has to be, as sums of two arrays and changes of layout are. "inside": in float32, with a narrow
                result, as a sine is. "float32": the result, too, as that of a sum over many elements. Or a function of
                the equation that returns one of these.
            why: the reason for float32, for `report()`.

        Raises:
            PluginError: if there is no such policy, or this plugin has stated another one.
        """
        if not callable(policy) and policy not in PRECISIONS:
            expected = ", ".join(map(repr, PRECISIONS))
            raise PluginError(f"{self!r} computes {key_name(primitive)} {policy!r}. Expected one of {expected}.")
        if self.precisions.setdefault(key_name(primitive), (policy, why)) != (policy, why):
            raise PluginError(f"{self!r} states two precisions of {key_name(primitive)}.")

    def composite(self, target: str, *, batching: str = "bind", differentiable: bool = True) -> Composite:
        """Keep a function or method whole while tracing.

        Args:
            target: dotted path, such as `"jax.nn.gelu"` or `"equinox.nn.LayerNorm.__call__"`. The module is looked up
                when an export begins and only if it has been imported.
            batching: `"bind"` keeps the composite under `vmap`, `"body"` maps its body instead.
            differentiable: `False` for functions that have no gradient by nature: it is zero where JAX's is, and
                refused elsewhere.

        Raises:
            PluginError: if `batching` is neither.
        """
        if batching not in ("bind", "body"):
            raise PluginError(
                f"{self!r} declares the composite {target} with batching={batching!r}. Expected 'bind' or 'body'."
            )
        composite = Composite(target, batching=batching, differentiable=differentiable)
        self.composites.append(composite)
        return composite

    def module_class(self, target: str, *, own_scopes: Sequence[str] = ()) -> None:
        """Nodes are named after the instances of a class that are called: `blocks.3.attn`.

        Args:
            target: dotted path of the class, such as `"equinox.Module"`; its subclasses count, too.
            own_scopes: how the names begin of the `jax.named_scope`s that the library opens itself; they are left out.
        """
        self.modules[target] = names(own_scopes)

    def module_plan(self, target: str) -> Callable[[_F], _F]:
        """Register a function `classes(plan)` on values from which the function makes a module while it runs.

        It returns the classes of the modules, that of the whole model first. What is called of them gets its path in
        the model, as if the model had been there before.

        Args:
            target: dotted path of the class of these values, such as `"flax.nnx.GraphDef"`.
        """

        def register(fn: _F) -> _F:
            self.module_plans[target] = fn
            return fn

        return register

    def state_class(self, target: str) -> None:
        """Arguments of a class are state: the result of the same class and structure is their next value.

        So `state=` need not be given for them.

        Args:
            target: dotted path of the class, such as `"equinox.nn.State"`.
        """
        self.states.append(target)

    def remark(self, target: str) -> Callable[[_F], _F]:
        """Register a function `remark(module, args, kwargs)` on calls of modules that an export is to warn of.

        It returns the text of the warning, which names the module by its path, or None. A layer that drops out or
        updates statistics because it is in training mode is an example.

        Args:
            target: dotted path of the class, which is or inherits from one given to `module_class`.
        """

        def register(fn: _F) -> _F:
            self.remarks[target] = fn
            return fn

        return register

    def opset_import(self, domain: str, version: int) -> None:
        """State the opset of a domain whose operators this plugin's rules add; without this it is 1.

        Raises:
            PluginError: if this plugin stated another version.
        """
        if self.opset_imports.setdefault(domain, version) != version:
            raise PluginError(
                f"{self!r} imports two opsets of the domain {domain!r}, {self.opset_imports[domain]} and {version}. "
                f"A model has one of each domain: import the higher one."
            )

    def rewrite(
        self,
        *op_types: str,
        opset: int = LOWEST_OPSET,
        late: bool = False,
        makes: str | None = None,
        needs: Collection[str] = (),
    ) -> Callable[[_F], _F]:
        """Register a rewrite `rule(rw, node) -> value, values or None` tried at each node of these operators.

        The rule builds its replacement with `rw.op` and returns it (values for the node's outputs, or a dict from
        values of the graph to their replacements), or `None` if it declines; `return rw.decline(reason)` says why in
        `program.report()`, if the node stays. Rules that are `late` run when the others have come to rest: they undo a
        canonical form that only served the others, or expand an operator such as `"j2o::Erfc"` (one that a lowering
        may use although ONNX has none) into ONNX's. Late rules at If, Loop and Scan find bodies at rest, without
        what is computed in front of a loop.

        Args:
            *op_types: operators, those of other domains by their whole names: `"com.microsoft::Gelu"`.
            opset: the lowest opset at which the rule runs.
            late: whether it runs after the others.
            makes: what the report calls the result where the rule declines, such as `"LayerNormalization"`; by default
                the name of the rule.
            needs: operators of which the rule matches one, besides its anchor: where a model has none of them, it would
                decline everywhere, and takes no time.

        Raises:
            PluginError: if no operator is named, or the opset is unknown.
        """
        if not op_types or not all(isinstance(op_type, str) for op_type in op_types):
            raise PluginError(
                f"{self!r} registers a rewrite at {', '.join(map(repr, op_types)) or 'no operator'}. "
                f'Expected names of operators: @plugin.rewrite("Mul") above the function.'
            )
        self._check_opset(f"a rewrite at {', '.join(op_types)}", opset)

        def register(rule: _F) -> _F:
            self.rewrites.append(Rewrite(rule, op_types, opset, late, self, makes, frozenset(names(needs))))
            return rule

        return register

    def _check_opset(self, of: str, opset: int) -> None:
        if not isinstance(opset, int) or not LOWEST_OPSET <= opset <= HIGHEST_OPSET:
            raise PluginError(
                f"{self!r} registers {of} at opset {opset!r}; "
                f"j2o knows opsets {LOWEST_OPSET} to {HIGHEST_OPSET}. Leave it out for all of them."
            )


def lowering_key(primitive: Any) -> Any:
    """The key of a rule: the composite itself, else the name of the primitive."""
    if isinstance(primitive, (Composite, str)):
        return primitive
    return primitive.name


def names(given: Collection[str]) -> tuple[str, ...]:
    """Several names; one may be given as it is."""
    return (given,) if isinstance(given, str) else tuple(given)


def key_name(primitive: Any) -> str:
    """The name of a primitive or a composite."""
    return primitive if isinstance(primitive, str) else getattr(primitive, "name", repr(primitive))
