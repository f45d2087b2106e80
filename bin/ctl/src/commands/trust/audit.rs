//! `audit`.

use crate::args::trust::{AuditAction, AuditArgs};
use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::output::time;
use crate::render::table::table;
use orlop_model::trust::{AuditRecord, verify_audit};
use serde::Serialize;

/// All that a cluster keeps.
const ALL: u32 = 10_000;

#[derive(Debug, Serialize)]
struct RecordOut {
    sequence: u64,
    at: String,
    caller: String,
    action: String,
    subject: String,
    outcome: String,
    hash: String,
}

impl From<&AuditRecord> for RecordOut {
    fn from(record: &AuditRecord) -> Self {
        Self {
            sequence: record.sequence,
            at: time(record.at),
            caller: record.caller.clone(),
            action: record.action.clone(),
            subject: record.subject.clone(),
            outcome: record.outcome.clone(),
            hash: record.hash.to_string(),
        }
    }
}

#[derive(Debug, Serialize)]
struct VerifiedOut {
    records: usize,
    head_sequence: u64,
    head_hash: String,
}

pub(crate) async fn audit(context: &Context, args: AuditArgs) -> Result<(), Failure> {
    let client = context.trust()?;
    if args.action == Some(AuditAction::Verify) {
        let log = client.audit(None, ALL).await?;
        let (sequence, hash) = log.head;
        let proven = verify_audit(&log.records, Some(&log.before), (sequence, &hash)).map_err(|broken| {
            Failure::new(
                FAILED,
                format!(
                    "the audit log is not what was written: {broken}; compare it with a snapshot of before, and ask the \
                     other members"
                ),
            )
        })?;
        let oldest = log.records.first().map_or(0, |record| record.sequence);
        let text = format!(
            "{proven} records prove each other, from {oldest} to {sequence}. Keep the head to check against later:\n  \
             {sequence} {hash}\n"
        );
        let value = VerifiedOut { records: proven, head_sequence: sequence, head_hash: hash.to_string() };
        return context.print(|| text, value);
    }
    let log = client.audit(None, args.limit).await?;
    let values: Vec<RecordOut> = log.records.iter().map(Into::into).collect();
    let row = |r: &RecordOut| {
        vec![
            r.sequence.to_string(),
            r.at.clone(),
            r.caller.clone(),
            r.action.clone(),
            r.subject.clone(),
            r.outcome.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = values.iter().map(row).collect();
    context.print(|| table(&["RECORD", "AT", "WHO", "WHAT", "TO WHAT", "OUTCOME"], &rows), values)
}
