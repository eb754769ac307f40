//! Turns a seed into page moves as browsers would report them: payload, key, headers, and the decoder's answer to each. Pure and
//! cheap: the same seed and options make the same bytes on every machine, and no event costs an allocation.
//!
//! The site is invented. It has a few thousand pages, whose visits follow Zipf's law. They are mostly read, and sometimes written
//! to. Times follow their own clock, a little out of order, in every spelling that the normalizer takes. Some records are bad, of
//! every kind there is.

use chrono::{DateTime, Datelike};

use crate::limits::RECORD_BYTES_MAX;

/// Pages of the invented site.
const PAGE_COUNT: usize = 4_096;
/// The table for drawing a page: entry `i` is the rank of a page, which is repeated as often as its popularity demands.
const RANK_TABLE_BITS: u32 = 16;
/// One in this number of bad records is larger than a record may be. More of them would only measure the network.
const TOO_LARGE_ONE_IN: u64 = 256;
/// An event is reported at most this long after it happened.
const DELAY_US_MAX: u64 = 2_000_000;

/// The options of a generator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GenerateOptions {
    /// The share of bad records, 0 to 1.
    pub bad_share: f64,
    /// The event clock's start, UTC microseconds.
    pub start_us: i64,
    /// The average step of the event clock from one event to the next, microseconds.
    pub step_us: u64,
}

impl Default for GenerateOptions {
    /// One bad record in a thousand; a thousand events a second of 2024-05-06.
    fn default() -> Self {
        Self { bad_share: 0.001, start_us: 1_714_953_600_000_000, step_us: 1_000 }
    }
}

/// One record, valid until the next is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generated<'a> {
    /// The record's key: one visitor in four has one.
    pub key: Option<&'a [u8]>,
    /// The record's value.
    pub payload: Option<&'a [u8]>,
    /// The record's headers, names and values.
    pub headers: &'a [(&'static str, &'static [u8])],
    /// The code of the [`crate::reject::Reason`] why it cannot become a row of `user_footprint`. None: it is good.
    pub fault: Option<&'static str>,
}

/// Makes records, one after the other, for ever.
pub struct Generator {
    random: Random,
    options: GenerateOptions,
    /// A record is bad if 64 random bits are below this.
    bad_below: u64,
    now_us: i64,
    /// The pages in JSON, in the order of their popularity.
    pages: Vec<Vec<u8>>,
    ranks: Vec<u16>,
    payload: Vec<u8>,
    key: Vec<u8>,
}

impl Generator {
    /// A generator; the same seed and options make the same records.
    pub fn new(seed: u64, options: GenerateOptions) -> Self {
        Self {
            random: Random(seed),
            options,
            bad_below: (options.bad_share.clamp(0.0, 1.0) * 2_f64.powi(64)) as u64,
            now_us: options.start_us,
            pages: (0..PAGE_COUNT).map(page).collect(),
            ranks: ranks(),
            payload: Vec::with_capacity(512),
            key: Vec::with_capacity(32),
        }
    }

    /// The next record.
    pub fn generate(&mut self) -> Generated<'_> {
        let step = self.options.step_us.saturating_mul(2).saturating_add(1);
        self.now_us = self.now_us.saturating_add_unsigned(self.random.below(step));
        let fault = (self.random.next() < self.bad_below).then(|| self.write_bad());
        if fault.is_none() {
            self.write_good();
        }
        let bits = self.random.next();
        let has_key = bits & 3 == 0;
        if has_key {
            self.key.clear();
            self.key.extend_from_slice(b"visitor-");
            push_digits(&mut self.key, bits >> 44, 7);
        }
        Generated {
            key: has_key.then_some(self.key.as_slice()),
            payload: (fault != Some("null_payload")).then_some(self.payload.as_slice()),
            headers: HEADERS[(bits >> 2 & 31) as usize % HEADERS.len()],
            fault,
        }
    }

    fn write_good(&mut self) {
        let bits = self.random.next();
        let page = self.ranks[(bits & ((1 << RANK_TABLE_BITS) - 1)) as usize];
        let method = METHODS[(bits >> 16 & 63) as usize];
        let shape = bits >> 22 & 15;
        let payload = &mut self.payload;
        payload.clear();
        // most browsers send what the site's script writes; a few use another library, with another order
        if shape == 0 {
            payload.extend_from_slice(b"{\"method\": \"");
            payload.extend_from_slice(method);
            payload.extend_from_slice(b"\", \"link\": \"");
            payload.extend_from_slice(&self.pages[usize::from(page)]);
            payload.extend_from_slice(b"\", \"viewport\": {\"width\": 1280, \"height\": 720}, \"footprint_time\": ");
        } else {
            payload.extend_from_slice(b"{\"link\":\"");
            payload.extend_from_slice(&self.pages[usize::from(page)]);
            payload.extend_from_slice(b"\",\"method\":\"");
            payload.extend_from_slice(method);
            payload.extend_from_slice(if shape == 1 {
                b"\",\"tags\":[\"beta\",null],\"footprint_time\":".as_slice()
            } else {
                b"\",\"footprint_time\":".as_slice()
            });
        }
        let delay_us = (bits >> 32) % DELAY_US_MAX;
        write_time(payload, self.now_us.saturating_sub_unsigned(delay_us), bits >> 26 & 15);
        payload.push(b'}');
    }

    /// Writes a record that cannot become a row, and returns the reason's code.
    fn write_bad(&mut self) -> &'static str {
        self.payload.clear();
        if self.random.below(TOO_LARGE_ONE_IN) == 0 {
            self.payload.resize(RECORD_BYTES_MAX + 1, b' ');
            return "too_large";
        }
        let (reason, payload) = FAULTS[self.random.below(FAULTS.len() as u64) as usize];
        self.payload.extend_from_slice(payload);
        reason
    }
}

