//! What the build script made of `proto/`.
#![expect(clippy::allow_attributes, reason = "tonic writes them into the code that it generates")]

include!(concat!(env!("OUT_DIR"), "/contracts/mod.rs"));
