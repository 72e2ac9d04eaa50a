//! Lists that are shown whole, page by page (AIP-158).

use super::exit::CommandError;

/// How many entries to ask for at a time.
pub(super) const PAGE_SIZE: i32 = 1_000;

/// The most pages that are asked for: a server that always has one more is not followed for ever.
const MOST_PAGES: usize = 10_000;

/// Asks for every page: `page` takes a token, keeps what the page has, and returns the token of the next one.
pub(super) async fn all_pages(
    mut page: impl AsyncFnMut(String) -> Result<String, CommandError>,
) -> Result<(), CommandError> {
    let mut token = String::new();
    for _ in 0..MOST_PAGES {
        token = page(token).await?;
        if token.is_empty() {
            return Ok(());
        }
    }
    Err(CommandError::failed(format!("the list has more than {MOST_PAGES} pages of {PAGE_SIZE}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_page_is_asked_for_once_and_no_list_is_endless() {
        let mut asked = Vec::new();
        let pages = all_pages(async |token| {
            asked.push(token);
            Ok(if asked.len() < 3 { asked.len().to_string() } else { String::new() })
        });
        pages.await.unwrap();
        assert_eq!(asked, ["", "1", "2"]);
        assert!(all_pages(async |_| Ok(String::from("more"))).await.is_err());
    }
}
