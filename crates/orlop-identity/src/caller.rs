//! Who makes a call, as every handler sees it.

use crate::authority::PeerCertificate;
use crate::identity::Identity;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use orlop_model::trust::{DeploymentPattern, OperatorName, Role, may};
use orlop_model::{DeploymentName, OperatorTokenId, Timestamp};
use serde::{Deserialize, Serialize};

/// Who makes a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody that is known. May join, and nothing else.
    Anonymous,
    /// Whoever may open the control plane's unix socket, which is the machine's administrator.
    LocalAdmin,
    /// A member, a node or a program of the cluster.
    Certificate(PeerCertificate),
    /// A person or a tool, with a token.
    Operator(OperatorCaller),
}

/// An operator, as the state knows it when the call is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorCaller {
    /// Who.
    pub name: OperatorName,
    /// What kind of thing the operator may do.
    pub role: Role,
    /// To which deployments.
    pub deployments: Vec<DeploymentPattern>,
    /// The token that was presented.
    pub token: OperatorTokenId,
}

/// A caller that another member passed on and that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the caller that a member passed on cannot be read: {0}; do all members run versions that fit?")]
pub struct InvalidCaller(String);

impl Caller {
    /// The caller as logs and the audit log name it: `anonymous`, `local`, the URI of an identity, `operator/anna`.
    pub fn text(&self) -> String {
        match self {
            Caller::Anonymous => "anonymous".to_owned(),
            Caller::LocalAdmin => "local".to_owned(),
            Caller::Certificate(certificate) => certificate.identity.to_string(),
            Caller::Operator(operator) => format!("operator/{}", operator.name),
        }
    }

    /// The identity, for callers that have a certificate.
    pub fn identity(&self) -> Option<Identity> {
        match self {
            Caller::Certificate(certificate) => Some(certificate.identity),
            _ => None,
        }
    }

    /// May the caller, whom the table lets call the method, do it to the deployment, or with `None` to the cluster as a
    /// whole? Only operators are limited to deployments.
    pub fn may(&self, needed: Role, deployment: Option<&DeploymentName>) -> bool {
        match self {
            Caller::Operator(operator) => may(operator.role, &operator.deployments, needed, deployment),
            Caller::LocalAdmin | Caller::Certificate(_) => true,
            Caller::Anonymous => false,
        }
    }

    /// The caller as a header, for a member that passes the call on to the leader. The leader takes it from members only.
    pub fn to_header(&self) -> String {
        #[expect(clippy::expect_used, reason = "the form has texts and numbers only")]
        let json = serde_json::to_vec(&Passed::from(self)).expect("a caller is written as JSON");
        URL_SAFE_NO_PAD.encode(json)
    }

    /// Reads what [`to_header`](Self::to_header) wrote.
    ///
    /// # Errors
    /// When it did not write it.
    pub fn from_header(header: &str) -> Result<Self, InvalidCaller> {
        let json = URL_SAFE_NO_PAD.decode(header).map_err(|e| InvalidCaller(e.to_string()))?;
        let passed: Passed = serde_json::from_slice(&json).map_err(|e| InvalidCaller(e.to_string()))?;
        passed.try_into()
    }
}

/// The form in which members pass callers on.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Passed {
    Anonymous,
    LocalAdmin,
    Certificate { identity: String, not_before_ms: u64, not_after_ms: u64, serial: String },
    Operator { name: String, role: String, deployments: Vec<String>, token: String },
}

impl From<&Caller> for Passed {
    fn from(caller: &Caller) -> Self {
        match caller {
            Caller::Anonymous => Passed::Anonymous,
            Caller::LocalAdmin => Passed::LocalAdmin,
            Caller::Certificate(c) => Passed::Certificate {
                identity: c.identity.to_string(),
                not_before_ms: c.not_before.0,
                not_after_ms: c.not_after.0,
                serial: c.serial.clone(),
            },
            Caller::Operator(o) => Passed::Operator {
                name: o.name.to_string(),
                role: o.role.to_string(),
                deployments: o.deployments.iter().map(ToString::to_string).collect(),
                token: o.token.to_string(),
            },
        }
    }
}

impl TryFrom<Passed> for Caller {
    type Error = InvalidCaller;

    fn try_from(passed: Passed) -> Result<Self, InvalidCaller> {
        fn read<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, InvalidCaller> {
            text.parse().map_err(|e: T::Err| InvalidCaller(e.to_string()))
        }
        Ok(match passed {
            Passed::Anonymous => Caller::Anonymous,
            Passed::LocalAdmin => Caller::LocalAdmin,
            Passed::Certificate { identity, not_before_ms, not_after_ms, serial } => {
                Caller::Certificate(PeerCertificate {
                    identity: read(&identity)?,
                    not_before: Timestamp(not_before_ms),
                    not_after: Timestamp(not_after_ms),
                    serial,
                })
            }
            Passed::Operator { name, role, deployments, token } => Caller::Operator(OperatorCaller {
                name: read(&name)?,
                role: read(&role)?,
                deployments: deployments.iter().map(|text| read(text)).collect::<Result<_, _>>()?,
                token: read(&token)?,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_model::{ClusterId, MemberId};

    #[test]
    fn a_caller_that_is_passed_on_arrives_as_it_was() {
        let operator = OperatorCaller {
            name: "anna@example.org".parse().unwrap(),
            role: Role::Deployer,
            deployments: vec!["shop-*".parse().unwrap()],
            token: OperatorTokenId::from_u128(9),
        };
        let certificate = PeerCertificate {
            identity: Identity::Member { cluster: ClusterId::from_u128(1), member: MemberId(3) },
            not_before: Timestamp(1),
            not_after: Timestamp(2),
            serial: "40ff".into(),
        };
        for (caller, text) in [
            (Caller::Anonymous, "anonymous"),
            (Caller::LocalAdmin, "local"),
            (Caller::Certificate(certificate), "orlop://clu_00000000000000000000000000000001/member/3"),
            (Caller::Operator(operator), "operator/anna@example.org"),
        ] {
            assert_eq!(caller.text(), text);
            let header = caller.to_header();
            assert!(header.bytes().all(|c| c.is_ascii_graphic()));
            assert_eq!(Caller::from_header(&header), Ok(caller));
        }
        for wrong in ["", "e30", "%%", &URL_SAFE_NO_PAD.encode(r#"{"operator":{"name":"A"}}"#)] {
            assert!(Caller::from_header(wrong).is_err(), "{wrong}");
        }
    }
}
