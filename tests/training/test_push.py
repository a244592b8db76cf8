"""What goes to the Hub: the model, and a card without paths of this machine."""

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import yaml
from huggingface_hub import constants
from safetensors.torch import load_file

from distalign.bibliography import PAPERS
from distalign.checks import InputError
from distalign.training import push as module
from distalign.training.loop import train
from distalign.training.merge import merge
from distalign.training.push import push
from distalign.training.recipe_file import read
from tests.training.data_for_tests import recipe

NAME, BASE = "owner/tea", "people/tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run of all weights, one of an adapter, and the latter merged."""
    folder = tmp_path_factory.mktemp("secret home") / "x"
    folder.mkdir()
    train(recipe(folder, "full"), progress=False)
    train(recipe(folder, "lora", lora_rank=2, reference_cache=None), progress=False)
    merge(folder / "lora" / "model", folder / "merged")
    return folder


class FakeHub:
    """A Hub in memory, in the place of HfApi."""

    endpoint = "https://hub.test"

    def __init__(self, private=True, error=None):
        self.private, self.error, self.files, self.made = private, error, {}, []

    def create_repo(self, name, *, private, exist_ok):
        assert exist_ok
        self.made.append((name, private))
        return SimpleNamespace(repo_id=name if "/" in name else f"me/{name}")

    def repo_info(self, name):
        return SimpleNamespace(private=self.private)

    def repo_exists(self, name, repo_type):
        return (name, repo_type) in ((BASE, "model"), ("people/pairs", "dataset"))

    def create_commit(self, name, operations, commit_message):
        if self.error:
            raise self.error
        for add in operations:
            with add.as_file() as file:
                self.files[add.path_in_repo] = file.read()


@pytest.fixture
def hub(monkeypatch):
    """The fake Hub, and somebody who is logged in to it."""
    made = FakeHub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **_: made)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    return made


def header_of(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_a_full_model_with_its_card(folder, hub):
    assert push(folder / "full", NAME) == f"https://hub.test/{NAME}"
    assert hub.made == [(NAME, True)]
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= set(hub.files)
    assert all((folder / "full" / "model" / name).is_file() for name in hub.files)
    card = hub.files["README.md"].decode()
    header = header_of(card)
    assert header["library_name"] == "transformers"
    assert "dpo" in header["tags"]
    assert "base_model" not in header
    assert "license" not in header
    assert "datasets" not in header
    own = (folder / "full" / "model" / "README.md").read_text(encoding="utf-8")
    objective = own.split("## Objective")[1].split("## Training data")[0]
    assert "log pi/pi_ref" in objective
    assert objective in card
    assert all(p.bibtex() in card for p in PAPERS if p.bibtex() in own)
    assert "`distalign train recipe.yaml`" in card


def test_no_path_of_this_machine_goes_along(folder, hub):
    assert str(folder) in (folder / "full" / "model" / "README.md").read_text(encoding="utf-8")
    for place in ("full", "lora", "merged"):
        push(folder / place, NAME, base_model=BASE)
        texts = {name: data for name, data in hub.files.items() if not name.endswith(".safetensors")}
        assert [name for name, data in texts.items() if b"secret home" in data or b"/tmp" in data] == []


def test_only_parts_of_the_model_are_pushed(folder, hub):
    model, said = folder / "full" / "model", []
    stray = ["rows.jsonl", "optimizer.pt", "metrics.csv", ".distalign.lock", "notes.json"]
    (model / "checkpoint-1").mkdir()
    (model / "checkpoint-1" / "model.safetensors").write_bytes(b"x")
    for name in stray:
        (model / name).write_text("{}", encoding="utf-8")
    try:
        push(folder / "full", NAME, say=said.append)
    finally:
        for name in stray:
            (model / name).unlink()
        (model / "checkpoint-1" / "model.safetensors").unlink()
        (model / "checkpoint-1").rmdir()
    assert not set(stray) & set(hub.files)
    assert not any("/" in name for name in hub.files)
    assert said == ["not part of the model, so not pushed: metrics.csv, notes.json, optimizer.pt, rows.jsonl"]


def test_an_adapter_names_its_base_on_the_hub(folder, hub):
    with pytest.raises(InputError, match="give its name there by --base-model"):
        push(folder / "lora", NAME)
    with pytest.raises(InputError, match="--base-model people/none is no model"):
        push(folder / "lora", NAME, base_model="people/none")
    assert hub.files == {}
    push(folder / "lora", NAME, base_model=BASE, license="apache-2.0")
    config = json.loads(hub.files["adapter_config.json"])
    own = json.loads((folder / "lora" / "model" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == BASE
    assert config["r"] == 2
    assert own["base_model_name_or_path"] == str(folder / "model")
    header = header_of(hub.files["README.md"].decode())
    assert (header["base_model"], header["reference_model"], header["license"]) == (BASE, BASE, "apache-2.0")
    assert header["library_name"] == "peft"


def test_the_recipe_of_the_card_trains_the_same(folder, hub, tmp_path):
    push(folder / "lora", NAME, base_model=BASE)
    (tmp_path / "recipe.yaml").write_text(
        hub.files["README.md"].decode().split("```yaml\n")[1].split("```")[0], encoding="utf-8"
    )
    again = read(tmp_path / "recipe.yaml")
    was = recipe(folder, "lora", lora_rank=2)
    local = {"model", "train_data", "output_dir", "reference_cache"}
    assert {n: v for n, v in vars(again).items() if n not in local} == {
        n: v for n, v in vars(was).items() if n not in local
    }
    assert (again.model, again.train_data) == (BASE, "pairs.jsonl")


def test_training_data_of_the_hub_are_named(folder, hub):
    card = module.read_card(folder / "full" / "model")
    for source, named in (("people/pairs:train", ["people/pairs"]), ("people/none", None), ("d.jsonl", None)):
        card.rows["train_data"] = source
        text = module.hub_card(folder / "full" / "model", card, None)
        assert header_of(text).get("datasets") == named


def test_a_public_repository_is_asked_for(folder, hub):
    hub.private = False
    with pytest.raises(InputError, match="is public on the Hub: say --public"):
        push(folder / "full", NAME)
    assert hub.files == {}
    push(folder / "full", NAME, public=True)
    assert hub.made[-1] == (NAME, False)
    assert hub.files


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "a/b/c"}, "cannot be the name of a repository"),
        ({"name": "tea--pot"}, "cannot be the name of a repository"),
        ({"folder": "nowhere"}, "holds no finished model of distalign"),
        ({"folder": "model"}, "holds no finished model of distalign"),
        ({"folder": "full/checkpoint-00000003"}, "holds no finished model of distalign"),
        ({"token": ""}, "without a token: run `hf auth login`"),
        ({"offline": True}, "while HF_HUB_OFFLINE is set: unset it"),
        ({"library": False}, r"pip install 'distalign\[lm\]'"),
    ],
)
def test_refused_in_one_sentence(folder, hub, monkeypatch, change, words):
    if "token" in change:
        monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    if "offline" in change:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if "library" in change:
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=words) as found:
        push(folder / change.get("folder", "full"), change.get("name", NAME))
    assert "\n" not in str(found.value)
    assert hub.files == {}


