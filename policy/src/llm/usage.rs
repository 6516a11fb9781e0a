//! How many tokens a language model says that an answer cost, read as the answer streams past.
//!
//! Only members at their own place count: what a model writes is text inside a string, or deeper down. Several reports of
//! one answer are cumulative, so the largest of each number stands. Nothing is kept but the report itself.

use serde_json::{Map, Value};

use super::Api;

/// The longest report that is read, in bytes.
const REPORT_BYTES_MAX: usize = 16 * 1024;
/// The longest name that is looked for has 13 bytes.
const NAME_BYTES_MAX: usize = 16;
/// No report stands deeper.
const LEVELS: usize = 3;

/// What an answer cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens that the model read, cached ones among them.
    pub input: u64,
    /// Tokens that it wrote, those of its thoughts among them.
    pub output: u64,
    total: u64,
}

impl Usage {
    /// All of them; where a provider's own total is larger than the sum of its parts, that.
    pub fn total(self) -> u64 {
        self.total.max(self.input.saturating_add(self.output))
    }

    fn most(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            total: self.total.max(other.total),
        }
    }

    /// Reads a report of any provider; nothing if no number of it is known.
    fn of(report: &Map<String, Value>) -> Option<Self> {
        let number = |name: &&str| report.get(*name).and_then(Value::as_u64);
        let sum = |names: &[&str]| {
            let known = names.iter().filter_map(number);
            known.reduce(u64::saturating_add)
        };
        let input = sum(&[
            "input_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
            "prompt_tokens",
            "promptTokenCount",
            "toolUsePromptTokenCount",
        ]);
        let output = sum(&[
            "output_tokens",
            "completion_tokens",
            "candidatesTokenCount",
            "thoughtsTokenCount",
        ]);
        let total = sum(&["total_tokens", "totalTokenCount"]);
        [input, output, total]
            .iter()
            .any(Option::is_some)
            .then(|| Self {
                input: input.unwrap_or(0),
                output: output.unwrap_or(0),
                total: total.unwrap_or(0),
            })
    }
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// As JSON: one document, a list of them, or one behind the other.
    Json,
    /// As server-sent events, with JSON in each.
    Events,
}

/// Reads an answer piece by piece.
#[derive(Debug)]
pub struct UsageReader {
    api: Api,
    written: Written,
    line: Line,
    finder: Finder,
    usage: Option<Usage>,
    /// Whether the last word was spoken.
    last: bool,
}

/// Where in a line of events a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// So many bytes of `data:` were there, and nothing else.
    Name(usize),
    /// Behind `data:`.
    Data,
    /// In another field.
    Other,
    /// Behind a carriage return, which a line feed may belong to.
    Return,
}

const DATA: &[u8] = b"data:";

impl UsageReader {
    /// Has read nothing yet.
    pub fn new(api: Api, written: Written) -> Self {
        Self {
            api,
            written,
            line: Line::Name(0),
            finder: Finder::default(),
            usage: None,
            last: false,
        }
    }

    /// Reads a piece.
    pub fn push(&mut self, piece: &[u8]) {
        for &byte in piece {
            match self.written {
                Written::Json => self.json(byte),
                Written::Events => self.event(byte),
            }
        }
    }

    /// What the whole answer cost; nothing if it does not say so.
    pub fn usage(&self) -> Option<Usage> {
        self.usage.filter(|_| self.last)
    }

    fn event(&mut self, byte: u8) {
        let is_end = matches!(byte, b'\r' | b'\n');
        if self.line == Line::Return {
            self.line = Line::Name(0);
            if byte == b'\n' {
                return;
            }
        }
        match self.line {
            // An empty line ends an event.
            Line::Name(0) if is_end => self.finder = Finder::default(),
            Line::Name(_) | Line::Other if is_end => {}
            Line::Data if is_end => self.json(b'\n'),
            Line::Data => self.json(byte),
            Line::Name(known) if DATA.get(known) == Some(&byte) => {
                let known = known.saturating_add(1);
                self.line = match known == DATA.len() {
                    true => Line::Data,
                    false => Line::Name(known),
                };
            }
            Line::Name(_) | Line::Other | Line::Return => self.line = Line::Other,
        }
        if is_end {
            self.line = match byte {
                b'\r' => Line::Return,
                _ => Line::Name(0),
            };
        }
    }

