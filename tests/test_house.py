"""The laws of the house: what ARCHITECTURE.md promises, read from the syntax trees.

Each law names the files that break it, so that a failure can be mended without reading this.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onehop.model.reason import DATAPATH, Reason

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src" / "onehop"
PURE = ("model", "core", "proto")
MODULE_LINES = 500
FUNCTION_LINES = 40

# Values that are written so often that their two fields go by position.
POSITIONAL = {"Key", "LargeCommunity", "Mac"}
MUTABLE = {"list", "dict", "set", "bytearray", "List", "Dict", "Set"}
BANNED_FOLDERS = {
    "utils", "util", "common", "helpers", "manager", "managers", "types", "base", "interfaces",
    "internal", "misc",
}  # fmt: skip

# Which third-party package may be imported where.
THIRD_PARTY = {
    "adapters": {"msgspec", "pyroute2", "yaml"},
    "lab": {"confluent_kafka", "matplotlib", "msgspec", "pyroute2", "yaml"},
    "cli": {"click", "rich", "yaml"},
}


def _python(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if "__pycache__" not in path.parts]


def _pure() -> list[Path]:
    return _python(*(f"src/onehop/{layer}" for layer in PURE))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _where(path: Path, node: ast.AST, what: str = "") -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)} {what}".rstrip()


def _dataclass_flags(node: ast.ClassDef) -> set[str] | None:
    """The flags set in the class's @dataclass, or None when it is no dataclass."""
    for decorator in node.decorator_list:
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")
        if name != "dataclass":
            continue
        keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
        return {
            str(keyword.arg)
            for keyword in keywords
            if isinstance(keyword.value, ast.Constant) and keyword.value.value is True
        }
    return None


def _values() -> Iterator[tuple[Path, ast.ClassDef, set[str]]]:
    for path in _pure():
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ClassDef):
                flags = _dataclass_flags(node)
                if flags is not None:
                    yield path, node, flags


def test_values_are_frozen_slotted_and_keyword_only() -> None:
    broken = []
    for path, node, flags in _values():
        wanted = {"frozen", "slots"} | (set() if node.name in POSITIONAL else {"kw_only"})
        if wanted - flags:
            broken.append(_where(path, node, f"{node.name} lacks {sorted(wanted - flags)}"))
    assert not broken


def test_values_hold_no_mutable_collection() -> None:
    broken = []
    for path, node, _ in _values():
        for field in node.body:
            if isinstance(field, ast.AnnAssign):
                names = {n.id for n in ast.walk(field.annotation) if isinstance(n, ast.Name)}
                if names & MUTABLE:
                    broken.append(_where(path, field, f"{node.name} {sorted(names & MUTABLE)}"))
    assert not broken


def test_modules_stay_short() -> None:
    broken = [
        f"{path.relative_to(ROOT)} has {lines} lines"
        for path in _python("src", "tests", "bench", "fuzz", "tools")
        if (lines := len(path.read_text().splitlines())) > MODULE_LINES
    ]
    assert not broken


def test_functions_stay_short() -> None:
    broken = []
    for path in _python("src", "bench", "fuzz", "tools"):
        for node in ast.walk(_tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    broken.append(_where(path, node, f"{node.name} has {lines} lines"))
    assert not broken


def test_no_folder_or_module_has_a_name_that_says_nothing() -> None:
    broken = [
        str(path.relative_to(ROOT))
        for path in _python("src")
        if {part.removesuffix(".py") for part in path.relative_to(SRC.parent).parts}
        & BANNED_FOLDERS
    ]
    assert not broken


def test_pure_modules_have_a_test_module_of_their_name() -> None:
    missing = []
    for path in _pure():
        relative = path.relative_to(SRC)
        if path.name != "__init__.py":
            partner = ROOT / "tests" / "unit" / relative.parent / f"test_{path.name}"
            if not partner.exists():
                missing.append(str(partner.relative_to(ROOT)))
    assert not missing


def test_folders_of_tests_are_packages() -> None:
    folders = {path.parent for path in _python("tests") if path.name.startswith("test_")}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]


