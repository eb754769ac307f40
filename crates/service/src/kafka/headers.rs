//! A message's headers as the dead letter stores them: a JSON array of `{"key", "value"}`, with `"base64"` in place of a value
//! that is not text. librdkafka unpacks a message's headers when they are asked for. It allocates buffers for that, even if there
//! are no headers. When every message was asked, this took nearly half of the reader's time. So only dead letters are asked.

use std::borrow::Cow;
use std::ffi::CStr;
use std::{ptr, slice};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use footprint_event::record::Headers;
use rdkafka::bindings as sys;

/// A message, seen only as its headers.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct MessageHeaders(sys::rd_kafka_message_t);

impl MessageHeaders {
    /// The headers of a message.
    #[allow(unsafe_code)]
    pub(super) fn of(message: &sys::rd_kafka_message_t) -> &Self {
        // SAFETY: the type is the message itself under another name (`repr(transparent)`).
        unsafe { &*ptr::from_ref(message).cast() }
    }
}

impl Headers for MessageHeaders {
    fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        for_each(&self.0, |name, value| put(&name, value, &mut json));
        if !json.is_empty() {
            json.push(b']');
        }
        json
    }
}

/// Calls `each` with the headers: names as text (bytes that are not UTF-8 are replaced), values unchanged. The binding's own
/// iterator panics on a name that is not UTF-8, and any producer may send one.
#[allow(unsafe_code)]
fn for_each(message: &sys::rd_kafka_message_t, mut each: impl FnMut(Cow<'_, str>, Option<&[u8]>)) {
    let mut list = ptr::null_mut();
    // SAFETY: the headers live as long as the message; librdkafka ends names with NUL and gives each value's length.
    unsafe {
        if sys::rd_kafka_message_headers(message, &raw mut list) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            let code = sys::rd_kafka_header_get_all(list, index, &raw mut name, &raw mut value, &raw mut length);
            if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            let value = (!value.is_null()).then(|| slice::from_raw_parts(value.cast(), length));
            each(CStr::from_ptr(name).to_string_lossy(), value);
        }
    }
}

/// Appends one header and the separator before it.
fn put(name: &str, value: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(if out.is_empty() { b"[{\"key\":" } else { b",{\"key\":" });
    put_text(name, out);
    match value.map(|value| (std::str::from_utf8(value), value)) {
        None => out.extend_from_slice(b",\"value\":null"),
        // jsonb cannot hold NUL
        Some((Ok(text), _)) if !text.contains('\0') => {
            out.extend_from_slice(b",\"value\":");
            put_text(text, out);
        }
        Some((_, value)) => {
            out.extend_from_slice(b",\"base64\":");
            put_text(&STANDARD.encode(value), out);
        }
    }
    out.push(b'}');
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    // writing to memory does not fail, and neither does text
    let _ = serde_json::to_writer(out, text);
}
