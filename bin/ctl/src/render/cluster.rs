//! The cluster itself: its members and their health.

use super::table::{fields, plain, table};
use orlop_client::why::age;
use orlop_client::{ClusterMembers, Examination, MemberState, Suffrage};
use orlop_model::{Millis, Timestamp};
use std::time::Duration;

/// Who leads, and whether a majority is there.
pub(crate) fn cluster_status(members: &ClusterMembers) -> String {
    let leader = members.members.iter().find(|m| Some(m.member.id) == members.leader);
    let leader = match (leader, members.leader) {
        (Some(leader), _) => format!("{} ({})", leader.member.id, leader.member.name),
        (None, Some(id)) => id.to_string(),
        (None, None) => "none: no writes are taken until a majority of the members reach each other".into(),
    };
    let voters = members.members.iter().filter(|m| m.suffrage == Suffrage::Voter).count();
    let spare = voters.saturating_sub(1) / 2;
    fields(&[
        ("cluster", Some(members.cluster.to_string())),
        ("leader", Some(leader)),
        ("term", Some(members.term.to_string())),
        ("revision", Some(members.revision.to_string())),
        ("voters", Some(format!("{voters}; {spare} may be lost without losing writes"))),
        ("answered by", Some(members.answering.to_string())),
    ])
}

/// The members, one on each line.
pub(crate) fn members(members: &ClusterMembers, now: Timestamp) -> String {
    let row = |m: &MemberState| {
        let role = match m.suffrage {
            Suffrage::Voter if Some(m.member.id) == members.leader => "leader",
            Suffrage::Voter => "voter",
            Suffrage::Learner => "learner",
            Suffrage::Invited => "invited",
        };
        let heard = match m.silent {
            Some(Millis(0..=999)) => "now".to_owned(),
            Some(silent) => format!("{} ago", age(now, Timestamp(now.0.saturating_sub(silent.0)))),
            None => "-".to_owned(),
        };
        let matched = m.matched.map_or_else(|| "-".to_owned(), |index| index.to_string());
        vec![m.member.id.to_string(), m.member.name.to_string(), m.member.address.clone(), role.into(), matched, heard]
    };
    let rows: Vec<Vec<String>> = members.members.iter().map(row).collect();
    table(&["ID", "NAME", "ADDRESS", "ROLE", "LOG", "HEARD"], &rows)
}

/// Something that the doctor has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Is it wrong now, or will it be soon? Else it is worth knowing.
    pub(crate) is_bad: bool,
    /// What, and what to do.
    pub(crate) text: String,
}

/// Clocks that differ by more may take each other's certificates for not begun.
const CLOCK_SKEW_MAX_MS: u64 = 1_000;
/// With slower disks, elections may come for no other reason.
const DISK_SLOW: Duration = Duration::from_millis(100);
const DISK_FREE_MIN: u64 = 1 << 30;
const CERTIFICATE_LEFT_MIN: Millis = Millis::from_secs(3600);
const AUTHORITY_LEFT_MIN: Millis = Millis::from_secs(90 * 86_400);
const LAG_MAX: u64 = 10_000;

/// What is wrong, or will be.
pub(crate) fn findings(members: &ClusterMembers, found: &[Examination], now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut bad = |text: String| findings.push(Finding { is_bad: true, text });
    if members.leader.is_none() {
        bad("no member leads, so no writes are taken; bring a majority of the members back, or see the page on disasters".into());
    }
    let newest = found.iter().filter_map(|e| e.found.as_ref().ok()).map(|h| h.revision.0).max().unwrap_or(0);
    let versions: std::collections::BTreeSet<&str> =
        found.iter().filter_map(|e| e.found.as_ref().ok()).map(|h| h.version.as_str()).collect();
    for examination in found {
        let who = format!("member {} ({})", examination.member, plain(&examination.name));
        let health = match &examination.found {
            Ok(health) => health,
            Err(problem) => {
                bad(format!("{who} cannot be asked: {}; is it running, and reached?", plain(problem)));
                continue;
            }
        };
        let uncertain = u64::try_from(health.asking.as_millis() / 2).unwrap_or(u64::MAX);
        if health.clock_ahead_ms.unsigned_abs() > CLOCK_SKEW_MAX_MS.saturating_add(uncertain) {
            bad(format!("the clock of {who} differs by {} ms; let it be set by NTP", health.clock_ahead_ms));
        }
        if health.disk_median > DISK_SLOW {
            bad(format!(
                "the disk of {who} takes {} ms for a write; give the log a faster one",
                health.disk_median.as_millis()
            ));
        }
        if health.disk_free < DISK_FREE_MIN {
            bad(format!("{who} has {} MiB left for its log; free some space", health.disk_free >> 20));
        }
        if !health.writes_refused.is_empty() {
            bad(format!("{who}: {}", plain(&health.writes_refused)));
        }
        if !health.backup_problem.is_empty() {
            bad(format!("{who} makes no backups: {}", plain(&health.backup_problem)));
        }
        if health.certificate_not_after.is_some_and(|end| end < now + CERTIFICATE_LEFT_MIN) {
            bad(format!("the certificate of {who} ends within the hour and was not renewed; its log says why"));
        }
        if health.authority_not_after.is_some_and(|end| end < now + AUTHORITY_LEFT_MIN) {
            bad("the cluster's authority ends within 90 days".into());
        }
        if newest.saturating_sub(health.revision.0) > LAG_MAX {
            bad(format!("{who} is {} revisions behind", newest - health.revision.0));
        }
    }
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().collect();
        let text = format!("members run versions {}; finish the upgrade", versions.join(" and "));
        findings.push(Finding { is_bad: false, text });
    }
    let voters = members.members.iter().filter(|m| m.suffrage == Suffrage::Voter).count();
    if voters % 2 == 0 {
        let text = format!("{voters} members vote; {} would stand as many losses", voters - 1);
        findings.push(Finding { is_bad: false, text });
    }
    findings
}

