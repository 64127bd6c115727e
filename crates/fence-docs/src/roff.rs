//! Writing manual pages: blocks of roff, filled so that no line is too long.

/// Longest line of filled text, in bytes.
const WIDTH: usize = 80;

/// A manual page that grows.
#[derive(Debug)]
pub struct Page {
    text: String,
    /// A heading was the last thing: the next paragraph needs no mark of its own.
    fresh: bool,
}

impl Page {
    /// A page with its head and name.
    #[must_use]
    pub fn new(name: &str, section: u8, summary: &str) -> Self {
        let title = name.to_uppercase();
        let version = env!("CARGO_PKG_VERSION");
        Self {
            text: format!(
                ".\\\" Made by `make generated`: change what it is made of instead (crates/fence-docs).\n\
                 .TH {title} {section} \"\" \"fence_virt {version}\"\n\
                 .SH NAME\n{} \\- {}\n",
                escape(name),
                escape(summary)
            ),
            fresh: true,
        }
    }

    /// Begins a section.
    pub fn section(&mut self, title: &str) {
        // Escapes know no capitals; within a title a quote needs none.
        let title = title.replace("\\(aq", "'").to_uppercase();
        self.text.push_str(&format!(".SH {title}\n"));
        self.fresh = true;
    }

    /// Begins a subsection.
    pub fn subsection(&mut self, title: &str) {
        self.text.push_str(&format!(".SS {title}\n"));
        self.fresh = true;
    }

    /// A paragraph; the text is roff.
    pub fn paragraph(&mut self, text: &str) {
        self.block();
        self.fill(text);
    }

    /// An item of a list; the text is roff.
    pub fn item(&mut self, text: &str) {
        self.text.push_str(".IP \\(bu 2\n");
        self.fill(text);
    }

    /// A paragraph behind a tag; both are roff.
    pub fn tagged(&mut self, tag: &str, text: &str) {
        self.text.push_str(&format!(".TP\n{tag}\n"));
        self.fill(text);
    }

    /// Lines as they are; the text is not roff.
    pub fn code(&mut self, text: &str) {
        self.block();
        self.text.push_str(".RS 4\n.nf\n");
        for line in text.lines() {
            self.text
                .push_str(&guard(&escape(&line.replace('\t', "    "))));
            self.text.push('\n');
        }
        self.text.push_str(".fi\n.RE\n");
        self.fresh = false;
    }

    /// Roff that is finished.
    pub fn raw(&mut self, text: &str) {
        self.text.push_str(text);
        self.fresh = false;
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    fn block(&mut self) {
        if !self.fresh {
            self.text.push_str(".PP\n");
        }
    }

    fn fill(&mut self, text: &str) {
        self.text.push_str(&filled(text));
        self.fresh = false;
    }
}

/// Breaks roff text into lines that are short enough, where it has blanks.
#[must_use]
pub fn filled(text: &str) -> String {
    let mut done = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            done.push_str(&guard(&line));
            done.push('\n');
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    done.push_str(&guard(&line));
    done.push('\n');
    done
}

/// Text as roff prints it, letter by letter.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga")
        .replace('…', "...")
}

/// A line that roff shall not take for a request.
fn guard(line: &str) -> String {
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_filled_and_never_a_request() {
        let text = filled(&"word .etc ".repeat(20));
        assert!(text.lines().count() > 2);
        for line in text.lines() {
            assert!(line.len() <= WIDTH + 2 && !line.starts_with('.'), "{line}");
        }
        assert_eq!(escape("a-b\\c'd"), "a\\-b\\ec\\(aqd");
    }
}
