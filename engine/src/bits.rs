//! Sets of up to 64 places, as the bits of a number.
//!
//! What is done for each of some things, but not the same for all, is done quicker set by set: where it changes from one to
//! the next, the processor guesses what comes, and each wrong guess costs more than to go through a set.

/// Which of some things are in each of several sets, of 64 things at most.
#[inline]
pub(crate) fn sets_of<T, const N: usize>(
    things: impl DoubleEndedIterator<Item = T>,
    are_in: impl Fn(T) -> [bool; N],
) -> [u64; N] {
    let mut sets = [0; N];
    for thing in things.rev() {
        for (set, is_in) in sets.iter_mut().zip(are_in(thing)) {
            *set = *set << 1 | u64::from(is_in);
        }
    }
    sets
}

/// The set of all places below one.
pub(crate) const fn below(place: usize) -> u64 {
    (1 << place) - 1
}

/// How many places are in a set.
pub(crate) fn count(set: u64) -> u64 {
    u64::from(set.count_ones())
}

/// The places of a set, ascending.
#[inline]
pub(crate) fn places(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = usize::try_from(set.trailing_zeros()).expect("64 at most");
        let is_empty = set == 0;
        set &= set.wrapping_sub(1);
        (!is_empty).then_some(lowest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_places_of_what_is_in_it() {
        let numbers = 0u8..64;
        let [even, high] = sets_of(numbers, |number| [number % 2 == 0, number >= 62]);
        assert!(places(even).eq((0..64).step_by(2)));
        assert!(places(high).eq([62, 63]));
        assert_eq!((count(even), count(high), count(0)), (32, 2, 0));
        assert!(places(even & below(5)).eq([0, 2, 4]));
        assert!(places(!0).eq(0..64) && places(0).next().is_none());
    }
}
