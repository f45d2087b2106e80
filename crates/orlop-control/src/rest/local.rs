//! Listeners on which being on this machine is all that is asked of a caller.
//!
//! A browser on this machine runs pages from anywhere. It lets none of them read other origins or send them JSON, but it
//! takes a page of `evil.example` to be at home here as soon as that name is given a loopback address. So a request must
//! say itself that it is meant for this machine.

use super::problem::Problem;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::StatusCode;
use http::header::HOST;
use http::uri::Authority;
use std::net::IpAddr;

/// Refuses requests that are for a name other than this machine's own.
pub(crate) fn for_this_machine(router: Router) -> Router {
    router.layer(from_fn(refuse_others))
}

async fn refuse_others(request: Request, next: Next) -> Response {
    let header = || request.headers().get(HOST)?.to_str().ok()?.parse::<Authority>().ok();
    let asked = request.uri().authority().cloned().or_else(header);
    match asked {
        Some(asked) if is_here(asked.host()) => next.run(request).await,
        asked => {
            let asked = asked.map_or_else(|| "nobody".to_owned(), |asked| format!("{:?}", asked.host()));
            let detail = format!("the request is for {asked}; only this machine is served here");
            let remedy = "ask for localhost or 127.0.0.1";
            Problem::new(StatusCode::MISDIRECTED_REQUEST, "other_host", detail, remedy).into_response()
        }
    }
}

fn is_here(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_here() {
        for here in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.0.1", "[::1]"] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in ["evil.example", "localhost.evil.example", "10.0.0.1", "[::]", "127.0.0.1.nip.example", ""] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}
