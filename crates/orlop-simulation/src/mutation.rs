//! Known bugs, put in on purpose, to see that they are found. They live in what the simulation puts around members, never
//! in a member.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mutation {
    /// The disk says that a write of the log is durable, and most are not.
    SkipSync,
    /// The disk says that a file is durable, and it is not.
    SkipFileSync,
    /// A vote is not written down.
    DropVote,
    /// Some commands are applied again after the next one.
    ApplyTwice,
    /// A member reads what it has without asking how far the others are.
    SkipReadIndex,
    /// A plan is taken whoever has the lease.
    IgnoreFence,
    /// What is reported of another generation is taken for what is placed.
    IgnoreGeneration,
    /// A snapshot that is sent to another member comes with the members that the cluster had in the beginning.
    StaleMembership,
}
