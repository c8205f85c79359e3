"""Rewrite code for jax2onnx to j2o: `python -m j2o_core.cli.from_jax2onnx FILE.py ...`.

Imports and the arguments of `to_onnx` that have one counterpart are rewritten; all else stays and is listed with its
line. `docs/from-jax2onnx.md` has the counterparts.
"""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_OTHER = "jax2onnx"
# Names of jax2onnx that j2o has, by another name or the same.
_NAMES = {"to_onnx": "to_onnx", "onnx_function": "function"}
# Arguments without any effect on the graph of j2o.
_DROPPED = frozenset({"model_name", "normalization_mode", "return_mode", "output_path"})
_SAME = frozenset({"opset", "input_names", "output_names"})
_DEFAULT_OPSET = 23


def migrated(text: str) -> tuple[str, list[str]]:
    """The code for j2o, and what is left to do by hand.

    Args:
        text: Python source.

    Returns:
        The new source, and lines such as `12: input_params has no counterpart`.

    Raises:
        SyntaxError: if it is no Python.
    """
    tree = ast.parse(text)
    modules, exporters = {_OTHER: "j2o_core"}, set()
    edits: list[tuple[ast.expr | ast.stmt, str]] = []
    notes: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(alias.name == _OTHER for alias in node.names):
            names = [ast.alias("j2o_core" if one.name == _OTHER else one.name, one.asname) for one in node.names]
            modules |= {one.asname: one.asname for one in node.names if one.name == _OTHER and one.asname}
            edits.append((node, ast.unparse(ast.Import(names))))
        elif isinstance(node, ast.ImportFrom) and node.module == _OTHER and not node.level:
            unknown = [one.name for one in node.names if one.name not in _NAMES]
            if unknown:
                notes.append(f"{node.lineno}: j2o has no {', '.join(unknown)}")
                continue
            names = [ast.alias(_NAMES[one.name], _bound(one)) for one in node.names]
            exporters |= {one.asname or one.name for one in node.names if one.name == "to_onnx"}
            edits.append((node, ast.unparse(ast.ImportFrom("j2o_core", names, 0))))
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        fn = call.func
        module = fn.value.id if isinstance(fn, ast.Attribute) and isinstance(fn.value, ast.Name) else None
        if isinstance(fn, ast.Name) and fn.id in exporters:
            name = fn.id
        elif isinstance(fn, ast.Attribute) and fn.attr == "to_onnx" and module in modules:
            name = f"{modules[module]}.to_onnx"
        else:
            continue
        notes += [f"{call.lineno}: {what}" for what in _left(call)]
        edits.append((call, name + _arguments(text, call)))
    return _edited(text, edits), notes


def _bound(alias: ast.alias) -> str | None:
    """The name that code goes on to use, where it is not that of j2o."""
    used = alias.asname or alias.name
    return None if used == _NAMES[alias.name] else used


def _keywords(call: ast.Call) -> dict[str, ast.expr]:
    return {one.arg: one.value for one in call.keywords if one.arg is not None}


def _left(call: ast.Call) -> Iterator[str]:
    keywords = _keywords(call)
    for name in keywords:
        if name not in _DROPPED | _SAME and not (name == "export_mode" and _constant(keywords[name]) == "web"):
            yield f"{name} has another form: see docs/from-jax2onnx.md"
    if _constant(keywords.get("return_mode")) != "file":
        yield "the result is a program: .save(path), .verify(), .model"
    if len(call.args) > 2 or any(one.arg is None for one in call.keywords):
        yield "arguments behind the second, or in **, have to be looked at"


def _arguments(text: str, call: ast.Call) -> str:
    keywords = _keywords(call)
    parts = [ast.get_source_segment(text, one) or "" for one in call.args]
    for one in call.keywords:
        if one.arg == "export_mode" and _constant(one.value) == "web":
            parts.append('target="onnxruntime-web"')
        elif one.arg not in _DROPPED:
            parts.append(ast.get_source_segment(text, one) or "")
    if "opset" not in keywords and len(call.args) <= 2:
        parts.append(f"opset={_DEFAULT_OPSET}")
    saved = ""
    if _constant(keywords.get("return_mode")) == "file" and "output_path" in keywords:
        saved = f".save({ast.get_source_segment(text, keywords['output_path'])})"
    return f"({', '.join(parts)}){saved}"


def _constant(value: ast.expr | None) -> object:
    return value.value if isinstance(value, ast.Constant) else None


def _edited(text: str, edits: Sequence[tuple[ast.expr | ast.stmt, str]]) -> str:
    """The text with other code in place of nodes; of nodes inside one another, the outermost."""
    content = text.encode()
    starts = [0, *itertools.accumulate(map(len, content.splitlines(keepends=True)))]
    places = []
    for node, new in edits:
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        places.append((starts[node.lineno - 1] + node.col_offset, -end, new))
    parts, done = [], 0
    for begin, minus_end, new in sorted(places):
        if begin >= done:
            parts += [content[done:begin], new.encode()]
            done = -minus_end
    return b"".join([*parts, content[done:]]).decode()


def main(paths: Sequence[str]) -> int:
    """Rewrite files in place; print what is left to do. 2 if one cannot be read."""
    if not paths:
        print("usage: python -m j2o_core.cli.from_jax2onnx FILE.py ...", file=sys.stderr)
        return 2
    status = 0
    for path in paths:
        try:
            old = Path(path).read_text(encoding="utf-8")
            new, notes = migrated(old)
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            print(f"{path}: not rewritten: {error}", file=sys.stderr)
            status = 2
            continue
        if new != old:
            Path(path).write_text(new, encoding="utf-8")
        print(
            "\n".join([f"{path}: {'rewritten' if new != old else 'unchanged'}", *(f"  {path}:{one}" for one in notes)])
        )
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
