//! A route's definition: all that decides a record's row, as a text that is the same on every machine and in every version of
//! this program. The ledger stores the text, and its fingerprint with every claim. The definition that claimed a range also
//! finishes it, so both databases get the same rows, whatever the configuration says by then.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::decode::Decoder;
use crate::route::{Column, Kind, Presence, Route, RouteError};

/// Changes whenever the decoder would make another row of the same record.
const DECODER_VERSION: u32 = 2;

/// The text, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    decoder: u32,
    timezone: String,
    columns: Vec<TextColumn>,
}

/// A column without the settings that only change a table's storage (`low_cardinality`).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TextColumn {
    name: String,
    field: String,
    kind: Kind,
    presence: Presence,
}

/// The part that every version's text has.
#[derive(Deserialize)]
struct Version {
    decoder: u32,
}

/// Why this program cannot use a stored text.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Unusable {
    /// The same record may become another row now.
    #[error("it is of decoder {0}, and this program has decoder {DECODER_VERSION}")]
    Decoder(u32),
    /// It is not a text of this program.
    #[error("its text cannot be read: {0}")]
    Text(String),
}

/// One definition of a route, ready for use.
pub struct Definition {
    route: Arc<Route>,
    text: String,
    fingerprint: i64,
    decoder: Decoder,
}

impl Definition {
    /// The definition of a configured route.
    ///
    /// # Errors
    /// The route cannot be decoded.
    pub fn of(route: &Arc<Route>) -> Result<Self, RouteError> {
        let column = |column: &Column| TextColumn {
            name: column.name.clone(),
            field: column.field.clone(),
            kind: column.kind,
            presence: column.presence.clone(),
        };
        let columns = route.columns.iter().map(column).collect();
        let text = Text { decoder: DECODER_VERSION, timezone: route.timezone.clone(), columns };
        let text = serde_json::to_string(&text).map_err(|error| RouteError::Invalid {
            route: route.name.clone(),
            reason: format!("it has no definition: {error}"),
        })?;
        let fingerprint = (xxh3_64(text.as_bytes()) >> 1).cast_signed();
        Ok(Self { route: Arc::clone(route), text, fingerprint, decoder: Decoder::new(route)? })
    }

    /// The definition in `text`, for the route `now`, as it is configured today.
    ///
    /// # Errors
    /// Another version of this program wrote the text, or it was edited.
    pub fn kept(text: &str, now: &Route) -> Result<Self, Unusable> {
        let unreadable = |error: serde_json::Error| Unusable::Text(error.to_string());
        let Version { decoder } = serde_json::from_str(text).map_err(unreadable)?;
        if decoder != DECODER_VERSION {
            return Err(Unusable::Decoder(decoder));
        }
        let Text { timezone, columns, .. } = serde_json::from_str(text).map_err(unreadable)?;
        let column =
            |TextColumn { name, field, kind, presence }| Column { name, field, kind, presence, low_cardinality: false };
        let columns = columns.into_iter().map(column).collect();
        let route = Route { timezone, columns, ..now.clone() };
        let invalid = |error: RouteError| Unusable::Text(error.to_string());
        Self::of(&Arc::new(route.validated().map_err(invalid)?)).map_err(invalid)
    }

    /// The route. Its name, topic and tables are today's, its zone and columns are the definition's.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The text to store: the decoder's version, the zone, and each column in order.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A 63-bit hash of the text. Two programs with the same fingerprint decode every record alike.
    pub fn fingerprint(&self) -> i64 {
        self.fingerprint
    }

    /// A new decoder.
    pub fn decoder(&self) -> Decoder {
        self.decoder.clone()
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} of {}", self.fingerprint, self.route.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::footprint_route;
    use crate::route::DefaultValue;

    fn shipped() -> Route {
        footprint_route()
    }

    fn of(route: Route) -> Definition {
        Definition::of(&Arc::new(route)).unwrap()
    }

