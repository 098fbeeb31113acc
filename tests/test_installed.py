"""The library as `pip install .` puts it: every module and asset, usable from any folder."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.checkout import ROOT


@pytest.fixture(scope="module")
def wheel(module_path: Path) -> Path:
    """Built from a copy, so that the build leaves nothing in the work tree."""
    source = module_path / "source"
    source.mkdir()
    shutil.copytree(ROOT / "pipeline", source / "pipeline", ignore=shutil.ignore_patterns("__pyc*"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(module_path), str(source)], check=True)
    (built,) = module_path.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_library_and_nothing_else(wheel: Path) -> None:
    files = {path for path in (ROOT / "pipeline").rglob("*") if path.is_file()}
    expected = {str(p.relative_to(ROOT)) for p in files if "__pycache__" not in p.parts}
    with zipfile.ZipFile(wheel) as packed:
        found = {name for name in packed.namelist() if ".dist-info/" not in name}
    assert found == expected


def test_the_notebook_example_s_imports_work_in_any_folder(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True)
    code = (
        "import pipeline, torch\n"
        "from pipeline.crosscoder import Crosscoder\n"
        "from pipeline.harvest.reading import Pair\n"
        "crosscoder = Crosscoder(2, 8, 16, kind='l1')\n"
        "crosscoder.save('out')\n"
        "assert Crosscoder.load('out').n_latents == 16\n"
        "print(pipeline.__file__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(target), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(target)
