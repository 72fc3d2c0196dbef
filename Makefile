# make            what there is
# make run        set everything up and start the demo
# make test       set everything up, then lint, types and tests
#
# PYTHON=python3.12   the interpreter of the virtual environment (default: the first that is new enough)
# TORCH="..."         what pip is given to install PyTorch
# CONFIG=FILE         what `make run` runs
# MINUTES=60          how long `make soak` takes
# PREFIX, DESTDIR     where `make install` installs

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?=
TORCH ?= torch torchvision
CONFIG ?= config/demo.toml
MINUTES ?= 60
PREFIX ?= /opt/affectd
DESTDIR ?=
SYSCONFDIR ?= /etc

PYTHONS := python3 python3.13 python3.12 python3.11 python3.14
PY := .venv/bin/python
# Failed tests run once more, one at a time: at first two run together, with servers and browsers of
# their own, and a busy machine may fail them. pytest ends with 1 if tests failed, and nothing worse.
define pytest
	$(PYTEST) -n 2 $1 || {
	  [ $$? -eq 1 ]
	  $(say) "once more, one after the other, what failed above"
	  $(PYTEST) --last-failed --last-failed-no-failures none $1
	  $(say) "it passed alone: a test above is unsteady, and wants mending"
	}
endef
PYTEST := OMP_NUM_THREADS=1 PATH="$(CURDIR)/.setup/deb/usr/bin:$$PATH" $(PY) -m pytest
# Debian's servers and browser that tests talk to; a test that lacks one is skipped.
TEST_PACKAGES := python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base \
  gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly chromium systemd \
  systemd-container dbus
# Libraries that the wheels of OpenCV and mediapipe load and do not bring.
RUNTIME_LIBRARIES := libGL.so.1 libEGL.so.1 libGLESv2.so.2 libgthread-2.0.so.0
RUNTIME_PACKAGES := libgl1 libegl1 libgles2 libglib2.0-0

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export DEBIAN_FRONTEND := noninteractive

# `grep >/dev/null` and not `grep -q`: that exits early, which breaks the pipe, and pipefail fails.

# Shell: say in plain words what happens.
say = echo "affectd:"

# Shell: the first Python that is new enough.
define find_python
find_python() {
  local python
  for python in $(or $(PYTHON),$(PYTHONS)); do
    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$$python"
      return
    fi
  done
  $(say) "no Python 3.11 or newer among: $(or $(PYTHON),$(PYTHONS));" \
    "install one, or name it: make PYTHON=/path/to/python3.12" >&2
  return 1
}
endef

