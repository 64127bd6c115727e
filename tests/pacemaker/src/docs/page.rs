//! A page of the documentation: its blocks, headings and links.

use std::path::{Path, PathBuf};

use fence_lab::{Failure, fail};

/// Where a block's commands run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The host, as root.
    Host,
    /// The guest `node1`.
    Node,
    /// The repository.
    Repository,
}

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// The line of its first command, counted from 1.
    pub(super) line: usize,
    /// What it is.
    pub(super) kind: Kind,
    /// What is in it.
    pub(super) text: String,
}

/// What a block is, by the words behind its opening fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Commands.
    Commands(Place),
    /// A configuration file in the original's grammar.
    Configuration,
    /// Nothing to run.
    Shown,
}

impl Kind {
    fn of(words: &str) -> Option<Self> {
        Some(match words {
            "sh host" => Self::Commands(Place::Host),
            "sh node1" => Self::Commands(Place::Node),
            "sh repo" => Self::Commands(Place::Repository),
            "conf" => Self::Configuration,
            "toml" | "xml" | "text" => Self::Shown,
            _ => return None,
        })
    }
}

/// A page.
#[derive(Debug)]
pub(super) struct Page {
    /// Its path in the repository.
    pub(super) name: String,
    /// Its blocks, in order.
    pub(super) blocks: Vec<Block>,
    /// The anchors of its headings.
    anchors: Vec<String>,
    /// Where its links lead, with the line of each.
    links: Vec<(usize, String)>,
}

impl Page {
    /// Takes a page apart.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        let mut page = Self {
            name: name.to_owned(),
            blocks: Vec::new(),
            anchors: Vec::new(),
            links: Vec::new(),
        };
        let mut open: Option<Block> = None;
        for (line, number) in text.lines().zip(1..) {
            match (line.strip_prefix("```"), &mut open) {
                (Some(""), block @ Some(_)) => page.blocks.extend(block.take()),
                (Some(words), None) => {
                    let Some(kind) = Kind::of(words) else {
                        fail!("{name}:{number}: the block is of no known kind: '{words}'");
                    };
                    open = Some(Block {
                        line: number + 1,
                        kind,
                        text: String::new(),
                    });
                }
                (_, Some(block)) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => page.prose(line, number),
            }
        }
        if let Some(block) = open {
            fail!("{name}:{}: the block has no end", block.line);
        }
        Ok(page)
    }

    fn prose(&mut self, line: &str, number: usize) {
        if line.starts_with('#') {
            self.anchors
                .push(anchor(line.trim_start_matches('#').trim()));
        }
        for part in line.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                self.links.push((number, target.to_owned()));
            }
        }
    }

    /// The links of this page that lead nowhere.
    pub(super) fn broken(&self, root: &Path, pages: &[Self]) -> Vec<String> {
        let broken = self.links.iter().filter(|(_, target)| {
            let is_elsewhere = target.starts_with("https://") || target.starts_with("http://");
            !is_elsewhere && !self.leads_somewhere(target, root, pages)
        });
        broken
            .map(|(line, target)| format!("{}:{line}: {target}", self.name))
            .collect()
    }

    fn leads_somewhere(&self, target: &str, root: &Path, pages: &[Self]) -> bool {
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        let path = if file.is_empty() {
            PathBuf::from(&self.name)
        } else {
            let here = Path::new(&self.name).parent();
            normal(&here.unwrap_or(Path::new("")).join(file))
        };
        let page = pages.iter().find(|page| Path::new(&page.name) == path);
        let has_heading = page.is_some_and(|page| page.anchors.iter().any(|it| it == heading));
        root.join(&path).exists() && (heading.is_empty() || has_heading)
    }
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut made = PathBuf::new();
    for part in path {
        if part == ".." {
            made.pop();
        } else {
            made.push(part);
        }
    }
    made
}

/// What a heading is called in links: lower case, blanks as hyphens, no punctuation.
fn anchor(heading: &str) -> String {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    heading.chars().filter_map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Of `keys`, and 2\nSee [a](b.md#c-d) and [e](#of-keys-and-2).\n```sh host\n# [no](link)\n\
                        ls\n```\n```toml\nx\n```\n";

    #[test]
    fn blocks_links_and_headings_are_found() {
        let page = Page::parse("docs/a.md", TEXT).unwrap();
        let kinds: Vec<_> = page.blocks.iter().map(|it| (it.line, it.kind)).collect();
        let host = Kind::Commands(Place::Host);
        assert_eq!(kinds, [(4, host), (8, Kind::Shown)]);
        assert_eq!(page.blocks[0].text, "# [no](link)\nls\n");
        assert_eq!(page.anchors, ["of-keys-and-2"]);
        assert_eq!(page.links.len(), 2);
    }

    #[test]
    fn blocks_of_no_known_kind_and_without_end_are_errors() {
        for text in ["```\nls\n```\n", "```bash\nls\n```\n", "```sh host\nls\n"] {
            assert!(Page::parse("a.md", text).is_err(), "{text}");
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = Page::parse(
            "src/a.md",
            "# A b\n[x](main.rs) [x](../src/main.rs) [x](#a-b)",
        )
        .unwrap();
        let other = Page::parse("src/main.rs", "# Here").unwrap();
        let pages = [page, other];
        // A page of its own must exist as well.
        assert_eq!(pages[0].broken(root, &pages), ["src/a.md:2: #a-b"]);
        let page = Page::parse(
            "src/b.md",
            "[x](nothing.md) [x](main.rs#here) [x](main.rs#there)",
        )
        .unwrap();
        assert_eq!(
            page.broken(root, &pages),
            ["src/b.md:1: nothing.md", "src/b.md:1: main.rs#there"]
        );
    }
}
