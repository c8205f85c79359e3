"""The exported program."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from ..lower._lowered import Lowered
    from ..plugin._registry import Registry
    from ..trace._trace import Traced
    from ._profile import Profile
    from ._record import Exported
    from ._reference import Reference
    from ._verify import Verification


class OnnxProgram:
    """An exported function.

    Attributes:
        model: the `onnx_ir.Model`.
        input_names: names of the graph's inputs, in order.
        output_names: names of the graph's outputs, in order.
        state: names of the inputs that take the next time what comes out now, by the names of those outputs.
        verification: what the last `verify` found, None before.
        times: what the last `profile` found, None before.
    """

    def __init__(self, exported: Exported):
        self.exported = exported
        self.model: ir.Model = exported.model
        self.fn: Callable[..., Any] = exported.fn
        self.traced: Traced = exported.traced
        self.lowered: Lowered | None = exported.lowered
        self.registry: Registry = exported.registry
        self.verification: Verification | None = None
        self.times: Profile | None = None

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], fn: Callable[..., Any] | None = None, inputs: Any = None
    ) -> OnnxProgram:
        """The program in a file that `save` wrote: trees, state, names, symbolic sizes and constraints come back.

        It runs without the function. Arguments and results are dictionaries, lists and tuples as they were. Of named
        tuples and nodes of other classes the file has the names of their fields: such an argument may be any object or
        mapping that has them, such a result is a named tuple of that name, or a record with these attributes.

        Args:
            path: the `.onnx` file.
            fn: the function that the program was exported from, for `verify`, or one that does the same. Results then
                have the classes that it returns.
            inputs: specs of its arguments, as for `to_onnx`, where these have classes that a file cannot hold, such as
                modules.

        Raises:
            CheckError: if there is no such file, it is not valid ONNX, or a weight is not the one that was saved.
            SpecError: if j2o did not write it, or function or specs do not fit it.
            TraceError: if JAX cannot trace the function.
        """
        from ._load import load

        return cls(load(path, fn, inputs))

    def __repr__(self) -> str:
        from ..trace._source import name_of

        return f"<OnnxProgram {name_of(self.fn)}({', '.join(self.input_names)}) -> {', '.join(self.output_names)}>"

    def __str__(self) -> str:
        """Signature, operators, weights, modules and agreement with JAX, on one screen."""
        from ._summary import text

        return text(self.fn, self.model, self.verification, self.times)

    def _repr_html_(self) -> str:
        from ._summary import card

        return card(self.fn, self.model, self.verification, self.times)

    @functools.cached_property
    def reference(self) -> Reference:
        """The original function, compiled by JAX, on the graph's inputs: what `verify` compares with."""
        from ._reference import Reference

        return Reference(self.fn, self.traced.inputs)

    @property
    def opset(self) -> int:
        """The opset of the default domain."""
        return self.model.opset_imports[""]

    @property
    def input_names(self) -> list[str]:
        """Names of the graph's inputs, in order."""
        return [str(value.name) for value in self.model.graph.inputs]

    @property
    def output_names(self) -> list[str]:
        """Names of the graph's outputs, in order."""
        return [str(value.name) for value in self.model.graph.outputs]

    @property
    def state(self) -> dict[str, str]:
        """Names of inputs by those of the outputs that are their next values, for what `to_onnx` got as `state`."""
        inputs, outputs = self.input_names, self.output_names
        return {outputs[after]: inputs[before] for after, before in self.traced.state.items()}

    def feed(self, *args: Any, **kwargs: Any) -> dict[str, np.ndarray[Any, Any]]:
        """The arguments of the original function as an ONNX Runtime session takes them: arrays by input name.

        Complex numbers become a trailing real/imag pair, typed random keys their data.

        Raises:
            SpecError: if the arguments have another structure than the specs, or other dtypes or sizes.
        """
        from ._session import as_fed

        return dict(zip(self.input_names, map(as_fed, self._arrays(args, kwargs)), strict=True))

    def _arrays(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        from ._call import call_arrays

        inputs = self.traced.inputs
        return call_arrays(inputs.leaves, inputs.flatten(args, kwargs))

    def with_weights(self, tree: Any) -> OnnxProgram:
        """The program with other weights: what an export of the function with these weights would give.

        Args:
            tree: a model of the same structure, or a pytree or flat dictionary whose paths are those of the weights
                (`{"blocks.0.norm.weight": ...}`).

        Raises:
            SpecError: if the program was not exported with `weights="keep"`, or weights are missing, unknown, or of
                another shape or dtype, or one differs that is fixed in the graph.
        """
        from ._replaced_weights import leaves_of, replaced, with_values

        given = leaves_of(tree)
        model = replaced(self.model, given)
        is_model = callable(tree) and type(tree) is type(self.fn)
        fn = tree if is_model else with_values(self.fn, self.model, given)
        return OnnxProgram(dataclasses.replace(self.exported, model=model, fn=fn))

    def quantize(
        self,
        examples: Iterable[Sequence[Any]] | None = None,
        *,
        keep: Sequence[str] = (),
        ranges: str = "examples",
        cosine: float | None = None,
        weight_bits: int = 7,
    ) -> OnnxProgram:
        """The program with the weights of its products in bytes, one scale a column, by ONNX Runtime's quantizers.

        Without examples, each run takes the ranges of its activations itself (`MatMulInteger`); look-up tables
        (`Gather`) become bytes too. With examples, the columns of activations are made even, and the weights take that
        back; ranges are fixed, and convolutions take part (`QuantizeLinear` and `DequantizeLinear`), unless
        `ranges="run"`. Measure what it costs in accuracy: `docs/quantization.md` says how.

        Args:
            examples: arguments of the function, one tuple a call, like those to come.
            keep: patterns of modules whose products stay in floats, such as `"blocks.*.mlp.fc2"`; most of what is lost
                is often lost behind activation functions.
            ranges: `"examples"` or `"run"`: where the ranges of activations come from.
            cosine: the least cosine, along the last axis, of each row of results to that in floats, such as 0.99. It is
                measured on the examples; where bytes lose more, the products that lose the most for their size stay in
                floats. It takes as many quantizations as there are products.
            weight_bits: how many bits of a byte weights use. 7 is right on every CPU. 8 is more accurate on those that
                add products of bytes in 32 bits: x86 with VNNI, and ARM. On others sums saturate, without an error.

        Raises:
            SpecError: if a pattern fits no product, an example does not fit the function, a cosine is asked for without
                examples, weights have other bits, or the program has functions.
            RunError: if ONNX Runtime is missing or its quantizer fails.
        """
        from ._quantize import arguments_of, quantized

        feeds = None if examples is None else (self.feed(*example) for example in map(arguments_of, examples))
        model = quantized(self.model, feeds, keep, ranges=ranges, cosine=cosine, weight_bits=weight_bits)
        return OnnxProgram(dataclasses.replace(self.exported, model=model))

    def save(
        self, path: str | os.PathLike[str], *, external_data: bool | None = None, weights: str | None = None
    ) -> list[str]:
        """Write the model. A crash on the way leaves what was there before.

        Args:
            path: the `.onnx` file.
            external_data: whether weights go into a file beside it (`<name>.<digest>.data`, the digest being that of
                its content); by default only when the model is too large for one file (1.5 GB).
            weights: the form of that file, `"data"` or `"safetensors"`. Naming one asks for external data.

        Returns:
            The files that were written: the model, and its weights if they are outside.

        Raises:
            SaveError: if it cannot be written.
        """
        from ._save import save

        return save(self.model, path, external_data=external_data, weights=weights)

    def check(self) -> None:
        """Run ONNX's own checker.

        Raises:
            CheckError: if the model is not valid ONNX.
        """
        from ._check import check_model

        check_model(self.model)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ONNX Runtime on the arguments of the original function; the result has its structure.

        Raises:
            SpecError: if an argument has another structure, dtype or shape than its spec, or the sizes of a symbolic
                dimension differ.
            RunError: if ONNX Runtime is missing, refuses the model, or fails.
        """
        return self.traced.output_tree(self.session.run(self._arrays(args, kwargs)))

    @functools.cached_property
    def session(self) -> Any:
        """An ONNX Runtime session on the model, made on first use."""
        from ._session import Session

        return Session(self.model)

    def verify(
        self,
        *args: Any,
        sizes: Sequence[int] | Mapping[str, int] = (1, 2, 5),
        seed: int | Sequence[int] = 0,
        rtol: float | None = None,
        atol: float | None = None,
        ulps: float | None = None,
        kinds: Sequence[str] = ("normal",),
    ) -> Verification:
        """Run ONNX Runtime and JAX on the same inputs and compare.

        Without arguments, attention is also tried with masks that hide rows, padding and everything, and with NaN and
        infinity in keys. What XLA cannot compile for the CPU, or compiles into something else than its operations give
        one by one, is compared with these; the result's notes say so.

        Args:
            args: arguments of the function to use; by default random ones.
            sizes: sizes to try for every symbolic dimension. Where the constraints allow none of them, some are tried
                that they allow. Or a mapping with one size for each, `{"B": 3, "T": 77}`, for one run.
            seed: seed of the random inputs, or several.
            rtol: relative tolerance instead of the dtype's.
            atol: tolerance relative to the largest magnitude of each output, instead of the dtype's.
            ulps: for floats, also the largest difference in units in the last place of JAX's result, or in what a
                change of the inputs by one such unit changes there, where that is more.
            kinds: kinds of floats in the random inputs: `"normal"` (mean 0, deviation 1), `"large"` (100 times that),
                `"small"` (a thousandth) and `"zeros"`.

        Returns:
            The differences by output; printed, a table.

        Raises:
            VerifyError: if they disagree; it names the first equation that diverges and its source line.
            RunError: if ONNX Runtime is missing, refuses the model, or fails.
        """
        from ._ulps import in_float64
        from ._verify import Sides, verify

        def diagnose(leaves: Sequence[Any]) -> str:
            from ._divergence import first_divergence

            return first_divergence(self.exported, leaves)

        wide = functools.partial(in_float64, self.fn, self.traced.inputs)
        sides = Sides(self.reference, self.model, self.session, self.traced.inputs, self.output_names, diagnose, wide)
        self.verification = verify(sides, args, sizes=sizes, seed=seed, rtol=rtol, atol=atol, ulps=ulps, kinds=kinds)
        return self.verification

    def profile(self, *args: Any, runs: int = 10, size: int = 8, **kwargs: Any) -> Profile:
        """Measure how long the program's modules and operators take in ONNX Runtime.

        The program's text, its card in notebooks and its page then give the share of each module. The runtime makes one
        kernel of several nodes here and there: its time counts for the module of one of them. Of modules that are
        functions of the file only their sum is known.

        Args:
            args: arguments of the function to use; by default random ones.
            runs: how often it is run, after a first time that is not counted.
            size: the size of every symbolic dimension of random arguments, or one that the constraints allow.
            kwargs: arguments by name.

        Returns:
            The seconds of a run by module and by operator, of each node the median; printed, a table.

        Raises:
            SpecError: if an argument does not fit its spec, or `runs` is no number of runs.
            RunError: if ONNX Runtime is missing, refuses the model, or fails.
        """
        from ._profile import profile
        from ._random_inputs import fitting_runs, random_leaves

        inputs = self.traced.inputs
        given = args or kwargs or not inputs.leaves
        leaves = self._arrays(args, kwargs) if given else random_leaves(inputs, fitting_runs(inputs, [size])[0], 0)
        self.times = profile(self.model, leaves, runs)
        return self.times

    def report(self, *, jaxpr: bool = False, html: bool = False, verification: Verification | None = None) -> str:
        """A text to attach to a bug report: signature, operators, differences and versions.

        Args:
            jaxpr: whether the jaxpr that was lowered follows.
            html: a page of HTML instead, which is complete in itself.
            verification: what `verify` returned, for the page; by default that of the last one.
        """
        if html:
            from ..trace._source import name_of
            from ._report import declined_rewrites, detours
            from ._report_page import report_page

            known = verification or self.verification
            lines = {"Rewrites that declined": declined_rewrites(self.exported), "Detours": detours(self.exported)}
            return report_page(self.model, name_of(self.fn), known, lines, self.exported.seconds, self.times)
        from ._report import report

        return report(self.exported, jaxpr=jaxpr)
