//! The brokers that gave the records of a batch. A broker that gave a record of a topic's new life knows of that life, and shows
//! its id when it is asked. Another broker may not know of it yet.

use std::iter;

/// A broker's number in its cluster.
pub type BrokerId = i32;

/// A set of brokers. Nearly always it is one, which costs no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brokers {
    first: Option<BrokerId>,
    others: Vec<BrokerId>,
}

impl Brokers {
    /// Adds one. -1 is left out: librdkafka does not know the broker.
    pub fn add(&mut self, broker: BrokerId) {
        if broker < 0 || self.first == Some(broker) {
            return;
        }
        if self.first.is_none() {
            self.first = Some(broker);
        } else if !self.others.contains(&broker) {
            self.others.push(broker);
        }
    }

    /// Adds those of another set.
    pub fn extend(&mut self, other: &Self) {
        other.iter().for_each(|broker| self.add(broker));
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = BrokerId> {
        iter::chain(self.first, self.others.iter().copied())
    }

    /// Whether it is empty, because no record came.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broker_is_there_once() {
        let mut brokers = Brokers::default();
        assert!(brokers.is_empty());
        [-1, 2, 2, 3, 2, 3, 1].into_iter().for_each(|broker| brokers.add(broker));
        let mut more = Brokers::default();
        more.add(3);
        more.add(7);
        brokers.extend(&more);
        assert_eq!(brokers.iter().collect::<Vec<_>>(), [2, 3, 1, 7]);
    }
}
