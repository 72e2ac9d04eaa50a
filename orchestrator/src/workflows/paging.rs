//! Reads lists page by page (AIP-158), each page a step.

use engine::rpc::Rpc;
use engine::{Context, Failure};

/// A page: its items, and the token of the next page, which is empty on the last.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next_token: String,
}

/// Reads pages until the last one or until there are `limit` items.
///
/// `request` makes the request for a page token; `page` turns the response into a [`Page`].
pub(super) async fn read_all<R: Rpc, T>(
    ctx: &Context,
    limit: usize,
    request: impl Fn(String) -> R,
    page: impl Fn(R::Response) -> Page<T>,
) -> Result<Vec<T>, Failure> {
    let mut items = Vec::new();
    let mut token = String::new();
    loop {
        let Page { items: more, next_token } = page(ctx.call(request(token)).await?);
        items.extend(more);
        if items.len() >= limit || next_token.is_empty() {
            items.truncate(limit);
            return Ok(items);
        }
        token = next_token;
    }
}

/// Reads pages, beginning with a token, until the last one or until there are `limit` items. No item is skipped: the
/// returned token is that of the next page.
///
/// `request` makes the request for a page token and a page size; `page` turns the response into a [`Page`].
pub(super) async fn read_on<R: Rpc, T>(
    ctx: &Context,
    mut token: String,
    limit: u16,
    page_size: u16,
    request: impl Fn(String, i32) -> R,
    page: impl Fn(R::Response) -> Page<T>,
) -> Result<Page<T>, Failure> {
    let mut items = Vec::new();
    loop {
        let left = usize::from(limit).saturating_sub(items.len());
        let size = usize::from(page_size).min(left);
        let Page { items: more, next_token } = page(ctx.call(request(token, count(size))).await?);
        items.extend(more);
        if items.len() >= limit.into() || next_token.is_empty() {
            return Ok(Page { items, next_token });
        }
        token = next_token;
    }
}

/// A positive number of the input, or the default for zero; at most `most`.
pub(super) fn bounded(value: i32, default: u16, most: u16) -> u16 {
    match value {
        ..=0 => default,
        value => u16::try_from(value).unwrap_or(most).min(most),
    }
}

/// A count for a message.
pub(super) fn count(items: usize) -> i32 {
    i32::try_from(items).unwrap_or(i32::MAX)
}
