PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs-installed
SAMPLES := samples

.PHONY: demo lint test test-all coverage docs bench clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
# Its neurons and layers need neither torchvision nor torchaudio, whose wheels want another build of torch.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps spikingjelly
	touch $(STAMP)

demo: $(STAMP)
	mkdir -p demo
	$(BIN)/snnconv convert $(SAMPLES)/fashion_per_channel.pth --arch samples.fashion:per_channel \
		--data $(SAMPLES)/fashion_test500.npz -o demo/fashion.onnx -o demo/fashion.ts --force

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-all: lint
	SNNCONV_EXAM=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m ""

coverage: $(STAMP)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --cov --cov-report=term --cov-report=html

# What builds the documentation is not needed for anything else and is installed when it is first built.
$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $(DOCS_STAMP)

docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(STAMP)
	$(BIN)/python -m benchmarks.latency $(CHECKPOINT) $(DATA)

clean:
	rm -rf $(VENV) demo build site htmlcov .coverage *.egg-info