    /// The story: the fingerprint was made of Rust's `Debug` text. Another compiler or a renamed field would have changed it, and
    /// with it the meaning of every pending claim. If this test fails, claims of the previous version belong to another decoder.
    #[test]
    fn the_shipped_routes_definition_and_fingerprint_are_these() {
        let definition = of(shipped());
        let parts = [
            r#"{"decoder":2,"timezone":"UTC","columns":["#,
            r#"{"name":"request","field":"method","kind":"text","presence":"required"},"#,
            r#"{"name":"link","field":"link","kind":"text","presence":"required"},"#,
            r#"{"name":"footprint_time","field":"footprint_time","kind":"timestamp","presence":"required"}]}"#,
        ];
        assert_eq!(definition.text(), parts.concat());
        assert_eq!(definition.fingerprint(), 8_027_903_580_072_193_754);
    }

    #[test]
    fn what_decides_a_row_is_in_the_fingerprint_and_nothing_else() {
        let changed = |change: &dyn Fn(&mut Route)| {
            let mut other = shipped();
            change(&mut other);
            of(other).fingerprint() != of(shipped()).fingerprint()
        };
        assert!(changed(&|route| route.timezone = "Asia/Seoul".into()));
        assert!(changed(&|route| route.columns[0].field = "verb".into()));
        assert!(changed(&|route| route.columns[0].kind = Kind::Integer));
        assert!(changed(&|route| route.columns.swap(0, 1)));
        assert!(!changed(&|route| route.columns[1].low_cardinality = true), "a table's storage changes no row");
        assert!(!changed(&|route| route.topic = "another".into()));
    }

    fn presences() -> Vec<(Kind, Presence)> {
        let default = |kind, value| (kind, Presence::Default(value));
        vec![
            (Kind::Text, Presence::Required),
            (Kind::Text, Presence::Optional),
            default(Kind::Text, DefaultValue::Text("1".into())),
            default(Kind::Text, DefaultValue::Text("a\"}]}\n\u{2028}".into())),
            default(Kind::Integer, DefaultValue::Integer(1)),
            default(Kind::Integer, DefaultValue::Integer(i64::MIN)),
            default(Kind::Float, DefaultValue::Integer(1)),
            default(Kind::Float, DefaultValue::Float(1.0)),
            default(Kind::Float, DefaultValue::Float(-0.0)),
            default(Kind::Float, DefaultValue::Float(0.1 + 0.2)),
            default(Kind::Float, DefaultValue::Float(5e-324)),
            default(Kind::Boolean, DefaultValue::Boolean(true)),
            default(Kind::Timestamp, DefaultValue::Text("2026-01-02T03:04:05Z".into())),
            (Kind::Uuid, Presence::Required),
            default(Kind::Uuid, DefaultValue::Text("550E8400-E29B-41D4-A716-446655440000".into())),
        ]
    }

    #[test]
    fn a_kept_text_is_the_definition_that_wrote_it() {
        let mut texts = Vec::new();
        for (kind, presence) in presences() {
            let mut route = shipped();
            (route.columns[0].kind, route.columns[0].presence) = (kind, presence.clone());
            route.timezone = "Asia/Seoul".into();
            let written = of(route);
            let mut now = shipped();
            now.postgres_table = "elsewhere".into();
            let read = Definition::kept(written.text(), &now).unwrap();
            assert_eq!((read.text(), read.fingerprint()), (written.text(), written.fingerprint()));
            assert_eq!(read.route().columns[0].presence, presence);
            assert_eq!(read.route().postgres_table, "elsewhere", "the tables are today's");
            texts.push(read.text().to_owned());
        }
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), presences().len(), "each presence has its own text");
    }

    #[test]
    fn a_text_of_another_decoder_or_of_somebody_else_is_of_no_use() {
        let now = shipped();
        let kept = |text: &str| Definition::kept(text, &now).err();
        assert_eq!(kept(r#"{"decoder":1,"what":"ever"}"#), Some(Unusable::Decoder(1)));
        let written = of(shipped());
        for edited in [
            "",
            "{}",
            &written.text().replace("UTC", "Nowhere"),
            &written.text().replace("\"link\",\"field\"", "\"li nk\",\"field\""),
            &written.text().replace("\"timezone\"", "\"zone\""),
            &written.text().replace("\"text\"", "\"texts\""),
        ] {
            assert!(matches!(kept(edited), Some(Unusable::Text(_))), "{edited}");
        }
    }
}
