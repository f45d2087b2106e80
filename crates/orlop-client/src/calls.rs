//! Calls that carry an operator's token, where there is one.

use crate::address::{Address, InvalidAddress};
use crate::channel::channel;
use crate::credentials::Credentials;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// What clients of the control plane's services are made over.
pub type Calls = InterceptedService<Channel, Bearer>;

/// Puts the token into each call.
#[derive(Debug, Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Calls to the control plane at an address, as whoever the credentials say. Must be called in a tokio runtime.
///
/// # Errors
/// When the credentials do not go with the address.
pub fn calls(address: &Address, credentials: &Credentials) -> Result<Calls, InvalidAddress> {
    let invalid = |_| InvalidAddress { found: address.to_string(), problem: "the token has characters that none has" };
    let bearer = credentials.token().map(|token| {
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(invalid)?;
        value.set_sensitive(true);
        Ok(value)
    });
    Ok(InterceptedService::new(channel(address, credentials)?, Bearer(bearer.transpose()?)))
}
