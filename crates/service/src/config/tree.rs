//! Settings without types yet: a tree in which each value knows where it was given. A stronger layer is laid on a weaker one.
//! Pure.

use std::collections::BTreeMap;
use std::fmt;

use super::fault::Origin;

/// A value, and where it was given.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A value that has no type of the program yet. It has no `Debug`, because it may be a secret.
#[derive(Clone)]
pub(super) enum Value {
    /// A variable's or a flag's text. It is a number or a truth value if one is wanted.
    Word(String),
    Text(String),
    Integer(i128),
    /// As it was written.
    Float(String),
    Boolean(bool),
    /// A date or a time. No setting has this type.
    Date,
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

/// One step of the path to a setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The path to a setting: `routes[0].columns[2].kind`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    /// The path that a dotted key means.
    pub(super) fn of(key: &str) -> Self {
        Self(key.split('.').map(|part| Step::Key(part.to_owned())).collect())
    }

    pub(super) fn is_in(&self, outer: &Self) -> bool {
        self.0.starts_with(&outer.0)
    }

    /// The path to the table or list around it, and the last step.
    pub(super) fn split_last(&self) -> Option<(Self, &Step)> {
        self.0.split_last().map(|(last, outer)| (Self(outer.to_vec()), last))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if number == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl Node {
    pub(super) fn table(origin: Origin) -> Self {
        Self { value: Value::Table(BTreeMap::new()), origin }
    }

    /// A layer with one setting: a dotted key and its text.
    pub(super) fn setting(key: &str, text: &str, origin: &Origin) -> Self {
        let leaf = Self { value: Value::Word(text.to_owned()), origin: origin.clone() };
        key.rsplit('.').fold(leaf, |node, part| {
            let table = Value::Table(BTreeMap::from([(part.to_owned(), node)]));
            Self { value: table, origin: origin.clone() }
        })
    }

    /// Lays a stronger layer on this one: tables are merged, any other value is replaced.
    pub(super) fn lay(&mut self, stronger: Self) {
        match (&mut self.value, stronger) {
            (Value::Table(own), Self { value: Value::Table(other), origin }) => {
                for (key, node) in other {
                    match own.entry(key) {
                        std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(node)),
                        std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().lay(node),
                    }
                }
                self.origin = origin;
            }
            (_, stronger) => *self = stronger,
        }
    }

    pub(super) fn find(&self, path: &Path) -> Option<&Self> {
        path.0.iter().try_fold(self, |node, step| match (&node.value, step) {
            (Value::Table(table), Step::Key(key)) => table.get(key),
            (Value::List(list), Step::Index(index)) => list.get(*index),
            _ => None,
        })
    }

    pub(super) fn find_mut(&mut self, path: &Path) -> Option<&mut Self> {
        path.0.iter().try_fold(self, |node, step| match (&mut node.value, step) {
            (Value::Table(table), Step::Key(key)) => table.get_mut(key),
            (Value::List(list), Step::Index(index)) => list.get_mut(*index),
            _ => None,
        })
    }

    /// Where a setting was given, or else the innermost table around it.
    pub(super) fn origin_of(&self, path: &Path) -> Origin {
        let lengths = (0..=path.0.len()).rev();
        let found = lengths.filter_map(|length| self.find(&Path(path.0[..length].to_vec()))).next();
        found.map_or(Origin::Shipped, |node| node.origin.clone())
    }

    /// The whole number that it is or, in a variable, spells.
    pub(super) fn whole_number(&self) -> Option<i128> {
        match &self.value {
            Value::Integer(number) => Some(*number),
            Value::Word(text) => whole_number(text),
            _ => None,
        }
    }

    /// The keys of this table. Any other value has none.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let table = if let Value::Table(table) = &self.value { Some(table) } else { None };
        table.into_iter().flatten().map(|(key, _)| key.as_str())
    }

    /// Makes one level of nested tables: `a.b = 1` becomes `"a.b" = 1`. Returns every name that was there twice.
    pub(super) fn flatten(&mut self) -> Vec<(String, Origin)> {
        fn into(flat: &mut BTreeMap<String, Node>, twice: &mut Vec<(String, Origin)>, prefix: &str, node: Node) {
            let Node { value: Value::Table(table), .. } = node else {
                if let Some(other) = flat.get(prefix) {
                    // the user should look at the later line
                    twice.push((prefix.to_owned(), other.origin.clone().max(node.origin.clone())));
                }
                flat.insert(prefix.to_owned(), node);
                return;
            };
            for (key, node) in table {
                let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                into(flat, twice, &name, node);
            }
        }
        let (mut flat, mut twice) = (BTreeMap::new(), Vec::new());
        if matches!(self.value, Value::Table(_)) {
            into(&mut flat, &mut twice, "", self.clone());
            self.value = Value::Table(flat);
        }
        twice
    }
}

/// A number if the text is exactly that (`0123` is text).
pub(super) fn whole_number(text: &str) -> Option<i128> {
    text.parse::<i128>().ok().filter(|number| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(node: &Node, key: &str) -> Option<String> {
        match &node.find(&Path::of(key))?.value {
            Value::Word(word) => Some(word.clone()),
            _ => None,
        }
    }

    #[test]
    fn the_stronger_layer_wins_and_leaves_what_it_does_not_name() {
        let (weak, strong) = (Origin::Variable("WEAK".into(), None), Origin::Variable("STRONG".into(), None));
        let mut tree = Node::table(Origin::Shipped);
        for (key, text, origin) in
            [("a.b", "1", &weak), ("a.c", "2", &weak), ("a.b", "3", &strong), ("d", "4", &weak), ("d.e", "5", &strong)]
        {
            tree.lay(Node::setting(key, text, origin));
        }
        let words = ["a.b", "a.c", "d", "d.e"].map(|key| word(&tree, key));
        assert_eq!(words, [Some("3".into()), Some("2".into()), None, Some("5".into())]);
        assert_eq!(tree.origin_of(&Path::of("a.b")).to_string(), "STRONG: ");
        assert_eq!(tree.origin_of(&Path::of("a.c.x")).to_string(), "WEAK: ");
    }

    #[test]
    fn nested_and_quoted_names_are_one() {
        let origin = Origin::Shipped;
        let mut tree = Node::setting("fetch.min.bytes", "1", &origin);
        let Value::Table(table) = &mut tree.value else { panic!("a table") };
        table.insert("fetch.min.bytes".into(), Node { value: Value::Word("2".into()), origin: origin.clone() });
        table.insert("check.crcs".into(), Node { value: Value::Word("true".into()), origin });
        assert_eq!(tree.flatten().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["fetch.min.bytes"]);
        assert_eq!(tree.keys().collect::<Vec<_>>(), ["check.crcs", "fetch.min.bytes"]);
    }
}
