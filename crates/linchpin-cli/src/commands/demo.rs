//! `linchpin demo`: the main job on an embedded provider.

use crate::args::{Demo, DemoPeer};
use crate::failure::Failure;

pub(super) async fn run(_args: Demo) -> Result<u8, Failure> {
    std::future::ready(Err(Failure::usage("the demo is not part of this build"))).await
}

pub(super) async fn peer(_args: DemoPeer) -> Result<u8, Failure> {
    std::future::ready(Err(Failure::usage("the demo is not part of this build"))).await
}
