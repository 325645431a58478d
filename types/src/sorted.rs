//! A map in a sorted list, for the many small maps that a node keeps of its documents.

use std::{
    borrow::Borrow,
    ops::{Bound, Index, RangeBounds},
};

/// A map in a sorted list that keeps little room to spare: one key costs what it and its value need, where a tree takes a
/// node of eleven and a growing list the double.
///
/// A key is found in O(log n); a new one moves those behind it, and mostly all when it is one of a few. That suits maps that
/// have few keys, or that are read more often than they get new ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sorted<K, V>(Vec<(K, V)>);

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Sorted(Vec::new())
    }
}

impl<K, V> Sorted<K, V> {
    /// No keys.
    pub fn new() -> Self {
        Sorted::default()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }

    /// Keys with their values, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator {
        self.0.iter().map(pair)
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator {
        self.0.iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + ExactSizeIterator {
        self.0.iter().map(|(_, value)| value)
    }

    /// The values in the order of their keys, to be changed.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> + ExactSizeIterator {
        self.0.iter_mut().map(|(_, value)| value)
    }
}

fn pair<K, V>((key, value): &(K, V)) -> (&K, &V) {
    (key, value)
}

impl<K: Ord, V> Sorted<K, V> {
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|(known, _)| known.borrow().cmp(key))
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.find(key).ok().map(|place| &self.0[place].1)
    }

    /// Whether it has a value.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).is_ok()
    }

    /// Gives a key a value, and answers the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.add(place, key, value);
                None
            }
        }
    }

    fn add(&mut self, place: usize, key: K, value: V) {
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(1 + self.0.len() / 8);
        }
        self.0.insert(place, (key, value));
    }

    /// The value of a key; if it has none, what `default` makes.
    pub fn get_or_insert_with(&mut self, key: K, default: impl FnOnce() -> V) -> &mut V {
        let place = self.find(&key).unwrap_or_else(|place| {
            self.add(place, key, default());
            place
        });
        &mut self.0[place].1
    }

    /// Takes a key away, and answers its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.find(key).ok()?;
        Some(self.0.remove(place).1)
    }

    /// Those whose keys are within bounds, in order; none if these are the wrong way round.
    pub fn range<Q: Ord + ?Sized>(&self, bounds: impl RangeBounds<Q>) -> impl DoubleEndedIterator<Item = (&K, &V)>
    where
        K: Borrow<Q>,
    {
        let below = |bound: &Q, inclusive: bool| {
            self.0.partition_point(|(key, _)| key.borrow() < bound || (inclusive && key.borrow() == bound))
        };
        let from = match bounds.start_bound() {
            Bound::Included(bound) => below(bound, false),
            Bound::Excluded(bound) => below(bound, true),
            Bound::Unbounded => 0,
        };
        let to = match bounds.end_bound() {
            Bound::Included(bound) => below(bound, true),
            Bound::Excluded(bound) => below(bound, false),
            Bound::Unbounded => self.0.len(),
        };
        self.0.get(from..to).unwrap_or_default().iter().map(pair)
    }
}

impl<Q: Ord + ?Sized, K: Ord + Borrow<Q>, V> Index<&Q> for Sorted<K, V> {
    type Output = V;

    /// # Panics
    /// The key has no value.
    fn index(&self, key: &Q) -> &V {
        match self.get(key) {
            Some(value) => value,
            None => panic!("there is no such key"),
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Sorted<K, V> {
    /// Of several values of a key the last one holds.
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        let mut pairs: Vec<(K, V)> = pairs.into_iter().collect();
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            pairs.reverse();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            pairs.dedup_by(|later, kept| later.0 == kept.0);
        }
        pairs.shrink_to_fit();
        Sorted(pairs)
    }
}

impl<'a, K, V> IntoIterator for &'a Sorted<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = std::iter::Map<std::slice::Iter<'a, (K, V)>, fn(&'a (K, V)) -> (&'a K, &'a V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8, u16),
        Default(u8, u16),
        Remove(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20u8, any::<u16>()).prop_map(|(key, value)| Step::Insert(key, value)),
            (0..20u8, any::<u16>()).prop_map(|(key, value)| Step::Default(key, value)),
            (0..20u8).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn it_says_what_a_tree_says(steps in prop::collection::vec(step(), 0..60), from in 0..21u8, to in 0..21u8) {
            let (mut tree, mut list) = (BTreeMap::new(), Sorted::new());
            for step in steps {
                match step {
                    Step::Insert(key, value) => prop_assert_eq!(list.insert(key, value), tree.insert(key, value)),
                    Step::Default(key, value) => {
                        let held = *tree.entry(key).or_insert(value);
                        prop_assert_eq!(*list.get_or_insert_with(key, || value), held);
                    }
                    Step::Remove(key) => prop_assert_eq!(list.remove(&key), tree.remove(&key)),
                }
                prop_assert!(list.iter().eq(&tree));
            }
            let within = |key: &u8| (from..to).contains(key);
            prop_assert!(list.range(from..to).eq(tree.iter().filter(|(key, _)| within(key))));
            prop_assert!(list.range(..=to).eq(tree.range(..=to)));
            prop_assert!((0..20).all(|key| list.get(&key) == tree.get(&key)));
        }

        #[test]
        fn of_several_values_the_last_one_holds(pairs in prop::collection::vec((0..9u8, any::<u16>()), 0..30)) {
            let (tree, list): (BTreeMap<_, _>, Sorted<_, _>) = (pairs.iter().copied().collect(), pairs.into_iter().collect());
            prop_assert!(list.iter().eq(&tree));
        }
    }

    #[test]
    fn few_keys_take_no_more_room_than_they_need() {
        let mut list = Sorted::new();
        (0..7).for_each(|key| {
            list.insert(key, ());
            assert_eq!(list.0.capacity(), list.len());
        });
    }
}
