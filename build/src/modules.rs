//! Nests the code of packages as their names are nested. What is nested in a message and a package of the same name stand
//! in one module.

use std::collections::BTreeMap;
use std::fmt::Write;

/// For everything that is generated: lints are for code that people write.
pub(crate) const LINTS: &str =
    "#[allow(clippy::allow_attributes, clippy::all, deprecated, missing_docs, nonstandard_style, unreachable_pub)]";

/// A module: its own code, and the modules in it.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    code: String,
    children: BTreeMap<String, Modules>,
}

impl Modules {
    /// Adds code to the module with this path.
    pub(crate) fn add<'a>(&mut self, path: impl Iterator<Item = &'a str>, code: &str) {
        let mut module = self;
        for part in path {
            module = module.children.entry(part.to_owned()).or_default();
        }
        module.code.push_str(code);
    }

    /// All of it as code.
    pub(crate) fn write(mut self, code: &mut String) -> std::fmt::Result {
        self.merge();
        code.push_str(&self.code);
        for (name, child) in self.children {
            writeln!(code, "{LINTS}\npub mod {name} {{")?;
            child.write(code)?;
            writeln!(code, "}}")?;
        }
        Ok(())
    }

    /// Takes the modules that the code has itself and that are children too out of it, and into the children.
    fn merge(&mut self) {
        for (name, child) in &mut self.children {
            let head = format!("pub mod {name} {{\n");
            let Some(begin) = line_start(&self.code, &head) else { continue };
            let body = begin + head.len();
            let end = body + block(&self.code[body..]);
            child.code.insert_str(0, &self.code[body..end]);
            // Its comment would stand before what follows.
            let comment = self.code[..begin].trim_end().rfind('\n').map_or(0, |at| at + 1);
            let is_comment = self.code[comment..begin].trim_start().starts_with("///");
            let rest = self.code[end..].find('}').map_or(self.code.len(), |brace| end + brace + 1);
            self.code.replace_range(if is_comment { comment..rest } else { begin..rest }, "");
        }
    }
}

/// Where a line begins that is this one but for the space before it.
fn line_start(code: &str, line: &str) -> Option<usize> {
    let starts_line =
        |at: &usize| code[..*at].trim_end_matches(' ').is_empty() || code[..*at].trim_end_matches(' ').ends_with('\n');
    code.match_indices(line).map(|(at, _)| at).filter(starts_line).find(|at| depth(&code[..*at]) == 0)
}

/// How many blocks are open at the end of the code.
fn depth(code: &str) -> usize {
    let mut depth = 0_usize;
    braces(code, |_, brace| {
        depth = if brace == '{' { depth + 1 } else { depth.saturating_sub(1) };
        true
    });
    depth
}

/// The length of the code up to the brace that closes the block around it.
fn block(code: &str) -> usize {
    let (mut depth, mut end) = (0_usize, code.len());
    braces(code, |at, brace| {
        match (brace, depth) {
            ('{', _) => depth += 1,
            (_, 0) => {
                end = at;
                return false;
            }
            _ => depth -= 1,
        }
        true
    });
    end
}

/// Calls for every brace that is code, not text; ends where the function says so.
fn braces(code: &str, mut found: impl FnMut(usize, char) -> bool) {
    let mut letters = code.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '/' if code[at..].starts_with("//") => while letters.next_if(|(_, next)| *next != '\n').is_some() {},
            '"' => {
                while let Some((_, next)) = letters.next() {
                    match next {
                        '\\' => drop(letters.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '\'' if code[at + 1..].starts_with('\\') => {
                letters.next();
                letters.next();
            }
            // One letter in quotes; a lifetime has no second quote.
            '\'' if code[at + 1..].chars().nth(1) == Some('\'') => drop(letters.next()),
            '{' | '}' if !found(at, letter) => return,
            _ => {}
        }
    }
}
