//! `login`, `context` and `whoami`.

use super::operator::OperatorOut;
use super::read_whole;
use crate::args::trust::{ContextCommand, LoginArgs};
use crate::context::Context;
use crate::contexts::{Contexts, Login};
use crate::failure::{FAILED, Failure};
use crate::render::table::table;
use orlop_client::{Address, Credentials, TrustClient};
use orlop_identity::token;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct CallerOut {
    caller: String,
    cluster: String,
    operator: Option<OperatorOut>,
}

pub(crate) async fn who_am_i(context: &Context) -> Result<(), Failure> {
    let found = context.trust()?.who_am_i().await?;
    let operator = found.operator.as_ref().map(OperatorOut::from);
    let value = CallerOut { caller: found.name.clone(), cluster: found.cluster.to_string(), operator };
    let may = found.operator.as_ref().map_or_else(String::new, |operator| {
        let patterns: Vec<String> = operator.deployments.iter().map(ToString::to_string).collect();
        format!(", {} of {}", operator.role, patterns.join(", "))
    });
    context.print(|| format!("{} at cluster {}{may}\n", found.name, found.cluster), value)
}

#[derive(Debug, Serialize)]
struct ContextOut {
    name: String,
    address: String,
    caller: String,
    current: bool,
}

/// Keeps a token, after the cluster has said whose it is. The first connection believes nobody but the authority whose
/// fingerprint goes with the token.
pub(crate) async fn login(context: &Context, args: LoginArgs) -> Result<(), Failure> {
    let Address::Members(_) = &args.control_plane else {
        return Err(Failure::usage("login dials other machines: give https://HOST[:PORT]"));
    };
    let path = Contexts::path()?;
    let mut contexts = Contexts::read(&path)?;
    let text = String::from_utf8(read_whole(&args.token_file)?)
        .map_err(|_| Failure::usage("the token is no text; give what `orlopctl operator token` printed"))?;
    // What `operator token` prints has an explanation below the token.
    let first = text.lines().next().unwrap_or_default().trim();
    let given: token::Login = first.parse().map_err(|e: token::InvalidToken| Failure::usage(e.to_string()))?;
    let credentials = Credentials::Login { fingerprint: given.fingerprint, token: given.token.as_str().into() };
    let found = TrustClient::new(args.control_plane.clone(), &credentials)?.who_am_i().await?;
    let authority = found.authority.filter(|authority| authority.fingerprint() == given.fingerprint);
    let authority = authority
        .ok_or_else(|| Failure::new(FAILED, "the control plane did not show the authority that the token pins"))?;
    let login = Login::new(&args.control_plane, &found.name, &authority, &given.token);
    contexts.contexts.insert(args.name.clone(), login);
    contexts.current = Some(args.name.clone());
    contexts.write(&path)?;
    let (name, caller) = (args.name, found.name);
    let text = format!("Logged in as {caller} at cluster {}; orlopctl uses the context {name} now.\n", found.cluster);
    context.print(|| text, ContextOut { name, address: args.control_plane.to_string(), caller, current: true })
}

pub(crate) fn context(context: &Context, command: ContextCommand) -> Result<(), Failure> {
    let path = Contexts::path()?;
    let mut contexts = Contexts::read(&path)?;
    match command {
        ContextCommand::Ls => {}
        ContextCommand::Use { name } => {
            contexts.find(Some(&name))?;
            contexts.current = Some(name);
            contexts.write(&path)?;
        }
        ContextCommand::Rm { name } => {
            contexts.find(Some(&name))?;
            contexts.contexts.remove(&name);
            contexts.current = contexts.current.filter(|current| *current != name);
            contexts.write(&path)?;
        }
    }
    let out = |(name, login): (&String, &Login)| ContextOut {
        name: name.clone(),
        address: login.address.clone(),
        caller: login.caller.clone(),
        current: contexts.current.as_ref() == Some(name),
    };
    let values: Vec<ContextOut> = contexts.contexts.iter().map(out).collect();
    let row = |value: &ContextOut| {
        let current = if value.current { "*" } else { "" };
        vec![current.to_owned(), value.name.clone(), value.address.clone(), value.caller.clone()]
    };
    let rows: Vec<Vec<String>> = values.iter().map(row).collect();
    context.print(|| table(&["", "CONTEXT", "ADDRESS", "WHO"], &rows), values)
}
