//! Randomness, from whatever source the caller gives.

use ring::rand::SecureRandom;

/// The source of randomness failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes; look at its log")]
pub struct NoRandomness;

pub(crate) fn bytes<const N: usize>(random: &dyn SecureRandom) -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    random.fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}
