from __future__ import annotations

import ast
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from groupwise.rewards import expressions, reasoning_gym

sympy = pytest.importorskip("sympy")
library = pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
factory = pytest.importorskip("reasoning_gym.factory")

OWN_CODE = {"code.codeio"}
"""Runs programs of the library's own, to make a question."""
FAMILIES = sorted(set(factory.DATASETS) - {"composite"})
SLOW = {"knight_swap": 2, "sokoban": 4, "futoshiki": 6, "quantum_lock": 6, "zebra_puzzles": 6, "puzzle24": 10}
"""So many questions of families that take long to make one."""
EVALUATING = ("binary_matrix", "spiral_matrix", "string_insertion", "n_queens")
SYMBOLIC = ("countdown", "puzzle24", "polynomial_multiplication", "simple_integration", "intermediate_integration")
REPLY = "(__import__('os').write(3, b'{\"value\": 1.0}'), __import__('os')._exit(0))"
FRAME = "__import__('sys')._getframe(1).f_locals['entry']['answer']"
PROGRAMS = (
    *(REPLY, FRAME, "entry['answer']"),
    *("entry['metadata']['valid_answers'][0]", "self.__class__", "(lambda: 1)()", "[c for c in entry['answer']]"),
    *(
        "f'{entry}'",
        "'{0.__class__}'.format(1)",
        "exec('1')",
        "eval('1')",
        "open('/etc/passwd').read()",
        "1 if 1 else 2",
    ),
)
FORMULAS = (
    *PROGRAMS,
    *(
        "sympify('1')",
        'S("1")',
        "sympify.__globals__",
        "x.func",
        "x.__class__.__init__",
        "Lambda(x, x)(1)",
        "lambda: 1",
    ),
    *("Integral(x**2, x)", "integrate(x, x)", "expand((x + 1)**2)", "diff(x, x)", "simplify(x)", "f(x)", "print(x)"),
    *("Symbol('x')", "Pow(x, 2, evaluate=False)", "x if x else x", "[x]", "x, x", "{x}", "x[0]", "x == x", "x < 1"),
    *("not x", "x and x", "sin", "open", "True", "None", "(x := 2)", "*x", "x" * 30_000, "@x", "x y", "", "1 +"),
    *("nsolve(x, 1)", "S", "Q", "Function('f')(x)", "lambdify(x, x)", "preview(x)", "source(x)", "plot(x)"),
)


def scored(family: str, index: int, size: int, answer: str) -> Any:
    item = {"family": family, "config": {}, "seed": 0, "size": size, "index": index, "answer": answer}
    return reasoning_gym.respond(item)


@pytest.mark.parametrize("family", FAMILIES)
def test_right_answers_score_as_in_the_library(family: str) -> None:
    size = SLOW.get(family, 20)
    dataset = factory.create_dataset(family, seed=0, size=size)
    for index in {0, 1, size // 2, size - 1}:
        entry = dataset[index]
        if isinstance(entry["answer"], str):
            assert scored(family, index, size, entry["answer"]) == float(dataset.score_answer(entry["answer"], entry))


@pytest.mark.parametrize("family", EVALUATING + SYMBOLIC)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_a_wrong_answer(family: str, program: str) -> None:
    assert scored(family, 0, 20, program) in (0.0, 0.01)  # what the family gives to one that it cannot read


@pytest.mark.parametrize("family", FAMILIES)
def test_no_family_runs_what_it_is_given(family: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    opened = f"open({str(mark)!r}, 'w')"
    for text in (f"[{opened}]", f"sympify({opened!r})", f"{{0: {opened}}}"):
        with suppress(Exception):  # a text that breaks a scorer has no score
            scored(family, 0, 1, text)
    assert not mark.exists()


def test_an_answer_in_another_form_still_has_its_part() -> None:
    entry = factory.create_dataset("binary_matrix", seed=0, size=20)[0]
    rows = [[int(cell) for cell in row.split()] for row in entry["answer"].splitlines()]
    assert scored("binary_matrix", 0, 20, repr(rows)) == 0.1
    entry = factory.create_dataset("string_insertion", seed=0, size=20)[0]
    assert scored("string_insertion", 0, 20, repr(list(entry["answer"]))) == 0.1
    entry = factory.create_dataset("n_queens", seed=0, size=20)[0]
    board = [row.split() for row in entry["metadata"]["valid_answers"][0].splitlines()]
    assert scored("n_queens", 0, 20, repr(board)) == 0.5


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("polynomial_multiplication", lambda answer: f"0 + ({answer})".replace("**", " ** ")),
        ("simple_integration", lambda answer: f"{answer} + sin(pi)/2 + sqrt(2) - Rational(1, 3)"),
        ("simple_integration", lambda answer: answer.replace(" + C", " + C + 1.5")),
        ("intermediate_integration", lambda answer: f"({answer}) + log(3) + exp(1) + E + atan(1)"),
        ("countdown", lambda answer: f" ( {answer} ) "),
        ("puzzle24", lambda answer: f"({answer})"),
    ],
)
def test_a_right_formula_that_is_written_otherwise_is_right(family: str, change: Any) -> None:
    dataset = factory.create_dataset(family, seed=0, size=20)
    for index in (0, 1):
        answer = change(dataset[index]["answer"])
        assert scored(family, index, 20, answer) == 1.0, answer


