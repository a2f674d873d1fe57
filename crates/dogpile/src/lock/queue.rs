//! Waiters in the order of their coming.

use std::collections::VecDeque;

/// Values with numbers that grow with each newcomer, in their order.
///
/// A `BTreeMap` would do, and each kind of one costs a program that uses this crate as much
/// compile time as this whole folder.
pub(super) struct Queue<V>(VecDeque<(u64, V)>);

impl<V> Default for Queue<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Queue<V> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a newcomer, whose number is greater than all others.
    pub(super) fn push(&mut self, number: u64, value: V) {
        debug_assert!(self.0.back().is_none_or(|(last, _)| *last < number));
        self.0.push_back((number, value));
    }

    pub(super) fn pop_first(&mut self) -> Option<(u64, V)> {
        self.0.pop_front()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<V> {
        let place = self.place(number);
        let is_there = self.0.get(place).is_some_and(|(there, _)| *there == number);
        if is_there { self.0.remove(place).map(|(_, value)| value) } else { None }
    }

    /// Takes out those whose numbers are less than `number`.
    pub(super) fn take_before(&mut self, number: u64) -> Self {
        let later = self.0.split_off(self.place(number));
        Self(std::mem::replace(&mut self.0, later))
    }

    /// Adds those of another queue, each at its place.
    pub(super) fn merge(&mut self, other: Self) {
        let (mut ours, mut theirs) = (std::mem::take(&mut self.0), other.0);
        self.0.reserve(ours.len() + theirs.len());
        while let (Some((our, _)), Some((their, _))) = (ours.front(), theirs.front()) {
            let earlier = if our < their { &mut ours } else { &mut theirs };
            self.0.extend(earlier.pop_front());
        }
        self.0.append(&mut ours);
        self.0.append(&mut theirs);
    }

    pub(super) fn into_values(self) -> impl Iterator<Item = V> {
        self.0.into_iter().map(|(_, value)| value)
    }

    fn place(&self, number: u64) -> usize {
        self.0.partition_point(|(there, _)| *there < number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Push,
        Pop,
        Remove(u64),
        Part(u64),
        Merge,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Push),
            1 => Just(Step::Pop),
            2 => (0..40_u64).prop_map(Step::Remove),
            1 => (0..40_u64).prop_map(Step::Part),
            1 => Just(Step::Merge),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn it_is_a_map_in_the_order_of_its_numbers(steps in steps()) {
            let (mut queue, mut map) = (Queue::new(), BTreeMap::new());
            let (mut parted, mut parted_map) = (Queue::new(), BTreeMap::new());
            for (number, step) in (0_u64..).zip(steps) {
                match step {
                    Step::Push => {
                        queue.push(number, number);
                        map.insert(number, number);
                    }
                    Step::Pop => prop_assert_eq!(queue.pop_first(), map.pop_first()),
                    Step::Remove(number) => {
                        prop_assert_eq!(queue.remove(number), map.remove(&number));
                    }
                    Step::Part(number) => {
                        let later = map.split_off(&number);
                        parted_map.append(&mut std::mem::replace(&mut map, later));
                        parted.merge(queue.take_before(number));
                    }
                    Step::Merge => {
                        queue.merge(std::mem::take(&mut parted));
                        map.append(&mut parted_map);
                    }
                }
                prop_assert_eq!(queue.is_empty(), map.is_empty());
            }
            let (left, expected): (Vec<u64>, Vec<u64>) =
                (queue.into_values().collect(), map.into_values().collect());
            prop_assert_eq!(left, expected);
        }
    }
}
