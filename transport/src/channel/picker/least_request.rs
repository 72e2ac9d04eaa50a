//! `least_request_experimental` (gRFC A48): of some endpoints that are drawn by chance, the one with the fewest calls in
//! flight. One may be drawn more than once, so that a slow one is called less and still called.

/// Draws as often as there are choices, at least once; of equals the first one drawn is taken.
pub(crate) fn pick(choices: u32, load: impl Fn(usize) -> usize, mut draw: impl FnMut() -> usize) -> usize {
    let mut chosen = draw();
    for _ in 1..choices {
        let drawn = draw();
        if load(drawn) < load(chosen) {
            chosen = drawn;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(drawn: &[usize]) -> usize {
        let load = |at| [5, 3, 3, 0][at];
        let mut drawn = drawn.iter().copied();
        pick(u32::try_from(drawn.len()).unwrap(), load, || drawn.next().unwrap())
    }

    #[test]
    fn the_one_with_the_fewest_calls_among_those_drawn_is_taken() {
        assert_eq!(of(&[0, 1]), 1);
        assert_eq!(of(&[1, 2]), 1);
        assert_eq!(of(&[2, 1]), 2);
        assert_eq!(of(&[0, 2, 3]), 3);
        assert_eq!(of(&[0, 0]), 0);
    }
}
