//! Several single steps at the same time.

use super::Step;
use crate::authoring::context::Context;
use crate::failure::Failure;

impl Context {
    /// Makes steps at the same time, and waits until every one has settled before it reports the first error
    /// in their order. Takes a tuple of up to eight steps, or a `Vec` of equal ones.
    ///
    /// # Errors
    /// The failure of the first step, in order, that failed.
    pub async fn all<T: JoinSteps>(&self, steps: T) -> Result<T::Values, Failure> {
        settle(steps).await
    }
}

/// Steps that continue at the same time: a tuple of up to eight, or a `Vec` of equal ones.
///
/// Built before any is polled, so their places do not depend on which answers first.
pub trait JoinSteps {
    /// What all of them bring.
    type Values;

    /// Waits until every one has settled.
    fn settle(self) -> impl Future<Output = Result<Self::Values, Failure>> + Send;
}

pub(crate) async fn settle<T: JoinSteps>(steps: T) -> Result<T::Values, Failure> {
    steps.settle().await
}

impl<S> JoinSteps for Vec<S>
where
    S: Step + Send,
    S::Value: Send,
{
    type Values = Vec<S::Value>;

    async fn settle(self) -> Result<Self::Values, Failure> {
        futures_util::future::join_all(self).await.into_iter().collect()
    }
}

macro_rules! tuple {
    ($($step:ident)+) => {
        impl<$($step),+> JoinSteps for ($($step,)+)
        where
            $($step: Step + Send, $step::Value: Send,)+
        {
            type Values = ($($step::Value,)+);

            #[expect(non_snake_case, reason = "type names double as the names of their values")]
            async fn settle(self) -> Result<Self::Values, Failure> {
                let ($($step,)+) = self;
                let ($($step,)+) = futures_util::join!($($step),+);
                Ok(($($step?,)+))
            }
        }
    };
}

tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);
tuple!(A B C D E F G);
tuple!(A B C D E F G H);
