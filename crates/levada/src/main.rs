//! The one binary: command line and configuration in, a node out.

mod audience;
mod cli;
mod client;
mod config;
mod control;
mod demo;
mod lab;
mod play;
mod pops;
mod query;
mod replay;
mod serve;
mod sim;
mod top;
mod viewer;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

fn main() -> ExitCode {
    levada_lab::net::answer_trial();
    let cli = Cli::parse();
    start_log(cli.verbose, cli.quiet);
    let command = match cli.command {
        // It may start itself anew in a network of its own, which a process with threads cannot.
        Command::Lab(args) => return exit_code(lab::lab(args, cli.quiet)),
        command => command,
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("levada: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(command));
    // Readers of standard input cannot be interrupted; they end with the process.
    runtime.shutdown_background();
    exit_code(result)
}

fn exit_code(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            // The outer message adds context to the cause; a chain reads from the outside in.
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            eprintln!("levada: {}", chain.join(": "));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Bootstrap(args) => serve::bootstrap(args).await?,
        Command::Token(args) => serve::token(args)?,
        Command::Node(args) => serve::node(args).await?,
        Command::Publish(args) => serve::publish(args).await?,
        Command::Watch(args) => play::watch(args).await?,
        Command::Streams(args) => query::streams(&args).await?,
        Command::Map(args) => query::map(&args).await?,
        Command::Trace(args) => query::trace(&args).await?,
        Command::Why(args) => query::why(&args).await?,
        Command::Pops(args) => pops::pops(&args).await?,
        Command::Neighbours(args) => control::neighbours(&args).await?,
        Command::Stop(args) => control::stop(&args).await?,
        Command::Top(args) => top::top(&args).await?,
        Command::Replay(args) => return replay::replay(&args),
        Command::Drain(args) => query::drain(&args).await?,
        Command::Demo(args) => return demo::demo(args).await,
        Command::Sim(args) => return sim::sim(&args),
        // The others have been taken before there were threads.
        Command::Lab(args) => return lab::lab(args, false),
    }
    Ok(ExitCode::SUCCESS)
}

fn start_log(verbose: u8, quiet: bool) {
    use tracing_subscriber::EnvFilter;
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    // What a stranger's browser says wrong would be a warning each time.
    let strangers = "web_transport_quinn=error,web_transport_proto=error";
    let default = format!("warn,{strangers},levada={level},levada_node={level},levada_overlay={level}");
    let filter = EnvFilter::try_from_env("LEVADA_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).init();
}
