# The commands of this project. Each target is one script, the same that CI runs.

.PHONY: help build release demo check test model interop hostile systemd doctor guests test-cluster test-pacemaker test-packages test-docs bench \
	static-agent generated install uninstall deb setup clean

help:
	@echo "make demo          fence a VM of libvirt's test driver, from nothing"
	@echo "make test          set up the machine (root) and run all tests"
	@echo "make check         formatting, lints, unit and protocol tests (some minutes when nothing is built yet)"
	@echo "make model         the cluster's rules in all states of larger bounds (hours)"
	@echo "make interop       ours and the packaged C programs, either side, in network namespaces (root)"
	@echo "make hostile       floods, stalls, reflections, dying hypervisors (root)"
	@echo "make doctor        the wizard, and --check red and green on real networks and hypervisors (root)"
	@echo "make systemd       the unit under a real systemd in namespaces (root)"
	@echo "make guests        emulated guests that fence each other by every way in (root)"
	@echo "make test-cluster  three hosts with corosync and guests, all that can fail between them (root, 10 minutes)"
	@echo "make test-pacemaker  clusters of guests with pacemaker, fenced by our agent and daemon (root, 5 minutes)"
	@echo "make test-packages ours installed over the original's packages, and back, in a copy of this machine (root)"
	@echo "make test-docs     every command of the documentation, and its links (root)"
	@echo "make bench         measure against the C programs, write docs/benchmarks.md (root)"
	@echo "make static-agent  a static fence_xvm in target/static/"
	@echo "make install       programs, pages, completions, unit: PREFIX=/usr/local DESTDIR= (root, after make release)"
	@echo "make uninstall     takes these away again, but no configuration (root)"
	@echo "make deb           Debian packages in target/deb/"
	@echo "make setup         install what the tests need (root)"
	@echo "make generated     manual pages and completions, from the programs' tables"
	@echo "make build         debug build;  make release: optimised build"

build:
	scripts/setup.sh build
	cargo build --workspace

release:
	scripts/setup.sh build
	cargo build --workspace --release

setup:
	scripts/setup.sh test

demo:
	scripts/setup.sh build
	scripts/demo.sh

check:
	scripts/setup.sh check
	scripts/check.sh

test:
	scripts/setup.sh test
	scripts/test.sh

model:
	scripts/setup.sh build
	scripts/model.sh

interop:
	scripts/setup.sh test
	tests/interop.sh

hostile:
	scripts/setup.sh test
	tests/hostile.sh

doctor:
	scripts/setup.sh test
	tests/doctor.sh

systemd:
	scripts/setup.sh test
	tests/systemd.sh
	tests/systemd-unit.sh

guests:
	scripts/setup.sh test
	tests/guests.sh

test-cluster:
	scripts/setup.sh test
	tests/cluster.sh

test-pacemaker:
	scripts/setup.sh test
	tests/pacemaker.sh

test-packages:
	scripts/setup.sh test
	tests/packages.sh

test-docs:
	scripts/setup.sh test
	tests/docs.sh

bench:
	scripts/setup.sh test
	tests/bench.sh

static-agent:
	scripts/setup.sh build
	scripts/static-agent.sh

# Needs no network and no Rust: what `make release` built is copied.
install uninstall:
	scripts/install.sh $@

deb:
	scripts/setup.sh deb
	scripts/deb.sh

generated:
	scripts/setup.sh build
	cargo run --quiet --package fence-docs -- .

clean:
	cargo clean
