//! What is presented as text: join tokens, operators' tokens, and what `orlopctl login` takes.

mod join;
mod login;
pub mod operator;

pub use join::{InvalidToken, JoinToken};
pub use login::Login;