    fn json(&mut self, byte: u8) {
        let Some((place, report)) = self.finder.push(byte) else {
            return;
        };
        let report = serde_json::from_slice(&report).ok();
        let Some(usage) = report.and_then(|report| Usage::of(&report)) else {
            return;
        };
        let known = self.usage.unwrap_or_default();
        self.usage = Some(known.most(usage));
        // The first event of Anthropic's says what was read, and only the last ones what was written.
        let is_first = self.api == Api::Anthropic && place == Place::Message;
        self.last |= !is_first;
    }
}

/// Where a report stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the document or the event itself.
    Top,
    /// In its `message`.
    Message,
    /// In its `response`.
    Response,
}

/// A name of a member, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Usage,
    Message,
    Response,
    Other,
}

/// Finds the report in JSON that comes byte by byte. It does not check the JSON: what is broken has no report.
#[derive(Debug, Default)]
struct Finder {
    /// Objects and lists that are open.
    depth: usize,
    /// Of the outermost of them, the member that is being read; nothing for lists.
    members: Vec<Option<Name>>,
    string: Option<Escape>,
    /// The last string, as far as it can be a name that matters.
    text: Vec<u8>,
    report: Option<Report>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    No,
    Yes,
}

#[derive(Debug)]
struct Report {
    place: Place,
    /// How deep its object is.
    depth: usize,
    bytes: Vec<u8>,
}

impl Finder {
    fn push(&mut self, byte: u8) -> Option<(Place, Vec<u8>)> {
        if let Some(report) = &mut self.report {
            if report.bytes.len() >= REPORT_BYTES_MAX {
                self.report = None;
            } else {
                report.bytes.push(byte);
            }
        }
        match (self.string, byte) {
            (Some(Escape::Yes), _) => self.string = Some(Escape::No),
            (Some(Escape::No), b'\\') => {
                self.string = Some(Escape::Yes);
                self.add(byte);
            }
            (Some(Escape::No), b'"') => self.string = None,
            (Some(Escape::No), _) => self.add(byte),
            (None, b'"') => {
                self.string = Some(Escape::No);
                self.text.clear();
            }
            (None, b':') => self.name(),
            (None, b'{') => self.open(Some(Name::Other)),
            (None, b'[') => self.open(None),
            (None, b'}' | b']') => return self.close(),
            (None, _) => {}
        }
        None
    }

    fn add(&mut self, byte: u8) {
        if self.text.len() <= NAME_BYTES_MAX {
            self.text.push(byte);
        }
    }

    /// The last string was the name of a member.
    fn name(&mut self) {
        if self.depth > LEVELS {
            return;
        }
        if let Some(Some(member)) = self.members.last_mut() {
            *member = match &*self.text {
                b"usage" | b"usageMetadata" | b"usage_metadata" => Name::Usage,
                b"message" => Name::Message,
                b"response" => Name::Response,
                _ => Name::Other,
            };
        }
    }

    fn open(&mut self, member: Option<Name>) {
        let place = (self.report.is_none() && self.depth <= LEVELS).then(|| self.place());
        self.depth = self.depth.saturating_add(1);
        if let (Some(Some(place)), Some(_)) = (place, member) {
            self.report = Some(Report {
                place,
                depth: self.depth,
                bytes: b"{".to_vec(),
            });
        }
        if self.depth <= LEVELS {
            self.members.push(member);
        }
    }

    /// Where what begins here stands, if that is where a report is.
    fn place(&self) -> Option<Place> {
        let mut path = self.members.iter().flatten();
        match (path.next()?, path.next(), path.next()) {
            (Name::Usage, None, None) => Some(Place::Top),
            (Name::Message, Some(Name::Usage), None) => Some(Place::Message),
            (Name::Response, Some(Name::Usage), None) => Some(Place::Response),
            _ => None,
        }
    }

