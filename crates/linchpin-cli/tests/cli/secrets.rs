//! The search for secrets in whatever was printed (F27, P20): as they are, and in the forms that programs give them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::machine_faults::skipped;
use crate::world::{PATIENCE, World, initialize, until};

/// How many forms a secret is looked for in.
pub(crate) const FORMS: usize = 13;

/// The forms of a secret. In base64 a text looks different at each of three places in a group; the letters that depend
/// on its neighbours are left out.
fn forms(secret: &str) -> [(&'static str, String); FORMS] {
    let bytes = secret.as_bytes();
    let spelled = |spell: fn(&u8) -> String| bytes.iter().map(spell).collect::<Vec<_>>().concat();
    let hex = spelled(|byte| format!("{byte:02x}"));
    let percent = spelled(|byte| format!("%{byte:02X}"));
    let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
    let shifted = |engine: &dyn Fn(&[u8]) -> String, shift: usize| {
        let text = engine(&[&vec![0; shift][..], bytes].concat());
        let (skip, bits) = ((shift * 8).div_ceil(6), (shift + bytes.len()) * 8);
        text[skip..bits / 6].to_owned()
    };
    let standard = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
    let url = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    [
        ("as it is", secret.to_owned()),
        ("base64", shifted(&standard, 0)),
        ("base64 after one byte", shifted(&standard, 1)),
        ("base64 after two bytes", shifted(&standard, 2)),
        ("base64url", shifted(&url, 0)),
        ("base64url after one byte", shifted(&url, 1)),
        ("base64url after two bytes", shifted(&url, 2)),
        ("hexadecimal", hex.clone()),
        ("upper hexadecimal", hex.to_ascii_uppercase()),
        ("percent-encoded", percent),
        ("percent-encoded where it must be", secret.replace('-', "%2D")),
        ("a list of numbers", numbers.join(", ")),
        ("backwards", secret.chars().rev().collect()),
    ]
}

/// The first of the secrets that is in the text, and in which form.
pub(crate) fn find_secret<'a>(text: &str, secrets: &'a [String]) -> Option<(&'a str, &'static str)> {
    // One pass for the many that are not there: every planted secret begins alike.
    let beginnings: Vec<_> = forms("planted-").into_iter().map(|(_, form)| form).collect();
    let may_be_there = beginnings.iter().any(|beginning| text.contains(beginning.as_str()));
    secrets.iter().filter(|secret| may_be_there || !secret.starts_with("planted-")).find_map(|secret| {
        let found = forms(secret).into_iter().find(|(_, form)| text.contains(form.as_str()))?;
        Some((secret.as_str(), found.0))
    })
}

#[test]
fn f27_a_secret_is_found_in_every_form_and_at_every_place() {
    let secret = "planted-at-abcDEF0123456789".to_owned();
    let secrets = ["planted-rt-another".to_owned(), secret.clone()];
    let mut tried = 0;
    for (name, form) in forms(&secret) {
        for text in [form.clone(), format!("before {form} after"), format!("x{form}y")] {
            let found = find_secret(&text, &secrets);
            assert_eq!(found.map(|(found, _)| found), Some(secret.as_str()), "{name}: {text}");
            tried += 1;
        }
    }
    for before in ["", "x", "xy", "xyz", "user:"] {
        for after in ["", "x", "xy"] {
            let text = format!("{before}{secret}{after}");
            for text in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                assert!(find_secret(&text, &secrets).is_some(), "{before:?} {after:?}: {text}");
                tried += 1;
            }
        }
    }
    assert_eq!(find_secret("planted nothing, planted-x", &secrets), None);
    println!("f27: one secret found in {tried} texts of {FORMS} forms");
}

/// What anybody on the machine sees of processes that hold tokens, and what a crash leaves.
#[tokio::test]
async fn f27_a_process_with_tokens_shows_none_and_leaves_no_core() {
    let world = World::signed_in(|config| config.client_auth = "client_secret_basic".to_owned()).await;
    world.kit.refuse_access_tokens();
    let bridges = world.bridges(2);
    initialize(&bridges).await;
    let mut seen = 0;
    for bridge in &bridges {
        let pid = bridge.pid().expect("it runs");
        world.note_process(Some(pid));
        seen += std::fs::read(format!("/proc/{pid}/environ")).map_or(0, |bytes| bytes.len());
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("readable");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("there");
        let limits: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
        assert_eq!(limits, ["0", "0"], "no core dump, which would hold every token: {core}");
    }
    assert!(seen > 0, "an environment can be read here");
    world.close(bridges).await;

    // A crash in the middle, with everything allowed that a shell can allow.
    let crash = world.scratch().join("crash");
    std::fs::create_dir(&crash).expect("made");
    let mut command = world.under(
        &[
            "sh",
            "-c",
            "ulimit -c unlimited 2>/dev/null; cd \"$1\"; shift; exec \"$@\"",
            "sh",
            crash.to_str().expect("UTF-8"),
        ],
        &["bridge", &world.url()],
    );
    command.env_remove("LINCHPIN_LOG");
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.starts_with(['|', '/']) {
        return skipped("this machine puts cores elsewhere");
    }
    let mut bridge = linchpin_testkit::process::StdioServer::start(command).expect("started");
    assert!(bridge.initialize(PATIENCE).await.expect("answered").get("result").is_some());
    let pid = rustix::process::Pid::from_raw(i32::try_from(bridge.pid().expect("it runs")).expect("a pid"));
    rustix::process::kill_process(pid.expect("not zero"), rustix::process::Signal::ABORT).expect("killed");
    until("it has ended", || {
        !std::path::Path::new(&format!("/proc/{}/exe", pid.expect("a pid").as_raw_nonzero())).exists()
    })
    .await;
    let _ = bridge.kill().await;
    let left = std::fs::read_dir(&crash).expect("listed").count();
    println!(
        "f27: {seen} bytes of environments and command lines of 2 processes searched; a crash left {left} cores"
    );
    assert_eq!(left, 0, "a core file was written");
}
