//! The audit log: every change that somebody asked for, chained by hashes.

use crate::answer::Answer;
use crate::command::{Kind, TrustCommand};
use crate::limit::AUDIT_MAX;
use crate::state::State;
use orlop_model::trust::{AuditRecord, Digest, audit_hash};
use orlop_model::{Scheduling, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;

/// The newest records, and what proves the older ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Audit {
    /// The sequence of the newest record ever made.
    pub(crate) recorded: u64,
    /// The hash of the record before the oldest that is kept.
    pub(crate) before: Digest,
    pub(crate) records: VecDeque<Arc<AuditRecord>>,
}

impl Audit {
    pub(crate) fn head(&self) -> Digest {
        self.records.back().map_or(self.before, |record| record.hash)
    }

    pub(crate) fn append(&mut self, at: Timestamp, caller: String, asked: Asked, outcome: String) {
        self.recorded += 1;
        let Asked { action, subject } = asked;
        let (sequence, action) = (self.recorded, action.to_owned());
        let mut record = AuditRecord { sequence, at, caller, action, subject, outcome, hash: Digest::default() };
        record.hash = audit_hash(&self.head(), &record);
        self.records.push_back(Arc::new(record));
        while self.records.len() > AUDIT_MAX {
            if let Some(oldest) = self.records.pop_front() {
                self.before = oldest.hash;
            }
        }
    }
}

impl State {
    /// The records of the audit log that are kept, oldest first.
    pub fn audit(&self) -> impl DoubleEndedIterator<Item = &AuditRecord> {
        self.audit.records.iter().map(|record| &**record)
    }

    /// The sequence of the newest record, and its hash; 0 and zeros before the first.
    pub fn audit_head(&self) -> (u64, Digest) {
        (self.audit.recorded, self.audit.head())
    }

    /// The hash of the record before the oldest that is kept; zeros when that is the first of all.
    pub fn audit_before(&self) -> Digest {
        self.audit.before
    }
}

/// What somebody asked for.
pub(crate) struct Asked {
    action: &'static str,
    subject: String,
}

/// What a command asks for, in the words of the audit log; `None` for what nodes and schedulers do all the time.
pub(crate) fn asked(kind: &Kind) -> Option<Asked> {
    let (action, subject) = match kind {
        Kind::InitCluster(c) => ("cluster.init", c.cluster.to_string()),
        Kind::Deploy(c) => ("deploy", c.deployment.name.to_string()),
        Kind::Scale(c) => ("scale", c.service.to_string()),
        Kind::Stop(c) => match &c.service {
            None => ("stop", c.deployment.to_string()),
            Some(service) => ("stop", format!("{}/{service}", c.deployment)),
        },
        Kind::AddMember(c) => ("member.add", c.name.to_string()),
        Kind::MoveMember(c) => ("member.move", c.id.to_string()),
        Kind::RemoveMember(c) => ("member.remove", c.id.to_string()),
        Kind::ScheduleNode(c) => match c.scheduling {
            Scheduling::Open => ("node.uncordon", c.node.to_string()),
            Scheduling::Cordoned => ("node.cordon", c.node.to_string()),
            Scheduling::Draining => ("node.drain", c.node.to_string()),
        },
        Kind::RemoveNode(c) => ("node.remove", c.node.to_string()),
        Kind::Trust(TrustCommand::CreateJoinToken(c)) => ("token.create", c.token.id.to_string()),
        Kind::Trust(TrustCommand::UseJoinToken(c)) => ("join", c.who()),
        Kind::Trust(TrustCommand::RevokeJoinToken(c)) => ("token.revoke", c.id.to_string()),
        Kind::Trust(TrustCommand::PutOperator(c)) => ("operator.put", c.operator.name.to_string()),
        Kind::Trust(TrustCommand::RemoveOperator(c)) => ("operator.remove", c.name.to_string()),
        Kind::Trust(TrustCommand::IssueOperatorToken(c)) => ("operator.token", format!("{} {}", c.operator, c.token)),
        Kind::Trust(TrustCommand::RevokeOperatorToken(c)) => ("operator.token.revoke", c.token.to_string()),
        Kind::Trust(TrustCommand::RotateSigningKey(_)) => ("signing_key.rotate", String::new()),
        Kind::Trust(TrustCommand::RevokeIdentity(c)) => ("identity.revoke", c.identity.clone()),
        Kind::Trust(TrustCommand::SetSecret(c)) => ("secret.set", c.name.to_string()),
        Kind::Trust(TrustCommand::RemoveSecret(c)) => ("secret.remove", c.name.to_string()),
        Kind::Trust(TrustCommand::SealSecretsAgain(_)) => ("secret.rotate", String::new()),
        Kind::RegisterNode(_)
        | Kind::JudgeNodes(_)
        | Kind::ReportReplicas(_)
        | Kind::ReportMany(_)
        | Kind::SubmitPlan(_)
        | Kind::AcquireLease(_)
        | Kind::RecordEvents(_)
        | Kind::ReportEndpoints(_)
        | Kind::Unreadable(_) => return None,
    };
    Some(Asked { action, subject })
}

impl Kind {
    /// What the audit log calls it; `None` for what it does not tell of.
    pub fn action(&self) -> Option<&'static str> {
        asked(self).map(|asked| asked.action)
    }
}

pub(crate) fn outcome(answer: &Answer) -> String {
    match answer {
        Answer::Refused(refusal) => refusal.reason.code.clone(),
        _ => "taken".to_owned(),
    }
}
