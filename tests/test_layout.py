"""The house rules that a reader relies on and no single test would notice breaking."""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rxotlp"

# What each part may import of the others; what is not named here is the engine's: modules
# at the package's top that know shares and stages, and no source, exporter or flow.
LOWEST = {
    "errors": set[str](),
    "wire": {"errors"},
    "_core": {"errors", "wire"},
    "schedulers": {"_core", "errors"},
}
OUTER = {"operators", "sources", "exporters", "flows"}
BELOW = {"exporters": {"operators"}, "flows": {"operators", "sources"}}
RUN_PIPELINES = {"__init__", "cli", "demo", "sdk", "bench", "testing"}
ENTRY = RUN_PIPELINES | {"__main__", "pipeline"}


def sources() -> list[Path]:
    """Every module of the package, operators by the way they are imported."""
    return sorted(
        path
        for folder in (PACKAGE, ROOT / "operators")
        for path in folder.rglob("*.py")
        if "__pycache__" not in path.parts
    )


def part_of(path: Path) -> str:
    """The subpackage or top-level module that a file belongs to."""
    if path.is_relative_to(ROOT / "operators"):
        return "operators"
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of what a module imports at run time."""
    return _imports(ast.parse(path.read_text(encoding="utf-8")))


def _imports(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return  # types alone bind nobody
    if isinstance(node, ast.Import):
        yield from ((node.lineno, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, f"line {node.lineno}: a relative import"
        for alias in node.names:
            yield node.lineno, f"{node.module}.{alias.name}"
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


def named(paths: list[Path]) -> list[str]:
    """Test ids that say which file."""
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", sources(), ids=named(sources()))
def test_dependencies_point_downwards(path: Path) -> None:
    """A part can be understood, tested and replaced with what is below it alone."""
    part = part_of(path)
    for line, name in imports(path):
        if name.partition(".")[0] != "rxotlp" or part in RUN_PIPELINES:
            continue
        wanted = name.split(".")[1]
        if part in LOWEST:
            good = wanted in LOWEST[part] | {part}
        elif part == "__main__":
            good = wanted == "cli"
        else:
            higher = OUTER | ENTRY
            good = wanted not in higher or wanted in {part} | BELOW.get(part, set())
        assert good, f"{path.name}:{line}: {part} imports {name}"


def test_only_what_runs_pipelines_imports_them() -> None:
    """Operators, sources and exporters work without a Pipeline, in anybody's stream."""
    importers = {
        part_of(path)
        for path in sources()
        for _, name in imports(path)
        if name.startswith("rxotlp.pipeline")
    }
    assert importers <= RUN_PIPELINES


def test_nothing_imports_what_is_for_tests() -> None:
    """An application does not load a conformance suite."""
    importers = {
        part_of(path)
        for path in sources()
        for _, name in imports(path)
        if name.startswith("rxotlp.testing")
    }
    assert importers <= {"testing"}


def test_packages_in_pyproject_are_the_folders_on_disk() -> None:
    """A package that pyproject does not list is missing from the wheel and from nowhere else."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = settings["tool"]["setuptools"]["packages"]
    assert listed == sorted(listed)
    on_disk = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in sources()
        if path.name == "__init__.py" and part_of(path) != "operators"
    }
    assert set(listed) == on_disk | {"rxotlp.operators"}
    folders = {path.parent for path in sources()}
    assert all((folder / "__init__.py").exists() for folder in folders)


def test_operators_are_linked_into_the_package() -> None:
    """Type checkers and editors find the real folder by the link."""
    link = PACKAGE / "operators"
    assert link.is_symlink()
    assert link.readlink() == Path("../operators")


@pytest.mark.parametrize("path", sources(), ids=named(sources()))
def test_every_module_says_what_it_is_for_and_what_is_public(path: Path) -> None:
    """A reader starts at the docstring, and `__all__` is what may be relied on."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "no docstring"
    names: list[str] | None = None
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.expr() as value):
                names = ast.literal_eval(value)
            case ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value):
                names = ast.literal_eval(value)
    if names is None:  # a package of internals exports nothing at its top
        assert path.name == "__init__.py", "no __all__"
        assert not [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        return
    assert names == sorted(names, key=_isort), "__all__ is not sorted"
    assert len(names) == len(set(names))


def _isort(name: str) -> tuple[int, str]:
    """Constants, classes, functions: as ruff sorts `__all__`."""
    kind = 0 if name.isupper() else 1 if name[:1].isupper() else 2
    return kind, name


@pytest.mark.parametrize("name", ["rxotlp", "rxotlp.operators", "rxotlp.sources"])
def test_exported_names_exist(name: str) -> None:
    """`from rxotlp import *` is how a reader checks."""
    module = importlib.import_module(name)
    for exported in module.__all__:
        assert hasattr(module, exported)


def test_the_operators_readme_lists_every_operator() -> None:
    """The table is where a user looks for what an operator filters, reorders or delays."""
    text = (ROOT / "operators" / "README.md").read_text(encoding="utf-8")
    tables = "".join(
        text.partition(f"| {kind} |")[2].partition("\n\n")[0] for kind in ("operator", "selector")
    )
    listed = set(re.findall(r"^\| `(\w+)`", tables, flags=re.MULTILINE))
    operators = importlib.import_module("rxotlp.operators")
    assert listed == {name for name in operators.__all__ if name[0].islower()}
