//! Reads JSON from the text of an AI, which may be something else, or may be in a Markdown code fence.

use serde::de::DeserializeOwned;

/// `None` if the text is not the expected JSON.
pub(super) fn parse<T: DeserializeOwned>(answer: &str) -> Option<T> {
    serde_json::from_str(unfenced(answer.trim())).ok()
}

/// The inside of a Markdown code fence, or the text itself if it has none.
fn unfenced(text: &str) -> &str {
    let Some(fenced) = text.strip_prefix("```") else { return text };
    let inside = fenced.split_once('\n').map_or(fenced, |(_language, inside)| inside);
    inside.trim_end().strip_suffix("```").unwrap_or(inside).trim()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Answer {
        labels: Vec<String>,
    }

    #[test]
    fn answers_are_read_plain_and_in_a_fence_and_otherwise_not_at_all() {
        let joy = Some(Answer { labels: vec!["Joy".to_owned()] });
        let cases = [
            (r#"{"labels": ["Joy"]}"#, &joy),
            ("```json\n{\"labels\": [\"Joy\"]}\n```", &joy),
            ("```\n{\"labels\": [\"Joy\"]}\n```\n", &joy),
            ("  {\"labels\": [\"Joy\"], \"why\": \"sun\"} ", &joy),
            ("I feel that this is Joy.", &None),
            ("{\"labels\": \"Joy\"}", &None),
            ("```", &None),
            ("", &None),
        ];
        for (answer, expected) in cases {
            assert_eq!(&parse::<Answer>(answer), expected, "{answer}");
        }
    }
}
