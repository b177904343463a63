//! `nexios-hub /run/chat-hub.sock`: carries messages between the processes of one machine.

use std::process::ExitCode;

use nexios_cluster::Hub;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(path), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: nexios-hub PATH\n\nNodes find it by NEXIOS_BROKER=unix:PATH");
        return ExitCode::from(2);
    };
    match Hub::bind(path).and_then(Hub::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nexios-hub: {error}");
            ExitCode::FAILURE
        }
    }
}
