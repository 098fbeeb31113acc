"""What of the code a stage depends on: the files it loads, and what counts as an edit of them."""

import ast
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.imports import CodeError, Project, tree_digest

ROOT = Path(__file__).parents[1]
EVERY_FORM = '''
"""A module."""
from __future__ import annotations
import os.path as p, sys
from . import a as b
from ..c.d import *
@dec(1, *args, k=None, **kw)
class C(Base, metaclass=M):
    """Its docstring."""
    x: int = 0x10
    y: "str"
    async def f(self, a, /, b=1, *c, d, e=..., **g) -> None:
        """Another."""
        global h
        async with a as (b, c), d: await e
        async for i in j: yield i
        else: return
        return [k async for k in l if m if n]
def empty(): pass
try: raise E from None
except (A, B) as e: del x[1:2, ..., ::3], y.z
else: assert x, f"{x!r:>{width}} {{}} é" "tail" f'{y=}' u"\\u00e9\\U0001d54f\\ud800" or rb"\\x00"
finally: nonlocal_ = lambda *, a=1: (yield)
try: pass
except* A: pass
while (n := 1_000) and not ~-n ** 2 // 3 % 4 @ 5 or n is not None in {1, *z} not in {"a": 1j, **q}:
    n += 1e400; continue
else: x = y = (), [], {}, 1.0, True, b"", "", -0.0
match x:
    case {"k": [1, *_, C(a, b=None)] | 2 as s, **rest} if t: ...
    case -1 | 1+2j | "s" | True | None | D.e: pass
    case _: print(*{i: j for i in k for j in l}, sep=(yield from m) if a else b[c])
with (open(x) as y, z): s: tuple[int, *Ts] = 1
'''
EVERY_FORM_DIGEST = "5de39db42a574c9c7c33747c33dc7ffcfd9758024ef6a2b04abe2aca2d7fc41f"


def digest(code: str) -> str:
    return tree_digest(ast.parse(code))


def test_the_digest_of_every_form_of_syntax_is_the_same_under_every_python() -> None:
    """Held as a constant, so that whichever Python runs this compares itself with the others."""
    assert digest(EVERY_FORM) == EVERY_FORM_DIGEST


def interpreters() -> list[str]:
    """Other versions of Python on this machine that the project supports."""
    shelves = [Path(p) for p in os.environ["PATH"].split(os.pathsep)]
    shelves += (Path.home() / ".pyenv/versions").glob("3.1[123].*/bin")
    found = (shelf / f"python3.{minor}" for minor in (11, 12, 13) for shelf in shelves)
    usable = {str(path.resolve()) for path in found if path.parent.name != "shims"}
    return sorted(python for python in usable if os.access(python, os.X_OK))


def test_the_digests_of_the_project_are_the_same_under_every_python_here() -> None:
    script = (
        "import json, pathlib, pipeline.imports as i;"
        "print(json.dumps(i.Project(pathlib.Path()).digests('stages.report')))"
    )
    expected = Project(ROOT).digests("stages.report")
    for python in interpreters():
        printed = subprocess.run(
            [python, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert json.loads(printed.stdout) == expected, python


@pytest.mark.parametrize("file", ["pipeline/imports.py", "pipeline/stage.py", "stages/dump.py"])
def test_layout_and_comments_are_no_edit(file: str) -> None:
    """`ast.unparse` keeps neither."""
    code = (ROOT / file).read_text()
    assert digest(ast.unparse(ast.parse(code))) == digest(code)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", "x = 1  # one"),
        ('"""A."""\nx = 1', '"""B, longer."""\nx = 1'),
        ('"""A."""\nx = 1', "x = 1"),
        ('def f():\n "A"\n return 1', 'def f():\n """B\n more"""\n return (1)'),
        ('class A:\n "A"\n x: int\n "what x is"', 'class A:\n "B"\n x: int\n "what x was"'),
        ('async def f():\n "A"\n await g()', "async def f():\n await g()"),
        ("x = 'a'", 'x = "a"'),
        ("f(a, b)", "f(\n    a,\n    b,\n)"),
        ("x = 'ab'", "x = 'a' 'b'"),
        ("x = 1000", "x = 1_000"),
        ("x = f'{a}'", "x = f'{a}' ''"),
    ],
)
def test_what_changes_no_behaviour_is_no_edit(before: str, after: str) -> None:
    assert digest(before) == digest(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 0.0", "x = -0.0"),
        ("x = 'a'", "x = b'a'"),
        ("x = 'None'", "x = None"),
        ("x = 'é'", "x = 'e\\u0301'"),
        ("f(a, b)", "f(b, a)"),
        ("f(a=1)", "f(**{'a': 1})"),
        ("x = a < b", "x = a <= b"),
        ("def f(a, /): pass", "def f(a): pass"),
        ("def f(*, a=1): pass", "def f(a=1): pass"),
        ("if a:\n b\nelse:\n c", "if a:\n b\nc"),
        ("x = {**a}", "x = {None: a}"),
        ("x = f'{a}'", "x = f'{a!r}'"),
        ("import a", "import a as b"),
        ("def f():\n 'A'\n return 'A'", "def f():\n 'A'\n return 'B'"),
        ("x = ['', a]", "x = [a]"),
        ("f('')", "f()"),
        ("x = 'the text of an error'", "x = 'another text'"),
    ],
)
def test_what_changes_behaviour_is_an_edit(before: str, after: str) -> None:
    assert digest(before) != digest(after)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], None]:
    """Write a file of a toy project below `tmp_path`, with the packages on its way."""

    def write_one(name: str, code: str = "") -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in path.relative_to(tmp_path).parents[:-1]:
            (tmp_path / folder / "__init__.py").touch()
        path.write_text(code)

    return write_one


