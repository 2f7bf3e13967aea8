"""Checks the style of the tree that a machine can check: lengths, leftovers, prints, language."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LINES_MAX = 350
COMMANDS = {"services/api/read_model/rebuild.py"}
"""Modules of services that a person runs in a terminal."""
LEFTOVERS = re.compile("TO" + "DO|FIX" + "ME|XX" + "X|HA" + "CK")
PATHS = "|".join(f"/{name}/" for name in ("work", "root", "home", "Users"))
HOSTS = "|".join(rf"{name}[.]org" for name in ("pypi", "pythonhosted", "npmjs", "debian"))
OF_ONE_MACHINE = re.compile(f"{PATHS}|{HOSTS}")
IN_PLAIN_LANGUAGE = (
    "shared/",
    "services/",
    "infra/",
    "tests/conftest.py",
    "tests/bench/",
    "tests/simulation/",
    "tests/support/",
)
"""Paths whose names and docstrings follow the language rules."""
THIRD_PERSON = re.compile(r"[A-Z][a-z-]+s\b")
NO_VERBS = {"Always", "As", "Its", "Less", "Perhaps", "Sometimes", "This", "Unless"}
FORBIDDEN_BEGINNINGS = re.compile(r"(?:\A|[.:?!]\s+)(What|Whether|Of|As|Who|That|Nobody|Whoever|Perhaps)\b")
PARTICIPLE = re.compile(r"_*[a-z]+(ed|ing)(_|\Z)")
NO_PARTICIPLES = {"feed", "ping", "bring", "embed", "seed", "embedded"}
BINARY = {".png", ".jpg", ".gif", ".ico", ".woff2", ".gz", ".webp"}


def _committed() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout
    return [path for name in names.split("\0") if name and (path := CHECKOUT / name).is_file()]


def _texts() -> dict[str, str]:
    texts = (path for path in _committed() if path.suffix not in BINARY)
    return {path.relative_to(CHECKOUT).as_posix(): path.read_text(encoding="utf-8") for path in texts}


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lengths = {name: text.count("\n") for name, text in _texts().items() if name.endswith(".py")}
    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX} == {}


@pytest.mark.parametrize(
    "pattern", [LEFTOVERS, OF_ONE_MACHINE], ids=["leftovers", "paths and hosts of one machine"]
)
def test_nothing_is_left_that_is_not_for_the_reader(pattern: re.Pattern[str]) -> None:
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in _texts().items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []


def test_only_commands_print() -> None:
    """What a service has to say goes to its log; why it cannot start, to the error stream too."""
    printing = [
        f"{name}:{node.lineno}"
        for name, text in _texts().items()
        if name.endswith(".py") and name.startswith(("shared/", "services/")) and name not in COMMANDS
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        if "sys.stderr" not in {ast.unparse(keyword.value) for keyword in node.keywords}
    ]
    assert printing == []


def _modules_in_plain_language() -> Iterator[tuple[str, ast.Module]]:
    for name, text in _texts().items():
        if name.endswith(".py") and name.startswith(IN_PLAIN_LANGUAGE):
            yield name, ast.parse(text)


def _is_exempt(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Returns True for tests, properties, and commands of click, whose docstring is their help."""
    decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
    return function.name.startswith("test_") or any(
        one.endswith("property") or ".command(" in one or one.startswith("click.") for one in decorators
    )


def _strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yields all docstrings, those of attributes included."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text.strip()


def test_a_docstring_of_a_function_starts_with_a_verb_in_the_third_person() -> None:
    others = [
        f"{name}:{node.lineno}: {first}"
        for name, tree in _modules_in_plain_language()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not _is_exempt(node)
        if (text := ast.get_docstring(node))
        if not THIRD_PERSON.match(first := text.split(maxsplit=1)[0]) or first in NO_VERBS
    ]
    assert others == []


def test_a_docstring_has_no_sentence_that_begins_with_a_riddle() -> None:
    riddles = [
        f"{name}:{line}: {found[0].strip()}"
        for name, tree in _modules_in_plain_language()
        for line, text in _strings(tree)
        if (found := FORBIDDEN_BEGINNINGS.search(text))
    ]
    assert riddles == []


def test_no_coroutine_is_named_by_a_participle() -> None:
    participles = [
        f"{name}:{node.lineno}: {node.name}"
        for name, tree in _modules_in_plain_language()
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef) and PARTICIPLE.match(node.name)
        if node.name.strip("_").split("_")[0] not in NO_PARTICIPLES
    ]
    assert participles == []


def test_every_public_class_has_a_docstring() -> None:
    silent = [
        f"{name}:{node.lineno}: {node.name}"
        for name, tree in _modules_in_plain_language()
        if not name.startswith("tests/")
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert silent == []
