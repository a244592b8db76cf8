"""Preference data in the shapes in which they are published: each is read rightly, or refused with its line.

Beside each input stands what distalign 0.1.0 of November 2026 made of it, before these shapes were known:
right, wrong (without a word), refused, or a crash.
"""

import csv
import json
from itertools import groupby

import pyarrow
import pytest
from preference_rows import LABELLED, PAIR, TOKENIZER, answer, talk, write

from distalign.checks import InputError
from distalign.training.data.load import load_preferences
from distalign.training.data.rows import token_ids
from tests.training.tiny import TEMPLATE, tiny_tokenizer

TOOLS_TEMPLATE = (
    "{% if tools %}<tools>{{ tools | map(attribute='name') | join(',') }}</tools>{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}"
    "<call>{{ c.function.name }} {{ c.function.arguments.city }}</call>{% endfor %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if style %}<{{ style }}>{% endif %}{% endif %}"
)
"""A template that reads tools, tool calls, reasoning and an option of its own."""

CONTENT = "{{ message['content'] }}"
REWRITES = TEMPLATE.replace(
    CONTENT, "{% if message.role == 'assistant' and not loop.last %}...{% else %}" + CONTENT + "{% endif %}"
)
"""A template that writes an earlier answer otherwise once another follows, and not even its text."""

THINKS = TEMPLATE.replace(
    CONTENT, "{% if message.role == 'assistant' and loop.last %}<t></t>{% endif %}" + CONTENT
)
"""A template that adds an empty thought to the last answer, as Qwen3's does."""

ENDS = TEMPLATE + "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"
"""A template that ends every conversation, as Phi-3's does."""

PARTS_TEMPLATE = TEMPLATE.replace(
    CONTENT, "{% for part in message['content'] if part.type == 'text' %}{{ part.text }}{% endfor %}"
)
"""A template that reads parts of a content and drops a content that is text, as SmolVLM's does."""

ASK = "<|im_start|>user\n{}<|im_end|>\n"
OPEN = "<|im_start|>assistant\n"
YES, NO = answer("yes"), answer("no")
YES_NO = (ASK.format("tea?") + OPEN, "yes<|im_end|>\n", "no<|im_end|>\n")
PLAIN = ("Is tea good?", " yes<|im_end|>", " no<|im_end|>")
TURNS = talk("tea?", "which", "black", "yes"), talk("tea?", "which", "black", "no")
CALL = {"type": "function", "function": {"name": "find", "arguments": '{"city": "Oslo"}'}}
PARTS = [{"type": "text", "text": "te"}, {"type": "text", "text": "a?"}]
SHARE = [{"from": "human", "value": "tea?"}]


def shared(*turns):
    """A prompt of several turns."""
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + OPEN


def seen(data, tokenizer):
    """(prompt, chosen, rejected) of each example as text, what is not scored in double brackets."""
    return [
        tuple(None if side is None else marked(side, tokenizer) for side in (e.prompt, e.chosen, e.rejected))
        for e in data.examples
    ]


def marked(side, tokenizer):
    runs = [(hidden, token_ids(run)) for hidden, run in groupby(side, lambda token: token < 0)]
    return "".join("⟦" * hidden + tokenizer.decode(run) + "⟧" * hidden for hidden, run in runs)


def as_json_array(folder, rows):
    (folder / "data.json").write_text(json.dumps(rows, indent=2))
    return folder / "data.json"


def as_json_lines(folder, rows):
    return write(folder, rows, "data.json")


def as_broken_array(folder, rows):
    (folder / "data.json").write_text("[\n" + ",\n".join(map(json.dumps, rows)) + ",\n{oops\n]")
    return folder / "data.json"


def as_zst(folder, rows):
    with pyarrow.output_stream(str(folder / "data.jsonl.zst"), compression="zstd") as stream:
        stream.write(write(folder, rows).read_bytes())
    return folder / "data.jsonl.zst"


def as_saved(folder, rows):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(rows).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def as_saved_splits(folder, rows, name="train"):
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict({name: datasets.Dataset.from_list(rows)}).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def as_split(folder, rows):
    return f"{as_saved_splits(folder, rows, 'test')}:test"


def as_wrong_split(folder, rows):
    return as_saved_splits(folder, rows, "test")


