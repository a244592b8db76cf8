"""Scores are those of each text alone, computed once, whatever the batch, the duplicates and the kills."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import Gemma3Config, LlamaConfig, LlamaForSequenceClassification

from distalign.bridge.generation.classifiers import Classifier
from distalign.bridge.generation.scores import Score, score, score_of
from distalign.checks import InputError
from distalign.training.evaluation.samples import Samples, read_samples, write_samples
from tests.bridge.generation.scored import scored
from tests.training.tiny import save_tiny, tiny_tokenizer

TEXTS = [[" yes", " a very good tea", " no"], [" bad bad tea", " yes", " the tea is good"]]
SAMPLES = scored({"old": np.zeros((2, 3))}, TEXTS, ["the tea is", "token"])


def column(samples, name):
    return [row.scores[name] for row in samples.rows]


# -- length and sentiment --


def test_length_counts_tokens_and_other_scores_stay():
    found = score(SAMPLES, [score_of("length"), score_of("words=length")])
    assert column(found, "length") == column(found, "words") == [1, 2, 3, 1, 2, 3]
    assert column(found, "old") == [0] * 6
    assert found.settings["scores"]["length"] == "tokens of the response"


def test_sentiment_is_that_of_the_lexicon_and_of_the_response_alone():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    texts = [["what a great day", "awful, sad and bad"], ["great", "x"]]
    samples = scored({"old": np.zeros((2, 2))}, texts, ["terrible", "so"])
    found = column(score(samples, [score_of("sentiment")]), "sentiment")
    lexicon = SentimentIntensityAnalyzer()
    assert found == [lexicon.polarity_scores(text)["compound"] for row in texts for text in row]
    assert found[0] > 0.5
    assert found[1] < -0.5


def test_without_the_package_it_is_named(monkeypatch):
    import importlib.metadata

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(InputError, match=r"pip install 'distalign\[texts\]'"):
        score_of("sentiment")


# -- models --


def classifier(folder, heads=1, pad=None, template=True, seed=0):
    """A random sequence-classification model in a folder."""
    names = dict(enumerate(("kind", "clear", "safe")[:heads]))
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
        pad_token_id=pad,
        eos_token_id=2,
        num_labels=heads,
        id2label=names if heads > 1 else None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    (tiny_tokenizer() if template else tiny_tokenizer(None)).save_pretrained(folder)
    return model


@pytest.mark.parametrize("pad", [None, 0, 2, -1], ids=["no padding token", "own", "the end of a turn", "-1"])
def test_a_batch_scores_each_text_as_if_it_were_alone(tmp_path, pad):
    """Written from the model itself: one text, no padding, the logits at the end."""
    model, tokenizer = classifier(tmp_path / "reward", pad=pad), tiny_tokenizer()
    found = score(SAMPLES, [score_of(str(tmp_path / "reward"))], batch_size=4)
    expected = []
    for row in SAMPLES.rows:
        text = f"<|im_start|>user\n{row.prompt}<|im_end|>\n<|im_start|>assistant\n{row.response}<|im_end|>\n"
        with torch.no_grad():
            expected.append(model(torch.tensor([tokenizer(text)["input_ids"]])).logits.item())
    np.testing.assert_allclose(column(found, "reward"), expected, atol=1e-5)
    assert np.ptp(expected) > 0.01


def test_without_a_template_the_text_is_prompt_and_response(tmp_path):
    model, tokenizer = classifier(tmp_path / "r", template=False), tiny_tokenizer()
    found = column(score(SAMPLES, [score_of(f"mine={tmp_path / 'r'}")]), "mine")
    with torch.no_grad():
        whole = model(torch.tensor([tokenizer("the tea is a very good tea")["input_ids"]])).logits.item()
    assert found[1] == pytest.approx(whole, abs=1e-5)
    with pytest.raises(InputError, match="has no chat template"):
        score_of(str(tmp_path / "r"), chat_template=True)


def test_every_head_is_a_column_under_its_name(tmp_path):
    model = classifier(tmp_path / "m", heads=3)
    found = score(SAMPLES, [score_of(f"m={tmp_path / 'm'}"), score_of("length")])
    assert list(found.rows[0].scores) == ["old", "m.kind", "m.clear", "m.safe", "length"]
    ids = Classifier(str(tmp_path / "m")).tokens("the tea is", " yes")
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].tolist()
    first = [found.rows[0].scores[f"m.{name}"] for name in ("kind", "clear", "safe")]
    assert first == pytest.approx(logits, abs=1e-5)
    assert Score("m", "", None, ("kind", "clear")).columns(3) == ("m.0", "m.1", "m.2")


def test_bfloat16_is_another_score_and_near(tmp_path):
    classifier(tmp_path / "m")
    full, half = (score_of(str(tmp_path / "m"), dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert full.identity != half.identity
    a, b = (np.array(column(score(SAMPLES, [one]), "m")) for one in (full, half))
    assert 0 < np.abs(a - b).max() < 0.1


def test_a_batch_in_which_every_token_occurs_is_scored_text_by_text(tmp_path):
    model = classifier(tmp_path / "m")
    scorer = Classifier(str(tmp_path / "m"))
    scorer._loaded.config.vocab_size = 1  # so that no token is free
    found = scorer(["a", "the tea"], [" yes", " no no no"])
    with torch.no_grad():
        alone = [
            model(torch.tensor([scorer.tokens(p, r)])).logits.item()
            for p, r in (("a", " yes"), ("the tea", " no no no"))
        ]
    np.testing.assert_allclose(found[:, 0], alone, atol=1e-5)


def test_the_longest_text_is_read_where_a_config_of_several_parts_has_it(tmp_path):
    classifier(tmp_path / "reward")
    model = Classifier(str(tmp_path / "reward"))
    model.config = Gemma3Config(text_config={"max_position_embeddings": 8})
    assert not hasattr(model.config, "max_position_embeddings")
    with pytest.raises(InputError, match="reads 8 tokens, but a prompt with its response has"):
        model.tokens("the tea is", " good" * 9)


def test_changed_weights_are_another_score(tmp_path):
    classifier(tmp_path / "m")
    before = score_of(str(tmp_path / "m")).identity
    classifier(tmp_path / "m", seed=1)
    assert score_of(str(tmp_path / "m")).identity != before


def test_models_that_give_no_scores_are_refused(tmp_path):
    with pytest.raises(InputError, match="LlamaForCausalLM, which gives no scores"):
        score_of(str(save_tiny(tmp_path / "lm")))
    with pytest.raises(InputError, match="no folder"):
        score_of(str(tmp_path / "nowhere"))
    classifier(tmp_path / "m")
    long = replace(SAMPLES, rows=(replace(SAMPLES.rows[0], response="x" * 100), *SAMPLES.rows[1:]))
    with pytest.raises(InputError, match="reads 64 tokens, but a prompt with its response has 1"):
        score(long, [score_of(str(tmp_path / "m"))])


# -- functions of one's own --

OWN = """
calls = []

