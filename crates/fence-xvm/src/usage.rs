//! The help text and the manual page.

use core::fmt::Write;

use crate::metadata;
use crate::options::{self, Argument, Opt, OptionSpec, Shown};
use crate::role::Role;

/// Where the second column starts, and where lines end.
const COLUMN: usize = 32;
const WIDTH: usize = 90;

/// Where lines of the manual page's source end.
const PAGE_WIDTH: usize = 80;

fn shown(role: Role) -> impl Iterator<Item = &'static OptionSpec> {
    options::for_role(role)
        .filter(|spec| matches!(spec.shown, Shown::Everywhere { .. } | Shown::CommandLine))
}

/// The text of `-h`.
#[must_use]
pub fn usage(role: Role) -> String {
    let mut text = format!("usage: {} [options]\n\nOptions:\n", role.name());
    for spec in shown(role) {
        row(&mut text, &synopsis(spec), &help(spec));
    }
    text.push_str("\nWithout any argument, options are read from stdin, one a line:\n");
    for spec in shown(role).filter(|spec| spec.shown != Shown::CommandLine) {
        row(&mut text, &format!("{}=", spec.name), &help(spec));
    }
    text
}

/// `-t, --timeout <seconds>`
fn synopsis(spec: &OptionSpec) -> String {
    let mut forms: Vec<_> = spec
        .letters
        .iter()
        .map(|letter| format!("-{letter}"))
        .collect();
    forms.push(format!("--{}", spec.name));
    let forms = forms.join(", ");
    match spec.argument {
        Argument::None => forms,
        Argument::Required(value) => format!("{forms} <{value}>"),
        Argument::Optional(value) => format!("{forms} [{value}]"),
    }
}

fn help(spec: &OptionSpec) -> String {
    // The metadata says these as the original's does, but neither agent uses them unasked.
    let of_a_mode = matches!(spec.id, Opt::SerialDevice | Opt::IpAddr);
    let default = spec.default.filter(|_| !of_a_mode);
    default.map_or_else(
        || spec.help.to_owned(),
        |default| format!("{} Default: {default}.", spec.help),
    )
}

fn row(text: &mut String, left: &str, right: &str) {
    let mut line = format!("  {left:<width$}", width = COLUMN.saturating_sub(3));
    if line.len() >= COLUMN {
        text.push_str(&line);
        text.push('\n');
        line = " ".repeat(COLUMN.saturating_sub(1));
    }
    for word in right.split_whitespace() {
        if line.len().saturating_add(word.len()) >= WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(COLUMN.saturating_sub(1));
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// The manual page, in roff. The pages under `man/` are made of it, and a test compares.
#[must_use]
pub fn manual(role: Role) -> String {
    let name = role.name();
    let mut page = format!(
        ".\\\" Made by {name} --generate_man; change the table of options instead.\n\
         .TH {} 8 \"\" \"fence_virt {}\"\n.SH NAME\n{name} \\- fence virtual machines from inside a guest\n\
         .SH SYNOPSIS\n.B {name}\n[\\fIoption\\fR]...\n.SH DESCRIPTION\n{}\n.PP\n\
         Cluster software starts it without arguments and writes one\n\
         .IR name = value\n\
         a line to its stdin. Empty lines and lines that start with # say nothing; blanks around\n\
         name and value do not count. Names that nobody knows are reported and skipped. A line for\n\
         the action or the domain that cannot be understood ends the run.\n\
         .SH OPTIONS\nThe long options' names are the names on stdin.\n",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
        roff(&metadata::longdesc(role))
    );
    for spec in shown(role) {
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            ".TP\n\\fB{}\\fR\n{}\n",
            roff(&synopsis(spec)),
            roff(&help(spec))
        );
    }
    page.push_str(
        ".PP\nOn stdin the domain may also be named by\n.BR port ,\n.BR domain\nand, if nothing else \
         names one,\n.BR nodename .\nEqual names are one; of two that differ the one that is not\n\
         .B nodename\nis taken.\n",
    );
    page.push_str(EXIT_STATUS);
    page.push_str(match role {
        Role::Xvm => XVM_NOTES,
        Role::Virt => VIRT_NOTES,
    });
    page.push_str(".SH SEE ALSO\n.BR fence_virtd (8),\n.BR fence_virt.conf (5)\n");
    filled(&page)
}

/// Breaks lines of text that are longer than a page's should be.
fn filled(page: &str) -> String {
    let mut text = String::new();
    for line in page.lines() {
        let mut length = 0_usize;
        for word in line.split(' ') {
            let longer = length.saturating_add(word.len()).saturating_add(1);
            if length == 0 {
                length = word.len();
            } else if longer > PAGE_WIDTH && !line.starts_with('.') {
                text.push('\n');
                text.push_str(if word.starts_with(['.', '\'']) {
                    "\\&"
                } else {
                    ""
                });
                length = word.len();
            } else {
                text.push(' ');
                length = longer;
            }
            text.push_str(word);
        }
        text.push('\n');
    }
    text
}

/// What the table of options does not say.
const EXIT_STATUS: &str = "\
.SH EXIT STATUS
.TP
0
Done; for status: the domain is on; for list: the list is complete.
.TP
1
It failed, or there is no result.
.TP
2
Status: the domain is off.
.TP
3
The host's groups do not allow it.
.PP
Any other number is a reply of the host that has no meaning, which is a failure.
.PP
With
.B \\-\\-check
it is 0 if all is fine, 1 if there are problems, and 2 if there are warnings only.
.SH FILES
.TP
/etc/cluster/fence_xvm.key
The key that guests and hosts share. Its first 4096 bytes count.
";

/// What is peculiar to multicast.
const XVM_NOTES: &str = "\
.SH NOTES
If the call-back port is in use, the agent waits for it until half of the time-out is over and then
lets the kernel choose a port, which the request tells the hosts.
";

/// What is peculiar to lines.
const VIRT_NOTES: &str = "\
.SH NOTES
The agent asks by TCP if
.B \\-T
is given, by vsock if
.B \\-S
is, else over the serial device of
.BR \\-D ,
and if that is not given either over the VM channel, a TCP connection that the hypervisor takes.
.PP
On a serial device or a VM channel the host knows the guest by the line: there is no key, and
.BR \\-c ,
.B \\-C
and
.B \\-k
mean nothing. The agent needs the device to itself; while another one has it, it waits. What is found
in the line before the request is thrown away.
";

/// Text that roff shall not take for requests.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) {
        format!("\\&{escaped}")
    } else {
        escaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_fits_a_terminal_and_names_every_option() {
        for role in [Role::Xvm, Role::Virt] {
            let text = usage(role);
            assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
            for spec in shown(role) {
                assert!(text.contains(&format!("--{}", spec.name)), "{}", spec.name);
            }
            assert!(!text.contains("nodename"));
        }
    }
}
