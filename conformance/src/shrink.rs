//! Making a sequence that shows a difference as short as it can be.

use crate::sequence::Sequence;

/// Removes steps as long as the sequence still shows a difference: halves first, then quarters, at last single steps.
/// Ends after `plays_max` plays of `shows` at the latest, with the shortest sequence found.
pub fn shrink(
    sequence: &Sequence,
    plays_max: usize,
    mut shows: impl FnMut(&Sequence) -> bool,
) -> Sequence {
    let mut best = sequence.clone();
    let mut plays = 0;
    let mut piece = best.steps.len().div_ceil(2).max(1);
    loop {
        let mut removed = false;
        // From the end, since later steps matter to fewer others.
        let mut end = best.steps.len();
        while end > 0 && plays < plays_max {
            let start = end.saturating_sub(piece);
            let mut shorter = best.clone();
            shorter.steps.drain(start..end);
            plays += 1;
            if shows(&shorter) {
                best = shorter;
                removed = true;
            }
            end = start;
        }
        if plays >= plays_max || (piece == 1 && !removed) {
            return best;
        }
        if !removed {
            piece = piece.div_ceil(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{File, Step};

    fn sequence(count: u8) -> Sequence {
        let steps = (0..count).map(|number| Step::Close { file: File::Table(number) }).collect();
        Sequence { name: "closing".to_owned(), locked_limit: None, steps }
    }

    fn closes(sequence: &Sequence, number: u8) -> bool {
        sequence.steps.contains(&Step::Close { file: File::Table(number) })
    }

    #[test]
    fn only_the_steps_that_matter_stay() {
        let short = shrink(&sequence(100), 10_000, |it| closes(it, 17) && closes(it, 93));
        assert_eq!(short.steps.len(), 2);
        assert!(closes(&short, 17) && closes(&short, 93));
    }

    #[test]
    fn the_number_of_plays_is_bounded() {
        let mut plays = 0;
        let short = shrink(&sequence(200), 10, |it| {
            plays += 1;
            closes(it, 3)
        });
        assert!(closes(&short, 3));
        assert_eq!(plays, 10);
    }
}
