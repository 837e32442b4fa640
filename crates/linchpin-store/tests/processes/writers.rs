//! P1: writers of different records never lose each other's change.

use std::time::Instant;

use crate::child::Act;
use crate::machine::{Kind, Machine, kept};

const WRITERS: usize = 8;
const SERVERS: usize = 5;
const ROUNDS: usize = 25;

/// Eight processes write to 5 servers each, 25 times. A child reads each write back before it replaces it.
async fn interleave(name: &str, kind: Kind) -> Machine {
    let machine = Machine::new(kind);
    let begun = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let servers = writer * SERVERS..(writer + 1) * SERVERS;
            machine.spawn(&Act::Write { servers, rounds: ROUNDS })
        })
        .collect();
    for writer in writers {
        let output = writer.wait_with_output().expect("waited for");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let store = machine.store();
    let mut lost = 0;
    for server in 0..WRITERS * SERVERS {
        lost += usize::from(kept(&*store, server).await != Some(format!("{server}-{}", ROUNDS - 1)));
    }
    let (made, took) = (WRITERS * SERVERS * ROUNDS, begun.elapsed());
    println!("{name}: {made} interleaved writes by {WRITERS} processes in {took:.1?}, {lost} lost");
    assert_eq!((made, lost), (1_000, 0));
    assert_eq!(store.list().await.expect("readable").len(), WRITERS * SERVERS);
    assert_eq!(machine.temporaries(), 0);
    machine
}

#[tokio::test]
async fn p01_a_thousand_writes_by_eight_processes_lose_nothing_in_the_file() {
    interleave("p01 file", Kind::File).await;
}

#[tokio::test]
async fn f09_a_thousand_writes_by_eight_processes_lose_nothing_in_the_encrypted_file() {
    interleave("f09 secrets, identity given", Kind::SecretsGiven).await;
}

/// All eight find no identity at their first write, and one is made.
#[tokio::test]
async fn f09_of_eight_processes_that_make_an_identity_one_does() {
    let mut most = 0;
    for _ in 0..10 {
        let machine = Machine::new(Kind::SecretsMade);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| machine.spawn(&Act::Write { servers: writer..writer + 1, rounds: 1 }))
            .collect();
        for writer in writers {
            let output = writer.wait_with_output().expect("waited for");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        let store = machine.store();
        for server in 0..WRITERS {
            assert_eq!(kept(&*store, server).await, Some(format!("{server}-0")));
        }
        let identity = std::fs::read_to_string(machine.home().join("identity")).expect("made");
        assert_eq!(identity.lines().count(), 1);
        let others = std::fs::read_dir(machine.home()).expect("readable").count();
        most = most.max(others);
    }
    println!(
        "f09: 10 races of {WRITERS} processes for an identity: one identity each, every record readable"
    );
    assert_eq!(most, 3, "the identity, the store and the locks");
}
