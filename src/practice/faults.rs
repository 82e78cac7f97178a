//! What a request orders: the fault grammar, and the plan that it is read into.
//!
//! One order comes from up to two places, the model's name (`NAME~FAULT,FAULT`) and a prefix of the
//! path (`/~FAULT,FAULT/…`); the prefix is read first, so the model's name has the last word.

use std::time::Duration;

use percent_encoding::percent_decode_str;

/// The grammar as `--help` and the documentation show it.
pub const GRAMMAR: &str = "\
Faults are ordered by the model's name, NAME~FAULT[,FAULT...] (in the body, a multipart field or a
Gemini path, percent-encoded or not), or by a prefix of the base URL, /~FAULT[,FAULT...]/...; both
may be combined. Arguments follow `=`; a comma inside one is written %2C.

The answer
  tokens=N               so many words in the answer (20)
  text=WORD              another text: WORD1 WORD2 ...
  chunk=N                words in one stream event (1)
  gap_ms=N               pause between two stream events
  size=BYTES             the answer's text, image or sound is so long
  thinking               thinks before it answers
  finish=WORD            another finish reason than the usual (chat completions, messages, Gemini)
  finish_each            every content event bears the finish reason (Gemini)
  plain                  one body, though a stream is asked
  echo                   the answer's text is JSON of the method, path, query, headers and body received
  header=NAME:VALUE      adds a header to the answer (repeatable)
  gzip, zstd             compresses though nobody asked

Refusals, each in the words of the protocol (or of a provider, see `as`)
  status=N, N            HTTP status N
  429, 429=SECONDS       too many requests, without or with Retry-After
  529                    overloaded
  retry_after=SECONDS, retry_after_date=SECONDS, retry_after_ms=N
                         the header (seconds, HTTP date, retry-after-ms) that goes with a refusal
  wrong_key, quota, rate_limited, not_here, too_long, filtered, region, foreign_state
  as=PROVIDER            azure, openrouter, vllm, deepseek, zhipu, moonshot, siliconflow, volcengine
  firewall               403 with an HTML page
  require_key            no key: refused
  key_refused=SUFFIX     a key that ends in SUFFIX is refused as revoked (repeatable)
  state_of=SUFFIX        only a key that ends in SUFFIX reads the state that requests name: any other gets
                         foreign_state
  error_in_200           the refusal (a server error by default) comes under HTTP 200
  error_event            the refusal is the stream's first event
  error_after=N          the refusal is an event behind N content events, and the stream ends with it
  error_form=FORM        the form of that event: own (the protocol's), unnamed (own without its name),
                         openai, bare (own, no `data:`), chunk (OpenRouter's, with a finish reason)
  first=N:FAULT          only the first N requests for this full model name get FAULT (a status or
                         any other fault: first=1:429, first=2:reset, first=1:429=3)
  flap=SECONDS           503 for so long since the first request for this full model name

Silence and breaks
  slow_first_byte_ms=N   nothing, not even headers, for so long
  slow_first_token_ms=N  headers at once, then nothing for so long
  silence                accepts, never answers
  reset, close           the connection is reset or closed before any header
  cut=N                  the connection dies after N content events; a plain answer in its middle
  stall=N                silent after N content events, the connection stays open
  malformed=N            content event N is broken JSON, the rest is good
  malformed_frame=N      framing event N (a role, a block's border) is broken JSON
  no_end                 complete, but for the stream's end marker
  open_end               the same, and the connection stays open
  no_finish              ends cleanly without finish reason and end marker
  garbage                200 with bytes that are no JSON
  huge=BYTES             200 with a JSON string so long
  redirect               302";

/// A limit on what an order may make us send: 1 GiB.
const SIZE_LIMIT: u64 = 1 << 30;
/// A limit on the words in an answer: a million.
const TOKENS_LIMIT: u64 = 1_000_000;

/// An order that cannot be read: the word at fault, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("practice: fault `{word}`: {why}")]
pub struct BadFault {
    /// The word as it was sent.
    pub word: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// How a request can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A bare status.
    Status(u16),
    /// 429; `hinted` says when to come again by the provider's own means.
    RateLimited {
        /// Whether the provider's own hint (`RetryInfo`, `x-ratelimit-reset-*`) goes with it.
        hinted: bool,
    },
    /// Anthropic's 529.
    Overloaded,
    /// The key is unknown or revoked.
    WrongKey,
    /// The account is exhausted.
    Quota,
    /// The model is not served here.
    NotHere,
    /// The context is too long.
    TooLong,
    /// The content filter struck.
    Filtered,
    /// Not from this region.
    Region,
    /// The request names what is another account's.
    ForeignState,
}

/// Whose words a refusal speaks, when not the protocol's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookAlike {
    /// Azure OpenAI.
    Azure,
    /// OpenRouter.
    OpenRouter,
    /// vLLM.
    Vllm,
    /// DeepSeek.
    DeepSeek,
    /// Zhipu (BigModel).
    Zhipu,
    /// Moonshot (Kimi).
    Moonshot,
    /// SiliconFlow.
    SiliconFlow,
    /// VolcEngine (Ark).
    VolcEngine,
}

/// What happens instead of an answer, before anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Accepts, never answers.
    Silence,
    /// TCP RST before headers.
    Reset,
    /// FIN before headers.
    Close,
    /// 403 with an HTML page.
    Firewall,
    /// 200 with bytes that are no JSON.
    Garbage,
    /// 200 with a JSON string of so many bytes.
    Huge(u64),
    /// 302 to another place.
    Redirect,
}

/// Where an error shows when its HTTP status is 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorPlace {
    /// As the body of a plain answer.
    Body,
    /// As the first event of a stream.
    FirstEvent,
    /// As an event behind so many content events.
    After(u64),
}

