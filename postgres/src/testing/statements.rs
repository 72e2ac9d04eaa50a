//! The statements that this process has sent, for the tests that read them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio_postgres::types::Type;

use crate::parameter::Parameter;

/// Each with the types of its parameters.
static SEEN: Mutex<BTreeMap<&'static str, Vec<Type>>> = Mutex::new(BTreeMap::new());

/// How many were sent.
static SENT: AtomicU64 = AtomicU64::new(0);

/// How many statements this process has sent.
pub fn sent() -> u64 {
    SENT.load(Ordering::Relaxed)
}

pub(crate) fn seen(statement: &'static str, params: &[&dyn Parameter]) {
    SENT.fetch_add(1, Ordering::Relaxed);
    let types = || params.iter().map(|param| param.kind()).collect();
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).entry(statement).or_insert_with(types);
}

/// All of them, each once.
pub fn all() -> Vec<&'static str> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
}

/// The same with the type beside each parameter, so that the server can explain them.
pub fn with_types() -> Vec<String> {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let typed = seen.iter().map(|(statement, types)| {
        // The last first: the number of the first one begins the numbers of others.
        types.iter().enumerate().rev().fold((*statement).to_owned(), |statement, (index, kind)| {
            let number = index + 1;
            statement.replace(&format!("${number}"), &format!("$\u{0}{number}::{}", kind.name()))
        })
    });
    typed.map(|statement| statement.replace('\u{0}', "")).collect()
}
