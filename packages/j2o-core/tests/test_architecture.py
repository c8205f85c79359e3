"""The folders of the source are the stages of an export, in order: a file imports from its own and earlier ones."""

import ast
import graphlib
from pathlib import Path

import j2o_core

ROOT = Path(j2o_core.__file__).parent
STAGES = ["plugin", "trace", "simplify", "target", "graph", "lower", "rewrite", "legalize", "finish", "program"]
FOLDERS = [*STAGES, "cli", "testing"]


def modules():
    """Every module by its parts, without the packages' own files."""
    return {path.relative_to(ROOT).with_suffix("").parts: path for path in ROOT.rglob("*.py") if path.stem[:2] != "__"}


def imports(module, path):
    """The modules and packages that one imports from, by their parts; `import_module` of the public names apart."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = module[: len(module) - node.level] + tuple(node.module.split(".") if node.module else ())
            for alias in node.names:
                yield base, (*base, alias.name)


def test_folders_are_the_stages():
    assert sorted(path.parent.name for path in ROOT.glob("*/__init__.py")) == sorted(FOLDERS)
    assert {module[0] for module in modules() if len(module) == 1} == {"_compat", "_errors", "_export", "_lazy_sympy"}


def test_files_import_no_later_stage():
    wrong = []
    for module, path in modules().items():
        for _, target in imports(module, path):
            if len(module) > 1 and target[0] in FOLDERS and FOLDERS.index(target[0]) > FOLDERS.index(module[0]):
                wrong.append(f"{'/'.join(module)} imports {'.'.join(target)}")
    assert not wrong


def test_no_file_imports_itself_by_way_of_others():
    known = modules()
    graph = {
        module: {place for pair in imports(module, path) for place in pair if place in known and place != module}
        for module, path in known.items()
    }
    assert tuple(graphlib.TopologicalSorter(graph).static_order())  # raises a CycleError that names the circle
