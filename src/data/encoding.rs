//! Owns which encoding a table's bytes are in, and turning them into UTF-8 as they are read.
//!
//! Refuses bytes that are not text in that encoding: no character is replaced or left out, but for a Ctrl-Z
//! that ends the file, as DOS had it. A byte-order mark is always obeyed.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Decoder, DecoderResult, Encoding, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use memchr::memchr_iter;

use super::compression::peek;
use super::reading::TextEncoding;
use crate::error::{Error, Kind, Result, quoted};

/// Bytes of text that are decoded at a time.
const BUFFER: usize = 1 << 17;
/// Bytes of a first line that tell an encoding.
const ENOUGH: usize = 4096;
/// Bytes in which a table whose lines end in carriage returns alone has none of another kind.
const CARRIAGE_RETURNS: usize = 1 << 20;
/// Byte-order marks. UTF-32's begins with UTF-16's.
const MARKS: [(&[u8], &Encoding); 3] =
    [(b"\xef\xbb\xbf", UTF_8), (b"\xff\xfe", UTF_16LE), (b"\xfe\xff", UTF_16BE)];
/// Bytes before malformed ones that help to tell the encoding.
const BEFORE: usize = 4096;
/// Escape sequences that switch ISO-2022-JP to characters of Japanese.
const JAPANESE: [&[u8]; 3] = [b"\x1b$B", b"\x1b$@", b"\x1b$(D"];
/// Ctrl-Z.
const END_MARK: u8 = 0x1a;
/// So many bytes beyond ASCII begin to tell a language.
const SPARSE: usize = 8;
/// So many characters of UTF-8 are no accident in a table that is said to be something else.
const NO_ACCIDENT: usize = 4;

/// A table's text as UTF-8, its byte-order mark passed over.
///
/// # Errors
/// The input cannot be read, or is not in the encoding that was asked for.
pub(super) fn decoded(input: Box<dyn BufRead>, asked: Option<TextEncoding>) -> Result<Box<dyn BufRead>> {
    let utf_16 = asked.is_some_and(TextEncoding::is_utf_16);
    let (head, mut input) =
        peek(input, |head| head.contains(if utf_16 { &0 } else { &b'\n' }) || head.len() >= ENOUGH)?;
    refuse_utf_32(&head)?;
    let mark = MARKS.iter().find(|(mark, _)| head.starts_with(mark));
    let encoding = match (mark, asked) {
        (Some((mark, encoding)), asked) => {
            if let Some(asked) = asked.filter(|asked| !asked.allows(encoding)) {
                return Err(Error::new(Kind::Table, "the table's byte-order mark says another encoding")
                    .found(encoding.name())
                    .expected(asked.to_string())
                    .help(leave_out(asked.encoding())));
            }
            input.consume(mark.len());
            encoding
        }
        (None, Some(asked)) => match unmarked_utf_16(&head) {
            Some(found) if asked.allows(found) => found,
            Some(found) => {
                return Err(Error::new(Kind::Table, "the table is not in the encoding that was asked for")
                    .found(found.name())
                    .expected(asked.to_string())
                    .help(leave_out(asked.encoding())));
            }
            None if utf_16 && is_utf_8(&head) => {
                return Err(Error::new(Kind::Table, "the table is not in the encoding that was asked for")
                    .found("UTF-8")
                    .expected(asked.to_string())
                    .help(leave_out(asked.encoding())));
            }
            _ => asked.encoding(),
        },
        (None, None) => unmarked_utf_16(&head).unwrap_or(UTF_8),
    };
    let text = Decoding { asked: asked.is_some(), ..Decoding::new(input, encoding) };
    let text = BufReader::with_capacity(BUFFER, text);
    Ok(Box::new(WithoutEndMark { text, held: Held::Nothing }))
}

/// The same text with line feeds where its lines end in carriage returns alone, as those of old Macs do.
///
/// # Errors
/// The input cannot be read.
pub(super) fn with_line_feeds(input: Box<dyn BufRead>) -> Result<Box<dyn BufRead>> {
    let (head, input) = peek(input, |head| head.contains(&b'\n') || head.len() >= CARRIAGE_RETURNS)?;
    let returns = head.contains(&b'\r') && !head.contains(&b'\n');
    Ok(if returns { Box::new(BufReader::with_capacity(BUFFER, CarriageReturns(input))) } else { input })
}

