//! The workflow that interprets a program, and says in its output what every step brought.

use std::sync::Arc;
use std::time::Duration;

use engine::steps::call::Call;
use engine::steps::fan_out::ItemResult;
use engine::steps::race::First2;
use engine::{Context, Failure, Retry, Rpc, SignalType, Workflow};
use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::code::Code;
use crate::messages::{Answer, Cancel, Charge, Input, Look, Output, Pay, Put, Recall, Refund};
use crate::program::{Care, Kind, Leaf, Node, TakesBack, Tries, program};

#[derive(Clone)]
pub(crate) struct Interpreter {
    pub(crate) code: Code,
}

impl Workflow for Interpreter {
    const NAME: &'static str = "model.interpreter";
    /// Longer than any program: a run that gets stuck never ends.
    const DEADLINE: Duration = Duration::from_secs(20 * 24 * 3_600);
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Input>("left"), SignalType::of::<Input>("right")];
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        self.code.begin().await;
        let nodes = program(input.number);
        let text = self.sequence(ctx, nodes, input.text).await?;
        Ok(Output { text, number: 0 })
    }
}

fn retry(tries: Tries) -> Retry {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let made = match tries {
        Tries::Standard => return Retry::standard(),
        Tries::Never => return Retry::never(),
        Tries::Quick => Retry::try_new(8, Duration::from_millis(100), 2.0, second, 0.0),
        Tries::Slow => Retry::try_new(12, 7 * second, 2.0, minute, 0.0),
    };
    made.unwrap_or_default()
}

fn made<R: Rpc<Response = Answer>>(code: &Code, mut call: Call<R>, leaf: &Leaf) -> Call<R> {
    call = call.retry(retry(leaf.tries));
    if let Some(timeout) = leaf.timeout {
        call = call.timeout(timeout);
    }
    if let Some(once) = leaf.once {
        call = call.idempotency_key("business", [once.to_string()]);
    }
    if leaf.durable {
        call = call.durable();
    }
    let Some(undo) = leaf.undo else { return call };
    let cancel = |key: Uuid, number| Cancel { text: key.to_string(), number };
    let recall = |key: Uuid, number| Recall { text: key.to_string(), number };
    let refund = |key: Uuid, number| Refund { text: key.to_string(), number };
    let code = code.clone();
    call = match (undo.by_response, undo.by) {
        (false, TakesBack::Cancel) => call.undo(move |key| cancel(key, 0)),
        (false, TakesBack::Recall) => call.undo(move |key| recall(key, 0)),
        (false, TakesBack::Refund) => call.undo(move |key| refund(key, 0)),
        (true, TakesBack::Cancel) => call.undo_with(move |key, answer| {
            code.make_undo(undo.panics);
            cancel(key, answer.number)
        }),
        (true, TakesBack::Recall) => call.undo_with(move |key, answer| {
            code.make_undo(undo.panics);
            recall(key, answer.number)
        }),
        (true, TakesBack::Refund) => call.undo_with(move |key, answer| {
            code.make_undo(undo.panics);
            refund(key, answer.number)
        }),
    };
    call.undo_retry(retry(undo.tries))
}

/// The step of a leaf, whose requests are all of one shape.
enum Made {
    Look(Call<Look>),
    Put(Call<Put>),
    Pay(Call<Pay>),
    Charge(Call<Charge>),
}

fn make(code: &Code, ctx: &Context, leaf: &Leaf, text: String, number: u64) -> Made {
    // An effect of a business key is the same in every run.
    let (text, number) = leaf.once.map_or((text, number), |once| (format!("business-{once}"), 0));
    match leaf.kind {
        Kind::Look => Made::Look(made(code, ctx.call(Look { text, number }), leaf)),
        Kind::Put => Made::Put(made(code, ctx.call(Put { text, number }), leaf)),
        Kind::Pay => Made::Pay(made(code, ctx.call(Pay { text, number }), leaf)),
        Kind::Charge => Made::Charge(made(code, ctx.call(Charge { text, number }), leaf)),
    }
}

async fn call(made: Made) -> Result<Answer, Failure> {
    match made {
        Made::Look(call) => call.await,
        Made::Put(call) => call.await,
        Made::Pay(call) => call.await,
        Made::Charge(call) => call.await,
    }
}

