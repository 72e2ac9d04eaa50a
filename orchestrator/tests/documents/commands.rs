//! Commands in documents are ones that the command line and the workspace have.

use crate::blocks::of;
use crate::files::{documents, root, text};

/// A line of a shell, in words; what comes behind a comment, a pipe or a redirection is another program's.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for char in line.chars() {
        match (quote, char) {
            (Some(open), _) if open == char => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(char),
            (None, '\'' | '"') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | '>' | '<' | ';') => break,
            (None, ' ') => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    words
}

/// The arguments of the orchestrator in a line, whatever runs it: a pod, Cargo, or the shell.
fn arguments(words: &[String]) -> Option<Vec<String>> {
    let starts = |from: usize| words.get(from).is_some_and(|word| word == "orchestrator");
    let begin = match words.first()?.as_str() {
        "orchestrator" => 0,
        "cargo" => {
            let package = words.iter().position(|word| word == "-p")?;
            starts(package + 1).then_some(())?;
            words.iter().position(|word| word == "--").filter(|_| words.contains(&String::from("run")))?
        }
        "kubectl" => words.iter().position(|word| word == "--").map(|at| at + 1).filter(|at| starts(*at))?,
        _ => return None,
    };
    Some(std::iter::once(String::from("orchestrator")).chain(words[begin + 1..].iter().cloned()).collect())
}

/// Every line of every shell block, with those that are continued joined.
fn shell() -> Vec<(String, Vec<String>)> {
    let blocks = of("sh").into_iter();
    let lines = blocks.flat_map(|block| {
        let joined = block.text().replace("\\\n", " ");
        joined.lines().map(|line| (block.place.clone(), words(line))).collect::<Vec<_>>()
    });
    lines.filter(|(_, words)| !words.is_empty()).collect()
}

#[test]
fn every_command_of_the_orchestrator_is_one_that_it_has() {
    let mut checked = 0;
    for (place, words) in shell() {
        let Some(arguments) = arguments(&words) else { continue };
        // An alias ends where arguments begin.
        if arguments.len() == 1 {
            continue;
        }
        checked += 1;
        let read = server::command_line::definition().try_get_matches_from(&arguments);
        if let Err(error) = read {
            assert!(!error.use_stderr(), "{place}: {}\n{error}", words.join(" "));
        }
    }
    assert!(checked > 30, "only {checked} commands were found");
}

/// Commands in the middle of a text: the verbs and flags that are there, not what is left out.
#[test]
fn every_command_in_a_sentence_has_verbs_and_flags_that_exist() {
    let mut checked = 0;
    for document in documents() {
        let text = text(&document);
        for span in text.split('`').skip(1).step_by(2).filter(|span| span.starts_with("orchestrator ")) {
            let mut command = server::command_line::definition();
            command.build();
            for word in words(span).into_iter().skip(1) {
                if let Some(flag) = word.strip_prefix("--") {
                    let flag = flag.split('=').next().unwrap();
                    let known = command.get_arguments().any(|argument| argument.get_long() == Some(flag));
                    assert!(known, "{document}: `{span}` has no --{flag}");
                } else if command.has_subcommands() {
                    if word == "…" || word == "help" {
                        break;
                    }
                    let next = command.find_subcommand(&word).cloned();
                    command = next.unwrap_or_else(|| panic!("{document}: `{span}`: there is no {word}"));
                }
            }
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} commands were found");
}

#[test]
fn every_command_of_cargo_names_packages_and_tests_that_exist() {
    let mut checked = 0;
    for (place, words) in shell() {
        let cargo = words.iter().position(|word| matches!(word.as_str(), "cargo" | "./test"));
        let Some(cargo) = cargo else { continue };
        let own: Vec<&String> = words[cargo..].iter().take_while(|word| *word != "--").collect();
        let Some(at) = own.iter().position(|word| *word == "-p") else { continue };
        let package = own[at + 1];
        let manifest = format!("{package}/Cargo.toml");
        assert!(root().join(&manifest).exists(), "{place}: there is no package {package}");
        if let Some(at) = own.iter().position(|word| *word == "--test") {
            let folder = root().join(package).join("tests");
            let test = own[at + 1];
            let is_there = folder.join(test).is_dir() || folder.join(format!("{test}.rs")).exists();
            assert!(is_there, "{place}: {package} has no test {test}");
        }
        checked += 1;
    }
    assert!(checked > 5, "only {checked} commands were found");
}