def letters(prompts, responses):
    calls.append(list(zip(prompts, responses)))
    return [len(p) + 100 * len(r) for p, r in zip(prompts, responses)]

def broken(prompts, responses):
    return [float("nan") if "good" in r else 1.0 for r in responses]

def short(prompts, responses):
    return [1.0]

def words(prompts, responses):
    return ["good"] * len(responses)

def flat(prompts, responses):
    return [2.0] * len(responses)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module in the current folder, imported anew."""
    import sys

    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def calls(name):
    import sys

    return [call for batch in sys.modules[name].calls for call in batch]


def test_a_function_of_ones_own_gets_prompts_and_responses(own):
    found = score(SAMPLES, [score_of(f"{own}:letters")], batch_size=4)
    assert column(found, "letters") == [len(r.prompt) + 100 * len(r.response) for r in SAMPLES.rows]


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        ("broken", r"score broken is nan for sample [12] of prompt [01] \(' (a very|the tea)"),
        ("short", r"array of shape \(1,\) for 6 texts"),
        ("words", "returned no numbers"),
        ("absent", "cannot be imported"),
        ("calls", "is no function"),
    ],
)
def test_what_is_no_score_is_refused(own, function, sentence):
    with pytest.raises(InputError, match=sentence):
        score(SAMPLES, [score_of(f"{own}:{function}")])


def test_two_scores_of_one_column_are_refused():
    both = Score("tone", "", lambda prompts, responses: [[1.0, 2.0]] * len(responses), ("sad", "glad"))
    with pytest.raises(InputError, match=r"two scores give the column 'tone\.glad'"):
        score(SAMPLES, [both, score_of("tone.glad=length")])


def test_a_constant_score_is_said(own, caplog):
    with caplog.at_level(logging.WARNING, "distalign"):
        score(SAMPLES, [score_of(f"{own}:flat")])
    assert "score flat is 2 for all 6 texts" in caplog.text


# -- once --


def test_a_second_run_computes_only_new_texts(own, tmp_path):
    """The same text under another prompt is another one; drawn twice, it is one."""
    cache, twice = tmp_path / "cache", Samples((*SAMPLES.rows, SAMPLES.rows[1]), SAMPLES.settings)
    first = score(twice, [score_of(f"{own}:letters")], cache=cache)
    assert len(calls(own)) == len(set(calls(own))) == 6
    new = replace(SAMPLES.rows[0], response=" new")
    more = Samples((*SAMPLES.rows, new), SAMPLES.settings)
    again = score(more, [score_of(f"{own}:letters")], cache=cache)
    assert calls(own)[6:] == [("the tea is", " new")]
    assert column(again, "letters")[:6] == column(first, "letters")[:6]


def test_an_interrupted_run_goes_on(own, tmp_path):
    one = score_of(f"{own}:letters")

    def stopping(prompts, responses):
        if len(calls(own)) >= 4:
            raise KeyboardInterrupt
        return one.compute(prompts, responses)

    with pytest.raises(KeyboardInterrupt):
        score(SAMPLES, [replace(one, compute=stopping)], cache=tmp_path / "cache", batch_size=2)
    assert len(calls(own)) == 4
    found = score(SAMPLES, [one], cache=tmp_path / "cache", batch_size=2)
    assert len(calls(own)) == 6
    assert found == score(SAMPLES, [one])


def test_a_cut_or_damaged_line_of_the_cache_is_computed_anew(own, tmp_path):
    cache, one = tmp_path / "cache", score_of(f"{own}:letters")
    right = score(SAMPLES, [one], cache=cache, batch_size=2)
    whole = cache.read_bytes()
    for damaged in (whole[:-5], whole.replace(b"410.0", b"411.0"), whole[: len(whole) // 2], b"\xff\x00"):
        assert damaged != whole
        cache.write_bytes(damaged)
        assert score(SAMPLES, [one], cache=cache) == right
        assert score(SAMPLES, [one], cache=cache) == right
    assert b"410.0" in whole


def test_scores_share_a_cache_and_not_their_numbers(own, tmp_path):
    both = [score_of(f"{own}:letters"), score_of(f"{own}:flat")]
    for _ in range(2):
        found = score(SAMPLES, both, cache=tmp_path / "cache")
        assert column(found, "flat") == [2.0] * 6
        assert column(found, "letters") == column(score(SAMPLES, both[:1]), "letters")


def test_a_changed_function_is_another_score(own, tmp_path):
    before = score_of(f"{own}:letters").identity
    path = tmp_path / f"{own}.py"
    path.write_text(OWN.replace("100", "10"))
    assert score_of(f"{own}:letters").identity != before


# -- files and mistakes --


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_scored_samples_are_a_file_of_samples(tmp_path, suffix):
    path = tmp_path / f"scored.{suffix}"
    found = score(SAMPLES, [score_of("length")])
    write_samples(found, path)
    assert read_samples(path) == found
    whole = path.read_bytes()
    for k in range(0, len(whole), 97):
        path.write_bytes(whole[:k] + bytes([whole[k] ^ 1]) + whole[k + 1 :])
        try:
            again = read_samples(path)
        except InputError:
            continue
        assert again.rows == found.rows
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"damaged|does not hold samples"):
        read_samples(path)


def test_a_parquet_file_with_another_number_is_refused(tmp_path):
    """As one byte that no reader of Parquet notices may leave it."""
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "scored.parquet"
    write_samples(SAMPLES, path)
    table = pyarrow.parquet.read_table(path)
    place = table.schema.get_field_index("log_prob")
    changed = table.set_column(place, "log_prob", pyarrow.array([-2.0] * table.num_rows))
    pyarrow.parquet.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(InputError, match="its rows are not what was written"):
        read_samples(path)


def test_mistakes_are_sentences():
    with pytest.raises(InputError, match="call one otherwise, as NAME=length"):
        score(SAMPLES, [score_of("length"), score_of("length")])
    with pytest.raises(InputError, match="'finished' would be the name of two columns"):
        score(SAMPLES, [score_of("finished=length")])
    bare = replace(SAMPLES, rows=tuple(replace(row, prompt=None) for row in SAMPLES.rows))
    with pytest.raises(InputError, match="carry no prompts"):
        score(bare, [score_of("sentiment")])
    with pytest.raises(InputError, match="samples are empty"):
        score(replace(SAMPLES, rows=()), [score_of("length")])
