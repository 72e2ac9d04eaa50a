//! AI: slow answers that are not always what was asked for.

use clients::guras::ai::v1::ai_service_server::{AiService, AiServiceServer};
use clients::guras::ai::v1::*;
use prost::Message;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use tonic::{Request, Response, Status};

use crate::services::{answer, check_text};
use crate::settings::{AiManners, Settings};
use crate::shared::Shared;

/// A feeling that no catalogue has.
const INVENTED: &str = "sunday-evening-blues";

#[derive(Clone)]
pub(crate) struct Ai {
    manners: AiManners,
    dice: Shared<StdRng>,
}

impl Ai {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { manners: settings.ai, dice: Shared::new(StdRng::seed_from_u64(settings.seed)) }
    }

    pub(crate) fn server(&self) -> AiServiceServer<Self> {
        AiServiceServer::new(self.clone())
    }

    async fn think(&self) {
        let share = self.dice.with(|dice| dice.random::<f64>());
        tokio::time::sleep(self.manners.delay + self.manners.jitter.mul_f64(share)).await;
    }
}

pub(crate) fn identity(method: &str, message: &[u8]) -> Option<String> {
    match method {
        "WriteText" => WriteTextRequest::decode(message).ok().map(|request| {
            // Texts of one purpose differ by what they are asked for, for example the week.
            let mut asked = DefaultHasher::new();
            request.prompt.hash(&mut asked);
            format!("text:{}/{}/{:x}", request.user_id, request.purpose().as_str_name(), asked.finish())
        }),
        _ => None,
    }
}

/// Labels that the text names, and by chance others up to two.
fn find_labels(text: &str, labels: &[String], most: usize, dice: &mut StdRng) -> Vec<String> {
    let text = text.to_lowercase();
    let named = |label: &&String| text.contains(&label.to_lowercase());
    let mut found: Vec<String> = labels.iter().filter(named).cloned().collect();
    while found.len() < labels.len().min(2) {
        match labels.choose(dice) {
            Some(label) if !found.contains(label) => found.push(label.clone()),
            _ => (),
        }
    }
    found.truncate(most);
    found
}

fn word(manners: &AiManners, mut labels: Vec<String>, dice: &mut StdRng) -> String {
    let prose = format!("I sense mostly {} in these lines, and something that I cannot name.", labels.join(" and "));
    if dice.random_bool(manners.invented.clamp(0.0, 1.0)) {
        labels.push(INVENTED.to_owned());
    }
    say(manners, &serde_json::json!({ "labels": labels }), prose, dice)
}

/// What was asked for as JSON: mostly that, at times in a code fence, at times in prose.
fn say(manners: &AiManners, asked: &serde_json::Value, prose: String, dice: &mut StdRng) -> String {
    let chance = |share: f64, dice: &mut StdRng| dice.random_bool(share.clamp(0.0, 1.0));
    match chance(manners.not_json, dice) {
        true => prose,
        false if chance(manners.fenced, dice) => format!("```json\n{asked}\n```"),
        false => asked.to_string(),
    }
}

fn recommendations() -> serde_json::Value {
    serde_json::json!({ "recommendations": [
        { "title": "Evening breath", "theme": "calm", "difficulty": "easy", "minutes": 10,
          "reason": "You finish what is short." },
        { "title": "Loving kindness", "theme": "compassion", "difficulty": "medium", "minutes": 20,
          "reason": "Your mood rises most with it." },
    ]})
}

#[tonic::async_trait]
impl AiService for Ai {
    async fn analyze_text(
        &self,
        request: Request<AnalyzeTextRequest>,
    ) -> Result<Response<AnalyzeTextResponse>, Status> {
        let request = request.into_inner();
        check_text("text", &request.text, 1_000)?;
        let most = match usize::try_from(request.max_labels) {
            Ok(0) => 3,
            Ok(most) => most,
            Err(_) => return Err(Status::invalid_argument("max_labels must not be negative")),
        };
        self.think().await;
        let text = self.dice.with(|dice| {
            let labels = find_labels(&request.text, &request.labels, most, dice);
            word(&self.manners, labels, dice)
        });
        answer(AnalyzeTextResponse { answer: text }, false)
    }

    async fn write_text(&self, request: Request<WriteTextRequest>) -> Result<Response<WriteTextResponse>, Status> {
        let request = request.into_inner();
        check_text("prompt", &request.prompt, 8_000)?;
        self.think().await;
        let text = match request.purpose() {
            TextPurpose::JournalTitle => "A quiet turn".to_owned(),
            TextPurpose::Mood => "hopeful".to_owned(),
            TextPurpose::Recommendations => {
                let prose = "Sit down, close your eyes and count ten breaths.".to_owned();
                self.dice.with(|dice| say(&self.manners, &recommendations(), prose, dice))
            }
            TextPurpose::WeeklyDigest => {
                "You came back to yourself more than once this week. That is a start.".to_owned()
            }
            TextPurpose::DailyGuidance | TextPurpose::Unspecified => {
                "Begin with what is in front of you. The rest of the day will follow.".to_owned()
            }
        };
        answer(WriteTextResponse { text }, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(manners: AiManners) -> Vec<String> {
        let mut dice = StdRng::seed_from_u64(1);
        (0..200).map(|_| word(&manners, vec!["joy".to_owned()], &mut dice)).collect()
    }

    #[test]
    fn a_well_mannered_model_answers_plain_json() {
        let manners = AiManners { fenced: 0.0, invented: 0.0, not_json: 0.0, ..AiManners::default() };
        assert!(words(manners).iter().all(|word| word == r#"{"labels":["joy"]}"#));
    }

    #[test]
    fn manners_show_in_the_answers() {
        let manners = AiManners { fenced: 0.5, invented: 0.3, not_json: 0.2, ..AiManners::default() };
        let words = words(manners);
        assert!(words.iter().any(|word| word.starts_with("```json")));
        assert!(words.iter().any(|word| word.contains(INVENTED)));
        assert!(words.iter().any(|word| !word.contains('{')));
    }

    #[test]
    fn labels_that_the_text_names_are_found() {
        let labels: Vec<String> = ["anger", "joy", "gratitude"].map(str::to_owned).into();
        let mut dice = StdRng::seed_from_u64(1);
        let found = find_labels("Joy and gratitude, all day.", &labels, 3, &mut dice);
        assert_eq!(found, ["joy", "gratitude"]);
    }
}
