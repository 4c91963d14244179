# `make demo` and `make test` are all a newcomer needs; `make help` lists the rest.

CARGO ?= cargo

.PHONY: help demo test lint web tools bench sim lab deny clean

help:
	@echo 'make demo   build, and run a whole mesh on this machine; open the page it prints'
	@echo 'make test   everything that must hold: units, properties, simulation, real ffmpeg, real browser'
	@echo 'make lint   formatting, clippy, types of the page, licences (where cargo-deny is installed)'
	@echo 'make web    rebuild the page (web/dist) from its sources'
	@echo 'make sim    the large scenarios of examples/sim, ten seeds each (SEEDS=10), and random worlds with many (WORLDS=200)'
	@echo 'make lab    figures of real processes on bad links, ten minutes of chaos, every scenario twenty times (PASSES=20)'
	@echo 'make bench  links of the lab, joins, muxing, viewers, forwarding, deaths (ARGS="--rounds 5 --only kill --json"): figures for this machine'

demo:
	$(CARGO) build --package levada
	@exec target/debug/levada demo $(ARGS)

test: tools web/node_modules
	cd web && npm run --silent check && npm test --silent
	cd web && npm run --silent build && git diff --exit-code -- dist \
		|| { echo 'web/dist is not what web/src makes; run: make web, and commit it'; exit 1; }
	$(CARGO) test --workspace

lint: web/node_modules
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	cd web && npm run --silent check
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check; \
		else echo 'cargo-deny is not installed: licences and advisories were not checked (cargo install cargo-deny)'; fi

web: web/node_modules
	cd web && npm run --silent build

# What the tests need besides Rust: installed where that is possible, named where it is not.
tools:
	@tools/need.sh ffmpeg ffprobe node npm chromium

web/node_modules: web/package-lock.json
	@tools/need.sh node npm
	cd web && npm ci --silent --no-fund --no-audit
	@touch web/node_modules

sim:
	LEVADA_SIM_SEEDS=$(or $(WORLDS),200) $(CARGO) test --release --package levada-sim
	$(CARGO) build --release --package levada
	@SEEDS=$(or $(SEEDS),10) tools/sim.sh target/release/levada

lab:
	@tools/need.sh ffmpeg
	$(CARGO) build --release --package levada
	@PASSES=$(or $(PASSES),20) CHAOS=$(or $(CHAOS),10m) tools/lab.sh target/release/levada

bench:
	$(CARGO) bench --package levada-overlay --bench paths
	$(CARGO) bench --package levada-media --bench mux
	$(CARGO) bench --package levada-lab --bench net
	$(CARGO) bench --package levada --bench join
	$(CARGO) bench --package levada --bench glass
	$(CARGO) bench --package levada --bench viewers
	$(CARGO) bench --package levada --bench deaths -- $(ARGS)

clean:
	$(CARGO) clean
	rm -rf web/node_modules web/build web/test-results