fn refuse_utf_32(head: &[u8]) -> Result<()> {
    let (quads, _) = head.as_chunks::<4>();
    // Code points end at 0x10ffff, and nearly all of a table are far below.
    let all = |[high, low]: [usize; 2]| {
        let below = quads.iter().filter(|quad| quad[low] == 0).count();
        quads.len() > 1
            && 2 * below > quads.len()
            && quads.iter().all(|quad| quad[high] == 0 && quad[low] <= 0x10)
    };
    let name = if head.starts_with(b"\xff\xfe\0\0") || head.starts_with(b"\0\0\xfe\xff") {
        "UTF-32"
    } else if all([3, 2]) {
        "UTF-32LE"
    } else if all([0, 1]) {
        "UTF-32BE"
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::Table, "tables in this encoding are not read")
        .found(name)
        .expected("UTF-8, UTF-16 or another encoding that --encoding knows")
        .help(format!("convert the table: `iconv -f {name} -t UTF-8 TABLE > NEW`")))
}

/// UTF-16 without a mark: what would be control characters, NUL among them, at every second place. No text
/// has so many; what can be read as UTF-8 too needs them at three of four such places, as a text with some
/// NUL bytes does not have.
fn unmarked_utf_16(head: &[u8]) -> Option<&'static Encoding> {
    let (pairs, _) = head.as_chunks::<2>();
    let count =
        |place: usize, wanted: fn(u8) -> bool| pairs.iter().filter(|pair| wanted(pair[place])).count();
    let is_control = |byte: u8| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r');
    let (part, of) = if is_utf_8(head) { (3, 4) } else { (1, 2) };
    let mostly = |high: usize| {
        let controls = count(high, is_control);
        pairs.len() > 1
            && of * controls >= part * pairs.len()
            && controls > 3 * count(1 - high, is_control)
            && count(high, |byte| byte == 0) > 0
            && count(1 - high, |byte| byte == 0) == 0
    };
    if mostly(1) {
        return Some(UTF_16LE);
    }
    mostly(0).then_some(UTF_16BE)
}

/// Whether bytes are UTF-8, but for a character that is cut off at their end.
fn is_utf_8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// A reader of UTF-8 over bytes in any encoding. What comes before malformed bytes is given before their
/// error is.
struct Decoding {
    input: Box<dyn BufRead>,
    encoding: &'static Encoding,
    decoder: Decoder,
    /// The last bytes that were decoded, begun with a line where they hold one.
    before: Vec<u8>,
    failed: Option<Error>,
    ended: bool,
    /// Characters beyond ASCII were there, and well-formed.
    beyond_ascii: bool,
    /// Somebody asked for this encoding.
    asked: bool,
}

impl Decoding {
    fn new(input: Box<dyn BufRead>, encoding: &'static Encoding) -> Self {
        Self {
            input,
            encoding,
            decoder: encoding.new_decoder_without_bom_handling(),
            before: Vec::new(),
            failed: None,
            ended: false,
            beyond_ascii: false,
            asked: false,
        }
    }

    /// Decodes what the input has there, as far as there is room: how many bytes of text.
    fn decode(&mut self, text: &mut [u8]) -> io::Result<usize> {
        let bytes = self.input.fill_buf()?;
        if !self.beyond_ascii && self.encoding != UTF_8 && self.encoding.is_ascii_compatible() {
            refuse_utf_8(bytes, self.encoding).map_err(io::Error::other)?;
        }
        if !self.asked && self.encoding == UTF_8 {
            refuse_iso_2022(&self.before, bytes).map_err(io::Error::other)?;
        }
        let last = bytes.is_empty();
        let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(bytes, text, last);
        match result {
            DecoderResult::InputEmpty => self.ended = last,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(length, after) => {
                let end = (self.before.len() + read).saturating_sub(usize::from(after));
                let place = end.saturating_sub(usize::from(length))..end;
                self.before.extend_from_slice(bytes);
                let known = Known { beyond_ascii: self.beyond_ascii, asked: self.asked, ended: last };
                self.failed = Some(malformed(self.encoding, &self.before, place, known));
                self.ended = true;
            }
        }
        self.before.extend_from_slice(&bytes[read.saturating_sub(BEFORE)..read]);
        if let Some(surplus) = self.before.len().checked_sub(BEFORE) {
            let line = self.before[surplus..].iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            self.before.drain(..surplus + line);
        }
        self.input.consume(read);
        self.beyond_ascii = self.beyond_ascii || !text[..written].is_ascii();
        Ok(written)
    }
}

