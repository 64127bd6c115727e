//! Text from outside, made fit for a terminal, a log line or a caller that reads line by line.

/// Whether a character can end a line, move the cursor, or change the order of what is shown.
fn is_unfit(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The text with something harmless instead of each character that is unfit to be shown.
#[must_use]
pub fn shown(text: &str, instead: char) -> String {
    let fit = |character| {
        if is_unfit(character) {
            instead
        } else {
            character
        }
    };
    text.chars().map(fit).collect()
}

/// About 80 characters at most, with those that are unfit, and bytes that are no text, as escapes.
#[must_use]
pub fn escaped(bytes: &[u8]) -> String {
    const MOST: usize = 80;
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if text.len() >= MOST {
                text.push('…');
                return text;
            }
            if is_unfit(character) {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        text.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_unfit_is_shown() {
        let nasty = "a\nb\r\u{1b}[2J\u{9b}1m\u{202e}\u{2028}\u{feff}é";
        assert_eq!(shown(nasty, '?'), "a?b??[2J?1m???é");
        assert_eq!(
            escaped(nasty.as_bytes()),
            "a\\nb\\r\\u{1b}[2J\\u{9b}1m\\u{202e}\\u{2028}\\u{feff}é"
        );
        assert_eq!(escaped(b"\xff\xfea\0"), "\\xff\\xfea\\u{0}");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(escaped(&[b'x'; 81]), format!("{}…", "x".repeat(80)));
        assert_eq!(escaped(&[b'x'; 80]), "x".repeat(80));
    }

    proptest! {
        #[test]
        fn any_bytes_are_one_line(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(!escaped(&bytes).contains(is_unfit));
            prop_assert!(!shown(&String::from_utf8_lossy(&bytes), '?').contains(is_unfit));
        }
    }
}
