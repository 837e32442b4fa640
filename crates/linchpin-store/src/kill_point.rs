//! Where a test kills the process in the middle of a save (F3). Without the feature `kill-points`, nothing is compiled.

macro_rules! kill_point {
    ($name:literal) => {
        #[cfg(feature = "kill-points")]
        fail::fail_point!($name);
    };
}

pub(crate) use kill_point;