# Shell: install the Debian packages that are missing, or say which and why not.
define need
need() {
  local package missing=() sudo=()
  for package in "$$@"; do
    dpkg-query -W -f='$${db:Status-Abbrev}\n' "$$package" 2>/dev/null | grep ^ii >/dev/null ||
      missing+=("$$package")
  done
  [ $${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    $(say) "please install what Debian calls: $${missing[*]}" >&2
    return 1
  fi
  if [ "$$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      $(say) "please run: sudo apt-get install $${missing[*]}" >&2
      return 1
    fi
    sudo=(sudo)
  fi
  $(say) "installing the Debian packages $${missing[*]}"
  "$${sudo[@]}" apt-get update -qq
  local wanted=()
  for package in "$${missing[@]}"; do
    if apt-cache policy "$$package" | grep 'Candidate: [^(]' >/dev/null ||
       apt-cache showpkg "$$package" | sed '1,/^Reverse Provides/d' | grep . >/dev/null; then
      wanted+=("$$package")
    else
      $(say) "this system has no package $$package" >&2
    fi
  done
  [ $${#wanted[@]} -gt 0 ] || return 1
  local log; log="$$(mktemp)"
  if "$${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$${wanted[@]}" >"$$log" 2>&1; then
    rm "$$log"
  else
    tail "$$log" >&2
    return 1
  fi
}
endef

# Shell: fetch $1 for the tests, from the Debian packages $2, $3, ... They are unpacked and not
# installed, since they would start a server at boot.
define unpack
unpack() {
  local deb
  command -v apt-get >/dev/null || return 0
  $(say) "fetching $$1 for the tests"
  mkdir -p .setup/deb
  rm -f .setup/deb/*.deb
  if (cd .setup/deb && apt-get download -qq "$${@:2}" 2>/dev/null); then
    for deb in .setup/deb/*.deb; do dpkg -x "$$deb" .setup/deb; done
  else
    $(say) "there is none; the tests that need it are skipped" >&2
  fi
}
endef

# Shell: a virtual environment with pip in folder $1, unless there is one. One for a Python that an
# upgrade of the system removed is cleared: its gigabytes are of no use.
define make_venv
make_venv() {
  local python version
  if "$$1/bin/python" -c 'import pip' 2>/dev/null; then return; fi
  python="$$(find_python)"
  version="$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
  "$$python" -c 'import ensurepip' 2>/dev/null || need "python$$version-venv"
  $(say) "making a virtual environment in $$1 with Python $$version"
  "$$python" -m venv --clear "$$1"
}
endef

# Shell: pip, of which only the big downloads and the errors are shown.
define pip
pip() {
  # PyTorch is too large for a /tmp in memory.
  local temporary; temporary="$$("$$1" -c 'import sys; print(sys.prefix)')/tmp"
  mkdir -p "$$temporary"
  TMPDIR="$$temporary" "$$1" -m pip install --progress-bar off "$${@:2}" |
    sed -un 's/^ *Downloading \([^ ]*\) (\([0-9.]* [MG]B\))$$/  fetching \1 (\2)/p
             s/^Installing collected packages.*/  unpacking/p'
  rm -r "$$temporary"
}
endef

.PHONY: help
help:
	cat <<-'TEXT'
	make run        set everything up and start the demo (CONFIG=FILE for another configuration)
	make test       set everything up, then lint, types and the tests
	make test-all   the slow tests too
	make check      the same as make test
	make bench      the benchmarks
	make soak       an hour of failing cameras (MINUTES=10 for less)
	make format     put imports and lines in order
	make install    put affectd under /opt/affectd, with its systemd unit and configuration
	make uninstall  remove that again; configuration and recordings stay
	make clean      remove what set-up and tests made here
	TEXT

.PHONY: run
run: .venv/set-up/run
	$(say) "starting on $(CONFIG); Ctrl-C ends it"
	exec .venv/bin/affectd run $(CONFIG)

.PHONY: lint
lint: .venv/set-up/dev
	.venv/bin/ruff check --quiet .
	.venv/bin/ruff format --check --quiet .
	.venv/bin/mypy

.PHONY: test
test: lint test-packages
	$(call pytest,-m "not slow")

.PHONY: test-all
test-all: lint test-packages
	$(call pytest)

.PHONY: check
check: test

.PHONY: bench
bench: .venv/set-up/dev
	for bench in tests/bench/[a-z]*.py; do
	  bench="$$(basename "$$bench" .py)"
	  # These need arguments.
	  case "$$bench" in ablation | fewer_crops | peers | prior | temporal) continue ;; esac
	  # These need clips and faces that are not part of the project.
	  case "$$bench" in carried | clips | copies | detectors | fit_crop)
	    [ -d "$${AFFECTD_SHARED:-../shared}" ] || continue ;; esac
	  if [ "$$bench" = hls_latency ] && ! command -v chromium chromium-browser >/dev/null; then
	    $(say) "benchmark: $$bench is left out, for there is no Chromium"
	    continue
	  fi
	  if [ "$$bench" = card ] && ! command -v nvidia-smi >/dev/null; then
	    $(say) "benchmark: $$bench is left out, for there is no graphics card"
	    continue
	  fi
	  $(say) "benchmark: $$bench"
	  $(PY) -m "tests.bench.$$bench"
	done

.PHONY: soak
soak: .venv/set-up/dev test-packages
	OMP_NUM_THREADS=1 $(PY) -m tests.soak --minutes $(MINUTES)

.PHONY: format
format: .venv/set-up/dev
	.venv/bin/ruff check --quiet --fix .
	.venv/bin/ruff format --quiet .

# --- set-up: each step leaves a stamp file, so that the second time takes seconds. Those of the
# virtual environment lie inside it, so that they are deleted with it. ---

# After an upgrade, Python does not find what was installed for the version before.
LOST := $(shell [ ! -e .venv/set-up/venv ] || .venv/bin/python -c 'import pip' 2>/dev/null || echo lost)
.PHONY: lost
lost:

.venv/set-up/venv: $(LOST)
	$(find_python)
	$(need)
	$(make_venv)
	make_venv .venv
	mkdir -p $(@D)
	touch $@

.setup/libraries:
	$(need)
	for library in $(RUNTIME_LIBRARIES); do
	  if ! PATH="$$PATH:/sbin:/usr/sbin" ldconfig -p | grep "$$library " >/dev/null; then
	    need $(RUNTIME_PACKAGES)
	    break
	  fi
	done
	mkdir -p $(@D)
	touch $@
	# The user must be able to remove what `sudo make install` leaves here.
	if [ "$$(id -u)" = 0 ] && [ -n "$${SUDO_UID:-}" ]; then chown -R "$$SUDO_UID:$$SUDO_GID" $(@D); fi

.venv/set-up/run: pyproject.toml .venv/set-up/venv | .setup/libraries
	$(pip)
	$(say) "installing what affectd needs into .venv;" \
	  "PyTorch is large, so the first time takes some minutes"
	pip $(PY) $(TORCH)
	pip $(PY) -e .
	touch $@

.venv/set-up/dev: .venv/set-up/run
	$(pip)
	$(say) "installing what the tests need into .venv"
	pip $(PY) -e '.[dev]'
	touch $@

.PHONY: test-packages
test-packages:
	[ ! .setup/test-packages -nt Makefile ] || exit 0
	$(need)
	$(unpack)
	if need $(TEST_PACKAGES); then
	  mkdir -p .setup
	  touch .setup/test-packages
	else
	  $(say) "the tests that need one of these are skipped" >&2
	fi
	command -v prometheus promtool >/dev/null || unpack Prometheus prometheus
	[ -e /usr/lib/nginx/modules/ngx_rtmp_module.so ] ||
	  unpack "an RTMP server" nginx libnginx-mod-rtmp
	if [ ! -e /usr/sbin/mosquitto ]; then
	  # With those of its libraries that are not installed; of alternatives, the first.
	  packages=(mosquitto)
	  for package in $$(apt-cache depends mosquitto 2>/dev/null |
	    awk '/Depends: lib/ && !other {print $$2} {other = /\|Depends:/}'); do
	    dpkg-query -W "$$package" >/dev/null 2>&1 || packages+=("$$package")
	  done
	  unpack "an MQTT broker" "$${packages[@]}"
	fi

# --- installing as a service ---

.PHONY: install
install:
	if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" != 0 ]; then
	  $(say) "make install writes to $(PREFIX) and $(SYSCONFDIR); please run it with sudo" >&2
	  exit 1
	fi
	# The service's user has to read what is installed, even if root's umask is stricter.
	umask 022
	$(MAKE) --no-print-directory install-files
	[ -z "$(DESTDIR)" ] || exit 0
	$(MAKE) --no-print-directory install-venv install-user
	$(say) "installed. Next: edit $(SYSCONFDIR)/affectd/affectd.toml, try it with" \
	  "sudo -u affectd affectd check $(SYSCONFDIR)/affectd/affectd.toml," \
	  "then: systemctl enable --now affectd"

# The service's user cannot reach a Python in somebody's home, so only the system's own will do.
.PHONY: install-venv
install-venv: PYTHONS := $(foreach name,$(PYTHONS),/usr/bin/$(name) /usr/local/bin/$(name))
install-venv: .setup/libraries
	$(find_python)
	$(need)
	$(pip)
	$(make_venv)
	install -d $(PREFIX)
	make_venv $(PREFIX)/venv
	$(say) "installing affectd into $(PREFIX)/venv; the first time takes some minutes"
	pip $(PREFIX)/venv/bin/python $(TORCH)
	pip $(PREFIX)/venv/bin/python --upgrade ".[cpu,mqtt]"

.PHONY: install-files
install-files:
	unit=$(DESTDIR)$(SYSCONFDIR)/systemd/system/affectd.service
	config=$(DESTDIR)$(SYSCONFDIR)/affectd/affectd.toml
	install -d $(DESTDIR)$(SYSCONFDIR)/{systemd/system,sysusers.d,affectd} $(DESTDIR)/usr/local/bin
	sed 's,/opt/affectd,$(PREFIX),g; s,/etc/affectd,$(SYSCONFDIR)/affectd,g' \
	  systemd/affectd.service > "$$unit"
	chmod 644 "$$unit"
	install -m 644 systemd/affectd.sysusers $(DESTDIR)$(SYSCONFDIR)/sysusers.d/affectd.conf
	ln -sfn $(PREFIX)/venv/bin/affectd $(DESTDIR)/usr/local/bin/affectd
	if [ -e "$$config" ]; then
	  $(say) "$$config is there already and stays as it is"
	else
	  install -m 640 config/affectd.toml "$$config"
	fi

.PHONY: install-user
install-user:
	systemd-sysusers $(SYSCONFDIR)/sysusers.d/affectd.conf
	chgrp affectd $(SYSCONFDIR)/affectd/affectd.toml
	if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi

.PHONY: uninstall
uninstall:
	if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then
	  systemctl disable --now affectd 2>/dev/null || true
	fi
	rm -rf $(DESTDIR)$(PREFIX)/venv
	rmdir --ignore-fail-on-non-empty $(DESTDIR)$(PREFIX) 2>/dev/null || true
	rm -f $(DESTDIR)$(SYSCONFDIR)/systemd/system/affectd.service \
	  $(DESTDIR)$(SYSCONFDIR)/sysusers.d/affectd.conf $(DESTDIR)/usr/local/bin/affectd
	if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
	$(say) "$(SYSCONFDIR)/affectd and /var/lib/affectd are left; the user affectd too"

.PHONY: clean
clean:
	rm -rf .setup .venv build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
