//! Known bugs, put in on purpose, to see that they are found.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mutation {
    /// The disk says that a write is durable, and most are not.
    SkipSync,
    /// A vote is not written down.
    DropVote,
}