@pytest.mark.parametrize("text", FORMULAS)
def test_what_is_no_formula_is_refused_before_it_is_evaluated(text: str) -> None:
    expressions.guard("reasoning_gym")
    with expressions.scoring({"answer": "1", "metadata": {}}):
        with pytest.raises((ValueError, SyntaxError, TypeError)):
            sympy.parse_expr(text, local_dict={"y": sympy.Symbol("y")})
        with pytest.raises((ValueError, SyntaxError, TypeError)):
            sympy.parse_expr(text, evaluate=False)
        with pytest.raises((ValueError, SyntaxError, TypeError)):
            sympy.sympify(text, strict=False)


@pytest.mark.parametrize(
    "text", ["1 + 2*x", "-x**2/3", "3!", "0.5*y", "2e3", "sin(x)*exp(-x)", "1.5[3]", "3 % 2", "x_1 + é"]
)
def test_formulas_are_read_as_before(text: str) -> None:
    expressions.guard("reasoning_gym")
    before = sympy.parse_expr(text)
    with expressions.scoring({"answer": "1", "metadata": {}}):
        assert sympy.parse_expr(text) == before


def test_what_the_question_holds_is_evaluated_as_ever() -> None:
    entry = {"question": "q", "answer": "[1, 2]", "metadata": {"steps": [("len([1, 2]) + 1",)], "n": 3}}
    local = 5
    assert expressions.evaluate("local + 1") == local + 1 == 6
    assert expressions.evaluate("a", {"a": 2}) == 2
    assert expressions.evaluate("a", {"a": 2}, {"a": 3}) == 3
    with expressions.scoring(entry):
        assert expressions.evaluate("len([1, 2]) + 1") == 3
        assert expressions.evaluate("[(1, 'a'), {2: None}, {3}]") == [(1, "a"), {2: None}, {3}]
        for text in ("len([1, 2])", "local", "q", "1 < 2", "[0] * 9", "x" * 30_000, compile("1", "", "eval"), b"1"):
            with pytest.raises((ValueError, SyntaxError)):
                expressions.evaluate(text)
    assert expressions.evaluate("len([1, 2])") == 2


def test_nothing_else_in_the_library_could_run_a_text() -> None:
    """Of a new version, too."""
    scored("gsm_symbolic", 0, 1, "1")
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "reasoning_gym" and isinstance(module, ModuleType) and module.__file__:
            tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
            calls = {
                node.func.id
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            imports = {
                part.name.partition(".")[0]
                for node in ast.walk(tree)
                if isinstance(node, ast.Import)
                for part in node.names
            }
            imports |= {
                (node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
            }
            if name.removeprefix("reasoning_gym.") not in OWN_CODE:
                assert not calls & {"exec", "compile", "__import__"}, name
            assert not imports & {"pickle", "marshal", "subprocess", "code", "shelve", "dill"}, name
            assert "eval" not in calls or vars(module)["eval"] is expressions.evaluate, name
