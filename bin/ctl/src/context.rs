//! What every command has: the address, the way to print, the clock.

use crate::args::Format;
use crate::contexts::Contexts;
use crate::failure::{FAILED, Failure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use orlop_client::{ADDRESS_DEFAULT, Address, AdminClient, Credentials, OperatorClient, TrustClient};
use orlop_model::Timestamp;
use serde::Serialize;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::SystemTime;

/// Handed to each command.
#[derive(Debug)]
pub(crate) struct Context {
    address: Option<Address>,
    context: Option<String>,
    pub(crate) format: Format,
}

impl Context {
    pub(crate) fn new(address: Option<Address>, context: Option<String>, format: Format) -> Self {
        Self { address, context, format }
    }

    /// Where to call, and as whom: an address of this machine needs nobody; a member is called as whoever logged in.
    fn caller(&self) -> Result<(Address, Credentials), Failure> {
        let local = |address: &Address| !matches!(address, Address::Members(_));
        if let Some(address) = self.address.as_ref().filter(|address| local(address) && self.context.is_none()) {
            return Ok((address.clone(), Credentials::None));
        }
        let contexts = Contexts::read(&Contexts::path()?)?;
        match (contexts.find(self.context.as_deref())?, &self.address) {
            (Some(login), address) => {
                let address = address.clone().map_or_else(|| login.address(), Ok)?;
                Ok((address, login.credentials()?))
            }
            (None, None) => Ok((ADDRESS_DEFAULT.parse().map_err(orlop_client::Error::from)?, Credentials::None)),
            (None, Some(address)) => Err(Failure::usage(format!(
                "{address} wants to know who calls; log in first: orlopctl login {address}"
            ))),
        }
    }

    /// A client of the control plane.
    pub(crate) fn client(&self) -> Result<OperatorClient, Failure> {
        let (address, credentials) = self.caller()?;
        Ok(OperatorClient::with_credentials(address, &credentials)?)
    }

    /// A client of the calls about the cluster itself.
    pub(crate) fn admin(&self) -> Result<AdminClient, Failure> {
        let (address, credentials) = self.caller()?;
        Ok(AdminClient::new(address, &credentials)?)
    }

    /// A client of the calls about who is who.
    pub(crate) fn trust(&self) -> Result<TrustClient, Failure> {
        let (address, credentials) = self.caller()?;
        Ok(TrustClient::new(address, &credentials)?)
    }

    /// The time now.
    pub(crate) fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    /// Prints an answer: the text for people, or the value for programs.
    pub(crate) fn print(&self, text: impl FnOnce() -> String, value: impl Serialize) -> Result<(), Failure> {
        print_text(&self.format(text, value, Layout::Document)?)
    }

    /// Prints a list, below a warning if there is one; programs get it on standard error, since a list has no place for it.
    pub(crate) fn print_list(
        &self,
        warning: &str,
        text: impl FnOnce() -> String,
        value: impl Serialize,
    ) -> Result<(), Failure> {
        if self.format != Format::Table && !warning.is_empty() {
            eprint!("orlopctl: {warning}");
        }
        self.print(|| format!("{warning}{}{}", if warning.is_empty() { "" } else { "\n" }, text()), value)
    }

    /// Prints one of many answers: for programs, json on one line each, yaml as documents.
    pub(crate) fn print_one(&self, text: impl FnOnce() -> String, value: impl Serialize) -> Result<(), Failure> {
        print_text(&self.format(text, value, Layout::Stream)?)
    }

    fn format(&self, text: impl FnOnce() -> String, value: impl Serialize, layout: Layout) -> Result<String, Failure> {
        let defect = |error: &dyn std::fmt::Display| Failure::new(FAILED, format!("cannot print the answer: {error}"));
        match (self.format, layout) {
            (Format::Table, _) => Ok(text()),
            (Format::Json, Layout::Document) => serde_json::to_string_pretty(&value).map_err(|e| defect(&e)),
            (Format::Json, Layout::Stream) => serde_json::to_string(&value).map_err(|e| defect(&e)),
            (Format::Yaml, Layout::Document) => serde_saphyr::to_string(&value).map_err(|e| defect(&e)),
            (Format::Yaml, Layout::Stream) => {
                serde_saphyr::to_string(&value).map(|yaml| format!("---\n{yaml}")).map_err(|e| defect(&e))
            }
        }
    }
}

enum Layout {
    Document,
    Stream,
}

/// Waits until nobody reads standard output any more: the other end of a pipe was closed (`orlopctl events -w | head`).
/// For ever, where that does not come: a file is always read.
pub(crate) async fn reader_gone() {
    // A thread of its own, because the system has no other way to wait for nothing but the end of a pipe.
    let watching = tokio::task::spawn_blocking(|| {
        let out = std::io::stdout();
        loop {
            // An end is told although no other event is asked for.
            let mut watched = [PollFd::new(out.as_fd(), PollFlags::empty())];
            match poll(&mut watched, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                outcome => return outcome.is_ok(),
            }
        }
    });
    if !watching.await.unwrap_or(false) {
        std::future::pending().await
    }
}

/// Writes to standard output, with a newline at the end.
pub(crate) fn print_text(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.is_empty() && !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}
