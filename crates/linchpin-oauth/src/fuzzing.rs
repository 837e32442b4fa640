//! What the fuzz targets look at of this crate's inside.

use crate::sign_in;

/// Checks `query` as that of a callback to a sign-in with the state `s1` at `https://as.example.com`. Without that
/// state nothing of it counts, and an error code is told in visible ASCII.
///
/// # Panics
/// When it is otherwise.
pub fn callback(query: &str) {
    for issuer_due in [false, true] {
        sign_in::check_callback(query, issuer_due);
    }
}
