//! The commands of the documentation that the test cannot run, each with its reason. The list is short and
//! stays so: what can be run somehow is run.

/// A line of a page, as it is there without its comment, and why it is not run.
pub(super) const NOT_RUN: [(&str, &str, &str); 4] = [
    ("README.md", "make test", "it is what runs this very test"),
    (
        "docs/install.md",
        "apt-get install ./target/deb/fence-virtd_*.deb",
        PACKAGES,
    ),
    (
        "docs/install.md",
        "apt-get install ./target/deb/fence-virt_*.deb",
        PACKAGES,
    ),
    (
        "docs/install.md",
        "apt-get install --allow-downgrades fence-virtd=4.12.1-1 fence-virt=4.12.1-1",
        PACKAGES,
    ),
];

const PACKAGES: &str = "tests/packages.sh builds and installs the packages, and the original's over them, in a copy of \
                        the machine that has a package database";
