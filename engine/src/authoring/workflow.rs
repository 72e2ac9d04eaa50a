//! What a workflow is, and the registry of those that this engine can run.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use prost::{Message, Name};

use crate::authoring::context::Context;
use crate::failure::Failure;
use crate::rules::{self, Rules};
use crate::signal::SignalType;
use crate::store::Schedule;

/// Says what to do: composes calls to services. Its code must be deterministic between steps: time, randomness
/// and everything else from outside comes through the [`Context`].
pub trait Workflow: Send + Sync + 'static {
    /// Name in the admin API and in the store, for example `notifications.send-due`. Forever.
    const NAME: &'static str;
    /// Raised by one where the code changes in a way that does not fit the journals of runs in flight; what changed is
    /// then asked for by [`Context::version_at_least`]. A run has the version that created it, and replicas of an older version
    /// leave it alone. 1 at first, never less.
    const VERSION: u32 = 1;
    /// One sentence for people.
    const DESCRIPTION: &'static str = "";
    /// A run fails with DEADLINE_EXCEEDED this long after its start, unless the start says otherwise.
    const DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

    /// How much of that is kept for undos: the run's own work ends this long before its deadline.
    const UNDO_BUDGET: Duration = Duration::ZERO;

    /// The signals that it takes, for example `&[SignalType::of::<Paid>("payment")]`. Others are refused.
    const SIGNALS: &'static [SignalType] = &[];

    /// The schedules that come with it. One of the configuration that has the name of one of these takes its place.
    fn schedules() -> Vec<Schedule> {
        Vec::new()
    }

    /// The input message.
    type Input: Message + Name + Default + 'static;
    /// The output message.
    type Output: Message + Name + Default + 'static;

    /// Does it. Polled again from the start after a crash, with the journal answering what was already done.
    fn run(&self, ctx: &Context, input: Self::Input) -> impl Future<Output = Result<Self::Output, Failure>> + Send;
}

/// The workflows that an engine can run, by name, and the rules of the contracts that they stand on.
pub struct Registry {
    definitions: BTreeMap<&'static str, Arc<Definition>>,
    rules: Arc<dyn Rules>,
}

impl Default for Registry {
    fn default() -> Self {
        Self { definitions: BTreeMap::new(), rules: rules::none() }
    }
}

/// Two workflows with one name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("workflow {0} is registered twice")]
pub struct NameTaken(pub &'static str);

/// Why a run is left alone: the code that it needs is not here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingCode {
    /// No workflow has this name.
    #[error("UNKNOWN_WORKFLOW: {0} is not known here; the run continues by itself when a release that knows it runs")]
    Unknown(String),
    /// The workflow is older here.
    #[error(
        "NEWER_VERSION: version {version} of {workflow} created the run, and version {known} is known here; the run \
         continues by itself when a release that knows it runs"
    )]
    Newer {
        /// Name of the workflow.
        workflow: String,
        /// The version that created the run.
        version: u32,
        /// The version that is known here.
        known: u32,
    },
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a workflow. `make` is called once for every run: each has a fresh value, so nothing leaks from one
    /// run into another; what runs share (an interface to inject) is captured by `make`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn register<W: Workflow>(&mut self, make: impl Fn() -> W + Send + Sync + 'static) -> Result<(), NameTaken> {
        let make = Arc::new(make);
        const { assert!(W::VERSION > 0, "the first version of a workflow is 1") };
        let definition = Definition {
            name: W::NAME,
            version: W::VERSION,
            description: W::DESCRIPTION,
            input_type: W::Input::full_name(),
            output_type: W::Output::full_name(),
            deadline: W::DEADLINE,
            signals: W::SIGNALS,
            undo_budget: W::UNDO_BUDGET,
            schedules: W::schedules(),
            check: |input| W::Input::decode(input).map(drop),
            begin: Box::new(move |ctx, input| {
                let make = Arc::clone(&make);
                Box::pin(async move {
                    // Here a panic of `make` is one of the run's code.
                    let workflow = make();
                    let output = workflow.run(&ctx, W::Input::decode(input).map_err(undecodable)?).await?;
                    Ok(output.encode_to_vec().into())
                })
            }),
        };
        if self.definitions.contains_key(W::NAME) {
            return Err(NameTaken(W::NAME));
        }
        self.definitions.insert(W::NAME, Arc::new(definition));
        Ok(())
    }

    /// Sets what inputs, signals, and requests of calls are checked against. What is durable is not checked again: rules
    /// that become stricter change no run that has passed them.
    pub fn check_by(&mut self, rules: Arc<dyn Rules>) {
        self.rules = rules;
    }

    /// The rules of the contracts.
    pub(crate) fn rules(&self) -> &dyn Rules {
        &*self.rules
    }

    /// The workflow with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Definition>> {
        self.definitions.get(name)
    }

    /// What is missing for runs that this version of a workflow created; none where they can continue (semantics.md O3).
    pub fn misses(&self, workflow: &str, version: u32) -> Option<MissingCode> {
        match self.get(workflow) {
            None => Some(MissingCode::Unknown(workflow.to_owned())),
            Some(known) if known.version < version => {
                Some(MissingCode::Newer { workflow: workflow.to_owned(), version, known: known.version })
            }
            Some(_) => None,
        }
    }

    /// All workflows, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Definition>> {
        self.definitions.values()
    }
}

type Begin = dyn Fn(Context, Bytes) -> BoxFuture<'static, Result<Bytes, Failure>> + Send + Sync;

/// A registered workflow.
pub struct Definition {
    /// Name of the workflow.
    pub name: &'static str,
    /// The version that runs are created in, and the newest that can continue.
    pub version: u32,
    /// One sentence for people.
    pub description: &'static str,
    /// Full name of the input message.
    pub input_type: String,
    /// Full name of the output message.
    pub output_type: String,
    /// Time after the start when a run fails, if its start sets no other.
    pub deadline: Duration,
    /// The signals that it accepts.
    pub signals: &'static [SignalType],
    /// The part of the deadline that is kept for undos.
    pub undo_budget: Duration,
    /// Those that its code declares.
    pub schedules: Vec<Schedule>,
    check: fn(Bytes) -> Result<(), prost::DecodeError>,
    begin: Box<Begin>,
}

impl Definition {
    /// Whether these bytes are an input message.
    pub(crate) fn check_input(&self, input: Bytes) -> Result<(), prost::DecodeError> {
        (self.check)(input)
    }

    /// The signal of this name, if the workflow takes it.
    pub fn signal(&self, name: &str) -> Option<&'static SignalType> {
        self.signals.iter().find(|signal| signal.name() == name)
    }

    /// A fresh scope: a new workflow value over this context.
    pub(crate) fn begin(&self, ctx: Context, input: Bytes) -> BoxFuture<'static, Result<Bytes, Failure>> {
        (self.begin)(ctx, input)
    }
}

fn undecodable(error: prost::DecodeError) -> Failure {
    Failure::new(crate::failure::Code::Internal, format!("the stored input no longer decodes: {error}"))
}
