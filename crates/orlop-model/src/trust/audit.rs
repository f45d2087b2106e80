//! The audit log: who changed what, chained by hashes so that no record can be changed, dropped or put in unseen.

use crate::Timestamp;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of what is given.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Are they the same? Takes as long when they are not, wherever they differ.
    pub fn same(&self, other: &Digest) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0u8, |found, (a, b)| found | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

/// Hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One change that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// The first is 1, and there are no gaps.
    pub sequence: u64,
    /// When, by the clock of the member that took the request.
    pub at: Timestamp,
    /// Who, as `operator/anna`, `local` or the URI of an identity.
    pub caller: String,
    /// What was asked for, as `deploy` or `secret.set`.
    pub action: String,
    /// What it was asked for, as `shop` or `shop/api`; empty for the whole cluster.
    pub subject: String,
    /// `taken`, or the code of the refusal.
    pub outcome: String,
    /// [`audit_hash`] of the record and the hash before it.
    pub hash: Digest,
}

/// The hash of a record: SHA-256 of the hash before it (zeros before the first) and the record's canonical bytes, which
/// are the sequence and the time as eight bytes each, big-endian, and then caller, action, subject and outcome, each
/// preceded by its length in bytes as four bytes, big-endian.
pub fn audit_hash(before: &Digest, record: &AuditRecord) -> Digest {
    let mut hash = Sha256::new();
    hash.update(before.0);
    hash.update(record.sequence.to_be_bytes());
    hash.update(record.at.0.to_be_bytes());
    for text in [&record.caller, &record.action, &record.subject, &record.outcome] {
        hash.update((text.len() as u32).to_be_bytes());
        hash.update(text);
    }
    Digest(hash.finalize().into())
}

/// Where the audit log is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    /// A record is missing, or one too many is there.
    #[error("record {expected} is missing: {found} stands in its place")]
    Gap {
        /// The sequence that should have come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// A record, or the one before it, was changed.
    #[error("record {sequence} was changed, or the one before it: its hash is not that of what it says")]
    Changed {
        /// The record's sequence.
        sequence: u64,
    },
    /// The newest records are missing, or others were added.
    #[error("the log ends at record {found} with another hash than the head says, which is at {expected}")]
    Head {
        /// The sequence of the head.
        expected: u64,
        /// The newest record's.
        found: u64,
    },
}

/// Checks consecutive records against each other, and the last against the head of the log. The hash before the first
/// is not known when older records were forgotten; then the first is checked by those that follow it only. Answers how
/// many records are proven by what stands before them.
///
/// # Errors
/// The first place that does not fit.
pub fn verify_audit(
    records: &[AuditRecord],
    before_first: Option<&Digest>,
    head: (u64, &Digest),
) -> Result<usize, BrokenChain> {
    let mut before = match (before_first, records.first()) {
        (Some(before), _) => Some(*before),
        (None, Some(first)) if first.sequence == 1 => Some(Digest::default()),
        _ => None,
    };
    let mut proven = 0;
    for (expected, record) in (records.first().map_or(1, |r| r.sequence)..).zip(records) {
        if record.sequence != expected {
            return Err(BrokenChain::Gap { expected, found: record.sequence });
        }
        if let Some(before) = before {
            if audit_hash(&before, record) != record.hash {
                return Err(BrokenChain::Changed { sequence: expected });
            }
            proven += 1;
        }
        before = Some(record.hash);
    }
    let newest = records.last().map_or((0, Digest::default()), |r| (r.sequence, r.hash));
    if newest != (head.0, *head.1) {
        return Err(BrokenChain::Head { expected: head.0, found: newest.0 });
    }
    Ok(proven)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: u64) -> Vec<AuditRecord> {
        let mut before = Digest::default();
        let record = |sequence| {
            let mut record = AuditRecord {
                sequence,
                at: Timestamp(1_700_000_000_000 + sequence),
                caller: "operator/anna".into(),
                action: "deploy".into(),
                subject: format!("shop-{sequence}"),
                outcome: "taken".into(),
                hash: Digest::default(),
            };
            record.hash = audit_hash(&before, &record);
            before = record.hash;
            record
        };
        (1..=length).map(record).collect()
    }

    fn verify(records: &[AuditRecord], head: &AuditRecord) -> Result<usize, BrokenChain> {
        verify_audit(records, None, (head.sequence, &head.hash))
    }

    /// An independent computation of the bytes that the documentation describes.
    #[test]
    fn the_hash_is_that_of_the_documented_bytes() {
        let record = &chain(1)[0];
        let mut bytes = vec![0; 32];
        bytes.extend(1u64.to_be_bytes());
        bytes.extend(1_700_000_000_001u64.to_be_bytes());
        bytes.extend(b"\0\0\0\x0doperator/anna\0\0\0\x06deploy\0\0\0\x06shop-1\0\0\0\x05taken");
        assert_eq!(record.hash, Digest::of(&bytes));
    }

    #[test]
    fn a_whole_chain_and_the_end_of_one_verify() {
        let records = chain(5);
        assert_eq!(verify(&records, &records[4]), Ok(5));
        assert_eq!(verify(&records[2..], &records[4]), Ok(2));
        assert_eq!(verify_audit(&records[2..], Some(&records[1].hash), (5, &records[4].hash)), Ok(3));
        assert_eq!(verify_audit(&[], None, (0, &Digest::default())), Ok(0));
    }

    #[test]
    fn every_way_to_tamper_is_found() {
        let whole = chain(5);
        let head = whole[4].clone();
        let edits: [fn(&mut AuditRecord); 5] = [
            |r| r.caller.push('x'),
            |r| r.action = "stop".into(),
            |r| r.at = Timestamp(0),
            |r| r.outcome.clear(),
            |r| (r.action, r.subject) = (format!("{}{}", r.action, r.subject), String::new()),
        ];
        for edit in edits {
            for index in 0..5 {
                let mut records = whole.clone();
                edit(&mut records[index]);
                let sequence = index as u64 + 1;
                assert_eq!(verify(&records, &head), Err(BrokenChain::Changed { sequence }));
                // A forger who knows how hashes are made has to change all that follow, and then the head betrays it.
                let mut before = if index == 0 { Digest::default() } else { records[index - 1].hash };
                for record in &mut records[index..] {
                    record.hash = audit_hash(&before, record);
                    before = record.hash;
                }
                assert_eq!(verify(&records, &head), Err(BrokenChain::Head { expected: 5, found: 5 }));
            }
        }
        let mut gap = whole.clone();
        gap.remove(2);
        assert_eq!(verify(&gap, &head), Err(BrokenChain::Gap { expected: 3, found: 4 }));
        assert_eq!(verify(&whole[..4], &head), Err(BrokenChain::Head { expected: 5, found: 4 }));
        assert_eq!(verify(&[], &head), Err(BrokenChain::Head { expected: 5, found: 0 }));
    }
}