/// How an error looks in the midst of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorForm {
    /// As the protocol has it.
    #[default]
    Own,
    /// The same without the event's name.
    Unnamed,
    /// OpenAI's, whatever the protocol.
    OpenAi,
    /// JSON that is no event.
    Bare,
    /// A chunk with a finish reason, as OpenRouter sends it.
    Chunk,
}

/// How a stream (or a plain body) breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The connection dies after so many content events.
    Cut(u64),
    /// Silence after so many content events.
    Stall(u64),
    /// No end marker.
    NoEnd,
    /// No end marker, and the connection stays open.
    OpenEnd,
    /// No finish reason and no end marker.
    NoFinish,
}

/// How the answer is compressed, unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `Content-Encoding: gzip`.
    Gzip,
    /// `Content-Encoding: zstd`.
    Zstd,
}

/// When a refused client may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// `Retry-After` in seconds.
    Seconds(u64),
    /// `Retry-After` as HTTP date, so many seconds ahead.
    Date(u64),
    /// `retry-after-ms`.
    Millis(u64),
}

/// Everything that one request orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Words in the answer.
    pub tokens: u64,
    /// The word that is counted up.
    pub text: String,
    /// Words in one stream event.
    pub chunk: u64,
    /// Pause between two stream events.
    pub gap: Duration,
    /// Length of the answer's text, image or sound in bytes.
    pub size: Option<u64>,
    /// Thinks before it answers.
    pub thinking: bool,
    /// Ends for this reason.
    pub finish: Option<String>,
    /// Says so with every piece.
    pub finish_each: bool,
    /// In one body, though a stream is asked.
    pub plain: bool,
    /// The text is what was received.
    pub echo: bool,
    /// Headers added to the answer.
    pub headers: Vec<(String, String)>,
    /// Compressed unasked.
    pub coding: Option<Coding>,
    /// Refused.
    pub refusal: Option<Refusal>,
    /// Goes with the refusal.
    pub retry_after: Option<RetryAfter>,
    /// Whose words.
    pub look_alike: Option<LookAlike>,
    /// The error hides in a 200.
    pub error_place: Option<ErrorPlace>,
    /// And how it looks in the midst of a stream.
    pub error_form: ErrorForm,
    /// No key is refused.
    pub require_key: bool,
    /// Keys that end so are refused.
    pub dead_keys: Vec<String>,
    /// Keys that end otherwise cannot read the state that a request names.
    pub state_of: Option<String>,
    /// The first N requests get this fault.
    pub first: Option<(u64, String)>,
    /// 503 for so long since the first request.
    pub flap: Option<Duration>,
    /// Nothing for so long.
    pub slow_first_byte: Duration,
    /// Headers, then nothing for so long.
    pub slow_first_token: Duration,
    /// What happens instead of an answer.
    pub instead: Option<Instead>,
    /// How the answer breaks.
    pub breaks: Option<Break>,
    /// This content event is broken JSON (counted from 1).
    pub malformed: Option<u64>,
    /// This framing event is (counted from 1).
    pub malformed_frame: Option<u64>,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            tokens: 20,
            text: "word".to_owned(),
            chunk: 1,
            gap: Duration::ZERO,
            size: None,
            thinking: false,
            finish: None,
            finish_each: false,
            plain: false,
            echo: false,
            headers: Vec::new(),
            coding: None,
            refusal: None,
            retry_after: None,
            look_alike: None,
            error_place: None,
            error_form: ErrorForm::Own,
            require_key: false,
            dead_keys: Vec::new(),
            state_of: None,
            first: None,
            flap: None,
            slow_first_byte: Duration::ZERO,
            slow_first_token: Duration::ZERO,
            instead: None,
            breaks: None,
            malformed: None,
            malformed_frame: None,
        }
    }
}

