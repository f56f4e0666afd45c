# Everyday commands. `just` lists them.

default:
    @just --list

# The main job: synthetic hospitals treat, permits read it live.
demo *ARGS:
    cargo run -- demo {{ARGS}}

# All tests.
test *ARGS:
    cargo test {{ARGS}}

# Stories of the database against a model, from the time as the first seed on (DUGNAD_SEED: from there on).
simulate STORIES="100000":
    DUGNAD_SEEDS={{STORIES}} DUGNAD_SEED=${DUGNAD_SEED:-$(date +%s)000} cargo test -p dugnad-kernel --test it simulation::

# Random SQL under random permits, before and after changes outside them, from the time as the first seed on (DUGNAD_FUZZ_SEED: from
# there on), on all cores: seeds a second, and the first story that fails.
fuzz QUESTIONS="1000000":
    DUGNAD_FUZZ_QUESTIONS={{QUESTIONS}} DUGNAD_FUZZ_SEED=${DUGNAD_FUZZ_SEED:-$(date +%s)000} cargo test interference -- --nocapture

# Coverage-guided fuzzing of what comes from outside: json, fhirpath, search or patch (cargo install cargo-fuzz).
fuzz-input TARGET SECONDS="60":
    cargo fuzz run --sanitizer none {{TARGET}} -- -max_total_time={{SECONDS}} -max_len=4096

# FHIR and OpenAPI clients that others have made, for the tests of tests/it/clients.rs: Python 3.11 with venv, Node.js 20 with npm.
clients:
    bash clients/setup.sh

# What CI runs.
ci:
    bash .ci/run

# Formatting and lints, as CI checks them.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Makes the table of R4 definitions anew from HL7's files (definitions.tar.zst unpacked).
definitions FOLDER:
    cargo run -p dugnad-kernel --example reduce_definitions -- {{FOLDER}}
