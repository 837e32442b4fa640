//! Every committed input of every target, on a stable compiler.

use std::fs;
use std::path::{Path, PathBuf};

use linchpin_fuzz::TARGETS;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().into_string();
    let mut names: Vec<_> = entries.map(|entry| name(entry).expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn f28_every_input_of_the_corpus_holds() {
    for (name, target) in TARGETS {
        let directory = fuzz().join("corpus").join(name);
        let inputs = names(&directory);
        assert!(inputs.len() >= 5, "{name} has {} inputs", inputs.len());
        for input in inputs {
            let data = fs::read(directory.join(&input)).expect("readable");
            let outcome = std::panic::catch_unwind(|| target(&data));
            assert!(outcome.is_ok(), "{name}: {input}");
            // What a fuzzer does first: inputs that are cut short, and with a byte turned over.
            for at in 0..data.len().min(2_000) {
                target(&data[..at]);
                let mut turned = data.clone();
                turned[at] ^= 0x20;
                target(&turned);
            }
        }
    }
}

#[test]
fn every_target_is_one_of_the_fuzzer_and_none_is_missing() {
    let files = names(&fuzz().join("fuzz_targets"));
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("readable");
    let mut expected: Vec<_> = TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    expected.sort();
    assert_eq!(files, expected);
    assert_eq!(names(&fuzz().join("corpus")).len(), TARGETS.len());
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not built");
        let source = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).expect("readable");
        assert!(source.contains(&format!("\"{name}\"")), "{name}.rs runs another target");
    }
}
