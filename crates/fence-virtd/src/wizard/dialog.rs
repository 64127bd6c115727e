//! Questions and answers, one line each, with somebody at a terminal or a pipe.

use std::io::{self, BufRead, Read, Write};

/// Longest answer, in bytes.
const LONGEST: u64 = 4096;

/// Wrong answers to one question that a pipe may give. Whoever writes them can't read what is wrong.
const WRONG_ANSWERS: u32 = 3;

/// Why the dialog is over before its end.
#[derive(Debug, thiserror::Error)]
pub enum Abort {
    /// The input ended.
    #[error("the answers ended at the question '{0}'")]
    Ended(String),
    /// Too many answers to one question were wrong.
    #[error("no good answer to the question '{question}': {wrong}")]
    Wrong {
        /// The question.
        question: String,
        /// What was wrong with the last one.
        wrong: String,
    },
    /// Nobody can be asked.
    #[error("cannot ask: {0}")]
    Io(#[from] io::Error),
}

/// Both ends of the conversation.
pub struct Dialog<'d> {
    input: &'d mut dyn BufRead,
    output: &'d mut dyn Write,
    /// Whether somebody reads and types: a wrong answer is asked again as often as it takes.
    terminal: bool,
}

impl<'d> Dialog<'d> {
    /// A dialog over these.
    pub fn new(input: &'d mut dyn BufRead, output: &'d mut dyn Write, terminal: bool) -> Self {
        Self {
            input,
            output,
            terminal,
        }
    }

    /// Says something.
    ///
    /// # Errors
    /// [`Abort::Io`].
    pub fn say(&mut self, text: &str) -> Result<(), Abort> {
        self.output.write_all(text.as_bytes())?;
        self.output.write_all(b"\n")?;
        Ok(())
    }

    /// Asks until `check` is content. An empty line is the default.
    ///
    /// # Errors
    /// [`Abort`].
    pub fn ask(
        &mut self,
        question: &str,
        default: &str,
        check: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<String, Abort> {
        let mut wrong_answers = 0_u32;
        loop {
            write!(self.output, "{question} [{default}]: ")?;
            self.output.flush()?;
            let line = self.line(question)?;
            let answer = line.as_deref().map(str::trim);
            let answer = answer.map(|answer| if answer.is_empty() { default } else { answer });
            let wrong = match answer.map_err(|wrong| (*wrong).to_owned()).and_then(check) {
                Ok(answer) => return Ok(answer),
                Err(wrong) => wrong,
            };
            self.say(&format!("  {wrong}"))?;
            wrong_answers = wrong_answers.saturating_add(1);
            if !self.terminal && wrong_answers >= WRONG_ANSWERS {
                let question = question.to_owned();
                return Err(Abort::Wrong { question, wrong });
            }
        }
    }

    /// Asks for a yes or a no.
    ///
    /// # Errors
    /// [`Abort`].
    pub fn confirm(&mut self, question: &str, default: bool) -> Result<bool, Abort> {
        let shown = if default { "Y/n" } else { "y/N" };
        let answer = self.ask(
            question,
            shown,
            &|answer| match answer.to_ascii_lowercase().as_str() {
                "y" | "yes" => Ok("y".to_owned()),
                "n" | "no" => Ok("n".to_owned()),
                _ if answer == shown => Ok(if default { "y" } else { "n" }.to_owned()),
                _ => Err("please answer y or n".to_owned()),
            },
        )?;
        Ok(answer == "y")
    }

    /// One line without its end, or why it is none.
    fn line(&mut self, question: &str) -> Result<Result<String, &'static str>, Abort> {
        let mut bytes = Vec::new();
        let mut bounded = (&mut *self.input).take(LONGEST);
        bounded.read_until(b'\n', &mut bytes)?;
        let whole = bytes.last() == Some(&b'\n');
        if !whole && u64::try_from(bytes.len()).is_ok_and(|it| it >= LONGEST) {
            self.skip_line()?;
            return Ok(Err("that answer is too long"));
        }
        if !whole {
            // Half a line is not an answer that somebody has finished.
            let _ = writeln!(self.output);
            return Err(Abort::Ended(question.to_owned()));
        }
        let text = String::from_utf8(bytes).map_err(|_| "that is not UTF-8 text");
        if !self.terminal {
            // As a terminal would show it.
            let shown = text.as_deref().unwrap_or_default().trim_end();
            let shown: String = shown.chars().filter(|c| !c.is_control()).collect();
            writeln!(self.output, "{shown}")?;
        }
        Ok(text)
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let available = self.input.fill_buf()?;
            let end = available.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(available.len(), |end| end.saturating_add(1));
            let over = end.is_some() || available.is_empty();
            self.input.consume(used);
            if over {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(answer: &str) -> Result<String, String> {
        let good = answer.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| answer.to_owned())
            .ok_or("digits only".to_owned())
    }

    fn ask(input: &[u8], terminal: bool) -> (Result<String, Abort>, String) {
        let (mut input, mut output) = (input, Vec::new());
        let result = Dialog::new(&mut input, &mut output, terminal).ask("Port", "1229", &digits);
        (result, String::from_utf8(output).unwrap())
    }

    #[test]
    fn empty_line_is_the_default_and_blanks_around_do_not_count() {
        assert_eq!(ask(b"\n", true).0.unwrap(), "1229");
        assert_eq!(ask(b"  77 \r\n", true).0.unwrap(), "77");
        let (_, said) = ask(b"77\n", false);
        assert_eq!(said, "Port [1229]: 77\n");
    }

    #[test]
    fn wrong_answers_are_asked_again_but_a_pipe_has_three() {
        let (answer, said) = ask(b"a\nb\nc\nd\n5\n", true);
        assert_eq!(answer.unwrap(), "5");
        assert_eq!(said.matches("digits only").count(), 4);
        let (answer, said) = ask(b"a\nb\nc\n5\n", false);
        assert!(matches!(answer, Err(Abort::Wrong { .. })));
        assert_eq!(said.matches("digits only").count(), 3);
        assert_eq!(ask(b"a\n\xff\n5\n", false).0.unwrap(), "5");
    }

    #[test]
    fn end_of_the_input_is_no_answer_not_even_behind_half_a_line() {
        for input in [&b""[..], b"12", b"a\n"] {
            for terminal in [true, false] {
                assert!(matches!(ask(input, terminal).0, Err(Abort::Ended(_))));
            }
        }
    }

    #[test]
    fn endless_line_is_refused_without_being_kept() {
        let mut input = vec![b'1'; 1_000_000];
        input.extend_from_slice(b"\n77\n");
        let (answer, said) = ask(&input, false);
        assert_eq!(answer.unwrap(), "77");
        assert!(said.contains("too long"));
        let endless = vec![b'1'; 1_000_000];
        assert!(matches!(ask(&endless, true).0, Err(Abort::Ended(_))));
    }

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        let confirm = |input: &[u8]| {
            let (mut input, mut output) = (input, Vec::new());
            let mut dialog = Dialog::new(&mut input, &mut output, true);
            dialog.confirm("Replace", false).unwrap()
        };
        assert!(confirm(b"y\n") && confirm(b"YES\n") && confirm(b"maybe\nyes\n"));
        assert!(!confirm(b"\n") && !confirm(b"no\n"));
    }
}
