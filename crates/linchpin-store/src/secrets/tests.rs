use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use super::*;
use crate::keyring::tests::{Fake, Trouble};
use crate::samples::{PATIENT, key, record};

struct Machine {
    fake: Arc<Fake>,
    directories: Directories,
    _home: tempfile::TempDir,
}

fn machine() -> Machine {
    let home = tempfile::tempdir().expect("a directory");
    let directories = Directories::under(home.path().join("home")).expect("absolute");
    Machine { fake: Arc::default(), directories, _home: home }
}

impl Machine {
    /// The store as a new process has it.
    fn store(&self) -> SecretsStore {
        self.store_with(None)
    }

    fn store_with(&self, given: Option<&str>) -> SecretsStore {
        SecretsStore::over(&self.directories, given.map(Secret::new), self.fake.keyring())
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.directories.secrets_file()).expect("readable")
    }

    fn plant(&self, bytes: &[u8]) {
        use std::io::Write as _;
        let file = fs::OpenOptions::new().write(true).truncate(true).open(self.directories.secrets_file());
        file.and_then(|mut file| file.write_all(bytes)).expect("written");
    }
}

async fn save(store: &SecretsStore, access: &str) -> Result<(), StoreError> {
    let guard = store.lock(&key(1), PATIENT).await?;
    store.save(&guard, &record(access)).await
}

fn problem(error: StoreError) -> IdentityError {
    match error {
        StoreError::Sealed { problem, .. } => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn p20_no_token_lies_in_the_file_and_the_identity_is_in_the_keyring() {
    let machine = machine();
    save(&machine.store(), "planted-access").await.expect("saved");
    let bytes = machine.bytes();
    assert!(bytes.starts_with(b"age-encryption.org/v1\n"));
    assert!(!bytes.windows(14).any(|window| window == b"planted-access"));
    assert!(!machine.directories.identity_file().exists());
    assert!(machine.fake.entries()["identity"].starts_with(b"AGE-SECRET-KEY-1"));
    assert_eq!(machine.store().identity().await.expect("found"), Some(IdentityPlace::Keyring));
    assert!(machine.store().load(&key(1)).await.expect("readable").is_some());
}

#[tokio::test]
async fn without_a_keyring_the_identity_is_in_a_private_file_and_stays_there() {
    let machine = machine();
    machine.fake.trouble(Some(Trouble::Fails(KeyringError::Unavailable("no bus".into()))));
    save(&machine.store(), "one").await.expect("saved");
    let mode = fs::metadata(machine.directories.identity_file()).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    machine.fake.trouble(None);
    let place = machine.store().identity().await.expect("found");
    assert_eq!(place, Some(IdentityPlace::File(machine.directories.identity_file())));
    save(&machine.store(), "two").await.expect("saved");
    assert!(machine.fake.entries().is_empty());
}

#[tokio::test]
async fn f09_a_wrong_missing_or_broken_identity_is_an_error_and_never_a_rewrite() {
    let machine = machine();
    save(&machine.store(), "one").await.expect("saved");
    let before = machine.bytes();

    let stranger = age::x25519::Identity::generate().to_string();
    let stranger = secrecy::ExposeSecret::expose_secret(&stranger).to_owned();
    for (given, expected) in [
        (stranger.as_str(), IdentityError::Wrong(IdentityPlace::Given)),
        ("AGE-SECRET-KEY-1NONSENSE", IdentityError::Malformed(IdentityPlace::Given)),
    ] {
        let store = machine.store_with(Some(given));
        assert_eq!(problem(store.load(&key(1)).await.expect_err("refused")), expected);
        assert_eq!(problem(save(&store, "two").await.expect_err("refused")), expected);
    }
    machine.fake.trouble(Some(Trouble::Fails(KeyringError::Locked)));
    let file = machine.directories.identity_file();
    let missing = IdentityError::Missing { file, keyring: Some(KeyringError::Locked) };
    assert_eq!(problem(machine.store().load(&key(1)).await.expect_err("refused")), missing);
    assert_eq!(problem(save(&machine.store(), "two").await.expect_err("refused")), missing);
    assert_eq!(machine.bytes(), before);

    machine.fake.trouble(None);
    let found = machine.store().load(&key(1)).await.expect("readable").expect("there");
    assert_eq!(found.access_token.expose(), "one");
}

#[tokio::test]
async fn f09_a_flipped_bit_anywhere_is_an_error_and_never_a_rewrite() {
    let machine = machine();
    save(&machine.store(), "one").await.expect("saved");
    let whole = machine.bytes();
    let store = machine.store();
    for at in (0..whole.len()).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        machine.plant(&flipped);
        let error = store.load(&key(1)).await.expect_err("damaged");
        assert!(matches!(error, StoreError::Sealed { .. }), "byte {at}: {error}");
        save(&store, "two").await.expect_err("damaged");
        assert_eq!(machine.bytes(), flipped, "byte {at}");
    }
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        machine.plant(&whole[..length]);
        assert!(store.load(&key(1)).await.is_err(), "{length} bytes");
        assert_eq!(machine.bytes(), &whole[..length]);
    }
    machine.plant(&whole);
    assert!(store.load(&key(1)).await.expect("readable").is_some());
}

#[tokio::test]
async fn p03_what_does_not_decrypt_is_kept_aside() {
    let machine = machine();
    save(&machine.store(), "one").await.expect("saved");
    let mut damaged = machine.bytes();
    *damaged.last_mut().expect("not empty") ^= 1;
    machine.plant(&damaged);
    let problem = problem(machine.store().load(&key(1)).await.expect_err("damaged"));
    let IdentityError::Damaged { kept_copy: Some(copy) } = problem else { panic!("{problem:?}") };
    assert_eq!(fs::read(copy).expect("a copy"), damaged);
}
