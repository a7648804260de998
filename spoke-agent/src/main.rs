//! Axle's agent.

fn main() -> std::process::ExitCode {
    axle_agent::command::main()
}
