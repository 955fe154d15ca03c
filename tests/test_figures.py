"""The README's table of figures says what the benchmarks said, and nothing else."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "tests" / "bench"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("figures", BENCH / "figures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "figures", module)
    spec.loader.exec_module(module)
    return module


def test_readme_says_what_was_measured(figures: ModuleType) -> None:
    table = figures.table(bench.name for bench in figures.benches(60))
    assert f"{figures.BEGIN}{table}{figures.END}" in (ROOT / "README.md").read_text()


def test_every_benchmark_that_is_named_is_there(figures: ModuleType) -> None:
    assert [bench.name for bench in figures.benches(60) if not (BENCH / f"{bench.name}.py").exists()] == []


def test_a_missed_goal_shows_in_the_table_and_in_the_exit_code(
    figures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = tmp_path / "tests" / "bench" / "slow.py"
    bench.parent.mkdir(parents=True)
    bench.write_text(
        f"import sys\nsys.path.insert(0, {str(BENCH)!r})\nimport goals\n"
        "good = goals.at_most('a lookup | p99', 12.345, 10, 'ms')\n"
        "good &= goals.at_least('answers', 250_000, 1_000, 'a second')\n"
        "goals.shown('in a mix', 'a lot')\n"
        "sys.exit(0 if good else 1)\n"
    )
    (tmp_path / "README.md").write_text(f"# bridge\n{figures.BEGIN}old\n{figures.END}the rest\n")
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr(figures, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(figures, "benches", lambda minutes: (figures.Bench("slow"),))
    assert figures.main([], 60) == 1
    readme = (tmp_path / "README.md").read_text()
    others = readme.splitlines()[4].split("|")[-2].strip()
    assert others.endswith("%")
    assert readme == (
        f"# bridge\n{figures.BEGIN}{figures.HEADS}"
        f"| a lookup / p99 | 12.3 ms | at most 10 ms: missed | {others} |\n"
        f"| answers | 250,000 a second | at least 1,000 a second | {others} |\n"
        f"| in a mix | a lot |  | {others} |\n"
        f"{figures.END}the rest\n"
    )