def test_a_run_that_cannot_be_pushed_does_not_start(folder, hub, monkeypatch):
    asked = recipe(folder, "unpushable", push_to_hub=NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        train(asked, progress=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(InputError, match=r"distalign push '?\S.*unpushable'? owner/tea --base-model"):
        train(recipe(folder, "unpushable", push_to_hub=NAME, lora_rank=2), progress=False)
    assert not (folder / "unpushable" / "metrics.csv").exists()


def test_a_push_that_fails_after_training_loses_nothing(folder, hub):
    asked = recipe(folder, "pushed", push_to_hub=NAME)
    hub.error = OSError("503 Server Error\n\nTry later.")
    with pytest.raises(InputError, match=r"is trained and lies in .*Try later; try again; then `distalign"):
        train(asked, progress=False)
    there = folder / "pushed" / "model" / "model.safetensors"
    before = load_file(there)
    hub.error = None
    done = train(asked, progress=False)  # nothing is left but the push
    assert done.resumed == 3
    assert hub.made[-1] == (NAME, True)
    assert hub.files["model.safetensors"] == there.read_bytes()
    assert all((load_file(there)[name] == tensor).all() for name, tensor in before.items())


def test_the_client_itself_over_http(folder):
    """The real client pushes to a server on this machine by the command."""
    seen = {"files": {}, "repo": None}

    class Server(BaseHTTPRequestHandler):
        def answer(self, value, status=200):
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            repo = seen["repo"]
            there = repo is not None and self.path.startswith(f"/api/models/{repo['name']}")
            self.answer({"id": NAME, "private": repo["private"]} if there else {}, 200 if there else 404)

        def do_POST(self):
            assert self.headers["Authorization"] == "Bearer hf_test"
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if self.path == "/api/repos/create":
                asked = json.loads(body)
                seen["repo"] = {
                    "name": NAME,
                    "private": asked.get("private", asked.get("visibility") == "private"),
                }
                self.answer({"url": f"{address}/{NAME}", "name": NAME})
            elif self.path == "/api/validate-yaml":
                self.answer({"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                files = json.loads(body)["files"]
                self.answer(
                    {
                        "files": [
                            {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
                        ]
                    }
                )
            elif "/commit/" in self.path:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        seen["files"][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self.answer({"commitUrl": f"{address}/{NAME}/commit/1", "commitOid": "1"})

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    words = [sys.executable, "-m", "distalign", "push", str(folder / "full"), NAME]
    settings = os.environ | {"HF_ENDPOINT": address, "HF_TOKEN": "hf_test", "HF_HUB_OFFLINE": "0"}
    try:
        found = subprocess.run(words, env=settings, capture_output=True, text=True, check=False)
    finally:
        server.shutdown()
        server.server_close()
    assert found.returncode == 0, found.stderr
    assert f"pushed to {address}/{NAME}" in found.stderr
    assert seen["repo"]["private"] is True
    weights = folder / "full" / "model" / "model.safetensors"
    assert seen["files"]["model.safetensors"] == weights.read_bytes()
    assert Path("README.md").name in seen["files"]
    gone = subprocess.run(words, env=settings, capture_output=True, text=True, check=False)
    assert gone.returncode == 2
    assert "the Hub does not let owner/tea be pushed to" in gone.stderr
    offline = subprocess.run(words, env=settings | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    assert offline.returncode == 2
    assert offline.stderr == (
        "distalign: owner/tea cannot be pushed to while HF_HUB_OFFLINE is set: unset it\n"
    )
