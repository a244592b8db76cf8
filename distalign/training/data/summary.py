"""What became of data when they were read, in words: facts for a first screen, and warnings.

Both are made from `PreferenceData.report`, so the model card holds the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from distalign.progress import Voice
from distalign.training.data.rows import PreferenceData

_NOT_USED = "ignored_column_"
_DROPPED = "dropped_"
_BY_TEMPLATE = "template_ignores_"
_OF_SOURCE = "examples_of_"


def tell(name: str, source: str, data: PreferenceData, say: Voice) -> None:
    """Say the facts of the data of a source, and then the warnings, each behind the name."""
    first, *more = facts(data)
    say(f"{name}: {source}: {first}")
    for line in more:
        say(f"{name}: {line}")
    for line in warnings(data):
        say.warn(f"{name}: {line}")


def facts(data: PreferenceData) -> list[str]:
    """What was read, kept, left out, cut and not used.

    Example:
        >>> report = {"read": 9, "kept": 7, "dropped_identical": 2, "chosen_truncated": 1, "completions": 14}
        >>> from distalign.training.data.rows import Example
        >>> facts(PreferenceData.of([Example((1,), (2,), (3,))], report=report))
        ['9 lines read, 7 pairs kept; left out: 2 (2 identical); completions cut: 1 of 14; prompts cut: 0']
    """
    report = data.report
    dropped = _named(report, _DROPPED)
    left_out = f"{sum(dropped.values())}" + (f" ({_listed(dropped)})" if dropped else "")
    lines = [
        f"{report.get('read', 0):,} lines read, {report.get('kept', 0):,} "
        f"{'pairs' if data.paired else 'labelled completions'} kept; left out: {left_out}; completions cut: "
        f"{_cut(report):,} of {report.get('completions', 0):,}; prompts cut: "
        f"{report.get('prompts_truncated', 0):,}"
    ]
    if sources := _named(report, _OF_SOURCE):
        lines.append("mixed of " + ", ".join(f"{count:,} of {name}" for name, count in sources.items()))
    if unused := _named(report, _NOT_USED):
        lines.append(f"columns not used: {', '.join(unused)}")
    if report.get("open_ends"):
        lines.append(
            f"{report['open_ends']:,} of {report.get('completions', 0):,} completions were cut when they were"
            " written, as their columns say: they get no end"
        )
    if report.get("prompts_repeated"):
        lines.append(
            f"chosen and rejected are whole texts: the prompt was taken off in "
            f"{report['prompts_repeated']:,} lines"
        )
    return lines


def warnings(data: PreferenceData) -> Iterator[str]:
    """What may not be meant, one sentence each with its count."""
    report = data.report
    completions, kept = report.get("completions", 0), report.get("kept", 0)
    if report.get("no_end_token"):
        yield (
            f"{report['no_end_token']:,} of {completions:,} completions do not end in a special token, so "
            "the model does not learn to end its answers: give the tokenizer a chat template that ends a turn"
        )
    if report.get("bos_twice"):
        yield (
            f"{report['bos_twice']:,} of {kept:,} texts begin with the beginning-of-text token twice, for "
            "the data have one and the tokenizer adds one: take it out of the data"
        )
    if _cut(report):
        yield (
            f"{_cut(report):,} of {completions:,} completions are cut by max_length, so their ends are not "
            "learnt: raise max_length if memory allows"
        )
    for key, count in _named(report, _BY_TEMPLATE).items():
        yield (
            f"the texts do not depend on {key}, which {count:,} lines have: the chat template does not read "
            "it"
        )
    if report.get("prompts_perhaps_repeated"):
        yield (
            f"in {report['prompts_perhaps_repeated']:,} of {kept:,} lines both completions begin as the "
            "prompt does: if they are whole texts, take the prompt off"
        )
    if 2 * report.get("run_together", 0) > kept:
        yield (
            f"in {report['run_together']:,} of {kept:,} lines the completion follows the prompt's last word "
            "without a space: end the prompts in a space or a line break, or say chat_template: true"
        )
    if report.get("equal_scores"):
        yield f"{report['equal_scores']:,} of {kept:,} pairs have equal scores: their labels may be chance"


def _named(report: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in report.items() if name.startswith(prefix)}


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())


def _cut(report: Mapping[str, int]) -> int:
    return report.get("chosen_truncated", 0) + report.get("rejected_truncated", 0)