impl Read for Decoding {
    fn read(&mut self, text: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.failed.take() {
                Some(error) => return Err(io::Error::other(error)),
                None if self.ended => return Ok(0),
                None => {}
            }
            let written = self.decode(text)?;
            if written > 0 {
                return Ok(written);
            }
        }
    }
}

/// A reader that gives a line feed for each carriage return.
struct CarriageReturns(Box<dyn BufRead>);

impl Read for CarriageReturns {
    fn read(&mut self, text: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(text)?;
        text[..read].iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
        Ok(read)
    }
}

/// A reader of the same text without the mark that DOS puts at the end of a file: a Ctrl-Z that is its last
/// byte, and nowhere else.
struct WithoutEndMark {
    text: BufReader<Decoding>,
    held: Held,
}

/// What became of a Ctrl-Z behind which nothing was read yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// It is to be seen whether something comes behind it.
    Mark,
    /// Something does: it is text, and still to be read.
    Text,
}

impl BufRead for WithoutEndMark {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.held == Held::Mark || self.text.fill_buf()? == [END_MARK] {
            if self.held == Held::Nothing {
                self.text.consume(1);
                self.held = Held::Mark;
            }
            let ended = self.text.fill_buf()?.is_empty();
            if ended {
                return Ok(&[]);
            }
            self.held = Held::Text;
        }
        if self.held == Held::Text {
            return Ok(&[END_MARK]);
        }
        let text = self.text.fill_buf()?;
        Ok(text.strip_suffix(&[END_MARK]).unwrap_or(text))
    }

    fn consume(&mut self, read: usize) {
        if self.held == Held::Text && read > 0 {
            self.held = Held::Nothing;
        } else {
            self.text.consume(read);
        }
    }
}

impl Read for WithoutEndMark {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// What to do about `--encoding` that a table does not need, though another of the command's may.
fn leave_out(asked: &'static Encoding) -> String {
    if asked == encoding_rs::UTF_8 {
        return "leave --encoding out".to_owned();
    }
    // By the name that iconv has for it.
    let name = match asked.name() {
        "ISO-8859-8-I" => "ISO-8859-8",
        "x-mac-cyrillic" => "MAC-CYRILLIC",
        name => name,
    };
    format!("leave --encoding out; if another table needs it, convert that one: iconv -f {name} -t UTF-8")
}

/// Refuses UTF-8 that is said to be in an encoding in which every byte means something.
fn refuse_utf_8(bytes: &[u8], asked: &'static Encoding) -> Result<()> {
    let (whole, broken) = characters(bytes);
    if whole < NO_ACCIDENT || broken > 0 {
        return Ok(());
    }
    Err(Error::new(Kind::Table, "the table is not in the encoding that was asked for")
        .found("UTF-8")
        .expected(asked.name())
        .help(leave_out(asked)))
}

/// Characters beyond ASCII that are whole UTF-8, and places that are not; one that is cut off at the end is
/// neither.
fn characters(mut bytes: &[u8]) -> (usize, usize) {
    let (mut whole, mut broken) = (0, 0);
    loop {
        let (valid, error) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let valid = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
                (valid, error.error_len().map(|length| error.valid_up_to() + length))
            }
        };
        whole += valid.chars().filter(|character| !character.is_ascii()).count();
        let Some(end) = error else { return (whole, broken) };
        broken += 1;
        bytes = &bytes[end..];
    }
}

