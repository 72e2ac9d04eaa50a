//! The statements that this process has sent, for the tests that read them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio_postgres::types::Type;

use crate::parameter::Parameter;

/// Each with the types of its parameters.
static SEEN: Mutex<BTreeMap<String, Vec<Type>>> = Mutex::new(BTreeMap::new());

/// How many were sent.
static SENT: AtomicU64 = AtomicU64::new(0);

/// How many statements this process has sent.
pub fn sent() -> u64 {
    SENT.load(Ordering::Relaxed)
}

pub(crate) fn seen(statement: &str, params: &[&dyn Parameter]) {
    SENT.fetch_add(1, Ordering::Relaxed);
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if !seen.contains_key(statement) {
        seen.insert(statement.to_owned(), params.iter().map(|param| param.kind()).collect());
    }
}

/// All of them, each once.
pub fn all() -> Vec<String> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
}

/// The same with the type beside each parameter, so that the server can explain them.
pub fn with_types() -> Vec<String> {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let typed = seen.iter().map(|(statement, types)| {
        // The last first: the number of the first one begins the numbers of others.
        types.iter().enumerate().rev().fold(statement.clone(), |statement, (index, kind)| {
            let number = index + 1;
            statement.replace(&format!("${number}"), &format!("$\u{0}{number}::{}", kind.name()))
        })
    });
    typed.map(|statement| statement.replace('\u{0}', "")).collect()
}
