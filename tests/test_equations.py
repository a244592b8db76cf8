"""Equations of docstrings as TeX: what is read aloud is the same, and TeX can read all of it."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

from equations import GREEK, is_equation, to_tex  # noqa: E402

ROOMS = ("objectives", "theory", "solvers", "oracles", "populations", "policies")


def equations():
    """Every indented paragraph that is an equation, once."""
    found = {}
    for path in sorted(p for room in ROOMS for p in (ROOT / "distalign" / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        kinds = ast.Module | ast.FunctionDef | ast.ClassDef
        for node in (n for n in ast.walk(tree) if isinstance(n, kinds)):
            for part in (ast.get_docstring(node) or "").split("\n\n"):
                indented = part.strip() and all(line.startswith("  ") for line in part.splitlines())
                if indented and not part.lstrip().startswith(">>>") and is_equation(part):
                    found[part] = path
    return list(found)


@pytest.mark.parametrize(
    ("plain", "tex"),
    [
        ("L = log pi/pi_ref", r"L = \log \pi /\pi _{\mathrm{ref}}"),
        ("e^{-beta x} <= sqrt(n (1 - 1/n))", r"e^{-\beta x} \le \sqrt{n (1 - 1/n)}"),
        (
            "sup_Q { E_Q l - tau KL(Q || P) }",
            r"\sup _{Q} \{ \mathbb{E} _{Q} l - \tau \operatorname{KL} (Q \| P) \}",
        ),
        ("p+(y) - T_i-", r"p^{+}(y) - T_{i}^{-}"),
        ("u_(i) over all i", r"u_{(i)}\text{ over all }i"),
        ("order_variance(b) sum_i w_ik", r"\texttt{order_variance}(b) \sum _{i} w_{ik}"),
    ],
)
def test_an_equation_is_read_as_it_was_written(plain, tex):
    made = to_tex(f"    {plain}")
    assert re.sub(r" +", " ", made) == tex


def test_a_long_line_is_broken_at_its_commas_and_keeps_its_number():
    line = "    " + "a + b + c + d,   ".join([""] * 6) + "e = f   (12)"
    made = to_tex(line)
    assert made.count(r"\displaystyle") == 6
    assert made.rstrip().endswith("(12)\n\\end{array}")


def test_a_table_of_words_is_no_equation():
    words = "    none     no change at all: the loss is\n    floor    there is no force\n"
    assert not is_equation(words + "    squash   there is no wall")
    assert is_equation("    L = \\sum_i p_i (u_i - v_i)^2")


@pytest.mark.parametrize("sign", ["{}", "()"])
def test_what_is_opened_is_closed(sign):
    found = equations()
    assert len(found) > 90
    for plain in found:
        tex = re.sub(r"\\[{}]", "", to_tex(plain))
        assert tex.count(sign[0]) == tex.count(sign[1]), plain


KNOWN = {f"\\{name}" for name in GREEK} | {
    *(r"\log", r"\exp", r"\tanh", r"\cosh", r"\coth", r"\sup", r"\inf", r"\max", r"\min", r"\arg"),
    *(r"\sum", r"\prod", r"\int", r"\sqrt", r"\nabla", r"\infty", r"\star", r"\ast", r"\prime", r"\cdot"),
    *(r"\ldots", r"\propto", r"\le", r"\ge", r"\ne", r"\to", r"\sim", r"\in", r"\langle", r"\rangle"),
    *(r"\mathbb", r"\mathrm", r"\operatorname", r"\text", r"\texttt", r"\quad", r"\qquad", r"\begin"),
    *(r"\displaystyle", r"\end", r"\varepsilon"),
}


def test_only_commands_that_tex_knows_are_written():
    commands = {c for plain in equations() for c in re.findall(r"\\[A-Za-z]+", to_tex(plain))}
    assert commands - KNOWN == set()


def test_no_symbol_is_left_as_a_word():
    word = re.compile(r"\\text\{[^}]*\b(sum|sup|beta|lambda|log)\b")
    assert [plain for plain in equations() if word.search(to_tex(plain))] == []