def loaded(root: Path, module: str = "stages.a") -> set[str]:
    """Files but for packages that a module of the toy project loads."""
    return {name for name in Project(root).digests(module) if not name.endswith("__init__.py")}


@pytest.mark.parametrize(
    "statement",
    [
        "import pipeline.deep.b",
        "import pipeline.deep.b as b",
        "from pipeline.deep import b",
        "from pipeline.deep.b import function",
        "from pipeline.deep.b import *",
        "def f():\n    if x:\n        from pipeline.deep import b",
        "try:\n    import pipeline.deep.b\nexcept ImportError:\n    pass",
        "if not TYPE_CHECKING:\n    import pipeline.deep.b",
        "if TYPE_CHECKING:\n    import pipeline.c\nelse:\n    import pipeline.deep.b",
    ],
)
def test_every_way_to_import_is_followed_through_modules_and_packages(
    tmp_path: Path, write: Callable[[str, str], None], statement: str
) -> None:
    write("stages/a.py", f"import os, numpy\n{statement}\n")
    write("pipeline/deep/b.py", "from . import sibling\nfrom ..near import name\n")
    for name in ("pipeline/deep/sibling.py", "pipeline/near.py", "pipeline/c.py", "stages/b.py"):
        write(name, "")
    assert loaded(tmp_path) == {
        "stages/a.py",
        "pipeline/deep/b.py",
        "pipeline/deep/sibling.py",
        "pipeline/near.py",
    }
    packages = set(Project(tmp_path).digests("stages.a")) - loaded(tmp_path)
    assert packages == {f"{name}/__init__.py" for name in ("stages", "pipeline", "pipeline/deep")}


def test_modules_that_import_each_other_are_followed_once(
    tmp_path: Path, write: Callable[[str, str], None]
) -> None:
    write("stages/a.py", "import pipeline.b")
    write("pipeline/b.py", "import pipeline.c")
    write("pipeline/c.py", "import pipeline.b")
    assert loaded(tmp_path) == {"stages/a.py", "pipeline/b.py", "pipeline/c.py"}


def test_assets_count_byte_for_byte_where_their_package_is_loaded(
    tmp_path: Path, write: Callable[[str, str], None]
) -> None:
    write("stages/a.py", "import pipeline.page.b")
    write("stages/other.py", "import pipeline.c")
    write("pipeline/page/b.py", "")
    write("pipeline/c.py", "")
    style = tmp_path / "pipeline/page/assets/sub/page.css"
    style.parent.mkdir(parents=True)
    style.write_text("a { }")
    name = "pipeline/page/assets/sub/page.css"
    before = Project(tmp_path).digests("stages.a")[name]
    style.write_text("a { } /* more */")
    assert Project(tmp_path).digests("stages.a")[name] != before
    assert name not in Project(tmp_path).digests("stages.other")


def test_an_edit_changes_the_digests_of_the_modules_that_load_it_alone(tmp_path: Path) -> None:
    for folder in ("pipeline", "stages"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    stages = ["compose", "models", "mix", "train"]

    def digests() -> dict[str, dict[str, str]]:
        project = Project(tmp_path)
        return {stage: project.digests(f"stages.{stage}") for stage in stages}

    before = digests()
    file = tmp_path / "pipeline/store/reader.py"
    file.write_text(file.read_text() + "\nEDITED = True\n")
    after = digests()
    assert [name for name in stages if after[name] != before[name]] == ["mix", "train"]


@pytest.mark.parametrize("code", ["x = (", "x = 1\n  y = 2", "a\0b"])
def test_what_is_no_python_is_told_in_one_line(
    tmp_path: Path, write: Callable[[str, str], None], code: str
) -> None:
    write("stages/a.py", code)
    with pytest.raises(CodeError, match=r"stages/a.py, line .*expected Python: mend") as caught:
        Project(tmp_path).digests("stages.a")
    assert "\n" not in str(caught.value)
