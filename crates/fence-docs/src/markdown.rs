//! From the Markdown of `docs/` and `pages/` to the roff of a manual page.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::roff::{Page, escape};

/// A paragraph that stands for the options of the program.
const OPTIONS: &str = "{{options}}";

/// How to read a document.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading<'a> {
    /// Put where the document says `{{options}}`.
    pub options: &'a str,
    /// Titles of second level whose sections do not belong into the page.
    pub left_out: &'a [&'a str],
}

/// Adds a document to a page. Its title is left out; headings of second level begin sections, all below
/// begin subsections; of links the text is kept; the rows of a table become tagged paragraphs, its first
/// column the tags.
pub fn add(page: &mut Page, document: &str, reading: Reading<'_>) {
    let mut reader = Reader {
        page,
        reading,
        text: String::new(),
        cells: Vec::new(),
        state: State::Prose,
        left_out: false,
    };
    for event in Parser::new_ext(document, Options::ENABLE_TABLES) {
        reader.read(event);
    }
}

/// What the text that is collected is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Prose,
    Code,
    /// A table's first row says what its columns are; those of keys are known by it.
    TableHead,
    TableBody {
        of_keys: bool,
    },
}

struct Reader<'p, 'a> {
    page: &'p mut Page,
    reading: Reading<'a>,
    /// Collected since the last block began, as roff.
    text: String,
    cells: Vec<String>,
    state: State,
    left_out: bool,
}

impl Reader<'_, '_> {
    fn read(&mut self, event: Event<'_>) {
        if self.left_out && !matches!(event, Event::Start(Tag::Heading { .. })) {
            if matches!(event, Event::End(TagEnd::Heading(_))) {
                self.text.clear();
            }
            return;
        }
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.state == State::Code => self.text.push_str(&text),
            Event::Text(text) => self.text.push_str(&escape(&text)),
            Event::Code(text) => self.mark('B', &escape(&text)),
            Event::SoftBreak | Event::HardBreak => self.text.push(' '),
            _ => {}
        }
    }

    fn mark(&mut self, font: char, text: &str) {
        self.text.push_str(&format!("\\f{font}{text}\\fR"));
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => {
                self.left_out &= *level > HeadingLevel::H2;
                self.text.clear();
            }
            Tag::CodeBlock(_) => self.state = State::Code,
            Tag::Emphasis => self.text.push_str("\\fI"),
            Tag::Strong => self.text.push_str("\\fB"),
            Tag::TableHead => self.state = State::TableHead,
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => self.heading(level),
            TagEnd::Paragraph => self.paragraph(),
            TagEnd::Item => self.item(),
            TagEnd::CodeBlock => {
                self.state = State::Prose;
                let code = std::mem::take(&mut self.text);
                self.page.code(&code);
            }
            TagEnd::Emphasis | TagEnd::Strong => self.text.push_str("\\fR"),
            TagEnd::TableCell => self.cells.push(std::mem::take(&mut self.text)),
            TagEnd::TableHead => {
                let of_keys = self.cells.get(1).is_some_and(|title| title == "default");
                self.cells.clear();
                self.state = State::TableBody { of_keys };
            }
            TagEnd::TableRow => self.row(),
            TagEnd::Table => self.state = State::Prose,
            _ => {}
        }
    }

    fn heading(&mut self, level: HeadingLevel) {
        let title = std::mem::take(&mut self.text);
        match level {
            HeadingLevel::H1 => {}
            HeadingLevel::H2 if self.reading.left_out.contains(&title.as_str()) => {
                self.left_out = true;
            }
            HeadingLevel::H2 => self.page.section(&title),
            _ => self.page.subsection(&title),
        }
    }

    fn paragraph(&mut self) {
        let text = std::mem::take(&mut self.text);
        if text == OPTIONS {
            self.page.raw(self.reading.options);
        } else {
            self.page.paragraph(&text);
        }
    }

    fn item(&mut self) {
        let text = std::mem::take(&mut self.text);
        // A loose list's items are paragraphs, which are there already.
        if !text.is_empty() {
            self.page.item(&text);
        }
    }

    fn row(&mut self) {
        let cells = std::mem::take(&mut self.cells);
        let State::TableBody { of_keys } = self.state else {
            return;
        };
        let Some((tag, rest)) = cells.split_first() else {
            return;
        };
        let text = match rest {
            [default, meaning] if of_keys => match default.as_str() {
                "" => sentence(meaning),
                "needed" => format!("{} Needed.", sentence(meaning)),
                default => format!("{} Default: {default}.", sentence(meaning)),
            },
            cells => sentence(&cells.join("; ")),
        };
        self.page.tagged(tag, &text);
    }
}

/// The text of a cell with the full stop that cells do without.
fn sentence(text: &str) -> String {
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{text}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roff(document: &str, reading: Reading<'_>) -> String {
        let mut page = Page::new("x", 5, "an example");
        add(&mut page, document, reading);
        let text = page.finish();
        text.split_once("an example\n").unwrap().1.to_owned()
    }

    #[test]
    fn prose_lists_and_code_are_kept() {
        let text = roff(
            "# T\n\n## Some keys\n\nOf `a` *and*\n[b](c.md).\n\nMore.\n\n- one\n- two\n\n```conf\n.x {\n\ty\n}\n```\n",
            Reading::default(),
        );
        assert_eq!(
            text,
            ".SH SOME KEYS\nOf \\fBa\\fR \\fIand\\fR b.\n.PP\nMore.\n.IP \\(bu 2\none\n.IP \\(bu 2\ntwo\n\
             .PP\n.RS 4\n.nf\n\\&.x {\n    y\n}\n.fi\n.RE\n"
        );
    }

    #[test]
    fn rows_of_keys_have_tags_and_defaults() {
        let table = "| key | default | meaning |\n|---|---|---|\n| `port` | `1229` | a port |\n| `x` | | an x |\n| `y` | needed | a y |\n";
        let text = roff(table, Reading::default());
        assert_eq!(
            text,
            ".TP\n\\fBport\\fR\na port. Default: \\fB1229\\fR.\n.TP\n\\fBx\\fR\nan x.\n.TP\n\\fBy\\fR\na y. Needed.\n"
        );
    }

    #[test]
    fn options_are_put_in_and_sections_left_out() {
        let reading = Reading {
            options: ".TP\n\\-x\n",
            left_out: &["History"],
        };
        let text = roff(
            "## Options\n\n{{options}}\n\n## History\n\nLong.\n\n### More\n\ntext\n\n## End\n\nx\n",
            reading,
        );
        assert_eq!(text, ".SH OPTIONS\n.TP\n\\-x\n.SH END\nx\n");
    }
}
