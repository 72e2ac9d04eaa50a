//! The orchestration microservice of Guras: the one room where configuration, engine, clients and admin API meet.

pub mod admin;
pub mod background_services;
pub mod command_line;
pub mod configuration;
mod contracts;
mod descriptors;
pub mod health;
mod logs;
pub mod serve;
mod services;
mod text;
pub mod workflows;