    fn close(&mut self) -> Option<(Place, Vec<u8>)> {
        if self.depth <= LEVELS {
            self.members.pop();
        }
        let ended = self
            .report
            .as_ref()
            .is_some_and(|it| it.depth == self.depth);
        self.depth = self.depth.saturating_sub(1);
        let report = if ended { self.report.take() } else { None };
        report.map(|report| (report.place, report.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(api: Api, written: Written, answer: &str, expect: Option<(u64, u64, u64)>) {
        let told = |usage: Usage| (usage.input, usage.output, usage.total());
        for size in [1, 7, answer.len().max(1)] {
            let mut reader = UsageReader::new(api, written);
            for piece in answer.as_bytes().chunks(size) {
                reader.push(piece);
            }
            assert_eq!(reader.usage().map(told), expect, "in pieces of {size}");
        }
    }

    const ANTHROPIC: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":100,\"output_tokens\":1}}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"\\\"usage\\\":{\\\"output_tokens\\\":999}\"}}\n\n";
    const ANTHROPIC_END: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    #[test]
    fn whole_answers_say_what_they_cost() {
        check(
            Api::Anthropic,
            Written::Json,
            r#"{"content":[{"type":"tool_use","input":{"usage":{"input_tokens":1}}}],"usage":{"input_tokens":10,"cache_creation_input_tokens":5,"output_tokens":7}}"#,
            Some((15, 7, 22)),
        );
        check(
            Api::OpenaiChat,
            Written::Json,
            r#"{"choices":[{"message":{"content":"{\"usage\":{}}"}}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"completion_tokens_details":{"reasoning_tokens":4}}}"#,
            Some((9, 12, 21)),
        );
        check(
            Api::OpenaiResponses,
            Written::Json,
            r#"{"output":[],"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":0},"output_tokens":87,"total_tokens":123}}"#,
            Some((36, 87, 123)),
        );
        check(
            Api::Gemini,
            Written::Json,
            r#"[{"candidates":[],"usageMetadata":{"promptTokenCount":4,"totalTokenCount":4}},
               {"candidates":[],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":6,"thoughtsTokenCount":30,"totalTokenCount":40}}]"#,
            Some((4, 36, 40)),
        );
    }

    #[test]
    fn streams_say_it_in_their_last_events() {
        let whole = format!("{ANTHROPIC}{ANTHROPIC_END}");
        let cost = Some((125, 15, 140));
        check(Api::Anthropic, Written::Events, &whole, cost);
        let returns = whole.replace('\n', "\r\n");
        check(Api::Anthropic, Written::Events, &returns, cost);
        check(
            Api::OpenaiChat,
            Written::Events,
            "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":10,\"total_tokens\":29}}\n\ndata: [DONE]\n\n",
            Some((19, 10, 29)),
        );
        check(
            Api::OpenaiResponses,
            Written::Events,
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n: a comment\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\ndata: \"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":4,\"total_tokens\":7}}}\n\n",
            Some((3, 4, 7)),
        );
        check(
            Api::Gemini,
            Written::Events,
            "data: {\"usageMetadata\":{\"promptTokenCount\":8}}\r\n\r\ndata: {\"usageMetadata\":{\"promptTokenCount\":8,\"candidatesTokenCount\":2,\"totalTokenCount\":10}}\r\n\r\n",
            Some((8, 2, 10)),
        );
    }

    #[test]
    fn what_does_not_say_it_costs_what_was_set_aside() {
        check(Api::Anthropic, Written::Events, ANTHROPIC, None);
        for answer in [
            "",
            "{}",
            "{\"usage\":null}",
            "{\"usage\":{}}",
            "{\"usage\":{\"output_tokens\":\"12\"}}",
            "{\"usage\":{\"output_tokens\":-1}}",
            "{\"choices\":[{\"usage\":{\"total_tokens\":1}}]}",
            "{\"text\":\"\\\",\\\"usage\\\":{\\\"total_tokens\\\":1}\"}",
            "{\"usage\":{\"total_tokens\":1",
            "{\"a\":{\"b\":{\"c\":{\"usage\":{\"total_tokens\":1}}}}}",
            "}}]]{\"usage",
            "<html>\"usage\": no</html>",
        ] {
            check(Api::OpenaiChat, Written::Json, answer, None);
        }
        let long = format!(
            "{{\"usage\":{{\"x\":\"{}\",\"total_tokens\":1}}}}",
            "x".repeat(20_000)
        );
        check(Api::OpenaiChat, Written::Json, &long, None);
    }
}
