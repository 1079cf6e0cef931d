# The README's commands. Every target makes the environment it needs; nothing is installed outside this folder.
PYTHON ?= python3
VIDEO ?=
OUT ?= demo-out

BASE := .venv-demo
FULL := .venv-test
PIP := -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint accuracy track speed reliability damaged clean

demo: $(BASE)/.ready  ## people, poses and tracks drawn on a video, on the base install alone
	$(BASE)/bin/python examples/demo.py --out $(OUT) $(if $(VIDEO),--video "$(VIDEO)")

test: $(FULL)/.ready lint  ## every check and every fast test
	$(FULL)/bin/pytest

lint: $(FULL)/.ready
	$(FULL)/bin/ruff check .
	$(FULL)/bin/ruff format --check .
	$(FULL)/bin/mypy
	$(FULL)/bin/lint-imports

accuracy: $(FULL)/.ready  ## the shipped models beside the baselines, on the held-out pictures
	$(FULL)/bin/python eval/accuracy_detector.py
	$(FULL)/bin/python eval/accuracy_pose.py

track: $(FULL)/.ready  ## the trackers on MOT15 and MOT17
	$(FULL)/bin/python eval/track.py

speed: $(FULL)/.ready  ## milliseconds a frame, stage by stage
	$(FULL)/bin/python eval/speed.py

reliability: $(FULL)/.ready  ## kills, signals, memory, damaged files
	$(FULL)/bin/pytest -m slow -s
	$(FULL)/bin/python eval/reliability.py

# Installed again when the package has changed.
$(BASE)/.ready: pyproject.toml $(shell find posepipe -type f -not -name '*.pyc')
	test -d $(BASE) || $(PYTHON) -m venv $(BASE)
	$(BASE)/bin/python $(PIP) .
	touch $@

$(FULL)/.ready: pyproject.toml $(shell find posepipe -type f -not -name '*.pyc')
	test -d $(FULL) || $(PYTHON) -m venv $(FULL)
	$(FULL)/bin/python $(PIP) '.[test]'
	touch $@

clean:
	rm -rf $(BASE) $(FULL) build *.egg-info demo-out