def as_csv(folder, rows):
    with (folder / "data.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {key: value if isinstance(value, str) else json.dumps(value) for key, value in row.items()}
            for row in rows
        )
    return folder / "data.csv"


def as_python_csv(folder, rows):
    return as_csv(folder, [{key: str(value) for key, value in row.items()} for row in rows])


def as_mixture(folder, rows):
    write(folder, rows * 4, "a.jsonl")
    write(folder, [PAIR], "b.jsonl")
    (folder / "mix.yaml").write_text("sources:\n  a.jsonl: 0.5\n  b.jsonl: 2\nby: passes\n")
    return folder / "mix.yaml"


# name, what it was before, rows, what is read or why not, and perhaps how the rows are written, a template,
# options
INPUTS = [
    ("plain pairs", "right", [PAIR], [PLAIN]),
    ("plain labelled", "right", LABELLED[:2], [(*PLAIN[:2], None), (PLAIN[0], None, PLAIN[2])]),
    ("implicit plain", "right", [{"chosen": "tea? yes", "rejected": "tea? no"}], [("tea?", *PLAIN[1:])]),
    ("messages", "right", [{"prompt": talk("tea?"), "chosen": YES, "rejected": NO}], [YES_NO]),
    (
        "implicit messages",
        "right",
        [{"chosen": talk("tea?", "yes"), "rejected": talk("tea?", "no")}],
        [YES_NO],
    ),
    (
        "prompt as messages, whole conversations",
        "wrong: the user's turn twice and scored",
        [{"prompt": talk("tea?"), "chosen": talk("tea?", "yes"), "rejected": talk("tea?", "no")}],
        [YES_NO],
    ),
    (
        "the same, the system's message in the prompt only",
        "wrong: the user's turn twice and scored",
        [
            {
                "prompt": [{"role": "system", "content": "short"}, *talk("tea?")],
                "chosen": talk("tea?", "yes"),
                "rejected": talk("tea?", "no"),
            }
        ],
        [(shared(("system", "short"), ("user", "tea?")), *YES_NO[1:])],
    ),
    (
        "prompt as text, whole conversations (UltraFeedback-binarized)",
        "refused",
        [
            {
                "prompt": "tea?",
                "prompt_id": "7",
                "messages": talk("tea?", "yes"),
                "chosen": talk("tea?", "yes"),
                "rejected": talk("tea?", "no"),
                "score_chosen": 8.0,
                "score_rejected": 7.5,
            }
        ],
        [YES_NO],
    ),
    (
        "prompt as text, whole conversations of several turns",
        "refused",
        [{"prompt": "tea?", "chosen": TURNS[0], "rejected": TURNS[1]}],
        [(shared(("user", "tea?"), ("assistant", "which"), ("user", "black")), *YES_NO[1:])],
    ),
    (
        "prompt as text, answers as messages",
        "refused",
        [{"prompt": "tea?", "chosen": YES, "rejected": NO}],
        [YES_NO],
    ),
    (
        "prompt as messages, answers as text",
        "refused",
        [{"prompt": talk("tea?"), "chosen": "yes", "rejected": "no"}],
        [YES_NO],
    ),
    (
        "labelled, the completion a whole conversation",
        "wrong: the user's turn twice and scored",
        [{"prompt": talk("tea?"), "completion": talk("tea?", "yes"), "label": True}],
        [(*YES_NO[:2], None)],
    ),
    (
        "another prompt than the conversations have",
        "wrong: two users' turns, one scored",
        [{"prompt": talk("milk?"), "chosen": talk("tea?", "yes"), "rejected": talk("tea?", "no")}],
        "line 1: the completions are conversations that begin with a message of user or system, but not with",
    ),
    (
        "only one side repeats the prompt",
        "wrong: the user's turn twice and scored",
        [{"prompt": talk("tea?"), "chosen": talk("tea?", "yes"), "rejected": NO}],
        "line 1: one of chosen and rejected begins with the prompt's messages, the other does not",
    ),
    (
        "plain texts that repeat their prompt",
        "wrong: the prompt twice and scored",
        [PAIR | {"chosen": "Is tea good? yes", "rejected": "Is tea good? no"}] * 3,
        [PLAIN] * 3,
    ),
    (
        "completions of several turns",
        "wrong: the user's turns scored",
        [{"prompt": talk("tea?"), "chosen": talk("tea?", "a", "b", "c")[1:], "rejected": NO}],
        [(YES_NO[0], "a<|im_end|>\n⟦" + ASK.format("b") + OPEN + "⟧c<|im_end|>\n", YES_NO[2])],
    ),
    (
        "the same, all of it scored",
        "right",
        [{"prompt": talk("tea?"), "chosen": talk("tea?", "a", "b", "c")[1:], "rejected": NO}],
        [(YES_NO[0], "a<|im_end|>\n" + ASK.format("b") + OPEN + "c<|im_end|>\n", YES_NO[2])],
        {"assistant_only_loss": False},
    ),
    (
        "several turns in a template that rewrites them",
        "wrong: the user's turns scored",
        [{"prompt": talk("tea?"), "chosen": talk("tea?", "a", "b", "c")[1:], "rejected": NO}],
        "line 1: the chat template writes a turn of the assistant otherwise once more turns follow",
        {"template": REWRITES},
    ),
    (
        "several turns in a template that adds a thought to the last",
        "wrong: the user's turns scored",
        [{"prompt": talk("tea?"), "chosen": talk("tea?", "a", "b", "c")[1:], "rejected": NO}],
        [
            (
                YES_NO[0],
                "a<|im_end|>\n⟦" + ASK.format("b") + OPEN + "⟧<t></t>c<|im_end|>\n",
                "<t></t>no<|im_end|>\n",
            )
        ],
        {"template": THINKS},
    ),
    (
        "several turns in a template that ends conversations",
        "wrong: the user's turns scored",
        [{"prompt": talk("tea?"), "chosen": talk("tea?", "a", "b", "c")[1:], "rejected": NO}],
        [
            (
                YES_NO[0],
                "a<|im_end|>\n⟦" + ASK.format("b") + OPEN + "⟧c<|im_end|>\n<|im_end|>",
                "no<|im_end|>\n<|im_end|>",
            )
        ],
        {"template": ENDS},
    ),
    (
        "texts in a template that reads parts",
        "refused, for no text was left",
        [{"prompt": talk("tea?"), "chosen": YES, "rejected": answer("no more")}],
        [(*YES_NO[:2], "no more<|im_end|>\n")],
        {"template": PARTS_TEMPLATE},
    ),
    (
        "texts in a template that drops them",
        "wrong: all texts dropped",
        [{"prompt": talk("tea?"), "chosen": YES, "rejected": [*answer("no"), *answer("more")]}],
        "the tokenizer's chat template leaves out what the messages say",
        {"template": TEMPLATE.replace(CONTENT, "")},
    ),
    (
        "a completion that ends in a user's turn",
        "wrong: the user's turns scored",
        [{"prompt": talk("tea?"), "chosen": talk("tea?", "a", "b")[1:], "rejected": NO}],
        [(YES_NO[0], "a<|im_end|>\n", YES_NO[2])],
    ),
    (
        "a completion without the assistant",
        "wrong: a user's turn scored",
        [{"prompt": YES, "chosen": talk("tea?"), "rejected": talk("milk?")}],
        "line 1: a completion has no message of the assistant",
    ),
    (
        "tools and a tool call, arguments as text (OpenAI)",
        "refused",
        [
            {
                "prompt": talk("tea?"),
                "tools": json.dumps([{"name": "find", "unit": None}]),
                "chosen": [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
                "rejected": NO,
            }
        ],
        [("<tools>find</tools>" + YES_NO[0], "<call>find Oslo</call><|im_end|>\n", YES_NO[2])],
        {"template": TOOLS_TEMPLATE},
    ),
    (
        "a tool's answer between two turns",
        "refused",
        [
            {
                "prompt": talk("tea?"),
                "chosen": [
                    {"role": "assistant", "content": "", "tool_calls": [CALL]},
                    {"role": "tool", "content": "4"},
                    *YES,
                ],
                "rejected": NO,
            }
        ],
        [
            (
                YES_NO[0],
                "<call>find Oslo</call><|im_end|>\n⟦<|im_start|>tool\n4<|im_end|>\n"
                + OPEN
                + "⟧yes<|im_end|>\n",
                YES_NO[2],
            )
        ],
        {"template": TOOLS_TEMPLATE},
    ),
    (
        "reasoning",
        "wrong: reasoning dropped",
        [
            {
                "prompt": talk("tea?"),
                "chosen": [{"role": "assistant", "content": "yes", "reasoning_content": "hm"}],
                "rejected": NO,
            }
        ],
        [(YES_NO[0], "<think>hm</think>yes<|im_end|>\n", YES_NO[2])],
        {"template": TOOLS_TEMPLATE},
    ),
    (
        "options of the template",
        "wrong: options dropped",
        [
            {
                "prompt": talk("tea?"),
                "chosen": answer("<terse>yes"),
                "rejected": answer("<terse>no"),
                "chat_template_kwargs": {"style": "terse"},
            }
        ],
        [(YES_NO[0] + "<terse>", *YES_NO[1:])],
        {"template": TOOLS_TEMPLATE},
    ),
    (
        "content as parts",
        "refused",
        [{"prompt": [{"role": "user", "content": PARTS}], "chosen": YES, "rejected": NO}],
        [YES_NO],
    ),
    (
        "an image among the parts",
        "refused",
        [
            {
                "prompt": [{"role": "user", "content": [{"type": "image"}, *PARTS]}],
                "chosen": YES,
                "rejected": NO,
            }
        ],
        "line 1: prompt has a part of type 'image', but only texts",
    ),
    (
        "ShareGPT (LLaMA-Factory)",
        "refused",
        [
            {
                "conversations": SHARE,
                "chosen": {"from": "gpt", "value": "yes"},
                "rejected": {"from": "gpt", "value": "no"},
            }
        ],
        [YES_NO],
    ),
    (
        "ShareGPT, whole conversations",
        "refused",
        [
            {
                "chosen": [*SHARE, {"from": "gpt", "value": "yes"}],
                "rejected": [*SHARE, {"from": "gpt", "value": "no"}],
            }
        ],
        [YES_NO],
    ),
    (
        "ShareGPT, an unknown speaker",
        "refused",
        [
            {
                "chosen": [*SHARE, {"from": "me", "value": "a"}],
                "rejected": [*SHARE, {"from": "gpt", "value": "b"}],
            }
        ],
        "line 1: chosen has a message from 'me'",
    ),
    (
        "question, response_j, response_k (Stack Exchange)",
        "refused",
        [{"question": "Is tea good?", "response_j": " yes", "response_k": " no", "date": "2020"}],
        [PLAIN],
    ),
    (
        "system and question (Orca pairs)",
        "refused",
        [{"system": "short", "question": "tea?", "chosen": "yes", "rejected": "no"}],
        [(shared(("system", "short"), ("user", "tea?")), *YES_NO[1:])],
    ),
    (
        "instruction and input (Alpaca)",
        "wrong: the prompt dropped, chosen and rejected split where they differ",
        [{"instruction": "Say it:", "input": "tea", "chosen": "a yes", "rejected": "a no"}],
        [("Say it:\ntea", "a yes<|im_end|>", "a no<|im_end|>")],
    ),
    (
        "a ranked list",
        "refused",
        [{"prompt": "Is tea good?", "ranked": [" yes", " no", " good"]}],
        [PLAIN, (*PLAIN[:2], " good<|im_end|>"), (PLAIN[0], PLAIN[2], " good<|im_end|>")],
    ),
    (
        "responses with scores, best against worst",
        "refused",
        [{"prompt": "Is tea good?", "responses": [" no", " the", " yes"], "scores": [1, 2, 3.5]}],
        [PLAIN],
        {"ranking_pairs": "best_worst"},
    ),
    (
        "responses with ranks, two of them equal",
        "refused",
        [{"prompt": "Is tea good?", "responses": [" no", " the", " yes"], "ranks": [2, 2, 1]}],
        [PLAIN, (*PLAIN[:2], " the<|im_end|>")],
    ),
    (
        "responses with their scores inside (UltraFeedback)",
        "refused",
        [
            {
                "instruction": "Is tea good?",
                "completions": [
                    {"response": " no", "overall_score": 3.0},
                    {"response": " yes", "overall_score": 8.0},
                ],
            }
        ],
        [PLAIN],
    ),
    (
        "responses in no order",
        "refused",
        [{"prompt": "tea?", "responses": ["a", "b"]}],
        "line 1: responses has no order: add a column scores or ranks",
    ),
    (
        "a score is missing",
        "refused",
        [{"prompt": "tea?", "responses": ["a", "b"], "scores": [1.0]}],
        "line 1: scores must give a finite number for each of the 2 responses",
    ),
    (
        "all scores alike",
        "refused",
        [{"prompt": "tea?", "responses": ["a", "b"], "scores": [1, 1]}],
        "line 1: all responses of responses are worth the same",
    ),
    (
        "scores against the labels",
        "wrong: scores ignored",
        [PAIR | {"score_chosen": 1, "score_rejected": 2}],
        "line 1: score_chosen 1 is below score_rejected 2",
    ),
    ("a .json array", "refused", [PAIR], [PLAIN], {"written": as_json_array}),
    ("JSON lines under the name .json", "refused", [PAIR], [PLAIN], {"written": as_json_lines}),
    (
        "a broken .json array",
        "refused",
        [PAIR],
        "line 3: not a JSON array from here",
        {"written": as_broken_array},
    ),
    ("a .jsonl.zst file", "refused", [PAIR], [PLAIN], {"written": as_zst}),
    ("a folder of save_to_disk", "refused", [PAIR], [PLAIN], {"written": as_saved}),
    ("a folder of splits", "refused", [PAIR], [PLAIN], {"written": as_saved_splits}),
    ("a split of a folder", "refused", [PAIR], [PLAIN], {"written": as_split}),
    (
        "a split that is not there",
        "refused",
        [PAIR],
        "has no split 'train': name one",
        {"written": as_wrong_split},
    ),
    (
        "messages from Arrow, nulls filled in",
        "refused",
        [
            {"prompt": talk("tea?"), "chosen": YES, "rejected": [{**NO[0], "name": "n"}]},
            {"prompt": talk("tea?"), "chosen": YES, "rejected": NO},
        ],
        [YES_NO, YES_NO],
        {"written": as_saved},
    ),
    (
        "messages as JSON in a CSV file",
        "wrong: the JSON text trained on",
        [{"prompt": talk("tea?"), "chosen": YES, "rejected": NO}],
        [YES_NO],
        {"written": as_csv},
    ),
    (
        "messages in Python's spelling in a CSV file",
        "wrong: the Python text trained on",
        [{"prompt": talk("tea?"), "chosen": YES, "rejected": NO}],
        "line 2: chosen is a list of messages in Python's spelling",
        {"written": as_python_csv},
    ),
    (
        "a mixture",
        "refused",
        [PAIR | {"prompt": "the tea"}],
        [("the tea", *PLAIN[1:])] * 2 + [PLAIN] * 2,
        {"written": as_mixture},
    ),
    (
        "half of a character",
        "crash of the tokenizer, without the line",
        [PAIR, '{"prompt": "a", "chosen": "b \\ud83d c", "rejected": "d"}'],
        r"line 2: the escape \\ud83d is half of a character",
    ),
    (
        "a whole character escaped",
        "right",
        ['{"prompt": "a", "chosen": "\\ud83d\\ude00", "rejected": "d"}'],
        [("a", "\U0001f600<|im_end|>", "d<|im_end|>")],
    ),
    (
        "all completions cut",
        "wrong: trained on without a word",
        [PAIR | {"chosen": " good" * 20, "rejected": " tea" * 20}],
        "max_length=16 cuts 2 of 2 completions, more than max_cut_share=0.2 of them: raise max_length",
        {"max_length": 16},
    ),
]


@pytest.mark.parametrize(
    ("before", "rows", "expected", "how"),
    [
        pytest.param(before, rows, expected, how[0] if how else {}, id=name)
        for name, before, rows, expected, *how in INPUTS
    ],
)
def test_each_input_is_right_or_refused(tmp_path, before, rows, expected, how):
    options = dict(how)
    written, template = options.pop("written", write), options.pop("template", None)
    tokenizer = tiny_tokenizer(template) if template else TOKENIZER
    source = written(tmp_path, rows)
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            load_preferences(source, tokenizer, **options)
    else:
        assert seen(load_preferences(source, tokenizer, **options), tokenizer) == expected
