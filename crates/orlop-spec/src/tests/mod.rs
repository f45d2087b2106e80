//! Properties of the format as a whole. What is said about particular files stands in `tests/`.

mod agreement;
mod limits;
mod mutations;
mod reference;
mod samples;
mod validator;
