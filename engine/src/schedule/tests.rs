//! Nominal times against independent oracles, and what must hold for any spec.

mod properties;
mod specs;
mod transitions;
