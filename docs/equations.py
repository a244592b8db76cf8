"""Equations of docstrings, which are plain text that a terminal shows, as TeX for the site.

    L = \\int_0^1 h(Q_U(t) - Q_V(t)) dt,   u = log pi/pi_ref        becomes
    L = \\int_0^1 h(Q_U(t) - Q_V(t)) dt, \\qquad u = \\log \\pi/\\pi_{\\mathrm{ref}}

A word that is no known name stays a word. Nothing is evaluated or simplified: what is read aloud is the same.
"""

import re
from collections.abc import Iterator

GREEK = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "eta",
    "theta",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "pi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "psi",
    "Gamma",
    "Pi",
    "Sigma",
]
SYMBOLS = {
    **{name: f"\\{name}" for name in GREEK},
    **{
        name: f"\\{name}"
        for name in [
            "log",
            "exp",
            "tanh",
            "cosh",
            "coth",
            "sup",
            "max",
            "min",
            "arg",
            "sum",
            "prod",
            "int",
            "propto",
        ]
    },
    **{
        "eps": "\\varepsilon",
        "lam": "\\lambda",
        "infinity": "\\infty",
        "grad": "\\nabla",
        "Hess": "\\nabla^2",
    },
    **{"inf": "\\inf", "E": "\\mathbb{E}", "ref": "\\mathrm{ref}", "star": "\\star", "argmax": "\\arg\\max"},
    **{f"d{name}": f"\\,d\\{name}" for name in ("phi", "psi", "nu", "pi")},
    "hess": "\\nabla^2",
}
OPERATORS = ["softplus", "softmax", "artanh", "clip", "diag", "tr", "Var", "Cov", "KL", "ECE", "logit", "sd"]
SYMBOLS |= {name: f"\\operatorname{{{name}}}" for name in OPERATORS}
SHORT_WORDS = [
    "a",
    "as",
    "at",
    "be",
    "by",
    "do",
    "if",
    "in",
    "is",
    "it",
    "no",
    "of",
    "on",
    "or",
    "so",
    "that",
    "the",
    "to",
    "we",
]  # `in` and `a`: see `word`
SIGNS = {
    "<=": "\\le ",
    ">=": "\\ge ",
    "!=": "\\ne ",
    "...": "\\ldots ",
    "->": "\\to ",
    "~": "\\sim ",
    "||": "\\|",
    "*": "^{*}",
    "|": "|",
}
# An identifier of the code: `order_variance`, but neither `sum_i` nor `lambda_x`.
CODE = rf"\b(?!(?:{'|'.join(SYMBOLS)})_)[a-z]{{3,}}\d*(?:_[a-z0-9]+)+|\b[a-z]{{2}}_[a-z]{{4,}}|`[^`]+`"
NUMBER = re.compile(r" {2,}(\(\d+\))$")
TOKEN = re.compile(
    rf"(?P<wide> {{3,}})|(?P<gap>  )|(?P<space> )|(?P<code>{CODE})|"
    r"(?P<word>\\?[A-Za-z]+)|(?P<number>\d+(?:\.\d+)?)|(?P<sign><=|>=|!=|->|\|\||\.\.\.|.)"
)
SPACES = {"wide": "\\qquad ", "gap": "\\quad "}


def is_equation(paragraph: str) -> bool:
    """Whether an indented paragraph is an equation rather than a table of words."""
    words = [w for w in re.findall(r"\\?[A-Za-z_]+", paragraph) if len(w) > 3 and w not in SYMBOLS]
    signs = re.findall(r"[=^(){}+/<>~]|->", paragraph)
    rows = paragraph.strip().splitlines()
    table = len(rows) > 2 and sum(bool(re.match(r" +\S+(?: \S+)? {3,}\S", f"  {row}")) for row in rows) > 2
    equations = sum("=" in row for row in rows)
    return len(signs) > len(words) and not (table and equations < len(rows))


def to_tex(paragraph: str) -> str:
    """The lines of an equation as one display, each line one below the other.

    Args:
        paragraph: lines that are indented alike; a line that is indented further continues the one before.
    """
    lines = paragraph.rstrip().splitlines()
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    shown = []
    for line in lines:
        text, *number = NUMBER.split(line[indent:])[:2]
        parts = re.split(r"(?<=,) {2,}", text) if len(text) > 76 else [text]
        made = [
            ("\\qquad " if text.startswith(" ") or i else "") + line_to_tex(p) for i, p in enumerate(parts)
        ]
        shown += [*made[:-1], "\\qquad ".join([made[-1], *number])]
    if len(shown) == 1:
        return shown[0]
    return (
        "\\begin{array}{l}\n" + " \\\\\n".join(f"\\displaystyle {line}" for line in shown) + "\n\\end{array}"
    )


