"""Values of a row as texts or messages, and the prompt taken off completions that repeat it.

A text is a string, or a conversation: messages with a `role` and a `content`, and whatever else the chat
template may read of them (`tool_calls`, `reasoning_content`, `name`, ...). Data are published with the prompt
given once, given twice (completions that are whole conversations) or only in the completions; all three
become one form, in which the prompt is what chosen and rejected share and a completion is what follows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from distalign.training.data.sources import BadRow

Messages = list[dict[str, Any]]
Text = str | Messages

_ROLES = {"human": "user", "gpt": "assistant", "observation": "tool"}
"""ShareGPT's names of who speaks; system, user, assistant and tool are their own."""

_SPEAKERS = ("system", "user", "assistant", "tool", "developer")


# -- values --


def text_of(row: Mapping[str, Any], name: str, *, empty: bool = False) -> Text:
    """The text or the messages under this name.

    Args:
        row: of the data.
        name: of the column.
        empty: whether an empty text will do.

    Raises:
        BadRow: the value is missing, empty, of another kind, holds anything but text, or a message lacks its
            role or its content.
    """
    value = row.get(name)
    reason = "empty_prompt" if name == "prompt" else "empty_completion"
    if value is None and name in row and not empty:
        raise BadRow(reason, f"{name} is empty")
    if value is None:
        raise BadRow("missing_field", f"{name} is missing")
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        value = _written_messages(value, name)
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, str):
        if not empty and not value.strip():
            raise BadRow(reason, f"{name} is empty")
        return value
    if not isinstance(value, list):
        raise BadRow("malformed", f"{name} must be text or a list of messages, got {type(value).__name__}")
    if not value:
        raise BadRow(reason, f"{name} is an empty list of messages")
    return [_message(message, name) for message in value]


def _written_messages(text: str, name: str) -> Any:
    """Messages that a CSV file, for instance, holds as JSON text; any other text unchanged."""
    try:
        value = json.loads(text)
    except ValueError as error:
        if "'role'" in text or "'from'" in text:
            raise BadRow(
                "malformed",
                f"{name} is a list of messages in Python's spelling and not in JSON's: write it by "
                "json.dumps",
            ) from error
        return text
    named = isinstance(value, list) and all(
        isinstance(one, dict) and {"role", "from"} & {*one} for one in value
    )
    return value if named else text


def _message(message: Any, name: str) -> dict[str, Any]:
    """One message as role and content, both strings, and what else the template may read, without nulls."""
    if not isinstance(message, Mapping):
        raise BadRow(
            "malformed", f"every message of {name} needs a role and a content, got {str(message)[:60]}"
        )
    given = {key: value for key, value in message.items() if value is not None}
    if "from" in given and "role" not in given:
        given["role"] = _ROLES.get(str(given["from"]), given["from"])
        given["content"] = given.pop("value", None)
        del given["from"]
    calls = _without_nulls(given.pop("tool_calls", None) or [])
    role, content = given.pop("role", None), given.pop("content", None)
    if content is None and calls:
        content = ""
    if isinstance(content, list):
        content = "".join(_part(part, name) for part in content)
    if not isinstance(role, str) or not isinstance(content, str):
        raise BadRow(
            "malformed",
            f"every message of {name} needs a role and a content, both text, got {str(message)[:60]}",
        )
    if "from" in message and role not in _SPEAKERS:
        raise BadRow(
            "unknown_role", f"{name} has a message from {role!r}: known are human, gpt, system, tool"
        )
    if name != "prompt" and role == "assistant" and not content.strip() and not calls:
        raise BadRow("empty_completion", f"{name} has an assistant's message without content")
    tools = {"tool_calls": [_call(call) for call in calls]} if calls else {}
    return {"role": role, "content": content, **given, **tools}


def _part(part: Any, name: str) -> str:
    """The text of one part of a content that is a list of parts."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and isinstance(part.get("text"), str) and part.get("type", "text") == "text":
        return str(part["text"])
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise BadRow("not_text", f"{name} has a part of type {kind!r}, but only texts can be trained on")


def _call(call: Any) -> Any:
    """A tool call with its arguments as a mapping, as templates expect them; OpenAI writes them as text."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    return {**call, "function": {**function, "arguments": _parsed(function["arguments"])}}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _without_nulls(value: Any) -> Any:
    """The value without keys whose value is null, at any depth: Arrow fills them in where rows differ."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def template_options(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the columns `tools` and `chat_template_kwargs` give to the chat template.

    Raises:
        BadRow: `tools` is no list, or `chat_template_kwargs` no mapping, both perhaps as JSON text.
    """
    tools, options = (
        _parsed(value) if isinstance(value, str) else value
        for value in (row.get("tools"), row.get("chat_template_kwargs"))
    )
    if tools and not isinstance(tools, list):
        raise BadRow("malformed", f"tools must be a list of JSON schemas, got {str(tools)[:60]!r}")
    if options and not isinstance(options, Mapping):
        raise BadRow("malformed", f"chat_template_kwargs must be a mapping, got {str(options)[:60]!r}")
    given = _without_nulls(options or {})
    return {**given, "tools": _without_nulls(tools)} if tools else given


