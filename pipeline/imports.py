"""Which project files a module loads, and a digest of what each of them does.

DVC looks at no imports. The stage `code` follows them here, through the syntax tree and by dotted
names alone, and every stage depends on the digests of the files that it loads. Nothing but the
standard library is needed, and Python 3.11, 3.12 and 3.13 give the same digests.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError

PROJECT = ("pipeline", "stages")
ASSETS = "assets"
# What later versions of Python add when it is empty, or what says nothing about behaviour.
SILENT_FIELDS = {"ctx", "kind", "type_comment"}
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""Where a statement holds others. Expressions, the most of a tree, hold none."""


class CodeError(PipelineError, SyntaxError):
    """A project file is not Python."""


@dataclass(frozen=True)
class _File:
    """A project file as read once: the digest of its behaviour and the dotted names it imports."""

    digest: str
    imports: frozenset[str]


class Project:
    """The Python packages of the project below `root`. Each file is read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[Path, _File] = {}
        self._on_the_way: dict[str, list[Path]] = {}

    def digests(self, module: str) -> dict[str, str]:
        """Digest of every project file that a module loads, by path from the root: its imports,
        theirs, the packages on the way, and the files below `assets` in these packages."""
        found: dict[Path, str] = {}
        queue = [module]
        while queue:
            dotted = queue.pop()
            # Looked up once: 30 stages ask for the same names over and over.
            if dotted not in self._on_the_way:
                self._on_the_way[dotted] = list(self._files_on_the_way(dotted))
            for file in self._on_the_way[dotted]:
                if file not in found:
                    read = self._file(file)
                    found[file] = read.digest
                    queue.extend(read.imports)
        assets = {path: _sha256(path.read_bytes()) for path in _assets(found)}
        return {str(path.relative_to(self.root)): sha for path, sha in (found | assets).items()}

    def _files_on_the_way(self, dotted: str) -> Iterator[Path]:
        """Files that importing a dotted name runs: `a.b.c` runs `a` and `a.b` first. The last part
        may also name a function or a class, which has no file."""
        parts = dotted.split(".")
        for end in range(1, len(parts) + 1):
            path = self.root.joinpath(*parts[:end])
            for file in (path / "__init__.py", path.with_suffix(".py")):
                if file.is_file():
                    yield file

    def _file(self, file: Path) -> _File:
        if file not in self._read:
            try:
                tree = ast.parse(file.read_bytes())
            except (SyntaxError, ValueError) as error:
                line = getattr(error, "lineno", None)
                raise CodeError(
                    f"{file}, line {line}: {error.args[0]}, expected Python: mend that line"
                ) from error
            package = ".".join(file.relative_to(self.root).parent.parts)
            self._read[file] = _File(tree_digest(tree), frozenset(_imports(tree, package)))
        return self._read[file]


def tree_digest(tree: ast.AST) -> str:
    """sha256 of a syntax tree without comments, layout and docstrings.

    `ast.dump` writes other text under each version of Python; this one names each node and those
    of its fields that hold something.
    """
    return _sha256(ascii(_plain(tree)).encode())


def _plain(node: Any) -> Any:
    """A tree of tuples: (kind of node, its fields in order), lists item by item, constants as they
    are. `ascii` of it depends on no version's idea of a printable character."""
    if isinstance(node, list):
        return [_plain(item) for item in node if not _is_docstring(item)]
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, ast.JoinedStr):  # Python 3.12 ends some f-strings with an empty piece.
        node.values = [piece for piece in node.values if not _is_empty_text(piece)]
    fields: list[Any] = [type(node).__name__]
    for name in node._fields:
        value = getattr(node, name, None)
        if value is not None and value != [] and name not in SILENT_FIELDS:
            fields.append((name, _plain(value)))
    return tuple(fields)


def _is_docstring(node: Any) -> bool:
    """Whether a statement is nothing but a text, which documents what stands above it."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_empty_text(node: Any) -> bool:
    return isinstance(node, ast.Constant) and node.value == ""


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted project names that a file imports, also inside functions."""
    for node in _running(tree):
        names: Iterable[str] = ()
        if isinstance(node, ast.Import):
            names = (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            names = (f"{module}.{alias.name}" for alias in node.names)
        yield from (name for name in names if name.split(".")[0] in PROJECT)


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """Every statement but those under `if TYPE_CHECKING`, which only a type checker reads."""
    queue = [tree]
    while queue:
        node = queue.pop()
        yield node
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            queue.extend(node.orelse)
        else:
            for part in BLOCKS:
                queue.extend(getattr(node, part, ()))


def _assets(files: Iterable[Path]) -> set[Path]:
    """Files that packages keep for their modules to read: templates, style sheets, scripts."""
    folders = {file.parent / ASSETS for file in files if file.name == "__init__.py"}
    return {path for folder in folders for path in folder.rglob("*") if path.is_file()}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