def test_rfc_references_have_one_form() -> None:
    """`RFC 5227 2.4`: a space, the number, a space, the section, and no word between."""
    wrong = re.compile(
        r"\bRFC\d|\bRFC-\d|\bRfc\b|\brfc \d|\bRFC \d+\s*(?:,|;)?\s*(?:§|[Ss]ection\b|sec\.)|"
        r"[Ss]ection [\d.]+ of RFC"
    )
    broken = []
    for path in [*_python("src"), *sorted((ROOT / "bpf").glob("*.[ch]"))]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if wrong.search(line):
                broken.append(f"{path.relative_to(ROOT)}:{number} {line.strip()}")
    assert not broken


def test_exceptions_are_caught_by_name() -> None:
    broken = []
    for path in _python("src", "tests", "bench", "fuzz", "tools"):
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ExceptHandler):
                caught = (
                    [n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)]
                    if (node.type)
                    else ["Exception"]
                )
                reraises = any(isinstance(n, ast.Raise) and n.exc is None for n in node.body)
                if "Exception" in caught or ("BaseException" in caught and not reraises):
                    broken.append(_where(path, node))
    assert not broken


def test_nothing_is_patched_and_nothing_is_skipped() -> None:
    banned = {
        "mock.patch", "monkeypatch.setattr", "pytest.skip", "pytest.xfail", "pytest.importorskip",
        "mark.skip", "mark.skipif", "mark.xfail",
    }  # fmt: skip
    broken = []
    for path in _python("tests"):
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Attribute):
                dotted = ast.unparse(node)
                if any(dotted.endswith(name) for name in banned):
                    broken.append(_where(path, node, dotted))
    assert not broken


def test_third_party_packages_stay_where_they_are_allowed() -> None:
    ours = set(sys.stdlib_module_names) | {"onehop"}
    broken = []
    for path in _python("src"):
        layer = path.relative_to(SRC).parts[0]
        allowed = ours | THIRD_PARTY.get(layer, set())
        for node in ast.walk(_tree(path)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            broken += [_where(path, node, n) for n in names if n.split(".")[0] not in allowed]
    assert not broken


def test_every_reason_is_given_somewhere() -> None:
    """A reason that no code gives is a promise to the reader of `explain` that nothing keeps."""
    text = "\n".join(p.read_text() for p in _python("src") if p.name != "reason.py")
    used = set(re.findall(r"\bReason\.([A-Z][A-Z0-9_]*)\b", text))
    assert not [r.name for r in Reason if r.name not in used and r not in DATAPATH]


def test_codes_of_reasons_are_unique_and_sentences_end_without_a_full_stop() -> None:
    codes = [reason.code for reason in Reason]
    assert len(codes) == len(set(codes))
    assert not [r.name for r in Reason if r.sentence.endswith(".") or not r.sentence]


def _bpf_reasons() -> list[str]:
    """The members of `enum reason` in bpf/reason.h between its zero and its closing count."""
    text = (ROOT / "bpf" / "reason.h").read_text()
    body = re.search(r"enum reason \{(.*?)\}", text, re.DOTALL)
    assert body, "bpf/reason.h holds no `enum reason { ... }`"
    members = re.findall(r"^\s*([A-Z][A-Z0-9_]*)\b", body.group(1), re.MULTILINE)
    assert (members[0], members[-1]) == ("CONTINUE", "REASONS")
    return members[1:-1]


def test_reasons_of_the_datapath_stand_in_the_same_order_in_c() -> None:
    assert [reason.name for reason in DATAPATH] == _bpf_reasons()


def test_bpf_sources_begin_with_their_licence() -> None:
    sources = sorted((ROOT / "bpf").glob("*.[ch]"))
    assert sources
    licence = "SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0"
    assert not [path.name for path in sources if licence not in path.read_text().split("\n")[0]]


def _tool(*command: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)


def test_generated_docs_are_what_the_program_and_its_pages_say() -> None:
    _tool("python", "tools/docs.py", "--check")


def test_layers_hold() -> None:
    _tool("lint-imports")


def test_lint_is_clean() -> None:
    _tool("ruff", "check", "--quiet", ".")


def test_format_is_clean() -> None:
    _tool("ruff", "format", "--check", ".")


@pytest.mark.timeout(240)
def test_types_hold() -> None:
    _tool("mypy")