# -- prompt and completions --


def implicit(sides: Sequence[Text]) -> tuple[Text, list[Text]]:
    """(prompt, completions) of whole texts or conversations that begin alike.

    Raises:
        BadRow: they do not begin alike, or one ends where the others differ.

    Example:
        >>> implicit(["the tea: yes", "the tea: no"])
        ('the tea:', [' yes', ' no'])
    """
    shared = shared_length(sides)
    if not shared:
        raise BadRow(
            "no_prompt",
            "chosen and rejected do not begin alike, so no prompt can be read off: add a column 'prompt'",
        )
    if any(len(side) == shared for side in sides):
        raise BadRow(
            "empty_completion", "after the beginning that chosen and rejected share, one of them is empty"
        )
    return sides[0][:shared], [side[shared:] for side in sides]


def shared_length(sides: Sequence[Text]) -> int:
    """How many leading characters or messages are alike in all.

    A space before the first difference belongs to the completion.
    """
    shared = len(list(takewhile(lambda each: all(one == each[0] for one in each), zip(*sides))))
    first = sides[0]
    return shared - 1 if isinstance(first, str) and shared and first[shared - 1] == " " else shared


def explicit(prompt: Text, sides: Sequence[Text]) -> tuple[Text, list[Text]]:
    """(prompt, completions), the prompt taken off completions that are whole conversations.

    A conversation that holds the prompt is cut where chosen and rejected cease to be alike. One that does not
    hold it and yet begins with a user contradicts it.

    Args:
        prompt: text or messages.
        sides: one or two completions, all text or all messages.

    Raises:
        BadRow: prompt and completions contradict each other, or a completion is empty.

    Example:
        >>> ask = {"role": "user", "content": "?"}
        >>> yes, no = ({"role": "assistant", "content": text} for text in "yn")
        >>> explicit([ask], [[ask, yes], [ask, no]]) == explicit("?", [[ask, yes], [ask, no]])
        True
        >>> explicit([ask], [[ask, yes], [ask, no]])[1][0]
        [{'role': 'assistant', 'content': 'y'}]
    """
    if isinstance(sides[0], str):
        texts = [str(side) for side in sides]
        return (prompt, [*texts]) if isinstance(prompt, str) else (prompt, [_answer(text) for text in texts])
    talks = [side for side in sides if not isinstance(side, str)]
    asked: Messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    repeated = [_repeated(asked, talk) for talk in talks]
    if len(set(map(bool, repeated))) > 1:
        raise BadRow(
            "prompt_differs",
            "one of chosen and rejected begins with the prompt's messages, the other does not: give both as "
            "whole conversations, or neither",
        )
    if not repeated[0]:
        return _followed(asked, talks, is_text=isinstance(prompt, str))
    common = shared_length(talks) if len(talks) > 1 else repeated[0]
    if common < max(repeated):
        raise BadRow("prompt_differs", "chosen and rejected differ before the prompt's last message")
    if any(len(talk) <= common for talk in talks):
        raise BadRow("empty_completion", "after the prompt's messages, a completion is empty")
    left_out = asked[: max(0, len(asked) - repeated[0])]
    return [*left_out, *talks[0][:common]], [talk[common:] for talk in talks]


def _answer(text: str) -> Messages:
    return [{"role": "assistant", "content": text}]


def _repeated(asked: Messages, talk: Messages) -> int:
    """Where in a conversation the prompt ends, in messages; 0 if it does not hold it.

    The conversation may have messages before the prompt, or lack some at the prompt's start (a system's).
    """
    size = len(asked)
    for end in (*range(size, len(talk) + 1), *range(min(size, len(talk) + 1) - 1, 0, -1)):
        length = min(end, size)
        if all(_same(a, b) for a, b in zip(asked[-length:], talk[end - length : end])):
            return end
    return 0


def _same(asked: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    return asked["role"] == found["role"] and asked["content"].strip() == found["content"].strip()


def _followed(asked: Messages, talks: list[Messages], *, is_text: bool) -> tuple[Text, list[Text]]:
    """Prompt and completions as they are, unless the completions begin another conversation."""
    if any(talk[0]["role"] in ("user", "system") for talk in talks) and (
        is_text or asked[-1]["role"] in ("user", "tool")
    ):
        raise BadRow(
            "prompt_differs",
            "the completions are conversations that begin with a message of user or system, but not with the "
            "prompt: leave the column prompt out, or let it hold what the conversations begin with",
        )
    return asked, list(talks)
