//! The audit log, for whoever checks it: the hashes prove themselves, so nothing here has to be believed.

use super::Service;
use super::convert::of_record;
use orlop_model::trust::AuditRecord;
use orlop_proto::identity::v1 as pb;
use orlop_state::limit::AUDIT_MAX;
use tonic::{Request, Status};

/// The records of an answer when nobody says how many.
const RECORDS_DEFAULT: usize = 100;

impl Service {
    pub(super) async fn list_audit(
        &self,
        request: Request<pb::ListAuditRequest>,
    ) -> Result<pb::ListAuditResponse, Status> {
        let request = request.into_inner();
        let limit = match request.limit as usize {
            0 => RECORDS_DEFAULT,
            limit if limit <= AUDIT_MAX => limit,
            limit => {
                return Err(Status::invalid_argument(format!(
                    "limit is {limit}; at most {AUDIT_MAX} are given at once"
                )));
            }
        };
        Ok(self.0.machine.read(|state| {
            let kept = state.audit().count();
            let skipped = match request.since {
                0 => kept.saturating_sub(limit),
                since => state.audit().take_while(|record| record.sequence < since).count(),
            };
            let before = match skipped.checked_sub(1) {
                None => Some(state.audit_before()),
                Some(last) => state.audit().nth(last).map(|record: &AuditRecord| record.hash),
            };
            let (head_sequence, head_hash) = state.audit_head();
            pb::ListAuditResponse {
                records: state.audit().skip(skipped).take(limit).map(of_record).collect(),
                head_sequence,
                head_hash: head_hash.0.to_vec(),
                before_hash: before.unwrap_or_default().0.to_vec(),
            }
        }))
    }
}