/// The faults in a model's name: what stands behind its first `~`; empty when there is none.
pub fn faults_of(model: &str) -> &str {
    model.split_once('~').map_or("", |(_, faults)| faults)
}

impl Plan {
    /// Reads a list of faults, separated by commas, into a plan of its own.
    ///
    /// # Errors
    /// The first word that is unknown or whose argument is missing or wrong.
    pub fn read(faults: &str) -> Result<Plan, BadFault> {
        let mut plan = Plan::default();
        plan.order(faults)?;
        Ok(plan)
    }

    /// Adds a list of faults to the plan; a later word wins over an earlier one.
    ///
    /// # Errors
    /// As [`Plan::read`].
    pub fn order(&mut self, faults: &str) -> Result<(), BadFault> {
        faults
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .try_for_each(|word| self.take(word))
    }

    fn take(&mut self, word: &str) -> Result<(), BadFault> {
        let (name, argument) = match word.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (word, None),
        };
        let argument = Argument { word, text: argument };
        if self.shapes_answer(name, &argument)?
            || self.refuses(name, &argument)?
            || self.breaks_off(name, &argument)?
        {
            return Ok(());
        }
        Err(argument.bad("unknown"))
    }

    fn shapes_answer(&mut self, name: &str, argument: &Argument<'_>) -> Result<bool, BadFault> {
        match name {
            "tokens" => self.tokens = argument.number(0, TOKENS_LIMIT)?,
            "text" => self.text = argument.text()?,
            "chunk" => self.chunk = argument.number(1, TOKENS_LIMIT)?,
            "gap_ms" => self.gap = argument.millis()?,
            "size" => self.size = Some(argument.number(0, SIZE_LIMIT)?),
            "thinking" => self.thinking = argument.none(true)?,
            "finish" => self.finish = Some(argument.text()?),
            "finish_each" => self.finish_each = argument.none(true)?,
            "plain" => self.plain = argument.none(true)?,
            "echo" => self.echo = argument.none(true)?,
            "header" => self.headers.push(argument.header()?),
            "gzip" => self.coding = argument.none(Some(Coding::Gzip))?,
            "zstd" => self.coding = argument.none(Some(Coding::Zstd))?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn refuses(&mut self, name: &str, argument: &Argument<'_>) -> Result<bool, BadFault> {
        let refusal = match name {
            "status" => status_refusal(argument.number(200, 599)?),
            "429" => {
                if argument.text.is_some() {
                    self.retry_after = Some(RetryAfter::Seconds(argument.number(0, u64::MAX)?));
                }
                Refusal::RateLimited { hinted: false }
            }
            "529" => argument.none(Refusal::Overloaded)?,
            "wrong_key" => argument.none(Refusal::WrongKey)?,
            "quota" => argument.none(Refusal::Quota)?,
            "rate_limited" => argument.none(Refusal::RateLimited { hinted: true })?,
            "not_here" => argument.none(Refusal::NotHere)?,
            "too_long" => argument.none(Refusal::TooLong)?,
            "filtered" => argument.none(Refusal::Filtered)?,
            "region" => argument.none(Refusal::Region)?,
            "foreign_state" => argument.none(Refusal::ForeignState)?,
            _ if name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_digit()) => {
                let status = Argument {
                    word: argument.word,
                    text: Some(name),
                }
                .number(200, 599)?;
                argument.none(status_refusal(status))?
            }
            _ => return self.refuses_by_rule(name, argument),
        };
        self.refusal = Some(refusal);
        Ok(true)
    }

    fn refuses_by_rule(&mut self, name: &str, argument: &Argument<'_>) -> Result<bool, BadFault> {
        match name {
            "retry_after" => self.retry_after = Some(RetryAfter::Seconds(argument.number(0, u64::MAX)?)),
            "retry_after_date" => self.retry_after = Some(RetryAfter::Date(argument.number(0, 1 << 31)?)),
            "retry_after_ms" => self.retry_after = Some(RetryAfter::Millis(argument.number(0, u64::MAX)?)),
            "as" => self.look_alike = argument.look_alike()?,
            "firewall" => self.instead = argument.none(Some(Instead::Firewall))?,
            "require_key" => self.require_key = argument.none(true)?,
            "key_refused" => self.dead_keys.push(argument.text()?),
            "state_of" => self.state_of = Some(argument.text()?),
            "error_in_200" => self.error_place = argument.none(Some(ErrorPlace::Body))?,
            "error_event" => self.error_place = argument.none(Some(ErrorPlace::FirstEvent))?,
            "error_after" => self.error_place = Some(ErrorPlace::After(argument.number(1, u64::MAX)?)),
            "error_form" => self.error_form = argument.error_form()?,
            "first" => self.first = Some(argument.first()?),
            "flap" => self.flap = Some(argument.seconds()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn breaks_off(&mut self, name: &str, argument: &Argument<'_>) -> Result<bool, BadFault> {
        let count = || argument.number(0, u64::MAX);
        match name {
            "slow_first_byte_ms" => self.slow_first_byte = argument.millis()?,
            "slow_first_token_ms" => self.slow_first_token = argument.millis()?,
            "silence" => self.instead = argument.none(Some(Instead::Silence))?,
            "reset" => self.instead = argument.none(Some(Instead::Reset))?,
            "close" => self.instead = argument.none(Some(Instead::Close))?,
            "garbage" => self.instead = argument.none(Some(Instead::Garbage))?,
            "huge" => self.instead = Some(Instead::Huge(argument.number(0, SIZE_LIMIT)?)),
            "redirect" => self.instead = argument.none(Some(Instead::Redirect))?,
            "cut" => self.breaks = Some(Break::Cut(count()?)),
            "stall" => self.breaks = Some(Break::Stall(count()?)),
            "malformed" => self.malformed = Some(argument.number(1, u64::MAX)?),
            "malformed_frame" => self.malformed_frame = Some(argument.number(1, u64::MAX)?),
            "open_end" => self.breaks = argument.none(Some(Break::OpenEnd))?,
            "no_end" => self.breaks = argument.none(Some(Break::NoEnd))?,
            "no_finish" => self.breaks = argument.none(Some(Break::NoFinish))?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Statuses with words of their own get them.
fn status_refusal(status: u64) -> Refusal {
    match status {
        429 => Refusal::RateLimited { hinted: false },
        529 => Refusal::Overloaded,
        other => Refusal::Status(u16::try_from(other).unwrap_or(500)),
    }
}

struct Argument<'a> {
    word: &'a str,
    text: Option<&'a str>,
}

impl Argument<'_> {
    fn bad(&self, why: &'static str) -> BadFault {
        BadFault {
            word: self.word.to_owned(),
            why,
        }
    }

    fn none<T>(&self, value: T) -> Result<T, BadFault> {
        match self.text {
            None => Ok(value),
            Some(_) => Err(self.bad("takes no argument")),
        }
    }

    fn text(&self) -> Result<String, BadFault> {
        let text = self
            .text
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.bad("needs an argument"))?;
        Ok(percent_decode_str(text).decode_utf8_lossy().into_owned())
    }

    fn number(&self, least: u64, most: u64) -> Result<u64, BadFault> {
        let number: u64 = self
            .text()?
            .parse()
            .map_err(|_| self.bad("needs a whole number"))?;
        if (least..=most).contains(&number) {
            Ok(number)
        } else {
            Err(self.bad("number out of range"))
        }
    }

    fn millis(&self) -> Result<Duration, BadFault> {
        self.number(0, u64::from(u32::MAX)).map(Duration::from_millis)
    }

    /// Seconds, fractions allowed.
    fn seconds(&self) -> Result<Duration, BadFault> {
        let seconds: f64 = self.text()?.parse().map_err(|_| self.bad("needs seconds"))?;
        Duration::try_from_secs_f64(seconds).map_err(|_| self.bad("needs seconds"))
    }

    fn header(&self) -> Result<(String, String), BadFault> {
        let text = self.text()?;
        let (name, value) = text.split_once(':').ok_or_else(|| self.bad("needs NAME:VALUE"))?;
        let (name, value) = (name.trim(), value.trim());
        let valid = http::HeaderName::try_from(name).is_ok() && http::HeaderValue::try_from(value).is_ok();
        if valid {
            Ok((name.to_owned(), value.to_owned()))
        } else {
            Err(self.bad("is no header"))
        }
    }

    fn first(&self) -> Result<(u64, String), BadFault> {
        let text = self.text()?;
        let (count, fault) = text.split_once(':').ok_or_else(|| self.bad("needs N:FAULT"))?;
        let count = count.parse().map_err(|_| self.bad("needs a whole number"))?;
        if fault.starts_with("first") {
            return Err(self.bad("cannot stand in itself"));
        }
        Plan::read(fault).map_err(|inner| self.bad(inner.why))?;
        Ok((count, fault.to_owned()))
    }

    fn error_form(&self) -> Result<ErrorForm, BadFault> {
        Ok(match self.text()?.as_str() {
            "own" => ErrorForm::Own,
            "unnamed" => ErrorForm::Unnamed,
            "openai" => ErrorForm::OpenAi,
            "bare" => ErrorForm::Bare,
            "chunk" => ErrorForm::Chunk,
            _ => return Err(self.bad("unknown form")),
        })
    }

    fn look_alike(&self) -> Result<Option<LookAlike>, BadFault> {
        Ok(Some(match self.text()?.as_str() {
            "openai" | "anthropic" | "gemini" => return Ok(None),
            "azure" => LookAlike::Azure,
            "openrouter" => LookAlike::OpenRouter,
            "vllm" => LookAlike::Vllm,
            "deepseek" => LookAlike::DeepSeek,
            "zhipu" => LookAlike::Zhipu,
            "moonshot" => LookAlike::Moonshot,
            "siliconflow" => LookAlike::SiliconFlow,
            "volcengine" => LookAlike::VolcEngine,
            _ => return Err(self.bad("unknown provider")),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(faults: &str, wanted: impl FnOnce(&mut Plan)) {
        let mut plan = Plan::default();
        wanted(&mut plan);
        assert_eq!(Plan::read(faults), Ok(plan), "{faults}");
    }

    #[test]
    fn every_word_sets_its_part_of_the_plan() {
        check("", |_| {});
        check(" tokens=60 , chunk=3,", |plan| {
            (plan.tokens, plan.chunk) = (60, 3)
        });
        check("text=tree", |plan| plan.text = "tree".to_owned());
        check("gap_ms=100", |plan| plan.gap = Duration::from_millis(100));
        check("size=2000000", |plan| plan.size = Some(2_000_000));
        check("thinking,echo", |plan| (plan.thinking, plan.echo) = (true, true));
        check("gzip", |plan| plan.coding = Some(Coding::Gzip));
        check("status=500", |plan| plan.refusal = Some(Refusal::Status(500)));
        check("503", |plan| plan.refusal = Some(Refusal::Status(503)));
        check("429", |plan| {
            plan.refusal = Some(Refusal::RateLimited { hinted: false })
        });
        check("429=2", |plan| {
            plan.refusal = Some(Refusal::RateLimited { hinted: false });
            plan.retry_after = Some(RetryAfter::Seconds(2));
        });
        check("529", |plan| plan.refusal = Some(Refusal::Overloaded));
        check("503,retry_after_ms=150", |plan| {
            plan.refusal = Some(Refusal::Status(503));
            plan.retry_after = Some(RetryAfter::Millis(150));
        });
        check("quota,as=zhipu", |plan| {
            plan.refusal = Some(Refusal::Quota);
            plan.look_alike = Some(LookAlike::Zhipu);
        });
        check("key_refused=aa,key_refused=bb", |plan| {
            plan.dead_keys = vec!["aa".into(), "bb".into()]
        });
        check("state_of=aa,finish=error", |plan| {
            plan.state_of = Some("aa".into());
            plan.finish = Some("error".into());
        });
        check("header=X-A:b%2Cc", |plan| {
            plan.headers.push(("X-A".into(), "b,c".into()))
        });
        check("first=2:429=3", |plan| plan.first = Some((2, "429=3".into())));
        check("flap=0.5", |plan| plan.flap = Some(Duration::from_millis(500)));
        check("silence", |plan| plan.instead = Some(Instead::Silence));
        check("huge=10", |plan| plan.instead = Some(Instead::Huge(10)));
        check("cut=40,malformed=3", |plan| {
            plan.breaks = Some(Break::Cut(40));
            plan.malformed = Some(3);
        });
        check("error_event", |plan| {
            plan.error_place = Some(ErrorPlace::FirstEvent)
        });
        check("error_after=4,error_form=bare", |plan| {
            plan.error_place = Some(ErrorPlace::After(4));
            plan.error_form = ErrorForm::Bare;
        });
        check("plain,finish=length,finish_each", |plan| {
            plan.finish = Some("length".into());
            (plan.plain, plan.finish_each) = (true, true);
        });
        check("open_end,malformed_frame=2", |plan| {
            plan.breaks = Some(Break::OpenEnd);
            plan.malformed_frame = Some(2);
        });
    }

    #[test]
    fn a_later_word_wins() {
        check("tokens=1,tokens=2", |plan| plan.tokens = 2);
        check("cut=1,stall=2", |plan| plan.breaks = Some(Break::Stall(2)));
    }

    #[test]
    fn a_bad_word_is_named() {
        for (faults, word, why) in [
            ("tokens=3,frobnicate", "frobnicate", "unknown"),
            ("cut", "cut", "needs an argument"),
            ("cut=x", "cut=x", "needs a whole number"),
            ("chunk=0", "chunk=0", "number out of range"),
            ("reset=1", "reset=1", "takes no argument"),
            ("as=acme", "as=acme", "unknown provider"),
            ("error_form=acme", "error_form=acme", "unknown form"),
            ("header=no", "header=no", "needs NAME:VALUE"),
            ("header=a b:c", "header=a b:c", "is no header"),
            ("first=1", "first=1", "needs N:FAULT"),
            ("first=1:nonsense", "first=1:nonsense", "unknown"),
            (
                "first=1:first=1:500",
                "first=1:first=1:500",
                "cannot stand in itself",
            ),
            ("flap=-1", "flap=-1", "needs seconds"),
            ("999", "999", "number out of range"),
        ] {
            let wanted = BadFault {
                word: word.to_owned(),
                why,
            };
            assert_eq!(Plan::read(faults), Err(wanted), "{faults}");
        }
    }

    #[test]
    fn faults_stand_behind_the_first_tilde() {
        assert_eq!(faults_of("gpt-4o"), "");
        assert_eq!(faults_of("org/gpt-4o~cut=3,chunk=2"), "cut=3,chunk=2");
    }

    #[test]
    fn the_help_names_every_word_it_promises() {
        for word in [
            "tokens",
            "key_refused",
            "retry_after_ms",
            "slow_first_token_ms",
            "no_finish",
            "redirect",
        ] {
            assert!(GRAMMAR.contains(word), "{word}");
        }
    }
}
