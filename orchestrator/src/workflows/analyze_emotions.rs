//! `journals.analyze-emotions`: finds emotions for journal entries that have none, with AI.

use clients::guras::ai::v1::AnalyzeTextRequest;
use clients::guras::emotions::v1::{Emotion, ListEmotionsRequest};
use clients::guras::journal::v1::{
    Entry, EntrySummary, GetEntryRequest, ListEntriesWithoutEmotionsRequest, SaveEntryEmotionsRequest,
};
use clients::guras::orchestration::journals::v1::{AnalyzeEmotionsRequest, AnalyzeEmotionsResponse};
use engine::prelude::*;
use serde::Deserialize;

use super::ai_json::parse;
use super::bounds::bounded;

/// Handles each entry on a branch of its own. A text that cannot be read is counted, not a failure, and stops no other.
#[derive(Clone, Copy, Debug)]
pub struct AnalyzeEmotions;

/// Entries that are analysed at the same time; the AI service is slow and limits its callers.
const AT_THE_SAME_TIME: usize = 8;
/// Characters of an entry that are sent to the AI service.
const MOST_TEXT: usize = 1_000;
/// The most emotions for an entry.
const MOST_EMOTIONS: usize = 3;
const MOST_CATALOGUE: usize = 200;

/// How the analysis of one entry ended.
#[derive(PartialEq)]
enum Analysed {
    Saved,
    Unparsable,
    Unmatched,
    Gone,
}

impl Workflow for AnalyzeEmotions {
    const NAME: &'static str = "journals.analyze-emotions";
    const DESCRIPTION: &'static str =
        "Finds journal entries without emotions and saves those that AI recognises in them.";
    const DEADLINE: Duration = Duration::from_secs(60 * 60);
    type Input = AnalyzeEmotionsRequest;
    type Output = AnalyzeEmotionsResponse;

    async fn run(&self, ctx: &Context, input: AnalyzeEmotionsRequest) -> Result<AnalyzeEmotionsResponse, Failure> {
        let limit = bounded(input.limit, 100, 10_000);
        let page_size = bounded(input.page_size, 50, 1_000).min(limit).into();
        let list = ListEntriesWithoutEmotionsRequest { page_size, ..Default::default() };
        let entries = ctx.pages(list).up_to(limit.into()).await?;
        if entries.is_empty() {
            return Ok(AnalyzeEmotionsResponse::default());
        }
        let catalogue = ctx.pages(ListEmotionsRequest::default()).up_to(MOST_CATALOGUE).await?;
        let analysed = ctx
            .fan_out("entry", entries, move |ctx, entry| analyse(ctx, entry, catalogue.clone()))
            .key(|entry| entry.entry_id.clone())
            .limit(AT_THE_SAME_TIME)
            .await;
        for (entry, _) in analysed.done().filter(|(_, one)| **one == Analysed::Unparsable) {
            tracing::warn!(run = %ctx.run_id(), entry, "analysis is not the JSON that was asked for");
        }
        Ok(AnalyzeEmotionsResponse {
            found: analysed.unique(),
            saved: analysed.count(|one| *one == Analysed::Saved),
            unparsable: analysed.count(|one| *one == Analysed::Unparsable),
            unmatched: analysed.count(|one| *one == Analysed::Unmatched),
            gone: analysed.count(|one| *one == Analysed::Gone),
            failed: analysed.failed(),
        })
    }
}

/// One entry: sends its text to AI, compares the answer with the catalogue, and saves the emotions that are known.
async fn analyse(ctx: Context, entry: EntrySummary, catalogue: Vec<Emotion>) -> Result<Analysed, Failure> {
    let entry_id = entry.entry_id;
    let Some(found) = ctx.call(GetEntryRequest { entry_id: entry_id.clone() }).optional().await? else {
        return Ok(Analysed::Gone);
    };
    let entry = found.entry.unwrap_or_default();
    if entry.delete_time.is_some() {
        return Ok(Analysed::Gone);
    }
    if !entry.emotion_ids.is_empty() {
        // Another run, or the user, was faster.
        return Ok(Analysed::Saved);
    }
    let request = AnalyzeTextRequest {
        text: excerpt(&entry),
        labels: catalogue.iter().map(|emotion| emotion.name.clone()).collect(),
        max_labels: i32::try_from(MOST_EMOTIONS).unwrap_or(i32::MAX),
    };
    // An expensive read: durable immediately, so that a crash does not ask again.
    let answer = ctx.call(request).timeout(Duration::from_secs(60)).durable().await?.answer;

    let Some(Answer { labels }) = parse(&answer) else { return Ok(Analysed::Unparsable) };
    let emotion_ids = matching(&labels, &catalogue);
    if emotion_ids.is_empty() {
        return Ok(Analysed::Unmatched);
    }
    // Of runs that read the same entry before any of them saved, one saves.
    let read = version(&entry);
    let save = SaveEntryEmotionsRequest { entry_id: entry_id.clone(), emotion_ids };
    let saved = ctx.call(save).idempotency_key("emotions", [entry_id, read]).optional().await?;
    Ok(if saved.is_some() { Analysed::Saved } else { Analysed::Gone })
}

/// A value that changes with every change of an entry.
fn version(entry: &Entry) -> String {
    let time = entry.update_time.or(entry.create_time).unwrap_or_default();
    format!("{}.{:09}", time.seconds, time.nanos)
}

fn excerpt(entry: &Entry) -> String {
    entry.content.chars().take(MOST_TEXT).collect()
}

#[derive(Deserialize)]
struct Answer {
    labels: Vec<String>,
}

/// Ids of the catalogue's emotions that the labels name, in the order of the labels, without duplicates.
fn matching(labels: &[String], catalogue: &[Emotion]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for label in labels {
        let label = label.trim();
        let known = catalogue
            .iter()
            .find(|emotion| emotion.name.eq_ignore_ascii_case(label) || emotion.emotion_id.eq_ignore_ascii_case(label));
        if let Some(emotion) = known
            && ids.len() < MOST_EMOTIONS
            && !ids.contains(&emotion.emotion_id)
        {
            ids.push(emotion.emotion_id.clone());
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_catalogue_counts_and_nothing_counts_twice() {
        let emotion = |id: &str, name: &str| Emotion { emotion_id: id.into(), name: name.into(), ..Emotion::default() };
        let catalogue =
            [emotion("joy", "Joy"), emotion("calm", "Calm"), emotion("awe", "Awe"), emotion("fear", "Fear")];
        let labels: Vec<String> = ["joy", "Bliss", "JOY ", "Awe", "calm", "fear"].map(str::to_owned).into();
        assert_eq!(matching(&labels, &catalogue), ["joy", "awe", "calm"]);
    }

    #[test]
    fn a_long_entry_is_cut_between_characters() {
        let entry = Entry { content: "é".repeat(2_000), ..Entry::default() };
        assert_eq!(excerpt(&entry).chars().count(), MOST_TEXT);
    }
}
