//! Logs: constant messages with fields, to stderr, for people or for machines.

use std::fmt::Debug;
use std::io::{IsTerminal, Write};

use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::configuration::{Log, LogFormat};
use crate::text::{plain, plain_lines};

/// Starts logging, panics included. A second call in one process changes nothing.
pub(crate) fn start(log: &Log) {
    let filter: Targets = log.filter.parse().unwrap_or_default();
    let is_terminal = std::io::stderr().is_terminal();
    let for_people = match log.format {
        LogFormat::Auto => is_terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let lines = layer(for_people, is_terminal, std::io::stderr);
    if tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
}

fn layer<W: Write + 'static>(
    for_people: bool,
    ansi: bool,
    open: impl Fn() -> W + Send + Sync + 'static,
) -> Box<dyn Layer<Registry> + Send + Sync> {
    if for_people {
        let fields = fmt::format::debug_fn(write_field).delimited(" ");
        fmt::layer().with_writer(open).with_ansi(ansi).with_target(false).fmt_fields(fields).boxed()
    } else {
        let lines = fmt::layer().json().with_writer(move || PlainLines(open()));
        lines.flatten_event(true).with_current_span(false).boxed()
    }
}

/// One field for people. Its value may be a text of others, which neither steers the terminal nor begins a line.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    let value = format!("{value:?}");
    let value = plain(&value);
    match field.name() {
        "message" => write!(writer, "{value}"),
        name if writer.has_ansi_escapes() => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}"),
        name => write!(writer, "{name}={value}"),
    }
}

/// Lines of JSON, which leaves some characters as they are that a terminal acts on.
struct PlainLines<W>(W);

impl<W: Write> Write for PlainLines<W> {
    /// Each write is a whole event.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(plain_lines(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// A supervised task survives its panic, and the log tells of it. A panic of a workflow is logged with its run.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    if engine::panics::is_caught() {
        return;
    }
    let message = panic.payload_as_str().unwrap_or_default();
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(message, location, "panic");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const HOSTILE: &str = "no \x1b]0;t\x07\n2026 ERROR spoofed \u{9b}2J\u{202e}";

    #[test]
    fn a_text_of_others_neither_steers_a_terminal_nor_begins_a_line_of_the_log() {
        for for_people in [true, false] {
            let kept = Kept::default();
            let layer = layer(for_people, false, {
                let kept = kept.clone();
                move || kept.clone()
            });
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                tracing::info!(error = %HOSTILE, text = HOSTILE, debug = ?HOSTILE, "it failed: {HOSTILE}");
            });
            let text = kept.text();
            assert_eq!(text.lines().count(), 1, "{text:?}");
            assert!(!text.trim_end_matches('\n').contains(crate::text::is_hidden), "{text:?}");
            assert!(text.contains("spoofed"), "{text}");
        }
    }
}
