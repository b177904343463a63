//! Texts of others in lines of a log.

use std::fmt::{self, Display, Write};

/// Characters that a text takes in a line of a log at most.
const CHARS_MAX: usize = 256;
/// The mark of a text that was cut. A backslash of the text itself is escaped, so this is never a part of it.
const CUT: &str = r"\...";

/// A text that may come from a client, in a form that fits into a line of a log: [`escaped`].
#[derive(Clone, Copy)]
pub struct Escaped<T> {
    text: T,
    chars_max: usize,
}

/// Escapes a text for a log, so that it can neither begin a line of its own nor steer a terminal.
///
/// Escaped are control characters (C0, DEL, C1), line and paragraph separators, characters that are invisible or
/// turn the direction of the text around, and backslashes and double quotes, so that the form is unambiguous also
/// between quotes. What is longer than 256 characters is cut and ends in `\...`.
///
/// ```
/// use nexios_protocol::escaped;
/// assert_eq!(escaped("bye\r\n2026 INFO \x1b[31m\u{202e}").to_string(), r"bye\r\n2026 INFO \x1b[31m\u202e");
/// assert_eq!(escaped(r#"a "\n" of its own"#).to_string(), r#"a \"\\n\" of its own"#);
/// assert_eq!(escaped("x".repeat(300)).to_string().len(), 256 + r"\...".len());
/// ```
pub fn escaped<T: Display>(text: T) -> Escaped<T> {
    Escaped { text, chars_max: CHARS_MAX }
}

impl<T> Escaped<T> {
    /// Cuts at another length.
    ///
    /// ```
    /// use nexios_protocol::escaped;
    /// assert_eq!(escaped("a long story").up_to(6).to_string(), r"a long\...");
    /// ```
    pub fn up_to(self, chars_max: usize) -> Self {
        Escaped { chars_max, ..self }
    }
}

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line { out: f, left: self.chars_max, is_cut: false };
        match write!(line, "{}", self.text) {
            Err(_) if line.is_cut => Ok(()),
            result => result,
        }
    }
}

impl<T: Display> fmt::Debug for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Escapes what is written, until its length is reached.
struct Line<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    left: usize,
    is_cut: bool,
}

impl Line<'_, '_> {
    fn take(&mut self, chars: usize) -> Result<(), fmt::Error> {
        if self.is_cut {
            return Err(fmt::Error);
        }
        if let Some(left) = self.left.checked_sub(chars) {
            self.left = left;
            return Ok(());
        }
        self.is_cut = true;
        self.out.write_str(CUT)?;
        Err(fmt::Error)
    }
}

impl Write for Line<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| self.write_char(char))
    }

    fn write_char(&mut self, char: char) -> fmt::Result {
        let short = match char {
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\\' => "\\\\",
            '"' => "\\\"",
            char if !is_hidden(char) => {
                self.take(1)?;
                return self.out.write_char(char);
            }
            char => return self.write_code(u32::from(char)),
        };
        self.take(short.len())?;
        self.out.write_str(short)
    }
}

impl Line<'_, '_> {
    /// By its number, with as many digits as the letter in front says.
    fn write_code(&mut self, code: u32) -> fmt::Result {
        match code {
            0..=0xff => {
                self.take(4)?;
                write!(self.out, "\\x{code:02x}")
            }
            0x100..=0xffff => {
                self.take(6)?;
                write!(self.out, "\\u{code:04x}")
            }
            _ => {
                self.take(10)?;
                write!(self.out, "\\U{code:08x}")
            }
        }
    }
}

/// Returns true for a character that is not seen, or that changes how its neighbours are seen.
fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_and_no_line_break_is_left() {
        for char in (0..=0x10_ffff).filter_map(char::from_u32) {
            let text = escaped(char).to_string();
            let is_plain = text.chars().all(|char| !is_hidden(char));
            assert!(is_plain && text.lines().count() == 1, "{:x}: {text:?}", u32::from(char));
        }
    }

    #[test]
    fn two_texts_never_look_alike() {
        assert_ne!(escaped("\n").to_string(), escaped(r"\n").to_string());
        assert_ne!(escaped("\u{1b}").to_string(), escaped(r"\x1b").to_string());
        assert_ne!(escaped("\u{2028}1").to_string(), escaped("\u{e0028}1").to_string());
        assert_ne!(escaped("aaaa").up_to(1).to_string(), escaped(r"a\...").to_string());
    }

    #[test]
    fn a_text_is_cut_between_its_characters_and_only_where_it_does_not_fit() {
        assert_eq!(escaped("ab").up_to(2).to_string(), "ab");
        assert_eq!(escaped("abc").up_to(2).to_string(), r"ab\...");
        assert_eq!(escaped("a\u{1b}b").up_to(4).to_string(), r"a\...");
        assert_eq!(escaped("a\u{1b}b").up_to(5).to_string(), r"a\x1b\...");
        assert_eq!(escaped(format_args!("{}{}", "a\n", "b".repeat(9))).up_to(4).to_string(), r"a\nb\...");
        assert_eq!(escaped("").up_to(0).to_string(), "");
    }
}
