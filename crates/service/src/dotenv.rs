//! Reads a `.env` file as python-dotenv does, because the file was written for a program that uses it. `$` is literal, `${NAME}`
//! and `${NAME:-default}` are expanded, and blanks in values stay. Quotes, `export` and comments have the same meaning as there.
//! Pure: text in, bindings out. No error holds a value.
//!
//! | written                        | read                                                          |
//! |--------------------------------|---------------------------------------------------------------|
//! | `A=b c # d`                    | `b c`: blanks inside stay, a comment needs a blank before it   |
//! | `A='b\'c'`, `A="b\nc"`         | quotes may span lines; `\\` and `\'`, or `\\ \' \" \a \b \f \n \r \t \v`, are escapes |
//! | `export A = b`, `A`, `A=# b`   | `b`, no value, `# b`                                           |
//! | `A=${B}`, `A='${B:-c}'`        | expanded whatever the quotes; the environment wins over lines above |
//! | anything else                  | a broken line: skipped to its end, and reported by number and key |

/// One statement of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// A key, and its value, not yet expanded. None: there is no equals sign.
    Set {
        /// The line where it begins, from 1.
        line: usize,
        /// Its name.
        key: String,
        /// The text of the value.
        value: Option<String>,
    },
    /// A line that cannot be read.
    Broken(Broken),
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The line, from 1.
    pub line: usize,
    /// Every name that the line seems to set, or a line that its quote has swallowed.
    pub keys: Vec<String>,
    /// What is wrong, without any value.
    pub why: &'static str,
}

/// Why a binding could not be read.
type Why = &'static str;

const NO_KEY: Why = "a name is missing before the equals sign";
const UNCLOSED: Why = "its quote is not closed";
const REST: Why = "something follows the value or the name; put the whole value into quotes";

/// Reads the file.
pub(crate) fn parse(text: &str) -> Vec<Binding> {
    // Python reads text with every line end changed to \n
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut reader = Reader { text: &text, at: 0 };
    let mut bindings = Vec::new();
    let (mut line, mut counted) = (1, 0);
    while reader.at < text.len() {
        reader.skip(is_blank);
        let start = reader.at;
        if start == text.len() {
            break;
        }
        line += text[counted..start].matches('\n').count();
        counted = start;
        match reader.binding() {
            Ok(Some((key, value))) => bindings.push(Binding::Set { line, key, value }),
            Ok(None) => {}
            Err(why) => {
                reader.skip(|c| c != '\n');
                let keys = text[start..reader.at].lines().filter_map(name_of).map(str::to_owned).collect();
                bindings.push(Binding::Broken(Broken { line, keys, why }));
            }
        }
    }
    bindings
}

/// The characters that Python's `\s` matches and `str.rstrip` removes.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn is_blank_in_line(c: char) -> bool {
    is_blank(c) && c != '\n'
}