/// Splitmix64: 64 good bits in a nanosecond from any seed, the same in every version of every library.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// The methods of visitors: mostly reads. One of 64 is drawn.
const METHODS: [&[u8]; 64] = {
    let mut methods: [&[u8]; 64] = [b"GET"; 64];
    let rare: [&[u8]; 8] = [b"POST", b"POST", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS"];
    let mut index = 0;
    while index < rare.len() {
        methods[index] = rare[index];
        index += 1;
    }
    methods
};

/// Headers of a record; most have none.
const HEADERS: [&[(&str, &[u8])]; 8] =
    [&[], &[], &[], &[], &[], &[], &[("source", b"web")], &[("source", b"app"), ("trace", b"\x00\x9f\x92\x96")]];

/// Bad records and the code of their reason. The generator completes those that are too large or null.
const FAULTS: [(&str, &[u8]); 39] = [
    ("null_payload", b""),
    ("not_utf8", b"{\"link\":\"/caf\xe9\",\"method\":\"GET\",\"footprint_time\":1714953600}"),
    ("not_utf8", b"\xff\xfe{\x00}\x00"),
    ("not_json", b"link=/&method=GET"),
    ("not_json", b"{'link':'/','method':'GET','footprint_time':1714953600}"),
    ("not_json", b"{\"link\":\"/articles/1\",\"method\":\"GE"),
    ("not_json", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":1714953600},"),
    ("not_json", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":01714953600}"),
    ("wrong_type", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":NaN}"),
    ("not_json", b"{\"link\":\"/\n\",\"method\":\"GET\",\"footprint_time\":1714953600}"),
    ("wrong_type", b"{\"link\":{\"path\":\"/\"},\"method\":\"GET\",\"footprint_time\":1714953600}"),
    ("number_too_large", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":1e999999}"),
    ("number_too_large", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":17149536000000000000000}"),
    ("lone_surrogate", br#"{"link":"/\ud83d","method":"GET","footprint_time":1714953600}"#),
    ("lone_surrogate", br#"{"link":"/\udc00\ud83d","method":"GET","footprint_time":1714953600}"#),
    ("not_object", b"[\"/\",\"GET\",1714953600]"),
    ("not_object", b"null"),
    ("missing_field", b"{}"),
    ("missing_field", b"{\"method\":\"GET\",\"footprint_time\":1714953600}"),
    ("missing_field", b"{\"link\":\"/\",\"footprint_time\":1714953600}"),
    ("missing_field", b"{\"link\":\"/\",\"method\":\"GET\"}"),
    ("missing_field", b"{\"link\":null,\"method\":\"GET\",\"footprint_time\":1714953600}"),
    ("missing_field", b"{\"Link\":\"/\",\"Method\":\"GET\",\"Footprint_Time\":1714953600}"),
    ("duplicate_field", b"{\"link\":\"/\",\"link\":\"/about\",\"method\":\"GET\",\"footprint_time\":1714953600}"),
    ("wrong_type", b"{\"link\":7,\"method\":\"GET\",\"footprint_time\":1714953600}"),
    ("wrong_type", b"{\"link\":\"/\",\"method\":[\"GET\"],\"footprint_time\":1714953600}"),
    ("wrong_type", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":true}"),
    ("nul_in_text", br#"{"link":"/\u0000","method":"GET","footprint_time":1714953600}"#),
    ("bad_time", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":\"yesterday\"}"),
    ("bad_time", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":\"2024-02-30T00:00:00Z\"}"),
    ("bad_time", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":\"2023-02-29T12:00:00+09:00\"}"),
    ("bad_time", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":\"2024-05-06T24:00:00Z\"}"),
    ("bad_time", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":\"2024-05-06T23:59:60Z\"}"),
    ("bad_time", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":\"2024-05-06T00:00:00+99:00\"}"),
    ("bad_time", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":\"2024-05-06T00:00:00.Z\"}"),
    ("bad_time", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":\"9999-12-31T23:59:59Z\"}"),
    ("bad_time", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":\"1714953600\"}"),
    ("bad_time", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":1714953600.5}"),
    ("bad_time", b"{\"link\":\"/\",\"method\":\"GET\",\"footprint_time\":99999999999}"),
];

/// The page of a rank, as JSON text without its quotes.
fn page(rank: usize) -> Vec<u8> {
    const FIRST: [&str; 6] = ["/", "/articles", "/products", "/about", "/search?q=footprint", r"/caf\u00e9/men\u00fc"];
    const TOPICS: [&str; 8] = ["gardens", "rivers", "maps", "bread", "clouds", "bicycles", "lighthouses", "산책"];
    let topic = TOPICS[rank % TOPICS.len()];
    match FIRST.get(rank) {
        Some(first) => (*first).to_owned(),
        None => match rank % 5 {
            0 | 1 => format!("/articles/{topic}-{rank}"),
            2 => format!("/products/{rank}?ref=newsletter&colour={topic}"),
            3 => format!("/users/{}/notes/{rank}", rank * 7 % 1_000),
            _ => format!("https://www.example.org/articles/{topic}/{rank}#comments"),
        },
    }
    .into_bytes()
}

/// The rank of a page for each draw of [`RANK_TABLE_BITS`] bits. A page that is half as popular comes half as often.
fn ranks() -> Vec<u16> {
    let draws = 1_usize << RANK_TABLE_BITS;
    let whole: f64 = (1..=PAGE_COUNT).map(|place| 1.0 / place as f64).sum();
    let mut ranks = Vec::with_capacity(draws);
    let mut reached = 0.0;
    for rank in 0..PAGE_COUNT {
        reached += 1.0 / (rank + 1) as f64 / whole;
        ranks.resize(((reached * draws as f64).round() as usize).min(draws), rank as u16);
    }
    ranks.resize(draws, 0);
    ranks
}

/// Writes an instant as a JSON value, in one of sixteen spellings. Most look like the output of a browser's `toISOString`.
fn write_time(out: &mut Vec<u8>, instant_us: i64, spelling: u64) {
    match spelling {
        0 => push_digits(out, (instant_us / 1_000_000).unsigned_abs(), 10),
        1 | 2 => push_digits(out, (instant_us / 1_000).unsigned_abs(), 13),
        3 => push_digits(out, instant_us.unsigned_abs(), 16),
        4 => write_text_time(out, instant_us, b'T', 3, 9 * 3_600, b"+09:00"),
        5 => write_text_time(out, instant_us, b'T', 6, 9 * 3_600, b"+0900"),
        6 => write_text_time(out, instant_us, b' ', 0, -(3 * 3_600 + 1_800), b"-03:30"),
        7 => write_text_time(out, instant_us, b't', 9, 0, b"z"),
        8 => write_text_time(out, instant_us, b'T', 0, 0, b""),
        _ => write_text_time(out, instant_us, b'T', 3, 0, b"Z"),
    }
}

fn write_text_time(out: &mut Vec<u8>, instant_us: i64, separator: u8, digits: usize, offset_s: i64, offset: &[u8]) {
    let local_s = instant_us.div_euclid(1_000_000) + offset_s;
    let date = DateTime::from_timestamp(local_s, 0).unwrap_or_default();
    let second = local_s.rem_euclid(86_400).unsigned_abs();
    out.push(b'"');
    push_digits(out, u64::from(date.year().unsigned_abs()), 4);
    out.push(b'-');
    push_digits(out, u64::from(date.month()), 2);
    out.push(b'-');
    push_digits(out, u64::from(date.day()), 2);
    out.push(separator);
    push_digits(out, second / 3_600, 2);
    out.push(b':');
    push_digits(out, second / 60 % 60, 2);
    out.push(b':');
    push_digits(out, second % 60, 2);
    if digits > 0 {
        let fraction_ns = instant_us.rem_euclid(1_000_000).unsigned_abs() * 1_000 + 789;
        out.push(b'.');
        push_digits(out, fraction_ns / 10_u64.pow(9 - digits as u32), digits);
    }
    out.extend_from_slice(offset);
    out.push(b'"');
}

/// The last `count` decimal digits of `number`, with leading zeros; at most 20.
fn push_digits(out: &mut Vec<u8>, number: u64, count: usize) {
    let mut digits = [b'0'; 20];
    let mut rest = number;
    for digit in digits[20 - count..].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[20 - count..]);
}

#[cfg(test)]
mod tests;
