# Every recipe is a `python -m ...` line; README.md has them for a machine without make.
# build/ is scratch: baked anew when the template changes (what was there stays in build/before).
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
SHOP := {{cookiecutter.project_slug}}
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
TYPED := $(addprefix tests/,*.py baking browser copying docs foreign rules bench)
STYLE := --no-cache --config '$(SHOP)/pyproject.toml' hooks tests
.PHONY: demo test test-all check

demo: .venv/.run
	@cd build/my-shop && exec ../../$(PY) -m shop demo $(ARGS)
test: .venv/.dev build/.all
	cd build/all && ../../$(PY) -m pytest -m 'not thorough' -n auto --dist worksteal $(ARGS)
	$(PY) -m pytest -m 'not thorough' -n auto --dist worksteal $(ARGS)
test-all: .venv/.dev build/.all
	cd build/all && ../../$(PY) -m pytest -n auto --dist worksteal $(ARGS)
	$(PY) -m pytest -n auto --dist worksteal $(ARGS)
check: .venv/.dev
	$(PY) -m ruff check --no-cache '$(SHOP)' && $(PY) -m ruff check $(STYLE)
	$(PY) -m ruff format --check --no-cache '$(SHOP)' && $(PY) -m ruff format --check $(STYLE)
	cd '$(SHOP)' && ../$(PY) -m mypy --cache-dir ../build/.mypy_cache
	MYPYPATH=tests $(PY) -m mypy --explicit-package-bases --cache-dir build/.mypy_cache --strict --ignore-missing-imports hooks $(TYPED)
	MYPYPATH='.:$(SHOP):$(SHOP)/tests' $(PY) -m mypy --explicit-package-bases --follow-imports=silent --cache-dir build/.mypy_cache/chaos --strict --ignore-missing-imports tests/chaos

.venv/.bake:
	@[ "$(PYTHON)" ] || { echo "需要 Python 3.11+ 和 venv / Python 3.11+ with venv is needed"; exit 1; }
	@echo "安装依赖，只此一次 / Installing packages, once (about 20 MB) ..."
	@$(PYTHON) -m venv .venv && $(PIP) 'cookiecutter>=2.7,<3' && touch $@
build/.baked: $(shell find cookiecutter.json hooks '$(SHOP)' ! -path '*_cache*' ! -path '*__pycache__*') | .venv/.bake
	@mkdir -p build; [ ! -d build/my-shop ] || { rm -rf build/before && mv build/my-shop build/before; }
	@$(PY) -m cookiecutter . --no-input --default-config -o build >/dev/null && touch $@
build/.all: build/.baked
	@rm -rf build/all; $(PY) -m cookiecutter . --no-input --default-config -o build project_slug=all channels=all >/dev/null && touch $@
.venv/.run: $(SHOP)/pyproject.toml | build/.baked
	@$(PIP) -e build/my-shop && touch $@
.venv/.dev: $(SHOP)/pyproject.toml tests/requirements.txt | build/.baked
	@$(PIP) -e 'build/my-shop[dev,postgres,mysql]' -r tests/requirements.txt && touch .venv/.run $@