/// The name that a line seems to set.
fn name_of(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(is_blank);
    let line = line.strip_prefix("export").filter(|rest| rest.starts_with(is_blank)).unwrap_or(line);
    let line = line.trim_start_matches(is_blank).trim_start_matches('\'');
    let end = line.find(|c: char| is_blank(c) || "='#".contains(c)).unwrap_or(line.len());
    // the rest of a value that began with a quote is no name
    let name = &line[..end];
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let is_set = line[end..].trim_start_matches('\'').trim_start_matches(is_blank).starts_with('=');
    (is_name && is_set).then_some(name)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes characters while `takes` says so.
    fn skip(&mut self, takes: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !takes(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// One binding with its line's end. None: the line says nothing.
    fn binding(&mut self) -> Result<Option<(String, Option<String>)>, Why> {
        if let Some(rest) = self.rest().strip_prefix("export")
            && rest.starts_with(is_blank_in_line)
        {
            self.at += "export".len();
            self.skip(is_blank_in_line);
        }
        let key = self.key()?;
        self.skip(is_blank_in_line);
        let mut value = None;
        if self.peek() == Some('=') {
            self.at += 1;
            let blanks = self.skip(is_blank_in_line);
            let is_comment = !blanks.is_empty() && self.peek() == Some('#');
            value = Some(if is_comment { String::new() } else { self.value()? });
        }
        self.line_end()?;
        Ok(key.map(|key| (key, value)))
    }

    /// A name. None: a comment begins here.
    fn key(&mut self) -> Result<Option<String>, Why> {
        match self.peek() {
            Some('#') => Ok(None),
            Some('\'') => {
                let name = self.rest()[1..].split_once('\'').map(|(name, _)| name).filter(|name| !name.is_empty());
                let name = name.ok_or(UNCLOSED)?;
                self.at += name.len() + 2;
                Ok(Some(name.to_owned()))
            }
            _ => match self.skip(|c| c != '=' && c != '#' && !is_blank(c)) {
                "" => Err(NO_KEY),
                name => Ok(Some(name.to_owned())),
            },
        }
    }

    fn value(&mut self) -> Result<String, Why> {
        match self.peek() {
            Some(quote @ ('\'' | '"')) => {
                let rest = &self.rest()[1..];
                let end = closing(rest, quote).ok_or(UNCLOSED)?;
                self.at += end + 2;
                Ok(unescaped(&rest[..end], quote))
            }
            _ => Ok(unquoted(self.skip(|c| c != '\n'))),
        }
    }

    /// A comment, and the line's end.
    fn line_end(&mut self) -> Result<(), Why> {
        let start = self.at;
        self.skip(is_blank_in_line);
        if self.peek() == Some('#') {
            self.skip(|c| c != '\n');
        }
        match self.peek() {
            None => Ok(()),
            Some('\n') => {
                self.at += 1;
                Ok(())
            }
            Some(_) => {
                self.at = start;
                Err(REST)
            }
        }
    }
}

/// Where the quote closes that was opened. A backslash hides the character after it.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => drop(characters.next()),
            _ if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str, quote: char) -> String {
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            value.push(c);
            continue;
        }
        let Some(escape) = characters.next() else {
            value.push('\\');
            break;
        };
        let meant = match (quote, escape) {
            (_, '\\' | '\'') => Some(escape),
            ('"', '"') => Some('"'),
            ('"', 'a') => Some('\u{7}'),
            ('"', 'b') => Some('\u{8}'),
            ('"', 'f') => Some('\u{c}'),
            ('"', 'n') => Some('\n'),
            ('"', 'r') => Some('\r'),
            ('"', 't') => Some('\t'),
            ('"', 'v') => Some('\u{b}'),
            _ => None,
        };
        if meant.is_none() {
            value.push('\\');
        }
        value.push(meant.unwrap_or(escape));
    }
    value
}

/// A value without quotes: up to the first `#` with a blank before it, without blanks at the end.
fn unquoted(line: &str) -> String {
    let mut before_blank = false;
    let end = line.char_indices().find_map(|(at, c)| {
        let is_comment = c == '#' && before_blank;
        before_blank = is_blank(c);
        is_comment.then_some(at)
    });
    line[..end.unwrap_or(line.len())].trim_end_matches(is_blank).to_owned()
}

/// The value with every `${NAME}` and `${NAME:-default}` replaced: by what `lookup` returns for the name, or by the default, or
/// by nothing.
pub(crate) fn expanded(value: &str, mut lookup: impl FnMut(&str) -> Option<String>) -> String {
    let mut result = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        let (before, inner) = (&rest[..start], &rest[start + 2..]);
        result.push_str(before);
        match variable(inner) {
            Some((name, default, length)) => {
                result.push_str(&lookup(name).unwrap_or_else(|| default.to_owned()));
                rest = &inner[length..];
            }
            None => {
                result.push_str("${");
                rest = inner;
            }
        }
    }
    result.push_str(rest);
    result
}

/// The text after `${`: the name, the default, and the length with the brace.
fn variable(inner: &str) -> Option<(&str, &str, usize)> {
    let name_end = inner.find(['}', ':'])?;
    let (name, rest) = inner.split_at(name_end);
    if rest.starts_with('}') {
        return Some((name, "", name_end + 1));
    }
    let default = rest.strip_prefix(":-")?;
    let end = default.find('}')?;
    Some((name, &default[..end], name_end + 2 + end + 1))
}

#[cfg(test)]
mod tests;
