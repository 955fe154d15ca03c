"""Names that Python would quietly give another meaning."""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path

import bridge

ROOT = Path(bridge.__file__).parent


def packages() -> list[Path]:
    return [path.parent for path in ROOT.rglob("__init__.py")]


def test_no_submodule_takes_the_place_of_a_name_in_its_package() -> None:
    """Importing `package.x` sets `x` in the package, whatever stood there."""
    wrong = []
    for package in packages():
        modules = {one.name for one in pkgutil.iter_modules([str(package)])}
        for node in ast.parse((package / "__init__.py").read_text("utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {one.asname or one.name.split(".")[0] for one in node.names}
                # `from package import x` and `from package.x import x` mean it so.
                source, own = str(getattr(node, "module", "")), ".".join(("bridge", *package.relative_to(ROOT).parts))
                wrong += [f"{own}: {name}" for name in names & modules if source not in (own, f"{own}.{name}")]
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                wrong += [f"{package.name}: {node.name}"] if node.name in modules else []
    assert wrong == []
