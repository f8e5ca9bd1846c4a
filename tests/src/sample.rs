//! Bytes for transfers: what a device moves, and what lies where it is to arrive.

/// The bytes of a short transfer.
pub const LENGTH: usize = 256;
/// The same, as the device counts.
pub const LENGTH_BYTES: u64 = 256;
/// What a place holds before something is to arrive there.
pub const EMPTY: [u8; LENGTH] = [0x5a; LENGTH];

/// Bytes that tell one transfer from another.
#[must_use]
pub fn pattern<const N: usize>(seed: u8) -> [u8; N] {
    let mut next = seed.wrapping_mul(37);
    std::array::from_fn(|_| {
        next = next.wrapping_mul(5).wrapping_add(17);
        next
    })
}
