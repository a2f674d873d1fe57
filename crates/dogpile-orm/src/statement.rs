//! Statements that must run: a cache may answer pure reads only.
//!
//! One look at the text, outside literals, quoted names and comments. What functions do
//! (`nextval`, `pg_advisory_lock`, `random`) cannot be seen from the text.

use std::iter::Peekable;
use std::str::CharIndices;

/// Returns what in `statement` is more than a read; `None` of a pure one.
pub(crate) fn effect(kind: &str, statement: &str) -> Option<String> {
    let words: Vec<Token<'_>> = Tokens::new(kind, statement).collect();
    let first = words.iter().find(|token| !token.is("("))?;
    if !["SELECT", "WITH", "VALUES", "TABLE"].iter().any(|read| first.is(read)) {
        return Some(first.text.to_uppercase());
    }
    words.iter().enumerate().find_map(|(at, token)| {
        let before = at.checked_sub(1).map(|at| &words[at]);
        let after = words.get(at + 1);
        effect_at(before, token, after)
    })
}

/// The effect that begins at `token`.
fn effect_at(
    before: Option<&Token<'_>>,
    token: &Token<'_>,
    after: Option<&Token<'_>>,
) -> Option<String> {
    let is_one_of = |of: &Token<'_>, words: &[&str]| words.iter().any(|word| of.is(word));
    let follows = |words: &[&str]| after.is_some_and(|after| is_one_of(after, words));
    let begins = before.is_some_and(|before| is_one_of(before, &["(", ")"]));
    let is_effect = (token.is("FOR") && follows(&["UPDATE", "SHARE", "NO", "KEY"]))
        || (token.is("LOCK") && follows(&["IN"]))
        || (token.is("NEXT") && follows(&["VALUE"]))
        || (begins && is_one_of(token, &["INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"]));
    if is_effect {
        let second = after.filter(|after| !after.is("(")).map(|after| after.text);
        return Some(
            [Some(token.text), second].into_iter().flatten().collect::<Vec<_>>().join(" "),
        );
    }
    if is_one_of(token, &["INTO", ":="]) {
        return Some(token.text.to_uppercase());
    }
    (token.is(";") && after.is_some()).then(|| "a second statement".to_owned())
}

/// A word, one of the characters `(`, `)` and `;`, or `MySQL`'s assignment `:=`.
struct Token<'s> {
    text: &'s str,
}

impl Token<'_> {
    fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }
}

/// The tokens of a statement.
struct Tokens<'s> {
    text: &'s str,
    chars: Peekable<CharIndices<'s>>,
    dialect: Dialect,
}

/// The databases that differ in what is a literal or a comment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    MySql,
    Postgres,
    /// SQLite, and what is not known.
    Other,
}

impl Dialect {
    /// Of a kind of database as sqlx, SeaORM or Diesel names it.
    fn of(kind: &str) -> Self {
        let kind = kind.to_lowercase();
        match kind.as_str() {
            "mysql" => Self::MySql,
            "pg" | "postgres" | "postgresql" => Self::Postgres,
            _ => Self::Other,
        }
    }
}

impl<'s> Tokens<'s> {
    fn new(kind: &str, text: &'s str) -> Self {
        Self { text, chars: text.char_indices().peekable(), dialect: Dialect::of(kind) }
    }

    fn is_mysql(&self) -> bool {
        self.dialect == Dialect::MySql
    }

    /// Is the dash that was read the first one of a comment? To `MySQL` `5--1` is a sum.
    fn begins_comment(&mut self) -> bool {
        let Some(rest) = self.rest().strip_prefix('-') else { return false };
        !self.is_mysql() || rest.chars().next().is_none_or(|c| c.is_whitespace() || c.is_control())
    }

    /// Goes on within a comment whose slash was read, if the database runs what is in it.
    fn enters_comment(&mut self) -> bool {
        let begin = ["*!", "*M!"].into_iter().find(|begin| self.rest().starts_with(begin));
        let Some(begin) = begin.filter(|_| self.is_mysql()) else { return false };
        self.skip(begin.len());
        true
    }

    fn rest(&mut self) -> &'s str {
        let at = self.chars.peek().map_or(self.text.len(), |(at, _)| *at);
        &self.text[at..]
    }

    /// Goes on after so many bytes.
    fn skip(&mut self, bytes: usize) {
        let end = self.text.len() - self.rest().len() + bytes;
        while self.chars.next_if(|(at, _)| *at < end).is_some() {}
    }

    /// Goes on after the next `end`, or at the end of the text.
    fn skip_past(&mut self, end: &str) {
        let rest = self.rest();
        self.skip(rest.find(end).map_or(rest.len(), |at| at + end.len()));
    }

    /// Goes on after a quoted text whose first quote was read. A doubled quote is a part
    /// of it.
    fn skip_quoted(&mut self, quote: char, has_escapes: bool) {
        while let Some((_, char)) = self.chars.next() {
            if char == '\\' && has_escapes {
                self.chars.next();
            } else if char == quote && self.chars.next_if(|(_, next)| *next == quote).is_none() {
                return;
            }
        }
    }

    /// Goes on after a comment, in which there may be others to PostgreSQL.
    fn skip_comment(&mut self) {
        let mut depth = 1_u32;
        while depth > 0 {
            let rest = self.rest();
            let opened = rest.find("/*").filter(|_| self.dialect == Dialect::Postgres);
            match (opened, rest.find("*/")) {
                (Some(open), Some(close)) if open < close => {
                    depth += 1;
                    self.skip(open + 2);
                }
                (_, Some(close)) => {
                    depth -= 1;
                    self.skip(close + 2);
                }
                (_, None) => {
                    self.skip(rest.len());
                    return;
                }
            }
        }
    }

    /// Goes on after a text in dollar quotes whose first dollar sign stands at `start`.
    fn skip_dollars(&mut self, start: usize) {
        let rest = &self.text[start + 1..];
        let Some(end) = rest.find('$') else { return };
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        if self.is_mysql() || !rest[..end].chars().all(is_name) {
            return;
        }
        let tag = &self.text[start..start + end + 2];
        self.skip(end + 1);
        self.skip_past(tag);
    }

    fn word(&mut self, start: usize) -> &'s str {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '#' | '@');
        while self.chars.next_if(|(_, c)| is_word(*c)).is_some() {}
        let end = self.text.len() - self.rest().len();
        &self.text[start..end]
    }
}

