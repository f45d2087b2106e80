//! `logs`.

use crate::args::{Format, LogsArgs};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{LogOut, nanos};
use orlop_client::{Error, LogLine, LogQuery, OperatorClient, find};
use orlop_model::{ReplicaId, ServiceRef};
use std::io::Write;

/// Prints lines as they come.
pub(crate) async fn logs(context: &Context, args: LogsArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let (service, replica) = target(&client, &args).await?;
    let query = LogQuery {
        service,
        replica,
        follow: args.follow,
        since: args.since.map(|since| since.at(context.now())),
        tail: args.tail,
    };
    let mut lines = match client.logs(&query).await {
        Ok(lines) => lines,
        Err(error) => return Err(better(&client, &query.service, error).await.into()),
    };
    let mut out = std::io::stdout().lock();
    loop {
        let line = match lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(out.flush()?),
            Err(error) => return Err(better(&client, &query.service, error).await.into()),
        };
        match context.format {
            Format::Table => write_line(&mut out, &line, args.timestamps)?,
            Format::Json | Format::Yaml => {
                out.flush()?;
                context.print_one(String::new, LogOut::of(&line))?;
            }
        }
        // Many lines that came together are written together.
        if !lines.is_ready() {
            out.flush()?;
        }
    }
}

/// Which service's logs, and of which replica. A service or replica that is gone may still have logs, so what can be a
/// name is taken as one.
async fn target(client: &OperatorClient, args: &LogsArgs) -> Result<(ServiceRef, Option<ReplicaId>), Failure> {
    let by_id = args.name.starts_with("rep_") || args.name.matches('/').count() == 2;
    if by_id {
        if args.replica.is_some() {
            return Err(Failure::usage(format!("{} is a replica already: leave out --replica", args.name)));
        }
        let state = client.state(None).await?;
        let replica = find::replica(&state, &args.name)?;
        return Ok((replica.service.clone(), Some(replica.id)));
    }
    let service: ServiceRef = match args.name.parse() {
        Ok(service) => service,
        Err(_) => find::service(&client.state(None).await?, &args.name)?.name.clone(),
    };
    let replica = match &args.replica {
        None => None,
        Some(text) => Some(match text.parse::<ReplicaId>() {
            Ok(id) => id,
            Err(_) => {
                let state = client.state(None).await?;
                let name = if text.parse::<u32>().is_ok() { format!("{service}/{text}") } else { text.clone() };
                find::replica(&state, &name)?.id
            }
        }),
    };
    Ok((service, replica))
}

/// A miss is answered with the names that there are.
async fn better(client: &OperatorClient, service: &ServiceRef, error: Error) -> Error {
    match error {
        Error::NotFound(_) => match client.state(None).await {
            Ok(state) => find::service(&state, &service.to_string()).err().unwrap_or(error),
            Err(_) => error,
        },
        error => error,
    }
}

fn write_line(out: &mut impl Write, line: &LogLine, timestamps: bool) -> std::io::Result<()> {
    if timestamps {
        write!(out, "{} ", nanos(line.at_ns))?;
    }
    write!(out, "{} | ", line.slot)?;
    out.write_all(&line.text)?;
    out.write_all(b"\n")
}
