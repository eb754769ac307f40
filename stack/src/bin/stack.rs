//! `cargo stack`: the three servers, until Ctrl-C.
fn main() -> anyhow::Result<()> {
    let stack = footprint_stack::Stack::start(footprint_stack::StackOptions {
        progress: footprint_stack::Progress::stderr(),
        ..Default::default()
    })?;
    println!("{}", stack.kafka()?.bootstrap());
    Ok(())
}
