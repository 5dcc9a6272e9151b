# The commands that a person types. Each installs what it needs (Debian, as root) and can be run first.
#
#   make demo      boot a real Slurm cluster here, preempt a Jupyter session, see it come back elsewhere
#   make test      every test, those on the real cluster included
#   make bench     how fast, beside plain CRIU and podman; and the simulator beside its peers
#   make build     the plugin and the programs, for the Slurm that is installed on this machine
#   make install   put them where Slurm and people look (DESTDIR, PREFIX and SLURM_PLUGIN_DIR are honoured)
#   make lint      formatting and clippy, warnings denied

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

PREFIX ?= /usr
LIBDIR ?= $(PREFIX)/lib/$(shell gcc -print-multiarch 2>/dev/null)
SLURM_PLUGIN_DIR ?= $(LIBDIR)/slurm-wlm
LIBEXEC ?= $(PREFIX)/libexec/stasis
TARGET ?= $(or $(CARGO_TARGET_DIR),target)
SIM_MEMBERS := -p stasis-contract -p stasis-policy -p stasis-sim -p stasis-workloads
PLUGIN := -p spank-stasis -p stasis-shepherd -p stasis-capsule -p stasis-cli

.PHONY: help
help:
	@sed -n 's/^#   //p' Makefile

.PHONY: toolchain
toolchain:
	@command -v cargo >/dev/null || { echo "Stasis is written in Rust: install Rust 1.88 or newer (see rustup.rs), then run this again" >&2; exit 1; }
	missing=()
	ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1 || missing+=(libclang-dev)
	command -v gcc >/dev/null || missing+=(gcc libc6-dev)
	command -v ip >/dev/null || missing+=(iproute2)
	if [ $${#missing[@]} -gt 0 ]; then
		echo "installing $${missing[*]}" >&2
		[ "$$(id -u)" = 0 ] || { echo "that needs root: apt-get install $${missing[*]}" >&2; exit 1; }
		DEBIAN_FRONTEND=noninteractive apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$${missing[@]}" >/dev/null
	fi

# The plugin must be built with the headers of the Slurm that loads it: for the cluster that is booted here these are
# those of its node image, which is built once (a few minutes) and cached outside of this checkout.
define NODE_IMAGE
	[ "$$(id -u)" = 0 ] || { echo "the cluster on this machine needs root: run this as root" >&2; exit 1; }
	cargo build --quiet -p stasis-testbed
	image=$$($(TARGET)/debug/stasis-testbed image | tail -n 1)
	export BINDGEN_EXTRA_CLANG_ARGS="-I$$image/usr/include" SLURM_LIB_DIR="$$image/usr/lib/x86_64-linux-gnu"
endef

.PHONY: build
build: toolchain
	cargo build --release $(PLUGIN) -p stasis-sim

.PHONY: install
install:
	install -D -m 755 $(TARGET)/release/libspank_stasis.so $(DESTDIR)$(SLURM_PLUGIN_DIR)/spank_stasis.so
	install -D -m 755 $(TARGET)/release/stasis-shepherd $(DESTDIR)$(LIBEXEC)/stasis-shepherd
	install -D -m 755 $(TARGET)/release/stasis-capsule $(DESTDIR)$(LIBEXEC)/stasis-capsule
	install -D -m 755 $(TARGET)/release/stasis-reaper $(DESTDIR)$(LIBEXEC)/stasis-reaper
	install -D -m 755 $(TARGET)/release/stasis $(DESTDIR)$(PREFIX)/bin/stasis
	install -D -m 755 $(TARGET)/release/stasis-sim $(DESTDIR)$(PREFIX)/bin/stasis-sim

.PHONY: demo
demo: toolchain
	@echo "building the plugin and the demonstration (minutes the first time)" >&2
	$(NODE_IMAGE)
	cargo build --release $(PLUGIN) -p stasis-testbed -p stasis-demo
	$(TARGET)/release/stasis-demo $(DEMO_ARGS)

.PHONY: test
test: toolchain
	$(NODE_IMAGE)
	cargo build $(PLUGIN)
	cargo test --workspace --no-fail-fast
	# Against theory and published results; those that need public traces are named where the traces are not here.
	if [ -d ../shared/traces ]; then traces="--traces ../shared/traces"; fi
	cargo run --quiet -p stasis-sim -- validate $${traces:-}

.PHONY: lint
lint: toolchain
	$(NODE_IMAGE)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

.PHONY: bench
bench: toolchain
	$(NODE_IMAGE)
	cargo build --release $(PLUGIN) -p stasis-testbed
	cargo bench -p stasis-benches $(BENCH_ARGS)

.PHONY: clean
clean:
	cargo clean
