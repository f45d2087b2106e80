//! Several nodes, through the binaries: hosts on a switch, packets between them, nodes that are cut off and come back.

mod losing;
mod members;
mod relay;
mod spreading;
mod world;
