//! A list that is read page by page (AIP-158), each page a call.

use std::future::IntoFuture;

use futures_util::future::BoxFuture;

use crate::authoring::context::Context;
use crate::failure::Failure;
use crate::rpc::Paged;

impl Context {
    /// Reads a list page by page (AIP-158), each page a call of its own: `ctx.pages(request).up_to(1_000).await?`. The
    /// request says where to begin and how large a page is. Generated for every method with the fields of AIP-158.
    pub fn pages<R: Paged>(&self, request: R) -> Pages<'_, R> {
        Pages::build(self, request)
    }
}

/// A list that [`Context::pages`] reads; say with [`Pages::up_to`] how many items at most.
#[must_use = "a list is read when it is awaited"]
#[derive(Debug)]
pub struct Pages<'c, R> {
    ctx: &'c Context,
    request: R,
}

/// A list with a bound. Awaited, it returns the items; [`BoundedPages::with_token`] returns the token of the next page too.
#[must_use = "a list is read when it is awaited"]
#[derive(Debug)]
pub struct BoundedPages<'c, R> {
    ctx: &'c Context,
    request: R,
    limit: usize,
}

impl<'c, R: Paged> Pages<'c, R> {
    pub(crate) fn build(ctx: &'c Context, request: R) -> Self {
        Self { ctx, request }
    }

    /// Reads until the last page, or until there are `limit` items.
    pub fn up_to(self, limit: usize) -> BoundedPages<'c, R> {
        BoundedPages { ctx: self.ctx, request: self.request, limit }
    }
}

impl<R: Paged> BoundedPages<'_, R> {
    /// Returns the items, and the token of the page after them; the token is empty if there is no such page. No item
    /// lies between the last item and that page: the last pages ask for fewer items, so that none is cut off.
    ///
    /// # Errors
    /// Returns the failure of the page that could not be read.
    pub async fn with_token(self) -> Result<(Vec<R::Item>, String), Failure> {
        let Self { ctx, mut request, limit } = self;
        let mut items = Vec::new();
        let page_size = request.page_size();
        while items.len() < limit {
            let left = i32::try_from(limit - items.len()).unwrap_or(i32::MAX);
            request.set_page_size(if page_size > 0 { page_size.min(left) } else { left });
            let (more, next_page_token) = R::into_page(ctx.call(request.clone()).await?);
            items.extend(more);
            if items.len() >= limit || next_page_token.is_empty() {
                return Ok((items, next_page_token));
            }
            request.set_page_token(next_page_token);
        }
        Ok((items, String::new()))
    }

    async fn items(self) -> Result<Vec<R::Item>, Failure> {
        let Self { ctx, mut request, limit } = self;
        let mut items = Vec::new();
        while items.len() < limit {
            let (more, next_page_token) = R::into_page(ctx.call(request.clone()).await?);
            items.extend(more);
            if next_page_token.is_empty() {
                break;
            }
            request.set_page_token(next_page_token);
        }
        items.truncate(limit);
        Ok(items)
    }
}

impl<'c, R: Paged> IntoFuture for BoundedPages<'c, R> {
    type Output = Result<Vec<R::Item>, Failure>;
    type IntoFuture = BoxFuture<'c, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.items())
    }
}
