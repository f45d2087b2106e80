//! Keys that are not random.

/// Why 32 bytes are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Weak {
    /// Fewer values than chance gives.
    #[error("the key is not random: most of its bytes repeat or follow a pattern; let the control plane make one")]
    NotRandom,
    /// Letters and digits.
    #[error("the key is text, which has fewer than 256 bits of entropy; let the control plane make one")]
    Text,
}

/// Refuses keys that no random source gives: a random one is refused less than once in 10¹²,
/// when all its bytes happen to be text.
///
/// # Errors
/// What is wrong with the key.
pub fn weakness(key: &[u8; 32]) -> Result<(), Weak> {
    if key.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return Err(Weak::Text);
    }
    let mut seen = [false; 256];
    key.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let distinct = seen.iter().filter(|seen| **seen).count();
    let step = key[1].wrapping_sub(key[0]);
    let counted = key.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step);
    let repeated = (1..=16).any(|period| key[period..] == key[..32 - period]);
    if distinct < 12 || counted || repeated { Err(Weak::NotRandom) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::{SecureRandom, SystemRandom};

    #[test]
    fn what_people_type_and_what_programs_leave_empty_is_refused() {
        let mut half = [0; 32];
        half[..8].copy_from_slice(&[9, 200, 31, 77, 164, 250, 3, 91]);
        let block: [u8; 16] = [7, 201, 33, 79, 166, 252, 5, 93, 182, 68, 131, 242, 17, 60, 224, 145];
        for (weak, why) in [
            ([0; 32], Weak::NotRandom),
            ([0xff; 32], Weak::NotRandom),
            (std::array::from_fn(|i| i as u8), Weak::NotRandom),
            (std::array::from_fn(|i| (i as u8).wrapping_mul(251)), Weak::NotRandom),
            (std::array::from_fn(|i| block[i % 16]), Weak::NotRandom),
            (half, Weak::NotRandom),
            (*b"correct horse battery staple 123", Weak::Text),
            (*b"0123456789abcdef0123456789abcdef", Weak::Text),
            (*b"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", Weak::Text),
        ] {
            assert_eq!(weakness(&weak), Err(why), "{weak:?}");
        }
    }

    #[test]
    fn random_keys_are_taken() {
        let random = SystemRandom::new();
        for _ in 0..10_000 {
            let mut key = [0; 32];
            random.fill(&mut key).unwrap();
            assert_eq!(weakness(&key), Ok(()));
        }
    }
}
