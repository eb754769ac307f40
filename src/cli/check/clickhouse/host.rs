//! The host of ClickHouse: whether its kernel counts the time that threads wait for a disk.

use footprint_service::address::is_local;

use super::super::finding::{Findings, Line, Subject};

/// The kernel's switch. Without it, OSIOWaitMicroseconds of ClickHouse's query log is blank.
const SWITCH: &str = "/proc/sys/kernel/task_delayacct";

pub(super) fn check(host: &str, findings: &mut Findings) {
    let subject = Subject::shared("clickhouse host");
    if !is_local(host) {
        let text = "kernel.task_delayacct cannot be seen from here; if it is 0, OSIOWaitMicroseconds is blank";
        return findings.wrong(
            Line::ClickHouseTaskDelays,
            &subject,
            text,
            format!("on {host}, run: sysctl kernel.task_delayacct"),
        );
    }
    match std::fs::read_to_string(SWITCH) {
        Ok(value) if value.trim() == "0" => {
            let text = "kernel.task_delayacct is off, so OSIOWaitMicroseconds is blank";
            let remedy = "as root on this host, run: sysctl -w kernel.task_delayacct=1";
            findings.wrong(Line::ClickHouseTaskDelays, &subject, text, remedy);
        }
        // a kernel without the switch always counts
        _ => findings.ok(Line::ClickHouseTaskDelays, &subject, "the kernel counts waits for the disk"),
    }
}
