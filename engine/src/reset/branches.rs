//! How the branches of a run stand to each other, by their paths.

/// Whether a branch contains another.
pub(super) fn is_above(branch: &str, inner: &str) -> bool {
    branch != inner && (branch.is_empty() || inner.strip_prefix(branch).is_some_and(|rest| rest.starts_with('/')))
}

/// The outermost branch around this one that is not around the other as well.
pub(super) fn outermost<'b>(branch: &'b str, other: &str) -> &'b str {
    let ends = branch.match_indices('/').map(|(at, _)| at).chain([branch.len()]);
    let mut around = ends.map(|end| &branch[..end]);
    around.find(|outer| *outer != other && !is_above(outer, other)).unwrap_or(branch)
}

/// Whether two branches belong to one fan-out, or stand below two branches that do.
pub(super) fn is_beside(branch: &str, other: &str) -> bool {
    let differing = branch.split('/').zip(other.split('/')).find(|(left, right)| left != right);
    let name = |component: &str| component.split('[').next().unwrap_or_default().to_owned();
    differing.is_some_and(|(left, right)| !left.is_empty() && name(left) == name(right))
}