/// Writes down what a step brought; a failure that code does not catch ends the branch.
fn said(trace: &mut String, result: Result<Vec<Answer>, Failure>, catch: bool) -> Result<(), Failure> {
    match result {
        Ok(answers) => {
            for answer in answers {
                trace.push_str(&format!("ok {} {}\n", answer.text, answer.number));
            }
            Ok(())
        }
        Err(failure) if catch => {
            trace.push_str(&format!("failed {}\n", failure.code()));
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

impl Interpreter {
    fn sequence<'c>(
        &self,
        ctx: &'c Context,
        nodes: Arc<[Node]>,
        path: String,
    ) -> BoxFuture<'c, Result<String, Failure>> {
        let code = self.clone();
        Box::pin(async move {
            let mut trace = String::new();
            let mut carried = 0;
            let mut latest = 0;
            for (index, node) in nodes.iter().enumerate() {
                let text = format!("{path}.{index}");
                match node {
                    Node::Call { leaf, catch } => {
                        let result = call(make(&code.code, ctx, leaf, text, carried)).await;
                        said(&mut trace, result.map(|answer| vec![answer]), *catch)?;
                    }
                    Node::Puts { count, catch } => {
                        let calls: Vec<_> = (0..*count)
                            .map(|n| {
                                ctx.call(Put { text: format!("{text}.{n}"), number: carried })
                                    .retry(retry(Tries::Quick))
                            })
                            .collect();
                        said(&mut trace, ctx.all(calls).await, *catch)?;
                    }
                    Node::Mixed { leaf, span, catch } => {
                        let look = ctx.call(Look { text: format!("{text}.look"), number: carried });
                        let sleep = ctx.sleep("nap", *span);
                        let result = match make(&code.code, ctx, leaf, format!("{text}.leaf"), carried) {
                            Made::Look(call) => ctx.all((call, sleep, look)).await.map(|(a, (), b)| vec![a, b]),
                            Made::Put(call) => ctx.all((call, sleep, look)).await.map(|(a, (), b)| vec![a, b]),
                            Made::Pay(call) => ctx.all((call, sleep, look)).await.map(|(a, (), b)| vec![a, b]),
                            Made::Charge(call) => ctx.all((call, sleep, look)).await.map(|(a, (), b)| vec![a, b]),
                        };
                        said(&mut trace, result, *catch)?;
                    }
                    Node::FanOut { keys, limit, body, catch } => {
                        let (body, above, code) = (Arc::clone(body), text, code.clone());
                        let outcome = ctx
                            .fan_out("item", keys.clone(), move |ctx, key| {
                                let (body, path, code) = (Arc::clone(&body), format!("{above}[{key}]"), code.clone());
                                async move { code.sequence(&ctx, body, path).await }
                            })
                            .key(u64::to_string)
                            .limit(*limit)
                            .await;
                        for (key, outcome) in outcome.iter() {
                            match outcome {
                                ItemResult::Done(inner) => trace.push_str(inner),
                                ItemResult::Duplicate => trace.push_str(&format!("duplicate {key}\n")),
                                ItemResult::Failed(failure) if *catch => {
                                    trace.push_str(&format!("failed {}\n", failure.code()));
                                }
                                ItemResult::Failed(failure) => return Err(failure.clone()),
                            }
                        }
                    }
                    Node::Branches { arms, catch } => {
                        let arms = arms.iter().enumerate().map(|(arm, body)| {
                            let (body, path, code) = (Arc::clone(body), format!("{text}/{arm}"), code.clone());
                            ctx.branch("arm", move |ctx| async move { code.sequence(&ctx, body, path).await })
                        });
                        match ctx.all(arms.collect::<Vec<_>>()).await {
                            Ok(traces) => trace.extend(traces),
                            Err(failure) if *catch => trace.push_str(&format!("failed {}\n", failure.code())),
                            Err(failure) => return Err(failure),
                        }
                    }
                    Node::Contest { leaf, span, body } => {
                        let (body, path, inner) = (Arc::clone(body), format!("{text}/contest"), code.clone());
                        let body =
                            ctx.branch("contest", move |ctx| async move { inner.sequence(&ctx, body, path).await });
                        let wait = ctx.sleep("wait", *span);
                        match make(&code.code, ctx, leaf, format!("{text}.contest"), carried) {
                            Made::Look(call) => drop(ctx.race((call, wait, body)).await),
                            Made::Put(call) => drop(ctx.race((call, wait, body)).await),
                            Made::Pay(call) => drop(ctx.race((call, wait, body)).await),
                            Made::Charge(call) => drop(ctx.race((call, wait, body)).await),
                        }
                        trace.push_str("raced\n");
                    }
                    Node::Child { seed, care, catch } => {
                        let child = ctx.child::<Interpreter>("child", Input { text, number: *seed });
                        let ended = match care {
                            Care::Awaits => child.await,
                            Care::GoesOn => {
                                let child = child.start();
                                ctx.sleep("meanwhile", Duration::from_millis(5)).await?;
                                child.await
                            }
                            Care::Forgets => {
                                drop(child.start());
                                continue;
                            }
                        };
                        match ended {
                            Ok(output) => trace.push_str(&output.text),
                            Err(failure) if *catch => trace.push_str(&format!("failed {}\n", failure.code())),
                            Err(failure) => return Err(failure),
                        }
                    }
                    Node::Signal { name, within } => {
                        let _came: Option<Input> = ctx.signal(name).within(*within).await?;
                        trace.push_str("waited\n");
                    }
                    Node::Sleep(span) => ctx.sleep("nap", *span).await?,
                    Node::Now => {
                        let now = ctx.now().as_micros();
                        if now < latest {
                            trace.push_str("time ran backwards\n");
                        }
                        latest = now;
                    }
                    Node::Record => {
                        carried = ctx
                            .record("roll", || Answer { number: code.code.roll(), ..Answer::default() })
                            .await
                            .number;
                    }
                    Node::Race { first, second } => {
                        let (left, right) = (ctx.sleep("left", *first), ctx.sleep("right", *second));
                        match ctx.race((right, left)).await? {
                            First2::First(()) => trace.push_str("right\n"),
                            First2::Second(()) => trace.push_str("left\n"),
                        }
                    }
                    Node::Flaw(flaw) => code.code.stumble(ctx, *flaw, text).await?,
                    Node::Fail => return Err(Failure::new(engine::Code::FailedPrecondition, "the program says so")),
                }
            }
            Ok(trace)
        })
    }
}