/// Refuses ISO-2022-JP that nobody asked for: all its bytes are ASCII, and these escape sequences stand in no
/// text. `before` are the bytes that come before.
fn refuse_iso_2022(before: &[u8], bytes: &[u8]) -> Result<()> {
    let begins = |rest: &[u8]| JAPANESE.iter().any(|sequence| rest.starts_with(sequence));
    let end = before.len().saturating_sub(2);
    let cut = [&before[end..], &bytes[..bytes.len().min(2)]].concat();
    let found = memchr_iter(0x1b, bytes).any(|place| begins(&bytes[place..]))
        || (0..before.len() - end).any(|place| begins(&cut[place..]));
    if !found {
        return Ok(());
    }
    let name = ISO_2022_JP.name();
    Err(Error::new(Kind::Table, "the table is in another encoding than UTF-8")
        .found(format!("the escape sequences of {name}"))
        .help(format!("say --encoding {name}")))
}

/// What is known of a text that is not well-formed.
#[derive(Clone, Copy)]
struct Known {
    /// Characters beyond ASCII were there, and well-formed.
    beyond_ascii: bool,
    /// Somebody asked for the encoding.
    asked: bool,
    /// The table ends here.
    ended: bool,
}

/// The error of bytes that are not text, with the text before and behind them: what they are, and which
/// encoding they may be in.
fn malformed(encoding: &'static Encoding, around: &[u8], place: Range<usize>, known: Known) -> Error {
    let found: Vec<String> = around[place.clone()].iter().map(|byte| format!("0x{byte:02x}")).collect();
    let cut = if known.ended { ", then the end" } else { "" };
    let error = Error::new(Kind::Table, format!("the text is not valid {}", encoding.name()))
        .found(format!("{}{cut}", found.join(" ")));
    if encoding == UTF_16LE || encoding == UTF_16BE {
        let what = if known.ended {
            "the file ends inside a character: it is cut off, get it anew"
        } else {
            "half of a character stands alone: the file is damaged, get it anew"
        };
        let other = if known.asked { "; if it is not UTF-16 at all, leave --encoding out" } else { "" };
        return error.help(format!("{what}{other}"));
    }
    let (whole, broken) = characters(around);
    if encoding == UTF_8 && (known.beyond_ascii || whole > 0 && whole >= broken) {
        return error.help("other characters of the table are UTF-8, so these bytes are damaged: mend them");
    }
    if encoding != UTF_8 && broken == 0 {
        return error.help("the table seems to be UTF-8: leave --encoding out");
    }
    match guess(around).filter(|guess| *guess != encoding) {
        Some(guess) if guess.is_ascii_compatible() => {
            let (text, _) = guess.decode_without_bom_handling(excerpt(around, place.start));
            error.help(format!(
                "it may be {0}, in which this place reads {1}: if that is right, say --encoding {0}",
                guess.name(),
                quoted(text.trim_end_matches('\u{fffd}'))
            ))
        }
        Some(guess) => error.help(format!("it may be {0}: say --encoding {0}", guess.name())),
        None => error.help("name the table's encoding with --encoding, or save it as UTF-8"),
    }
}

/// Which encoding bytes beyond ASCII look like; none when they are not text in it.
fn guess(bytes: &[u8]) -> Option<&'static Encoding> {
    let zeros = |parity: usize| bytes.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    let guess = match (zeros(0), zeros(1)) {
        (0, 0) if is_sparse(bytes) => WINDOWS_1252,
        (0, 0) => {
            let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
            detector.feed(bytes, false);
            detector.guess(None, Utf8Detection::Deny)
        }
        (0, 2..) => UTF_16LE,
        (2.., 0) => UTF_16BE,
        _ => return None,
    };
    let mut decoder = guess.new_decoder_without_bom_handling();
    let mut text = vec![0; decoder.max_utf8_buffer_length_without_replacement(bytes.len())?];
    let (result, _, _) = decoder.decode_to_utf8_without_replacement(bytes, &mut text, false);
    (result == DecoderResult::InputEmpty).then_some(guess)
}

