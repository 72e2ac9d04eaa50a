//! Pages of a list (AIP-158). A token names the last item of its page, so items that come or go shift nothing.

use std::collections::BTreeMap;

use tonic::Status;

/// Items a page holds where the request does not say.
pub(crate) const DEFAULT: usize = 100;
/// Items a page holds at most.
pub(crate) const MOST: usize = 1_000;

/// One page of items that come with their keys, and the token of the next page, empty on the last.
///
/// # Errors
/// INVALID_ARGUMENT for a negative size.
pub(crate) fn page<T>(
    items: impl IntoIterator<Item = (String, T)>,
    size: i32,
    token: &str,
    default: usize,
    most: usize,
) -> Result<(Vec<T>, String), Status> {
    let size = match usize::try_from(size) {
        Ok(0) => default,
        Ok(size) => size.min(most),
        Err(_) => return Err(Status::invalid_argument(format!("page_size must not be negative, was {size}"))),
    };
    let mut rest = items.into_iter().collect::<BTreeMap<String, T>>();
    if !token.is_empty() {
        rest = rest.split_off(token);
        rest.remove(token);
    }
    let more = rest.len() > size;
    let mut last = String::new();
    let mut page = Vec::with_capacity(size.min(rest.len()));
    for (key, item) in rest.into_iter().take(size) {
        last = key;
        page.push(item);
    }
    Ok((page, if more { last } else { String::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: u32) -> impl Iterator<Item = (String, u32)> {
        (0..count).map(|n| (format!("{n:03}"), n))
    }

    #[test]
    fn pages_together_hold_every_item_once() {
        let (mut all, mut token) = (Vec::new(), String::new());
        loop {
            let (items, next) = page(numbers(25), 10, &token, DEFAULT, MOST).unwrap();
            all.extend(items);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(all, (0..25).collect::<Vec<_>>());
    }

    #[test]
    fn items_that_left_the_list_shift_no_page() {
        let (_, token) = page(numbers(25), 10, "", DEFAULT, MOST).unwrap();
        let (second, _) = page(numbers(25).skip(10), 10, &token, DEFAULT, MOST).unwrap();
        assert_eq!(second, (10..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_page_that_holds_exactly_the_rest_is_the_last() {
        let (items, next) = page(numbers(10), 10, "", DEFAULT, MOST).unwrap();
        assert_eq!((items.len(), next.as_str()), (10, ""));
    }

    #[test]
    fn a_negative_size_is_refused() {
        let status = page(numbers(1), -1, "", DEFAULT, MOST).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
    }
}
