"""Count the lines of code of the package: ``python -m benchmarks.lines_of_code [FOLDER]``.

Docstrings, comments and blank lines, which are found from the tokens and the syntax tree of each
Python file, are not counted. The table has a row for each folder of the package.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "varied"
IGNORED = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(source: str) -> int:
    """Return the number of lines of a source file that contain code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in IGNORED:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring_lines(ast.parse(source)))


def docstring_lines(tree: ast.Module) -> set[int]:
    """Return the line numbers of all docstrings."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            lines.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def main(root: Path = ROOT) -> None:
    """Print a table with a row for each folder."""
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    code: Counter[str] = Counter()
    for path in sorted(root.rglob("*.py")):
        source = path.read_text("utf-8")
        folder = path.relative_to(root).parts[0] if path.parent != root else "(top level)"
        files[folder] += 1
        lines[folder] += len(source.splitlines())
        code[folder] += code_lines(source)
    print(f"{'folder':<18} {'files':>6} {'lines':>8} {'code':>8}")
    for folder in sorted(files):
        print(f"{folder:<18} {files[folder]:>6} {lines[folder]:>8,} {code[folder]:>8,}")
    print(f"{'all':<18} {files.total():>6} {lines.total():>8,} {code.total():>8,}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
