//! What a client of librdkafka reports apart from its answers. Its errors are kept and not logged: the last one becomes part of
//! the message about a failed question. Its own log lines that only repeat them are logged at debug. If it asks for a token, it
//! gets one.

use std::error::Error;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext};
use tracing::{debug, info, warn};

use super::token::{self, TokenError};
use super::trouble::{Trouble, of_client};

/// A broker that restarts may refuse for a moment. A refusal is final only if it lasts this long, without another error and
/// without an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What one client has reported.
#[derive(Debug, Default)]
pub struct ClientEvents {
    last: Mutex<Option<LastError>>,
    /// Whether tokens without a signature may be made.
    makes_tokens: bool,
}

/// The client's last error.
#[derive(Debug)]
struct LastError {
    trouble: Trouble,
    text: String,
    /// When the first of several equal errors in a row came. librdkafka reports the same error twice, and then not again for half
    /// a minute, so their number says nothing.
    since: Instant,
    is_reported: bool,
}

impl ClientEvents {
    /// For a client with the configuration `config`.
    pub fn new(config: &ClientConfig) -> Self {
        let makes_tokens = config.get("enable.sasl.oauthbearer.unsecure.jwt") == Some("true");
        Self { last: Mutex::default(), makes_tokens }
    }

    /// The next token, made as `sasl.oauthbearer.config` says.
    ///
    /// # Errors
    /// No token can be made of it.
    pub fn token(&self, config: Option<&str>) -> Result<OAuthToken, TokenError> {
        if !self.makes_tokens {
            return Err(TokenError::NotUnsigned);
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        token::unsigned(config.unwrap_or_default(), i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// Keeps an error and librdkafka's words for it.
    pub fn note(&self, error: &KafkaError, reason: &str) {
        debug!("kafka: {error}: {reason}");
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // librdkafka says this after each error if there is only one broker
        if code != RDKafkaErrorCode::AllBrokersDown {
            self.note_at(of_client(code, reason), reason, Instant::now());
        }
    }

    /// A log line of librdkafka's own.
    pub fn log_line(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        match level {
            // librdkafka reports the end of a connection only by this line
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info if fac == "FAIL" => {
                debug!("librdkafka: {fac}: {message}");
                let reason = message.split_once("]: ").map_or(message, |(_thread, reason)| reason);
                self.note_at(of_client(RDKafkaErrorCode::BrokerTransportFailure, reason), reason, Instant::now());
            }
            // librdkafka reports these as errors too
            _ if fac == "FAIL" || fac == "ERROR" => debug!("librdkafka: {fac}: {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => info!("librdkafka: {fac}: {message}"),
            RDKafkaLogLevel::Debug => debug!("librdkafka: {fac}: {message}"),
            _ => warn!("librdkafka: {fac}: {message}"),
        }
    }

    fn note_at(&self, trouble: Trouble, reason: &str, now: Instant) {
        let mut last = self.last.lock();
        if trouble == Trouble::Unclear && last.is_some() {
            return;
        }
        let same = last.as_ref().filter(|last| last.trouble == trouble);
        let (since, is_reported) = same.map_or((now, false), |last| (last.since, last.is_reported));
        *last = Some(LastError { trouble, text: reason.to_owned(), since, is_reported });
    }

    /// A broker has answered, so earlier errors are over.
    pub fn answered(&self) {
        *self.last.lock() = None;
    }

    /// The last error since the last answer, in librdkafka's words.
    pub fn last(&self) -> Option<String> {
        self.last.lock().as_ref().map(|last| last.text.clone())
    }

    /// librdkafka's words and the remedy, if we are refused for good.
    pub fn refusal(&self) -> Option<(String, &'static str)> {
        self.refusal_at(Instant::now())
    }

    /// The same, even if it has not lasted: for a question that has itself waited long enough.
    pub fn last_refusal(&self) -> Option<(String, &'static str)> {
        self.refusal_at(Instant::now() + PATIENCE)
    }

    fn refusal_at(&self, now: Instant) -> Option<(String, &'static str)> {
        match self.last.lock().as_ref()? {
            LastError { trouble: Trouble::Refused { remedy }, text, since, .. } if now >= *since + PATIENCE => {
                Some((text.clone(), remedy))
            }
            _ => None,
        }
    }

    /// An error that has lasted longer than `patience` and was not returned before, as a line for people.
    pub fn lasting(&self, patience: Duration) -> Option<String> {
        let mut last = self.last.lock();
        let last = last.as_mut().filter(|last| !last.is_reported && last.since.elapsed() >= patience)?;
        last.is_reported = true;
        Some(match last.trouble {
            Trouble::Away | Trouble::Unclear => last.text.clone(),
            Trouble::Refused { remedy } => format!("{}; {remedy}", last.text),
        })
    }
}

impl ClientContext for ClientEvents {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Ok(self.token(config)?)
    }

    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        self.log_line(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error, reason);
    }
}

impl ConsumerContext for ClientEvents {}

/// How often a client is polled to serve its events. One poll takes one event, and some polls find none.
const EVENTS_SERVED_MAX: usize = 64;

/// A client's errors come through its queue. They are noticed only when the queue is served.
pub(super) fn serve(consumer: &BaseConsumer<ClientEvents>) -> &ClientEvents {
    for _ in 0..EVENTS_SERVED_MAX {
        let _ = consumer.poll(Duration::ZERO); // the context has kept an error
    }
    consumer.context()
}

/// Wakes librdkafka's main thread, which sleeps up to a second if it has nothing else to do. Any question wakes it.
pub fn wake<C: ConsumerContext>(consumer: &BaseConsumer<C>) {
    let _ = consumer.assignment();
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Trouble = Trouble::Refused { remedy: "mend it" };

    #[test]
    fn a_refusal_is_final_when_it_lasts() {
        let (events, start) = (ClientEvents::default(), Instant::now());
        events.note_at(REFUSED, "wrong password", start);
        assert_eq!(events.refusal_at(start + PATIENCE / 2), None, "a broker may be starting");
        events.note_at(REFUSED, "wrong password, again", start + PATIENCE / 2);
        assert_eq!(events.refusal_at(start + PATIENCE), Some(("wrong password, again".into(), "mend it")));
        events.note_at(Trouble::Away, "connection refused", start + PATIENCE);
        assert_eq!(events.refusal_at(start + PATIENCE), None);
        events.note_at(REFUSED, "wrong password", start + PATIENCE);
        assert_eq!(events.refusal_at(start + PATIENCE * 3 / 2), None, "another error starts over");
        events.note_at(Trouble::Unclear, "disconnected", start + PATIENCE);
        events.note_at(REFUSED, "wrong password", start + PATIENCE);
        assert!(events.refusal_at(start + PATIENCE * 2).is_some(), "the end of a connection changes nothing");
        events.answered();
        assert_eq!((events.refusal_at(start + PATIENCE * 9), events.last()), (None, None));
    }

    #[test]
    fn what_lasts_is_told_once() {
        let events = ClientEvents::default();
        events.note_at(Trouble::Away, "gone", Instant::now());
        assert_eq!(events.lasting(Duration::from_secs(60)), None);
        assert_eq!(events.lasting(Duration::ZERO).as_deref(), Some("gone"));
        assert_eq!(events.lasting(Duration::ZERO), None);
    }
}
