//! `operator`.

use crate::args::trust::OperatorCommand;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::time;
use crate::render::table::table;
use orlop_client::SigningKey;
use orlop_model::trust::Operator;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(super) struct OperatorOut {
    name: String,
    role: String,
    deployments: Vec<String>,
}

impl From<&Operator> for OperatorOut {
    fn from(operator: &Operator) -> Self {
        Self {
            name: operator.name.to_string(),
            role: operator.role.to_string(),
            deployments: operator.deployments.iter().map(ToString::to_string).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct IssuedOut {
    token: String,
    id: String,
    expires_at: String,
}

#[derive(Debug, Serialize)]
struct KeyOut {
    id: String,
    added_at: String,
    retires_at: Option<String>,
}

impl From<&SigningKey> for KeyOut {
    fn from(key: &SigningKey) -> Self {
        Self { id: key.id.to_string(), added_at: time(key.added_at), retires_at: key.retires_at.map(time) }
    }
}

#[derive(Debug, Serialize)]
struct NameOut {
    removed: String,
}

pub(crate) async fn operator(context: &Context, command: OperatorCommand) -> Result<(), Failure> {
    let client = context.trust()?;
    match command {
        OperatorCommand::Add { name, role, deployments } => {
            let operator = Operator { name, role, deployments };
            client.put_operator(&operator).await?;
            let name = &operator.name;
            let text = format!(
                "{name} is {role} of {}. Make a token with `orlopctl operator token {name}`.\n",
                patterns(&operator)
            );
            context.print(|| text, OperatorOut::from(&operator))
        }
        OperatorCommand::Ls => {
            let operators = client.operators().await?;
            let values: Vec<OperatorOut> = operators.iter().map(Into::into).collect();
            let row = |o: &Operator| vec![o.name.to_string(), o.role.to_string(), patterns(o)];
            let rows: Vec<Vec<String>> = operators.iter().map(row).collect();
            context.print(|| table(&["OPERATOR", "ROLE", "DEPLOYMENTS"], &rows), values)
        }
        OperatorCommand::Rm { name } => {
            client.remove_operator(&name).await?;
            let text = format!("{name} is removed; all tokens of {name} are refused.\n");
            context.print(|| text, NameOut { removed: name.to_string() })
        }
        OperatorCommand::Token { name, lifetime } => {
            let issued = client.issue_operator_token(&name, lifetime).await?;
            let expires_at = time(issued.expires_at);
            let text = format!(
                "{}\n\nIt is good for {name} until {expires_at}, and refused after `orlopctl operator revoke {}`.\n",
                issued.login, issued.id
            );
            context.print(|| text, IssuedOut { token: issued.login, id: issued.id.to_string(), expires_at })
        }
        OperatorCommand::Revoke { token } => {
            client.revoke_operator_token(token).await?;
            context.print(|| format!("{token} is refused.\n"), NameOut { removed: token.to_string() })
        }
        OperatorCommand::Keys => {
            let keys = client.signing_keys().await?;
            let values: Vec<KeyOut> = keys.iter().map(Into::into).collect();
            let row = |key: &SigningKey| {
                let retires = key.retires_at.map_or_else(|| "signs".to_owned(), |at| format!("retires {}", time(at)));
                vec![key.id.to_string(), time(key.added_at), retires]
            };
            let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
            context.print(|| table(&["KEY", "SINCE", "STATE"], &rows), values)
        }
        OperatorCommand::Rotate { overlap } => {
            let key = client.rotate_signing_key(overlap).await?;
            let text = format!("Key {} signs tokens from now on; those before retire in {overlap}.\n", key.id);
            context.print(|| text, KeyOut::from(&key))
        }
    }
}

fn patterns(operator: &Operator) -> String {
    let patterns: Vec<String> = operator.deployments.iter().map(ToString::to_string).collect();
    patterns.join(", ")
}
