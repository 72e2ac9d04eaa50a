//! The contracts of Guras: messages, clients and servers of everything under `proto/`, and what each method promises.
//!
//! A package is a module: `guras.users.v1` is [`guras::users::v1`].

#![warn(missing_docs)]

::transport::include_contracts!();
