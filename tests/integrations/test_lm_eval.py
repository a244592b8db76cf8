"""A model that training saved goes through lm-eval's API, which finds the log-probabilities of our scorer."""

import json
import warnings

import pytest

from distalign.training import Recipe, TokenRow, load_policy, score_rows, train
from distalign.training.model.load import load_tokenizer
from tests.training.tiny import save_tiny, tiny_tokenizer

with warnings.catch_warnings():  # third-party deprecations at import are not this test's concern
    warnings.simplefilter("ignore")
    pytest.importorskip("lm_eval", reason="pip install 'distalign[lm-eval]'")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's and its libraries' own

ASKED = [("is the tea good?", " yes the tea is good"), ("the tea is", " bad"), ("no", " no tea tea")]


@pytest.mark.parametrize("rank", [0, 4], ids=["whole", "adapter"])
def test_both_read_one_log_probability(tmp_path, rank):
    base = save_tiny(tmp_path / "base", vocab_size=len(tiny_tokenizer()))  # lm-eval cuts larger ones
    rows = [{"prompt": prompt, "completion": answer, "label": True} for prompt, answer in ASKED]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe(
        model=str(base),
        objective="sft",
        train_data=str(tmp_path / "said.jsonl"),
        output_dir=str(tmp_path / "out"),
        max_steps=2,
        learning_rate=1e-2,
        dtype="float32",
        max_length=64,
        lora_rank=rank,
        per_device_train_batch_size=3,
    )
    saved = str(train(recipe, progress=False).model)
    named = {"pretrained": str(base), "peft": saved} if rank else {"pretrained": saved}
    theirs = HFLM(**named, dtype="float32", device="cpu", batch_size=2)
    found = theirs.loglikelihood([Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(ASKED)])
    tokenizer = load_tokenizer(str(base))
    texts = []
    for prompt, answer in ASKED:
        ids, given = (tokenizer(text)["input_ids"] for text in (prompt + answer, prompt))
        texts.append(TokenRow(tuple(given), (tuple(ids[len(given) :]),)))
    ours, before = (score_rows(load_policy(name, dtype="float32"), texts) for name in (saved, str(base)))
    assert [one for one, _ in found] == pytest.approx(ours.tolist(), abs=1e-4)
    assert float((ours - before).abs().min()) > 1e-2  # training moved what is compared
