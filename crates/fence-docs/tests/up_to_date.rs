//! What is generated is in the repository as it would be made now.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn generated_files_are_those_that_the_tables_make() {
    for document in fence_docs::documents().unwrap() {
        let found = std::fs::read_to_string(root().join(&document.path)).unwrap_or_default();
        assert!(
            found == document.text,
            "{} is not what its tables make: run make generated",
            document.path
        );
    }
}

#[test]
fn nothing_else_lies_where_generated_files_are() {
    let made: BTreeSet<_> = fence_docs::documents()
        .unwrap()
        .into_iter()
        .map(|document| document.path)
        .collect();
    for directory in [
        "man",
        "completions/bash",
        "completions/zsh",
        "completions/fish",
    ] {
        for entry in std::fs::read_dir(root().join(directory)).unwrap() {
            let path = format!(
                "{directory}/{}",
                entry.unwrap().file_name().to_string_lossy()
            );
            assert!(
                made.contains(&path),
                "{path} is not generated any more: remove it"
            );
        }
    }
}

#[test]
fn every_option_of_the_programs_is_in_page_and_completions() {
    use clap::Command;
    use fence_docs::programs;
    use fence_xvm::role::Role;

    let documents = fence_docs::documents().unwrap();
    let text = |path: &str| {
        let found = documents.iter().find(|document| document.path == path);
        found.unwrap_or_else(|| panic!("{path}")).text.clone()
    };
    let check = |program: &Command| {
        let name = program.get_name();
        let page = text(&format!("man/{name}.8")).replace("\\-", "-");
        let completions = [
            format!("completions/bash/{name}"),
            format!("completions/zsh/_{name}"),
            format!("completions/fish/{name}.fish"),
        ]
        .map(|path| text(&path));
        for arg in program.get_arguments() {
            let long = arg.get_long().unwrap();
            if !["port", "domain"].contains(&long) {
                assert!(page.contains(&format!("--{long}")), "{name}(8): {long}");
            }
            for completion in &completions {
                assert!(completion.contains(long), "{name}: {long}");
            }
        }
        assert!(program.get_arguments().count() > 5);
    };
    check(&programs::daemon());
    check(&programs::agent(Role::Xvm));
    check(&programs::agent(Role::Virt));
}
