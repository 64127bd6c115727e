//! From a block of commands to a script that ends at the first line that does not do as it says.

use std::fmt::Write as _;

/// What a line may say of its own end.
const MARK: &str = "# exits with ";

/// The lines that are not to be run are left out.
pub(super) fn script(text: &str, is_left_out: impl Fn(&str) -> bool) -> String {
    let mut script = String::from("set -euo pipefail\n");
    for line in text.lines() {
        if is_left_out(line) {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = match line.split_once(MARK) {
            Some((command, code)) => {
                let (command, code) = (command.trim_end(), code.trim());
                writeln!(
                    script,
                    "code=0; {command} || code=$?\n\
                     [ $code = {code} ] || {{ echo \"exit code $code: {command}\" >&2; exit 99; }}"
                )
            }
            None => writeln!(script, "{line}"),
        };
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn code(text: &str) -> Option<i32> {
        let script = script(text, |line| line.starts_with("make test"));
        let status = Command::new("bash").args(["-c", &script]).output();
        status.unwrap().status.code()
    }

    #[test]
    fn every_line_must_end_as_it_says() {
        assert_eq!(code("true\ntrue\n"), Some(0));
        assert_eq!(code("false\ntrue\n"), Some(1));
        assert_eq!(code("false | true\n"), Some(1));
        assert_eq!(code("(exit 3)  # exits with 3\ntrue\n"), Some(0));
        assert_eq!(code("(exit 2)  # exits with 3\n"), Some(99));
        assert_eq!(code("true  # exits with 3\n"), Some(99));
        assert_eq!(code("make test-nothing\n"), Some(0));
        assert_eq!(code("cat <<X\n$HOME\nX\nfalse\n"), Some(1));
    }
}
