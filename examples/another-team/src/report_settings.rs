//! A background service: says now and then which carrier is in force.

use std::time::Duration;

use server::background_services::{BackgroundService, Parts, Periodic};

use crate::Settings;

pub(crate) fn report_settings(parts: &Parts) -> impl BackgroundService + use<> {
    let settings: Settings = parts.own.read().unwrap_or_default();
    let every = Duration::from_secs(settings.report_seconds.max(1).into());
    Periodic::new("report-settings", every, move || {
        tracing::info!(carrier = settings.carrier, "parcels are dispatched");
        std::future::ready(Ok(()))
    })
}
