//! `token`, and `revoke`.

use crate::args::trust::{RevokeArgs, TokenCommand};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::time;
use crate::render::table::table;
use orlop_model::Timestamp;
use orlop_model::trust::{JoinKind, JoinToken};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct TokenOut {
    id: String,
    kind: String,
    uses_left: u32,
    expires_at: String,
    node: Option<String>,
    /// Only of one that was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl TokenOut {
    fn of(token: &JoinToken, text: Option<String>) -> Self {
        Self {
            id: token.id.to_string(),
            kind: token.kind.to_string(),
            uses_left: token.uses_left,
            expires_at: time(token.expires_at),
            node: token.node.map(|node| node.to_string()),
            token: text,
        }
    }
}

pub(crate) async fn token(context: &Context, command: TokenCommand) -> Result<(), Failure> {
    let client = context.trust()?;
    match command {
        TokenCommand::Create { kind, uses, lifetime, node } => {
            let made = client.create_join_token(kind.into(), uses, lifetime, node).await?;
            let value = TokenOut::of(&made.kept, Some(made.text.clone()));
            context.print(|| created(&made.text, &made.kept), value)
        }
        TokenCommand::Ls => {
            let tokens = client.join_tokens().await?;
            let now = context.now();
            let values: Vec<TokenOut> = tokens.iter().map(|token| TokenOut::of(token, None)).collect();
            context.print(|| list(&tokens, now), values)
        }
        TokenCommand::Revoke { id } => {
            client.revoke_join_token(id).await?;
            context.print(|| format!("Nobody joins with token {id} any more.\n"), IdOut { revoked: id.to_string() })
        }
    }
}

#[derive(Debug, Serialize)]
struct IdOut {
    revoked: String,
}

/// The token stands on a line of its own, so that a script may take it.
fn created(text: &str, token: &JoinToken) -> String {
    let uses = match token.uses_left {
        1 => "once".to_owned(),
        uses => format!("{uses} times"),
    };
    let what = match token.kind {
        JoinKind::Node => "a node",
        JoinKind::Member => "a member of the control plane",
    };
    format!(
        "{text}\n\nIt lets {what} join, {uses}, until {}. On that machine:\n  orlopctl join https://ADDRESS --token TOKEN\n",
        time(token.expires_at)
    )
}

fn list(tokens: &[JoinToken], now: Timestamp) -> String {
    if tokens.is_empty() {
        return "There are no join tokens; `orlopctl token create` makes one.\n".to_owned();
    }
    let row = |token: &JoinToken| {
        let state = match (token.uses_left, now >= token.expires_at) {
            (_, true) => "expired".to_owned(),
            (0, _) => "used up".to_owned(),
            (uses, _) => format!("{uses} left"),
        };
        let node = token.node.map(|node| node.to_string()).unwrap_or_default();
        vec![token.id.to_string(), token.kind.to_string(), state, time(token.expires_at), node]
    };
    table(&["TOKEN", "FOR", "USES", "EXPIRES", "NODE"], &tokens.iter().map(row).collect::<Vec<_>>())
}

pub(crate) async fn revoke(context: &Context, args: RevokeArgs) -> Result<(), Failure> {
    context.trust()?.revoke_identity(args.identity).await?;
    let identity = args.identity.to_string();
    let text = format!("The certificates of {identity} are refused. It joins again with a new token.\n");
    context.print(|| text, IdOut { revoked: identity })
}
