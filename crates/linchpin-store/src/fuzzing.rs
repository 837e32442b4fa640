//! What the fuzz targets look at of this crate's inside.

use crate::aggregate::Aggregate;

/// Reads `json` as an aggregate file. What reads is written out and reads back as the same.
///
/// # Panics
/// When it does not.
pub fn aggregate(json: &[u8]) {
    let Ok(read) = Aggregate::parse(json) else { return };
    let written = read.to_bytes();
    let Ok(again) = Aggregate::parse(&written) else { panic!("what was written does not read") };
    assert!(read.entries().eq(again.entries()), "an entry changed");
    assert_eq!(*written, *again.to_bytes(), "something beside the entries changed");
}
