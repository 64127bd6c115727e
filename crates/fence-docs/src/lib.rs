//! Makes what is generated: the manual pages below `man/` and the completions below `completions/`.
//!
//! They come from the tables of options in `fence-virtd` and `fence-xvm`, from `docs/configuration.md`
//! (whose tables of keys a test of `fence-virtd` compares with its schema), and, for what no table says,
//! from `pages/`. `make generated` writes them; a test compares.

pub mod markdown;
pub mod programs;
pub mod roff;

use clap::Command;
use clap_complete::Shell;
use fence_xvm::role::Role;
use fence_xvm::usage;

use markdown::Reading;
use roff::Page;

const CONFIGURATION: &str = include_str!("../../../docs/configuration.md");
const DAEMON: &str = include_str!("../pages/fence_virtd.md");
const SEE_ALSO_DAEMON: &str =
    ".SH SEE ALSO\n.BR fence_virtd (8),\n.BR fence_xvm (8),\n.BR fence_virt (8)\n";

/// A generated file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Where it is, from the repository's root.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// Everything that is generated.
///
/// # Errors
/// What clap could not write; it has no reason to fail.
pub fn documents() -> std::io::Result<Vec<Document>> {
    let mut all = vec![
        page("fence_virtd.8", daemon_page()?),
        page("fence_virt.conf.5", configuration_page()),
    ];
    let mut programs = vec![programs::daemon()];
    for role in [Role::Xvm, Role::Virt] {
        all.push(page(&format!("{}.8", role.name()), usage::manual(role)));
        programs.push(programs::agent(role));
    }
    for program in programs {
        for (shell, directory) in [
            (Shell::Bash, "bash"),
            (Shell::Zsh, "zsh"),
            (Shell::Fish, "fish"),
        ] {
            all.push(completion(program.clone(), shell, directory)?);
        }
    }
    Ok(all)
}

fn page(name: &str, text: String) -> Document {
    Document {
        path: format!("man/{name}"),
        text,
    }
}

fn daemon_page() -> std::io::Result<String> {
    let mut options = Vec::new();
    clap_mangen::Man::new(programs::daemon()).render_options_section(&mut options)?;
    let options = String::from_utf8_lossy(&options);
    let options = options.split_once("OPTIONS\n").map_or("", |(_, rows)| rows);
    let mut page = Page::new("fence_virtd", 8, "fencing host daemon for virtual machines");
    let reading = Reading {
        options,
        left_out: &[],
    };
    markdown::add(&mut page, DAEMON, reading);
    Ok(page.finish())
}

fn configuration_page() -> String {
    let mut page = Page::new("fence_virt.conf", 5, "configuration of fence_virtd");
    page.section("Description");
    let reading = Reading {
        options: "",
        left_out: &["Differences from the original"],
    };
    markdown::add(&mut page, CONFIGURATION, reading);
    page.raw(SEE_ALSO_DAEMON);
    page.finish()
}

fn completion(mut program: Command, shell: Shell, directory: &str) -> std::io::Result<Document> {
    let name = program.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program, &name, &mut text);
    let text = String::from_utf8(text).map_err(std::io::Error::other)?;
    let file = match shell {
        Shell::Zsh => format!("_{name}"),
        Shell::Fish => format!("{name}.fish"),
        _ => name,
    };
    Ok(Document {
        path: format!("completions/{directory}/{file}"),
        text,
    })
}