def line_to_tex(line: str) -> str:
    """One line as TeX."""
    line = re.sub(r"(?<=[a-z])([+-])'", r"^{\1\\prime}'", line.strip())
    line = re.sub(r"\}('+)", lambda m: r"\prime" * (len(m[1]) - 1) + "}", line)
    line = re.sub(r"(?<=[A-Za-z0-9])([+-])(?=[\s(_/,.'^|)]|$)", r"^{\1}", line)
    line = line.replace("_*", r"_{\ast}").replace("  =  ", " = ")
    line = re.sub(r"\+inf\b", r"+\\infty", line)
    line = re.sub(r"\b([a-z])\.([a-z])\b", r"\1 \\cdot \2", line)
    line = re.sub(r"<([^<>=]+)>", r"\\langle \1 \\rangle", line).replace(" . ", r" \cdot ")
    line = _scripts(_roots(line))
    out: list[str] = []
    braces: list[bool] = []
    for kind, text in _tokens(line):
        if text == "{":
            braces.append(out[-1:] in (["_"], ["^"], ["\\sqrt"], ["\\operatorname"]))
            out.append("{" if braces[-1] else "\\{")
        elif text == "}":
            out.append("}" if braces and braces.pop() else "\\}")
        else:
            out.append(SPACES.get(kind, text))
    return re.sub(r"\s+", " ", "".join(out)).strip()


def _roots(line: str) -> str:
    """`sqrt(x)` and `sqrt n` with what is below the root in braces."""
    while match := re.search(r"(?<!\\)\bsqrt(\(| )", line):
        start = match.end()
        if match[1] == "(":
            end = _closing(line, start - 1)
            line = f"{line[: match.start()]}\\sqrt{{{line[start:end]}}}{line[end + 1 :]}"
        else:
            name = re.match(r"\w+", line[start:])
            end = start + (name.end() if name else 0)
            line = f"{line[: match.start()]}\\sqrt{{{line[start:end]}}}{line[end:]}"
    return line


def _closing(line: str, start: int) -> int:
    """Place of the parenthesis that closes the one at `start`."""
    depth = 0
    for place in range(start, len(line)):
        depth += {"(": 1, ")": -1}.get(line[place], 0)
        if not depth:
            return place
    raise ValueError(f"a parenthesis is not closed: {line}")


def _scripts(line: str) -> str:
    """Sub- and superscripts of more than one sign in braces."""
    line = re.sub(
        r"([_^])\(([^()]*)\)", lambda m: f"{m[1]}{{{'(' * (m[1] == '_')}{m[2]}{')' * (m[1] == '_')}}}", line
    )
    line = re.sub(r"\^(-\w+)", r"^{\1}", line)
    line = re.sub(r"\b([a-zA-Z]|pi)(\d+)\b", r"\1_{\2}", line)
    return re.sub(rf"({CODE})|_([A-Za-z0-9]+(?:,[a-z]\b)?)", lambda m: m[1] or f"_{{{m[2]}}}", line)


def _tokens(line: str) -> Iterator[tuple[str, str]]:
    """Kind and TeX of each token; words that follow each other are one text."""
    text: list[str] = []
    spaces = ""
    for match in TOKEN.finditer(line):
        kind, value = str(match.lastgroup), match[0]
        before = line[: match.start()]
        if kind == "space":
            spaces = " "
            continue
        tex = _word(value, before, line[match.end() :]) if kind == "word" else value
        if kind == "code":
            tex = f"\\texttt{{{value.strip('`')}}}"
        if kind == "sign":
            tex = SIGNS.get(value, value)
        if kind == "word" and tex is None:
            text.append((" " if text or spaces else "") + value)
            spaces = ""
            continue
        if text:
            yield "text", "\\text{" + "".join(text) + (" " if spaces else "") + "}"
            text, spaces = [], ""
        if spaces:
            yield "space", " "
            spaces = ""
        yield kind, str(tex)
    if text:
        yield "text", "\\text{" + "".join(text) + "}"


def _word(value: str, before: str, after: str) -> str | None:
    """TeX of a name, or None for a word of English."""
    if value.startswith("\\"):
        return value if value in ("\\sqrt", "\\langle", "\\rangle") else value + " "
    script = before.endswith(("_{", "^{", "_", "^"))
    if value == "in" and (re.search(r"\{\w+ $|argmax|pi $", before) or after.startswith(" [")):
        return "\\in "
    if value == "a" and re.match(r" (share|constant)", after):
        return None
    if value in SYMBOLS:
        return SYMBOLS[value] + ("" if script else " ")
    if len(value) == 1 or (script and len(value) < 3):
        return value
    if value == "dt" or (len(value) == 2 and value[0] == "d" and value not in SHORT_WORDS):
        return "\\," + value
    if len(value) == 2 and value not in SHORT_WORDS:
        return value
    return f"\\mathrm{{{value.strip('`')}}}" if script or before.endswith(("/", "^{")) else None
