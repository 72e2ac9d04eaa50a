//! `round_robin`: one endpoint after the other.

/// The endpoint whose turn it is, or the next one that is not full; where all are, the one whose turn it is.
pub(crate) fn pick(count: usize, turn: usize, is_full: impl Fn(usize) -> bool) -> usize {
    let first = turn % count.max(1);
    let mut in_turn = (first..count).chain(0..first);
    in_turn.find(|at| !is_full(*at)).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn() {
        let picked: Vec<usize> = (4..11).map(|turn| pick(3, turn, |_| false)).collect();
        assert_eq!(picked, [1, 2, 0, 1, 2, 0, 1]);
    }

    #[test]
    fn one_that_is_full_is_passed_over_unless_all_are() {
        assert_eq!(pick(3, 1, |at| at == 1), 2);
        assert_eq!(pick(3, 2, |at| at != 1), 1);
        assert_eq!(pick(3, 2, |_| true), 2);
    }
}