impl<'s> Iterator for Tokens<'s> {
    type Item = Token<'s>;

    fn next(&mut self) -> Option<Token<'s>> {
        loop {
            let (start, char) = self.chars.next()?;
            match char {
                '\'' | '"' => self.skip_quoted(char, self.is_mysql()),
                '`' => self.skip_quoted(char, false),
                '$' => self.skip_dollars(start),
                '#' if self.is_mysql() => self.skip_past("\n"),
                '-' if self.begins_comment() => self.skip_past("\n"),
                '/' if self.enters_comment() => {}
                '/' if self.rest().starts_with('*') => {
                    self.skip(1);
                    self.skip_comment();
                }
                ':' if self.is_mysql() && self.rest().starts_with('=') => {
                    self.skip(1);
                    return Some(Token { text: &self.text[start..start + 2] });
                }
                '(' | ')' | ';' => return Some(Token { text: &self.text[start..=start] }),
                c if c.is_alphabetic() || c == '_' => {
                    let text = self.word(start);
                    if text.eq_ignore_ascii_case("e")
                        && self.chars.next_if(|(_, c)| *c == '\'').is_some()
                    {
                        self.skip_quoted('\'', true);
                        continue;
                    }
                    return Some(Token { text });
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::effect;

    #[test]
    fn reads_are_told_from_what_must_run() {
        let reads = [
            ("postgresql", "SELECT * FROM users WHERE note = 'it''s FOR UPDATE'"),
            ("postgresql", "select delete, \"for update\" from t -- FOR UPDATE\nwhere a = $1"),
            ("postgresql", "SELECT $$ FOR UPDATE $$, $a$ INSERT INTO $$ $a$, E'\\' INTO '"),
            ("postgresql", "WITH a AS (SELECT 1) /* FOR /* nested */ UPDATE */ SELECT * FROM a;"),
            ("postgresql", "(SELECT 1) UNION (SELECT substring(a FOR 3) FROM t)"),
            ("mysql", "SELECT 'a\\' FOR UPDATE' FROM t # FOR UPDATE"),
            ("mysql", "SELECT `into`, \"it\\\" INTO \" FROM t"),
            ("mysql", "SELECT a - -1, b -- FOR UPDATE\nFROM t --"),
            ("mysql", "SELECT 1 /* FOR UPDATE */, ':=' FROM t"),
            ("postgresql", "SELECT f(a := 1), value FROM next"),
            ("sqlite", "VALUES (1), (2)"),
            ("sqlite", "SELECT replace(a, 'b', 'c'), json_insert(x) FROM t"),
        ];
        for (kind, text) in reads {
            assert_eq!(effect(kind, text), None, "{text}");
        }
        let others = [
            ("postgresql", "SELECT * FROM t WHERE a = 'x' FOR UPDATE", "FOR UPDATE"),
            ("postgresql", "select * from t for no key update skip locked", "for no"),
            ("postgresql", "SELECT 1 FROM t FOR/**/SHARE", "FOR SHARE"),
            ("postgresql", "WITH d AS (DELETE FROM t RETURNING a) SELECT * FROM d", "DELETE FROM"),
            ("postgresql", "WITH a AS (SELECT 1) UPDATE t SET b = 1", "UPDATE t"),
            ("postgresql", "SELECT 1 INTO copy FROM t", "INTO"),
            ("postgresql", "SELECT 1; DROP TABLE t", "a second statement"),
            ("postgresql", "insert into t values (1) returning id", "INSERT"),
            ("mysql", "SELECT * FROM t LOCK IN SHARE MODE", "LOCK IN"),
            ("mysql", "SELECT 1 /*! INTO OUTFILE 'x' */", "INTO"),
            ("mysql", "CALL f()", "CALL"),
            ("mysql", "SELECT a--1 FROM t FOR UPDATE", "FOR UPDATE"),
            ("mysql", "SELECT 1 /*M!100101 INTO OUTFILE 'x' */", "INTO"),
            ("mysql", "SELECT @rank := @rank + 1 FROM t", ":="),
            ("mysql", "SELECT NEXT VALUE FOR numbers", "NEXT VALUE"),
            ("SQLite", "SELECT 1 /* /* */; DELETE FROM t", "a second statement"),
            ("Pg", "SELECT 1 /* /* */ */ FROM t FOR UPDATE", "FOR UPDATE"),
            ("sqlite", "PRAGMA user_version = 3", "PRAGMA"),
        ];
        for (kind, text, expected) in others {
            assert_eq!(effect(kind, text).as_deref(), Some(expected), "{text}");
        }
        for odd in
            ["", "'", "$", "$a", "/*", "((", "e'\\", "-", "SELECT 'ü", "ß FOR", "SELECT $é$ x"]
        {
            let _ = effect("postgresql", odd);
        }
    }
}
