use crate::args::{Demo, DemoPeer};
use crate::failure::Failure;
pub(super) async fn run(_args: Demo) -> Result<u8, Failure> {
    Ok(0)
}
pub(super) async fn peer(_args: DemoPeer) -> Result<u8, Failure> {
    Ok(0)
}
