//! The rules of one subject, by topic level.
//!
//! Three questions: which rules match a topic, which match all topics of a filter, and which match
//! any of them. Each is a walk from the root that unites what it finds, and leaves out what could
//! add nothing. As in section 4.7 of the standard, `#` matches the level above it too, and wildcards
//! at the start match no topic that begins with `$`; nor does a client whose name begins so.

use std::str::Split;

use hashbrown::HashMap;

use super::marks::Marks;
use crate::types::{RuleLevel, RuleTopic};

type Random = foldhash::fast::RandomState;
type Levels<'a> = Split<'a, char>;

const ROOT: u32 = 0;

/// What `%c` and `%u` stand for; none where no level can be that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) client: Option<&'a str>,
    pub(super) user: Option<&'a str>,
}

impl<'a> Names<'a> {
    pub(super) fn new(client: &'a str, user: Option<&'a str>) -> Self {
        // A rule that stood for such a name as written would be about other topics.
        let is_level = |name: &&str| !name.is_empty() && !name.contains(['/', '+', '#']);
        Self { client: Some(client).filter(is_level), user: user.filter(is_level) }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct RuleTree {
    /// The root is the first.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    texts: HashMap<Box<str>, u32, Random>,
    /// Where `+`, `%c` and `%u` lead; the root stands for nowhere.
    single: u32,
    client: u32,
    user: u32,
    /// Of rules that end here.
    here: Marks,
    /// Of rules that end with `#` below this level.
    multi: Marks,
    /// Of all rules that come by here.
    all: Marks,
}

impl Default for RuleTree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl RuleTree {
    /// Adds what a rule says about a topic.
    pub(super) fn add(&mut self, topic: &RuleTopic, marks: Marks) {
        let mut at = ROOT;
        for level in topic.levels() {
            let Some(node) = self.node_mut(at) else { return };
            node.all |= marks;
            let next = match level {
                RuleLevel::Multi => {
                    node.multi |= marks;
                    return;
                }
                RuleLevel::Text(text) => node.texts.get(text).copied().unwrap_or(ROOT),
                RuleLevel::Single => node.single,
                RuleLevel::Client => node.client,
                RuleLevel::User => node.user,
            };
            at = if next == ROOT { self.grow(at, level) } else { next };
        }
        if let Some(node) = self.node_mut(at) {
            node.all |= marks;
            node.here |= marks;
        }
    }

    fn grow(&mut self, at: u32, level: RuleLevel<'_>) -> u32 {
        let new = u32::try_from(self.nodes.len()).unwrap_or(ROOT);
        self.nodes.push(Node::default());
        if let Some(node) = self.node_mut(at) {
            match level {
                RuleLevel::Text(text) => drop(node.texts.insert(text.into(), new)),
                RuleLevel::Single | RuleLevel::Multi => node.single = new,
                RuleLevel::Client => node.client = new,
                RuleLevel::User => node.user = new,
            }
        }
        new
    }

    fn node_mut(&mut self, at: u32) -> Option<&mut Node> {
        self.nodes.get_mut(at as usize)
    }

    /// Of the rules that match a topic.
    pub(super) fn matching(&self, topic: &str, names: Names<'_>, found: &mut Marks) {
        // A topic is the filter that matches it alone.
        self.covering(topic, names, found);
    }

    /// Of the rules each of which matches every topic that a filter matches.
    pub(super) fn covering(&self, filter: &str, names: Names<'_>, found: &mut Marks) {
        self.cover(ROOT, filter.split('/'), names, found);
    }

    /// Of the rules that match some topic that a filter matches.
    pub(super) fn overlapping(&self, filter: &str, names: Names<'_>, found: &mut Marks) {
        self.overlap(ROOT, filter.split('/'), names, found);
    }

    /// The node, unless nothing there is news.
    fn news(&self, at: u32, found: Marks) -> Option<&Node> {
        self.nodes.get(at as usize).filter(|node| !found.contains(node.all))
    }

    fn cover(&self, at: u32, mut levels: Levels<'_>, names: Names<'_>, found: &mut Marks) {
        let Some(node) = self.news(at, *found) else { return };
        match levels.next() {
            None => *found |= node.here | node.multi,
            Some("#") => {
                *found |= node.multi;
                // Every topic has a first level.
                if at == ROOT
                    && let Some(first) = self.beyond(node.single)
                {
                    *found |= first.multi;
                }
            }
            Some("+") => {
                *found |= node.multi;
                if node.single != ROOT {
                    self.cover(node.single, levels, names, found);
                }
            }
            Some(level) => {
                for next in self.along(at, node, level, names, found) {
                    self.cover(next, levels.clone(), names, found);
                }
            }
        }
    }

    fn overlap(&self, at: u32, mut levels: Levels<'_>, names: Names<'_>, found: &mut Marks) {
        let Some(node) = self.news(at, *found) else { return };
        match levels.next() {
            None => *found |= node.here | node.multi,
            Some("#") => self.everything(at, names, found),
            Some("+") => {
                *found |= node.multi;
                for next in self.children(at, node, names) {
                    self.overlap(next, levels.clone(), names, found);
                    if found.contains(node.all) {
                        return;
                    }
                }
            }
            Some(level) => {
                for next in self.along(at, node, level, names, found) {
                    self.overlap(next, levels.clone(), names, found);
                }
            }
        }
    }

    /// Wherever a level of this text leads. Takes what matches whatever follows.
    fn along(
        &self,
        at: u32,
        node: &Node,
        level: &str,
        names: Names<'_>,
        found: &mut Marks,
    ) -> impl Iterator<Item = u32> + use<> {
        let may_be_any = at != ROOT || !level.starts_with('$');
        if may_be_any {
            *found |= node.multi;
        }
        let is = |name: Option<&str>| may_be_any && name == Some(level);
        let text = node.texts.get(level).map(|&next| (next, true));
        let others = [(node.single, may_be_any), (node.client, is(names.client)), (node.user, is(names.user))];
        let all = text.into_iter().chain(others);
        all.filter(|(next, leads)| *leads && *next != ROOT).map(|(next, _)| next)
    }

    fn everything(&self, at: u32, names: Names<'_>, found: &mut Marks) {
        let Some(node) = self.news(at, *found) else { return };
        *found |= node.here | node.multi;
        for next in self.children(at, node, names) {
            self.everything(next, names, found);
            if found.contains(node.all) {
                return;
            }
        }
    }

    /// Wherever a level of any text leads that a wildcard stands for.
    fn children<'a>(&self, at: u32, node: &'a Node, names: Names<'a>) -> impl Iterator<Item = u32> + use<'a> {
        let is_shown = move |text: &str| at != ROOT || !text.starts_with('$');
        let texts = node.texts.iter().filter(move |(text, _)| is_shown(text)).map(|(_, &next)| next);
        let leads = move |name: Option<&str>| name.is_some_and(is_shown);
        let others = [(node.single, true), (node.client, leads(names.client)), (node.user, leads(names.user))];
        texts.chain(others.into_iter().filter(|(next, leads)| *leads && *next != ROOT).map(|(next, _)| next))
    }

    fn beyond(&self, next: u32) -> Option<&Node> {
        if next == ROOT { None } else { self.nodes.get(next as usize) }
    }
}
