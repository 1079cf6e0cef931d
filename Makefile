# The README's commands. Every target makes the environment it needs; nothing is installed outside this folder.
PYTHON ?= python3
VIDEO ?=
OUT ?= demo-out

BASE := .venv-demo
FULL := .venv-test
DATA := $(or $(POSEPIPE_DATA),../shared/data)
STANDIN ?= runs/standin
ACTION ?= runs/action
PIP := -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint accuracy track streams cross-eval audit action video-systems speed reliability clean

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

streams: $(FULL)/.ready  ## smoothing, sitting and standing, detecting less
	$(FULL)/bin/python eval/streams.py smoothing
	$(FULL)/bin/python eval/streams.py states --limit-frames 160
	$(FULL)/bin/python eval/streams.py transitions
	$(FULL)/bin/python eval/streams.py detector --limit-frames 48

$(STANDIN)/splits/trial.json: $(FULL)/.ready
	$(FULL)/bin/python datasets/prepare_upfall_standin.py $(STANDIN)

cross-eval: $(STANDIN)/splits/trial.json  ## the shipped network and its teacher on every set
	$(FULL)/bin/python eval/cross_eval.py --models sppe_small=small PP-TinyPose=$(DATA)/baselines/tinypose_256x192.xml \
	  --sets coco-mini=$(DATA)/coco-mini/annotations/person_keypoints_test.json lspet=$(DATA)/lspet/person_keypoints_test.json \
	  stand-in=$(STANDIN):$(STANDIN)/splits/trial.json:test --seen-only lspet --boxes gt detected --by state -o $(STANDIN)/cross

audit: $(STANDIN)/splits/trial.json  ## 39 bad videos among 404: how many does the audit put first
	$(FULL)/bin/python eval/audit.py $(STANDIN) --second small --videos 'Activity([6-9]|10)_'

video-systems: $(FULL)/.ready  ## the systems for whole and long videos: train the fast recipes, measure them beside baselines
	$(FULL)/bin/python eval/video_systems.py -o eval/RESULTS-video.md

$(ACTION)/upfall/trial.npz: $(FULL)/.ready
	$(FULL)/bin/posepipe run $(DATA)/upfall/*.mp4 -o $(ACTION)/upfall_runs --no-video --no-actions
	$(FULL)/bin/python datasets/prepare_upfall_actions.py $(ACTION)/upfall_runs $(ACTION)/upfall

action: $(ACTION)/upfall/trial.npz  ## action networks on JHMDB, UTKinect and UP-Fall, each part off in turn (two hours)
	$(FULL)/bin/python eval/action.py train --out $(ACTION) --upfall $(ACTION)/upfall
	$(FULL)/bin/python eval/action.py table --out $(ACTION)
	$(FULL)/bin/python eval/action_run.py --runs $(ACTION)/upfall_runs

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
