//! The results of a fan-out, and what an author counts of them.

use std::iter::Sum;

use crate::failure::Failure;

/// The result of every item of a fan-out, in the order of the items.
///
/// ```
/// # use engine::{Context, Failure};
/// # use std::time::Duration;
/// async fn remind(ctx: &Context, users: Vec<String>) -> Result<(u32, u32), Failure> {
///     let results = ctx
///         .fan_out("user", users, |ctx, _user| async move { ctx.sleep("pause", Duration::from_secs(1)).await })
///         .key(|user| user.clone())
///         .await;
///     Ok((results.succeeded(), results.failed()))
/// }
/// ```
#[derive(Debug)]
pub struct FanOutResults<T> {
    items: Vec<(String, ItemResult<T>)>,
}

/// The result of one item of a fan-out.
#[derive(Debug)]
pub enum ItemResult<T> {
    /// The branch of the item returned this value.
    Done(T),
    /// The branch of the item failed.
    Failed(Failure),
    /// An earlier item has the same key, so this one has no branch (F6).
    Duplicate,
}

impl<T> FanOutResults<T> {
    pub(super) fn new(items: Vec<(String, ItemResult<T>)>) -> Self {
        Self { items }
    }

    /// Returns the number of items whose branch returned a value.
    pub fn succeeded(&self) -> u32 {
        number(self.done().count())
    }

    /// Returns the number of items whose branch failed.
    pub fn failed(&self) -> u32 {
        number(self.items.iter().filter(|(_, result)| matches!(result, ItemResult::Failed(_))).count())
    }

    /// Returns the number of items whose key an earlier item has.
    pub fn duplicates(&self) -> u32 {
        number(self.items.iter().filter(|(_, result)| matches!(result, ItemResult::Duplicate)).count())
    }

    /// Returns the number of items without the duplicates.
    pub fn unique(&self) -> u32 {
        number(self.items.len()).saturating_sub(self.duplicates())
    }

    /// Returns the number of items whose branch returned a value for which `which` is true.
    pub fn count(&self, which: impl Fn(&T) -> bool) -> u32 {
        number(self.done().filter(|(_, value)| which(value)).count())
    }

    /// Adds up a number of every item whose branch returned a value.
    pub fn sum<N: Sum<N>>(&self, of: impl Fn(&T) -> N) -> N {
        self.done().map(|(_, value)| of(value)).sum()
    }

    /// Returns the key and the value of every item whose branch returned one, in the order of the items.
    pub fn done(&self) -> impl Iterator<Item = (&str, &T)> {
        self.iter().filter_map(|(key, result)| match result {
            ItemResult::Done(value) => Some((key, value)),
            ItemResult::Failed(_) | ItemResult::Duplicate => None,
        })
    }

    /// Returns the key and the result of every item, in the order of the items.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ItemResult<T>)> {
        self.items.iter().map(|(key, result)| (key.as_str(), result))
    }

    /// Returns the values of all items in their order. Duplicates have no value.
    ///
    /// # Errors
    /// Returns the failure of the first item, in the order of the items, that failed.
    pub fn values(self) -> Result<Vec<T>, Failure> {
        self.items
            .into_iter()
            .filter_map(|(_, result)| match result {
                ItemResult::Done(value) => Some(Ok(value)),
                ItemResult::Failed(failure) => Some(Err(failure)),
                ItemResult::Duplicate => None,
            })
            .collect()
    }
}

fn number(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}