/// The members' health, and what follows from it.
pub(crate) fn doctor(found: &[Examination], findings: &[Finding], now: Timestamp) -> String {
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let row = |e: &Examination| match &e.found {
        Ok(h) => vec![
            e.member.to_string(),
            e.name.clone(),
            h.version.clone(),
            format!("{:+} ms", h.clock_ahead_ms),
            format!("{} / {}", ms(h.disk_median), ms(h.disk_slowest)),
            format!("{} GiB", h.disk_free >> 30),
            h.certificate_not_after.map_or_else(|| "-".into(), |end| age(end, now)),
            format!("{} MiB", h.resident >> 20),
            h.revision.to_string(),
        ],
        Err(_) => {
            let mut row = vec![e.member.to_string(), e.name.clone(), "does not answer".into()];
            row.resize(9, String::new());
            row
        }
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let header = ["ID", "NAME", "VERSION", "CLOCK", "DISK", "FREE", "CERTIFICATE", "MEMORY", "REVISION"];
    let mut text = table(&header, &rows);
    text.push('\n');
    if findings.is_empty() {
        text.push_str("All is well.\n");
    }
    for finding in findings {
        text.push_str(&format!("{}: {}.\n", if finding.is_bad { "Wrong" } else { "Note" }, finding.text));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_client::Health;
    use orlop_model::{ClusterId, Member, MemberId, Revision};

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn members(voters: u64, leader: Option<u64>) -> ClusterMembers {
        let member = |id| MemberState {
            member: Member {
                id: MemberId(id),
                name: format!("m{id}").parse().expect("a name"),
                address: format!("10.0.0.{id}:7700"),
                added_at: NOW,
            },
            suffrage: Suffrage::Voter,
            matched: Some(40),
            silent: Some(Millis(id * 1_000)),
        };
        ClusterMembers {
            cluster: ClusterId::from_u128(1),
            members: (1..=voters).map(member).collect(),
            answering: MemberId(1),
            leader: leader.map(MemberId),
            term: 4,
            revision: Revision(41),
        }
    }

    fn healthy() -> Health {
        Health {
            clock_ahead_ms: 3,
            asking: Duration::from_millis(4),
            version: "0.1.0".into(),
            disk_median: Duration::from_micros(900),
            disk_slowest: Duration::from_micros(2_500),
            disk_free: 40 << 30,
            certificate_not_after: Some(NOW + Millis::from_secs(20 * 3600)),
            authority_not_after: Some(NOW + Millis::from_secs(3000 * 86_400)),
            revision: Revision(41),
            leader: Some(MemberId(1)),
            term: 4,
            writes_refused: String::new(),
            resident: 30 << 20,
            backup: Some(NOW),
            backup_problem: String::new(),
        }
    }

    fn examined(change: impl FnOnce(&mut Health)) -> Vec<Examination> {
        let mut ill = healthy();
        change(&mut ill);
        [healthy(), ill]
            .into_iter()
            .zip(1..)
            .map(|(health, id)| Examination { member: MemberId(id), name: format!("m{id}"), found: Ok(health) })
            .collect()
    }

    #[test]
    fn members_are_shown_with_their_part() {
        assert_eq!(
            super::members(&members(2, Some(2)), NOW),
            "ID  NAME  ADDRESS        ROLE    LOG  HEARD\n\
             1   m1    10.0.0.1:7700  voter   40   1s ago\n\
             2   m2    10.0.0.2:7700  leader  40   2s ago\n"
        );
        let text = cluster_status(&members(3, None));
        assert!(text.contains("none: no writes") && text.contains("3; 1 may be lost"), "{text}");
    }

    #[test]
    fn the_doctor_finds_each_illness_and_nothing_in_the_well() {
        let well = findings(&members(3, Some(1)), &examined(|_| {}), NOW);
        assert_eq!(well, []);
        type Change = fn(&mut Health);
        let ills: [(Change, &str); 9] = [
            (|h| h.clock_ahead_ms = -1_500, "differs by -1500 ms"),
            (|h| h.disk_median = Duration::from_millis(150), "takes 150 ms"),
            (|h| h.disk_free = 5 << 20, "5 MiB left"),
            (|h| h.writes_refused = "no writes are taken: full".into(), "no writes are taken"),
            (|h| h.backup_problem = "/backups: no space left".into(), "makes no backups: /backups"),
            (|h| h.certificate_not_after = Some(NOW), "within the hour"),
            (|h| h.authority_not_after = Some(NOW), "authority ends"),
            (|h| h.revision = Revision(0), ""),
            (|h| h.version = "0.2.0".into(), "versions 0.1.0 and 0.2.0"),
        ];
        for (change, expected) in ills {
            let found = findings(&members(3, Some(1)), &examined(change), NOW);
            match expected {
                "" => assert_eq!(found, [], "a few revisions behind is no illness"),
                expected => assert!(found.len() == 1 && found[0].text.contains(expected), "{expected}: {found:?}"),
            }
        }
        let mut silent = examined(|_| {});
        silent[1].found = Err("it did not answer within 5 s".into());
        let found = findings(&members(2, None), &silent, NOW);
        let bad: Vec<bool> = found.iter().map(|f| f.is_bad).collect();
        assert_eq!(bad, [true, true, false], "no leader, one silent, and an even number: {found:?}");
        assert!(doctor(&silent, &found, NOW).contains("does not answer"));
    }
}