/// Whether so few bytes are beyond ASCII, each between others, that they tell no language: then the most
/// frequent encoding it is.
fn is_sparse(bytes: &[u8]) -> bool {
    let beyond = bytes.iter().filter(|byte| !byte.is_ascii()).count();
    let undefined = bytes.iter().any(|byte| matches!(byte, 0x81 | 0x8d | 0x8f | 0x90 | 0x9d));
    beyond < SPARSE && !undefined && bytes.windows(2).all(|pair| pair.iter().any(u8::is_ascii))
}

/// The bytes around a place, inside its line; begun where a character begins in every encoding that has
/// ASCII's.
fn excerpt(bytes: &[u8], place: usize) -> &[u8] {
    let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let before = &bytes[place.saturating_sub(24)..place];
    let skipped = match before.iter().rposition(is_line_end) {
        Some(line_end) => line_end + 1,
        None if before.len() == place => 0,
        None => before.iter().position(|byte| *byte < b'0').map_or(before.len(), |space| space + 1),
    };
    let rest = &bytes[place - before.len() + skipped..bytes.len().min(place + 24)];
    &rest[..rest.iter().position(is_line_end).unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use super::super::compression::unreadable;
    use super::*;

    /// Reads in pieces of so many bytes, so that characters are cut apart.
    fn read_in(bytes: &[u8], asked: &str, piece: usize) -> Result<String> {
        let asked = if asked.is_empty() { None } else { Some(asked.parse()?) };
        let mut text = String::new();
        let input = BufReader::with_capacity(piece, Cursor::new(bytes.to_vec()));
        decoded(Box::new(input), asked)?.read_to_string(&mut text).map_err(unreadable)?;
        Ok(text)
    }

    #[track_caller]
    fn reads(bytes: &[u8], asked: &str, text: &str) {
        for piece in [1, 2, 3, 7, 1 << 16] {
            assert_eq!(read_in(bytes, asked, piece).unwrap(), text, "{asked}, {piece} bytes at a time");
        }
    }

    /// The error's help.
    #[track_caller]
    fn refused(bytes: &[u8], asked: &str, parts: &[&str]) -> String {
        let error = read_in(bytes, asked, 1 << 16).unwrap_err();
        let help = error.remedy().unwrap_or_default().to_owned();
        let whole = format!("{error}; {help}");
        for part in parts {
            assert!(whole.contains(part), "{whole:?} should say {part:?}");
        }
        help
    }

    /// The encoding that the help names, followed.
    fn followed(bytes: &[u8], help: &str) -> String {
        let name = help.rsplit("--encoding ").next().unwrap();
        read_in(bytes, name, 1 << 16).unwrap()
    }

    fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn byte_order_marks_are_obeyed_and_taken_off() {
        let text = "text,label\n“naïve” 𝄞 世界,x\n";
        reads(text.as_bytes(), "", text);
        let marked = format!("\u{feff}{text}");
        for asked in ["", "utf-16"] {
            reads(&utf_16(&marked, u16::to_le_bytes), asked, text);
            reads(&utf_16(&marked, u16::to_be_bytes), asked, text);
        }
        reads(marked.as_bytes(), "", text);
        reads(marked.as_bytes(), "utf-8", text);
        reads(&utf_16(&marked, u16::to_be_bytes), "utf-16be", text);
        for (bytes, asked) in [
            (utf_16(&marked, u16::to_le_bytes), "utf-16be"),
            (utf_16(&marked, u16::to_le_bytes), "utf-8"),
            (marked.into_bytes(), "windows-1252"),
        ] {
            refused(&bytes, asked, &["byte-order mark", "leave --encoding out"]);
            reads(&bytes, "", text);
        }
    }

    #[test]
    fn utf_16_without_a_mark_is_recognised() {
        for text in ["text,label\ngood,a\n", "a\n", "текст,метка\nхороший фильм,а\n", "text,label\n世界,x\n"]
        {
            for (bytes, name) in
                [(utf_16(text, u16::to_le_bytes), "utf-16le"), (utf_16(text, u16::to_be_bytes), "utf-16be")]
            {
                for asked in ["", "utf-16", name] {
                    assert_eq!(read_in(&bytes, asked, 1 << 16).unwrap(), text, "{asked}");
                }
            }
        }
        // Without ASCII in the first line, the advice says it.
        let text = "世界你好,标签\n今天天气很好,好\n电影很无聊,坏\n";
        let bytes = utf_16(text, u16::to_le_bytes);
        assert_eq!(followed(&bytes, &refused(&bytes, "", &["UTF-16LE"])), text);
    }

    #[test]
    fn a_text_with_nul_bytes_is_no_utf_16() {
        for text in ["text\na\0b\0\0c\n", "one\0\0\0 two\n", "\0", "a\0", "a\0b\n", "foo\0bar\0baz\0"] {
            reads(text.as_bytes(), "", text);
        }
    }

    #[test]
    fn utf_16_is_not_read_into_what_is_none() {
        refused(b"text,label\ngood phone,a\n", "utf-16", &["found UTF-8", "leave --encoding out"]);
        refused(
            "text,label\n“naïve” café, façade\n".as_bytes(),
            "latin1",
            &["found UTF-8", "leave --encoding out"],
        );
    }

    #[test]
    fn utf_32_is_named() {
        for (text, names) in [
            ("\u{feff}text\na\n", ["UTF-32"; 2]),
            ("text\na\n", ["UTF-32LE", "UTF-32BE"]),
            ("text 😀\na\n", ["UTF-32LE", "UTF-32BE"]),
        ] {
            for (bytes, name) in
                [u32::to_le_bytes as fn(u32) -> [u8; 4], u32::to_be_bytes].into_iter().zip(names)
            {
                let bytes: Vec<u8> = text.chars().flat_map(|character| bytes(character.into())).collect();
                refused(&bytes, "", &["UTF-32", &format!("iconv -f {name} -t UTF-8")]);
            }
        }
    }

    #[test]
    fn the_named_encoding_is_read_whatever_the_pieces() {
        for (name, text) in [
            ("windows-1252", "text,label\n“great” phone – buy it,pos\n"),
            ("windows-1251", "текст,метка\nхороший фильм,а\n"),
            ("shift_jis", "text,label\n表示ソフト,あ\n"),
            ("gb18030", "text,label\n今天𠮷天气,好\n"),
            ("koi8-r", "текст\nплохой\n"),
            ("iso-2022-jp", "text\n日本語\n"),
        ] {
            let (bytes, _, _) = Encoding::for_label(name.as_bytes()).unwrap().encode(text);
            reads(&bytes, name, text);
        }
    }

    #[test]
    fn what_invalid_utf_8_may_be_is_said_and_the_advice_works() {
        for (name, text) in [
            ("windows-1252", "text,label\n“great” phone – buy it,pos\nbad,neg\n"),
            ("windows-1252", "text\ncafé"),
            ("windows-1252", "text\nnaïve\n"),
            ("windows-1250", "text\nzażółć gęślą jaźń, bardzo dobry film, wspaniała gra aktorów\n"),
            ("windows-1252", "text\nle café était très agréable\n"),
            ("windows-1251", "текст,метка\nочень хороший фильм и отличная игра актёров,а\n"),
            ("Shift_JIS", "text,label\nこの映画はとても面白かったです。,あ\n"),
            ("GBK", "text,label\n今天的天气非常好，我们去看电影吧。,好\n"),
            ("EUC-KR", "text,label\n이 영화는 정말 재미있었습니다,좋음\n"),
        ] {
            let (bytes, _, unmappable) = Encoding::for_label(name.as_bytes()).unwrap().encode(text);
            assert!(!unmappable, "{name}");
            let help = refused(&bytes, "", &["not valid UTF-8", &format!("--encoding {name}")]);
            assert_eq!(followed(&bytes, &help), text);
        }
    }

    #[test]
    fn what_comes_before_malformed_bytes_is_read_before_they_are_an_error() {
        let bytes = b"text\none\ntwo \x81\x20\nthree\n";
        for asked in ["", "shift_jis"] {
            let asked = (!asked.is_empty()).then(|| asked.parse().unwrap());
            let mut reader = decoded(Box::new(Cursor::new(bytes.to_vec())), asked).unwrap();
            let mut before = Vec::new();
            let error =
                reader.read_until(b'x', &mut before).map(|_| reader.read_to_end(&mut before)).unwrap();
            assert_eq!(before, b"text\none\ntwo ");
            assert!(unreadable(error.unwrap_err()).to_string().contains("0x81"));
        }
    }

    #[test]
    fn damage_in_utf_8_is_not_taken_for_another_encoding() {
        let bytes = [&"text\nnaïve café\n".repeat(3).into_bytes()[..], b"br\xffken\n"].concat();
        let help = refused(&bytes, "", &["0xff", "damaged"]);
        assert!(!help.contains("--encoding"), "{help}");
        refused(
            "text\nna\u{ef}ve caf\u{e9}".as_bytes().split_last().unwrap().1,
            "",
            &["0xc3, then the end", "damaged"],
        );
    }

    #[test]
    fn utf_16_that_is_no_whole_text_is_cut_off_or_damaged() {
        let bytes = utf_16("\u{feff}text\nnaïve 😀\n", u16::to_le_bytes);
        for end in [bytes.len() - 1, bytes.len() - 4] {
            let help = refused(&bytes[..end], "", &["UTF-16LE", "then the end", "cut off"]);
            assert!(!help.contains("--encoding"), "{help}");
        }
        let alone = [&bytes[..], b"\x00\xd8a\0b\0"].concat();
        let help = refused(&alone, "", &["UTF-16LE", "0x00 0xd8", "damaged"]);
        assert!(!help.contains("--encoding"), "{help}");
        refused(&alone, "utf-16", &["damaged", "leave --encoding out"]);
        for asked in ["utf-16be", "latin1", "utf-8"] {
            let bytes = utf_16("text\nplain\n", u16::to_le_bytes);
            refused(&bytes, asked, &["found UTF-16LE", "leave --encoding out"]);
            reads(&bytes, "", "text\nplain\n");
        }
    }

    #[test]
    fn japanese_in_escape_sequences_is_no_ascii() {
        let text = "text,label\nplain,a\n日本語,b\n";
        let (bytes, _, _) = ISO_2022_JP.encode(text);
        for piece in [1, 2, 3, 7, 1 << 16] {
            let error = read_in(&bytes, "", piece).unwrap_err();
            assert!(error.to_string().contains("ISO-2022-JP"), "{piece}: {error}");
            assert_eq!(followed(&bytes, error.remedy().unwrap()), text);
        }
        // Colours of a terminal are no encoding; and who says that it is UTF-8 has it so.
        reads(b"text\n\x1b[31mred\x1b[0m $B\n", "", "text\n\u{1b}[31mred\u{1b}[0m $B\n");
        reads(b"text\n\x1b$B\n", "utf-8", "text\n\u{1b}$B\n");
    }

    #[test]
    fn a_ctrl_z_that_ends_the_file_is_no_text() {
        reads(b"text\na\n\x1a", "", "text\na\n");
        reads(b"a\x1a", "windows-1252", "a");
        reads(&utf_16("text\na\n\u{1a}", u16::to_le_bytes), "", "text\na\n");
        for text in ["text\na\x1ab\n", "text\n\x1a\n", "\x1ab", "a\x1a\x1ab"] {
            reads(text.as_bytes(), "", text);
        }
        reads(b"a\x1a\x1a", "", "a\x1a");
    }

    #[test]
    fn lines_that_end_in_carriage_returns_alone_are_lines() {
        let lines = |text: &str| {
            let mut read = String::new();
            with_line_feeds(Box::new(Cursor::new(text.to_owned())))
                .unwrap()
                .read_to_string(&mut read)
                .unwrap();
            read
        };
        assert_eq!(lines("one\rtwo\r"), "one\ntwo\n");
        for text in ["one\rtwo\nthree\r\n", "one", "one\n"] {
            assert_eq!(lines(text), text);
        }
    }
}
