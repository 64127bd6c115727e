//! The documentation: its links lead somewhere, and its commands do what the pages say, in the order of each
//! page. docs/testing.md says how blocks are marked.

mod exceptions;
mod page;
mod script;
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use fence_lab::{Failure, Group, Report, Verdict, ensure};

use exceptions::NOT_RUN;
use page::{Block, Kind, Page};
use world::World;

/// The pages that begin with a host that has nothing of ours.
const BARE: [&str; 2] = ["README.md", "docs/install.md"];

/// Tests the pages whose name contains one of the words.
pub(crate) fn run(directory: &Path, report: &Report, words: &[String]) -> Verdict {
    let root = repository()?;
    let pages = pages(&root)?;
    let mut group = Group::new("links");
    for page in &pages {
        let broken = page.broken(&root, &pages).join("\n    ");
        let verdict = if broken.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(format!("these lead nowhere:\n    {broken}")))
        };
        group.case(&page.name, verdict);
    }
    group.case("exceptions", exceptions_are_of_use(&pages));
    report.add(&group);
    for page in &pages {
        let is_wanted = words.is_empty() || words.iter().any(|word| page.name.contains(word));
        let has_commands = |block: &Block| matches!(block.kind, Kind::Commands(_));
        if is_wanted && page.blocks.iter().any(has_commands) {
            let mut group = Group::new(format!("commands of {}", page.name));
            let place = directory.join(page.name.replace('/', "-"));
            group.case(&page.name, play(page, &place, &root));
            report.add(&group);
        }
    }
    Ok(())
}

fn repository() -> Result<PathBuf, Failure> {
    let root = std::env::current_dir()?;
    ensure!(
        root.join("ARCHITECTURE.md").exists(),
        "{} is not the repository",
        root.display()
    );
    Ok(root)
}

fn pages(root: &Path) -> Result<Vec<Page>, Failure> {
    let mut names = vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned()];
    for entry in fs::read_dir(root.join("docs"))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    let read = |name: &String| Page::parse(name, &fs::read_to_string(root.join(name))?);
    names.iter().map(read).collect()
}

/// Whether a line of a page is one of those that are not run.
fn is_exception(page: &str, line: &str) -> bool {
    let command = line.split(" #").next().unwrap_or_default().trim();
    let mut all = NOT_RUN.iter();
    all.any(|(name, exception, _)| *name == page && *exception == command)
}

/// An exception that no page has any more is to be removed, and so is one without a reason.
fn exceptions_are_of_use(pages: &[Page]) -> Verdict {
    for (name, command, reason) in NOT_RUN {
        let page = pages.iter().filter(|page| page.name == name);
        let mut lines = page
            .flat_map(|page| &page.blocks)
            .flat_map(|it| it.text.lines());
        ensure!(
            lines.any(|line| is_exception(name, line)) && !reason.is_empty(),
            "the exception '{command}' of {name} is of no use"
        );
    }
    Ok(())
}

fn play(page: &Page, directory: &Path, root: &Path) -> Verdict {
    let is_bare = BARE.contains(&page.name.as_str());
    let mut world = World::new(directory, root, is_bare)?;
    for block in &page.blocks {
        match block.kind {
            Kind::Commands(place) => {
                let text = script::script(&block.text, |line| is_exception(&page.name, line));
                let played = world.play(place, &text);
                played.map_err(|failure| failure.at(format!("{}:{}", page.name, block.line)))?;
            }
            Kind::Configuration => world.write_example(&block.text)?,
            Kind::Shown => {}
        }
    }
    Ok(())
}
