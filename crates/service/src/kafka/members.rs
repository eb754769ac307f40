//! The members of the consumer group besides us. An old consumer that still runs there keeps some partitions, or the whole group.

use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{AskError, Inquirer};
use crate::config::GroupProtocol;
use crate::report::Cause;

/// How long to wait before a question is asked again.
const AGAIN: Duration = Duration::from_millis(100);
/// Members named in one line, at most.
const NAMED_MAX: usize = 5;

/// A member of the group, as the broker describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its `client.id`.
    pub client_id: String,
    /// Its address, as the broker sees it.
    pub host: String,
}

/// Members that are not ours, by client id and host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherConsumers(Vec<Member>);

impl OtherConsumers {
    /// The group's members with a client id other than ours.
    pub fn of(mut members: Vec<Member>, our_client_id: &str) -> Self {
        members.retain(|member| member.client_id != our_client_id);
        members.sort();
        members.dedup();
        Self(members)
    }

    /// One sentence for a person: which members they are and what to do.
    pub fn advice(&self, group_id: &str) -> String {
        let (another, it, has) = if self.0.len() == 1 {
            ("another consumer is", "it", "it has")
        } else {
            ("other consumers are", "them", "they have")
        };
        format!(
            "{another} in the group {group_id}: {self}; stop {it}: then footprint gets the partitions, and continues where {has} \
             committed"
        )
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for OtherConsumers {
    /// `client "a" on 10.0.0.1, client "b" on 10.0.0.2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Member { client_id, host }) in self.0.iter().take(NAMED_MAX).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}client {client_id:?} on {}", host.trim_start_matches('/'))?;
        }
        match self.0.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Why the group's members are not known.
struct Refusal {
    /// Whether it can help to try again.
    is_passing: bool,
    /// Kafka's code, or what was wrong with the answer.
    why: Cause,
}

impl Refusal {
    fn of(why: impl Into<Cause>) -> Self {
        Self { is_passing: false, why: why.into() }
    }

    fn of_code(code: sys::rd_kafka_resp_err_t) -> Self {
        Self::of_rust_code(RDKafkaErrorCode::from(code))
    }

    fn of_rust_code(code: RDKafkaErrorCode) -> Self {
        let passing = [
            RDKafkaErrorCode::CoordinatorLoadInProgress,
            RDKafkaErrorCode::CoordinatorNotAvailable,
            RDKafkaErrorCode::NotCoordinator,
        ];
        Self { is_passing: passing.contains(&code), why: code.into() }
    }
}

impl Inquirer {
    /// The group's members that are not ours. A member with our client id is ours.
    ///
    /// # Errors
    /// No answer in time, or the right to describe the group is missing.
    pub fn other_consumers(&self, timeout: Duration) -> Result<OtherConsumers, AskError> {
        let deadline = Instant::now() + timeout;
        loop {
            let members = match self.group_protocol {
                GroupProtocol::Classic => self.listed_members(timeout),
                GroupProtocol::Consumer => self.described_members(timeout),
            };
            match members {
                Ok(members) => {
                    return Ok(OtherConsumers::of(members, self.config.get("client.id").unwrap_or_default()));
                }
                // the group's broker has just started, or has changed
                Err(Refusal { is_passing: true, .. }) if Instant::now() < deadline => thread::sleep(AGAIN),
                Err(Refusal { why, .. }) => return Err(AskError::unanswered("describe group", why, self.events())),
            }
        }
    }

    /// The members of a group of the classic protocol. This asks every broker that is up.
    fn listed_members(&self, timeout: Duration) -> Result<Vec<Member>, Refusal> {
        let group_id = self.config.get("group.id").unwrap_or_default();
        let refusal = |error: KafkaError| match error {
            KafkaError::GroupListFetch(code) => Refusal::of_rust_code(code),
            other => Refusal::of(other),
        };
        let list = self.consumer.fetch_group_list(Some(group_id), timeout).map_err(refusal)?;
        let members = list.groups().iter().filter(|group| group.name() == group_id).flat_map(|group| group.members());
        let member = |member: &rdkafka::groups::GroupMemberInfo| Member {
            client_id: member.client_id().to_owned(),
            host: member.client_host().to_owned(),
        };
        Ok(members.map(member).collect())
    }

    /// The members of a group of the new protocol, which only DescribeConsumerGroups returns. It looks for the group's
    /// coordinator. If that is away, librdkafka may abort the process (its issue 4605), so it is asked only when every broker has
    /// just answered. The binding has no such question, so this calls librdkafka's C interface. Every object made here is
    /// destroyed here.
    #[allow(unsafe_code)]
    fn described_members(&self, timeout: Duration) -> Result<Vec<Member>, Refusal> {
        self.listed_members(timeout)?;
        let name = CString::new(self.config.get("group.id").unwrap_or_default())
            .map_err(|_| Refusal::of("its name holds a NUL"))?;
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the handle lives as long as `self`; options, queue and event are destroyed below by their own destroyers,
        // in reverse order of making, and nothing borrowed from the event outlives it.
        unsafe {
            let handle = self.consumer.client().native_ptr();
            let mut names = [name.as_ptr()];
            let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
            let options = sys::rd_kafka_AdminOptions_new(handle, kind);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0);
            let queue = sys::rd_kafka_queue_new(handle);
            sys::rd_kafka_DescribeConsumerGroups(handle, names.as_mut_ptr(), 1, options, queue);
            let event = sys::rd_kafka_queue_poll(queue, timeout_ms.saturating_add(1_000));
            let answer = if event.is_null() { Err(Refusal::of("no answer in time")) } else { read_members(event) };
            if !event.is_null() {
                sys::rd_kafka_event_destroy(event);
            }
            sys::rd_kafka_queue_destroy(queue);
            sys::rd_kafka_AdminOptions_destroy(options);
            answer
        }
    }
}

/// # Safety
/// `event` is a live event of librdkafka.
#[allow(unsafe_code)]
unsafe fn read_members(event: *mut sys::rd_kafka_event_t) -> Result<Vec<Member>, Refusal> {
    use sys::rd_kafka_resp_err_t as code;
    // SAFETY: the caller's event is alive; what is read from it is copied before returning.
    unsafe {
        let error = sys::rd_kafka_event_error(event);
        if error != code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(Refusal::of_code(error));
        }
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event);
        if result.is_null() {
            return Err(Refusal::of("an answer of another kind"));
        }
        let mut count = 0;
        let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        if groups.is_null() || count != 1 {
            return Err(Refusal::of("an answer without the group"));
        }
        let group = *groups;
        match sys::rd_kafka_error_code(sys::rd_kafka_ConsumerGroupDescription_error(group)) {
            code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            // the group never had a member
            code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND => return Ok(Vec::new()),
            other => return Err(Refusal::of_code(other)),
        }
        let text = |text: *const c_char| match text.is_null() {
            true => String::new(),
            false => CStr::from_ptr(text).to_string_lossy().into_owned(),
        };
        let members = (0..sys::rd_kafka_ConsumerGroupDescription_member_count(group)).map(|index| {
            let member = sys::rd_kafka_ConsumerGroupDescription_member(group, index);
            Member {
                client_id: text(sys::rd_kafka_MemberDescription_client_id(member)),
                host: text(sys::rd_kafka_MemberDescription_host(member)),
            }
        });
        Ok(members.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(client_id: &str, host: &str) -> Member {
        Member { client_id: client_id.into(), host: host.into() }
    }

    #[test]
    fn other_consumers_are_named_by_client_id_and_host() {
        let members = vec![member("old", "/10.0.0.2"), member("footprint", "/10.0.0.1"), member("old", "/10.0.0.2")];
        let others = OtherConsumers::of(members, "footprint");
        assert_eq!(others.to_string(), "client \"old\" on 10.0.0.2");
        assert!(OtherConsumers::of(vec![member("footprint", "/10.0.0.1")], "footprint").is_empty());
        let many = (0..7).map(|number| member(&format!("c{number}"), "/h")).collect();
        assert!(OtherConsumers::of(many, "footprint").to_string().ends_with("client \"c4\" on h and 2 more"));
    }
}
