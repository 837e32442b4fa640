#!/usr/bin/env bash
# usage: run.sh TARGET [SECONDS]   runs a target with the compiler that is there, without cargo-fuzz
set -euo pipefail
cd "$(dirname "$0")"
target=$1 seconds=${2:-60}
host=$(rustc -vV | sed -n 's/^host: //p')
coverage=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1)
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address ${coverage[*]}"
cargo build --release --target "$host" --bin "$target"
mkdir -p "found/$target"
exec "target/$host/release/$target" "found/$target" "corpus/$target" \
    -max_total_time="$seconds" -artifact_prefix="found/$target-" -print_final_stats=1
